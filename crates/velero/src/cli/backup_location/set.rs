//! `velero backup-location set NAME`. Mirrors `pkg/cmd/cli/backuplocation/set.go`.

use std::path::PathBuf;

use caravel_api::v1::BackupStorageLocation;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::super::connection::Global;
use super::super::describe::words;
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::flags::boolean;
use super::super::output::emit;
use super::{certificates, credential, only_default};

/// Change a backup storage location.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Name of the location.
    name: String,
    /// Backups that name no location go to this one.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    default: Option<bool>,
    /// Secret and key with the credentials of this location: secret=key.
    #[arg(long)]
    credential: Vec<String>,
    /// File with the certificates to trust when talking to the object store.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let (namespace, name) = (global.namespace(), &args.name);
    let patch = patch(args)?;
    let api: Api<BackupStorageLocation> = Api::namespaced(global.client().await?, &namespace);
    let location = words::one(&api, &namespace, "backup-location", name).await?;
    if args.default == Some(true) {
        if location.spec.default {
            emit(&format!(
                "Backup storage location \"{name}\" is already the default backup storage location.\n"
            ))?;
        }
        only_default(
            &words::fetch(&api, &namespace, "backup-location", &[]).await?,
            name,
        )?;
    }
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(|error| kubernetes(format!("changing backup-location {namespace}/{name}"), &error))?;
    emit(&format!(
        "Backup storage location \"{name}\" configured successfully.\n"
    ))
}

/// What is given, and nothing else.
fn patch(args: &Args) -> Outcome<Value> {
    let mut spec = json!({});
    if let Some(default) = args.default {
        spec["default"] = json!(default);
    }
    if let Some(credential) = credential(&args.credential)? {
        spec["credential"] = json!(credential);
    }
    if let Some(pem) = certificates(args.cacert.as_deref())? {
        spec["objectStorage"] = json!({"caCert": pem});
    }
    if spec == json!({}) {
        return Err(Failure::usage(
            "nothing to set: give --default, --credential or --cacert",
        ));
    }
    Ok(json!({"spec": spec}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_is_changed() {
        let args = Args {
            name: "dr".into(),
            default: Some(false),
            credential: vec!["cloud=key".into()],
            ..Args::default()
        };
        assert_eq!(
            patch(&args).unwrap(),
            json!({"spec": {"default": false, "credential": {"name": "cloud", "key": "key"}}})
        );
        assert_eq!(patch(&Args::default()).unwrap_err().code(), 2);
    }
}
