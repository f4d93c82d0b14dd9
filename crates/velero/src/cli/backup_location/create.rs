//! `velero backup-location create NAME`. Mirrors `pkg/cmd/cli/backuplocation/create.go`.

use std::path::PathBuf;

use caravel_api::v1::{
    BackupStorageLocation, BackupStorageLocationAccessMode, BackupStorageLocationSpec, ObjectStorageLocation,
};
use kube::api::{Api, PostParams};

use super::super::connection::Global;
use super::super::describe::words;
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::flags::{boolean, duration, map};
use super::super::output::{Format, emit, print};
use super::{certificates, credential, only_default};

/// Create a backup storage location.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Name of the location.
    name: String,
    /// Provider, such as aws.
    #[arg(long)]
    provider: String,
    /// Bucket in which backups are stored.
    #[arg(long)]
    bucket: String,
    /// Path within the bucket.
    #[arg(long)]
    prefix: Option<String>,
    /// Secret and key with the credentials of this location: secret=key.
    #[arg(long)]
    credential: Vec<String>,
    /// Backups that name no location go to this one.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    default: Option<bool>,
    /// ReadWrite or ReadOnly [default: ReadWrite].
    #[arg(long, value_parser = ["ReadWrite", "ReadOnly"])]
    access_mode: Option<String>,
    /// How often the bucket is looked at for backups that the cluster does not know; 0s never [default: the server's].
    #[arg(long, value_parser = duration)]
    backup_sync_period: Option<caravel_api::Duration>,
    /// How often the bucket is checked; 0s never [default: the server's].
    #[arg(long, value_parser = duration)]
    validation_frequency: Option<caravel_api::Duration>,
    /// Settings of the provider: region=us-east-1,s3Url=https://…
    #[arg(long)]
    config: Vec<String>,
    /// Labels of the location: key1=value1,key2=value2.
    #[arg(long)]
    labels: Vec<String>,
    /// File with the certificates to trust when talking to the object store.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Print the location instead of creating it: yaml or json.
    #[arg(short, long)]
    output: Option<Format>,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let location = location(args, &namespace)?;
    if let Some(format) = args.output {
        return print(&location, format);
    }
    let api: Api<BackupStorageLocation> = Api::namespaced(global.client().await?, &namespace);
    let name = &args.name;
    if location.spec.default {
        only_default(
            &words::fetch(&api, &namespace, "backup-location", &[]).await?,
            name,
        )?;
    }
    api.create(&PostParams::default(), &location)
        .await
        .map_err(|error| match &error {
            kube::Error::Api(status) if status.is_already_exists() => {
                Failure::new(format!("backup-location {namespace}/{name} exists already"))
                    .next("velero backup-location get    (or choose another name)")
            }
            _ => kubernetes(format!("creating backup-location {namespace}/{name}"), &error),
        })?;
    emit(&format!(
        "Backup storage location \"{name}\" configured successfully.\n"
    ))
}

fn location(args: &Args, namespace: &str) -> Outcome<BackupStorageLocation> {
    let labels = map(&args.labels).map_err(|why| Failure::usage(format!("--labels: {why}")))?;
    let spec = BackupStorageLocationSpec {
        provider: args.provider.clone(),
        object_storage: ObjectStorageLocation {
            bucket: args.bucket.clone(),
            prefix: args.prefix.clone().unwrap_or_default(),
            ca_cert: certificates(args.cacert.as_deref())?,
            ca_cert_ref: None,
        },
        config: map(&args.config).map_err(|why| Failure::usage(format!("--config: {why}")))?,
        credential: credential(&args.credential)?,
        default: args.default.unwrap_or(false),
        access_mode: args
            .access_mode
            .as_deref()
            .map(BackupStorageLocationAccessMode::from),
        backup_sync_period: args.backup_sync_period,
        validation_frequency: args.validation_frequency,
    };
    let mut location = BackupStorageLocation::new(&args.name, spec);
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
            name: "dr".into(),
            provider: "aws".into(),
            bucket: "backups".into(),
            prefix: Some("prod".into()),
            config: vec!["region=eu-1,s3ForcePathStyle=true".into()],
            access_mode: Some("ReadOnly".into()),
            ..Args::default()
        };
        let made = location(&args, "velero").ok().unwrap();
        assert_eq!(made.spec.object_storage.prefix, "prod");
        assert_eq!(made.spec.config["region"], "eu-1");
        assert_eq!(
            made.spec.access_mode,
            Some(BackupStorageLocationAccessMode::ReadOnly)
        );
        assert!(!made.spec.default && made.spec.backup_sync_period.is_none());
    }
}
