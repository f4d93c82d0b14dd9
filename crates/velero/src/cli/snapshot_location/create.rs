//! `velero snapshot-location create NAME`. Mirrors `pkg/cmd/cli/snapshotlocation/create.go`.

use caravel_api::v1::{VolumeSnapshotLocation, VolumeSnapshotLocationSpec};
use kube::api::{Api, PostParams};

use super::super::backup_location::credential;
use super::super::connection::Global;
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::flags::map;
use super::super::output::{Format, emit, print};

/// Create a volume snapshot location.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Name of the location.
    name: String,
    /// Provider of native snapshots, such as aws.
    #[arg(long)]
    provider: String,
    /// Settings of the provider: region=us-east-1,…
    #[arg(long)]
    config: Vec<String>,
    /// Labels of the location: key1=value1,key2=value2.
    #[arg(long)]
    labels: Vec<String>,
    /// Secret and key with the credentials of this location: secret=key.
    #[arg(long)]
    credential: Vec<String>,
    /// Print the location instead of creating it: yaml or json.
    #[arg(short, long)]
    output: Option<Format>,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let (namespace, name) = (global.namespace(), &args.name);
    let location = location(args, &namespace)?;
    if let Some(format) = args.output {
        return print(&location, format);
    }
    let api: Api<VolumeSnapshotLocation> = Api::namespaced(global.client().await?, &namespace);
    api.create(&PostParams::default(), &location)
        .await
        .map_err(|error| match &error {
            kube::Error::Api(status) if status.is_already_exists() => {
                Failure::new(format!("snapshot-location {namespace}/{name} exists already"))
                    .next("velero snapshot-location get    (or choose another name)")
            }
            _ => kubernetes(format!("creating snapshot-location {namespace}/{name}"), &error),
        })?;
    emit(&format!(
        "Snapshot volume location \"{name}\" configured successfully.\n"
    ))
}

fn location(args: &Args, namespace: &str) -> Outcome<VolumeSnapshotLocation> {
    let labels = map(&args.labels).map_err(|why| Failure::usage(format!("--labels: {why}")))?;
    let spec = VolumeSnapshotLocationSpec {
        provider: args.provider.clone(),
        config: map(&args.config).map_err(|why| Failure::usage(format!("--config: {why}")))?,
        credential: credential(&args.credential)?,
    };
    let mut location = VolumeSnapshotLocation::new(&args.name, spec);
    location.metadata.namespace = Some(namespace.to_owned());
    location.metadata.labels = (!labels.is_empty()).then_some(labels);
    Ok(location)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_land_in_the_location() {
        let args = Args {
            name: "east".into(),
            provider: "aws".into(),
            config: vec!["region=us-east-1".into()],
            labels: vec!["team=a".into()],
            credential: vec!["cloud=key".into()],
            output: None,
        };
        let made = location(&args, "velero").ok().unwrap();
        assert_eq!(
            (&*made.spec.provider, &*made.spec.config["region"]),
            ("aws", "us-east-1")
        );
        assert_eq!(made.spec.credential.map(|it| it.name).as_deref(), Some("cloud"));
        assert_eq!(made.metadata.labels.unwrap()["team"], "a");
        let two = Args {
            credential: vec!["a=b,c=d".into()],
            ..Args::default()
        };
        assert_eq!(location(&two, "velero").unwrap_err().code(), 2);
    }
}
