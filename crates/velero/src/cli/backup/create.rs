//! `velero backup create NAME`.
//!
//! Mirrors `pkg/cmd/cli/backup/create.go`. A location that cannot take the backup refuses it here, with its reason,
//! before an object exists that could only fail.

use caravel_api::v1::{Backup, BackupSpec};
use kube::api::{Api, PostParams};

use super::super::connection::Global;
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::flags::{boolean, duration, label_selector, list, map};
use super::super::follow::{Look, until_finished};
use super::super::location;
use super::super::output::{Format, emit, print};

/// Create a backup.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Name of the backup.
    name: String,
    /// Namespaces to include, comma-separated; * is all of them [default: *].
    #[arg(long)]
    include_namespaces: Vec<String>,
    /// Namespaces to leave out, comma-separated.
    #[arg(long)]
    exclude_namespaces: Vec<String>,
    /// Only resources with these labels.
    #[arg(short = 'l', long, value_parser = label_selector)]
    selector: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>,
    /// Labels of the Backup: key1=value1,key2=value2.
    #[arg(long)]
    labels: Vec<String>,
    /// Annotations of the Backup: key1=value1,key2=value2.
    #[arg(long)]
    annotations: Vec<String>,
    /// BackupStorageLocation to store it in [default: the default one].
    #[arg(long)]
    storage_location: Option<String>,
    /// How long it is kept, such as 720h [default: the server's].
    #[arg(long, value_parser = duration)]
    ttl: Option<caravel_api::Duration>,
    /// Move the data of CSI snapshots to the backup location.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    snapshot_move_data: Option<bool>,
    /// Take snapshots of volumes; false backs up without them.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    snapshot_volumes: Option<bool>,
    /// Wait until it has run to its end.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    wait: Option<bool>,
    /// Print the Backup instead of creating it: yaml or json.
    #[arg(short, long)]
    output: Option<Format>,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let backup = backup(args, &namespace)?;
    if let Some(format) = args.output {
        return print(&backup, format);
    }
    let client = global.client().await?;
    location::check(&client, &namespace, args.storage_location.as_deref()).await?;
    let api: Api<Backup> = Api::namespaced(client, &namespace);
    let name = &args.name;
    api.create(&PostParams::default(), &backup)
        .await
        .map_err(|error| match &error {
            kube::Error::Api(status) if status.is_already_exists() => {
                Failure::new(format!("backup {namespace}/{name} exists already")).next(format!(
                    "velero backup describe {name}    (or choose another name)"
                ))
            }
            _ => kubernetes(format!("creating backup {namespace}/{name}"), &error),
        })?;
    emit(&format!("Backup request \"{name}\" submitted successfully.\n"))?;
    if !args.wait.unwrap_or(false) {
        return emit(&format!(
            "Run `velero backup describe {name}` or `velero backup logs {name}` for more details.\n"
        ));
    }
    emit(
        "Waiting for backup to complete. You may safely press ctrl-c to stop waiting - your backup will continue in the background.\n",
    )?;
    let finished = until_finished(api, name, &namespace, look).await?;
    emit(&format!(
        "Backup completed with status: {}. You may check for more information using the commands `velero backup describe {name}` and `velero backup logs {name}`.\n",
        finished.phase()
    ))
}

fn backup(args: &Args, namespace: &str) -> Outcome<Backup> {
    let mut namespaces = list(&args.include_namespaces);
    if namespaces.is_empty() {
        namespaces.push("*".to_owned());
    }
    let spec = BackupSpec {
        included_namespaces: namespaces,
        excluded_namespaces: list(&args.exclude_namespaces),
        label_selector: args.selector.clone(),
        storage_location: args.storage_location.clone().unwrap_or_default(),
        ttl: args.ttl,
        snapshot_move_data: args.snapshot_move_data,
        snapshot_volumes: args.snapshot_volumes,
        ..BackupSpec::default()
    };
    let mut backup = Backup::new(&args.name, spec);
    backup.metadata.namespace = Some(namespace.to_owned());
    let labels = map(&args.labels).map_err(|why| Failure::usage(format!("--labels: {why}")))?;
    let annotations =
        map(&args.annotations).map_err(|why| Failure::usage(format!("--annotations: {why}")))?;
    backup.metadata.labels = (!labels.is_empty()).then_some(labels);
    backup.metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    Ok(backup)
}

fn look(backup: &Backup) -> Look {
    let status = backup.status.clone().unwrap_or_default();
    let phase = backup.phase();
    let operations = status.backup_item_operations_attempted;
    let doing = match &status.progress {
        _ if operations > 0 && phase.as_str().starts_with("WaitingForPluginOperations") => {
            let ended = status.backup_item_operations_completed + status.backup_item_operations_failed;
            format!("data movement, {ended} of {operations} volumes done")
        }
        Some(progress) => format!("{} of {} items", progress.items_backed_up, progress.total_items),
        None if status.queue_position > 0 => format!("place {} in the queue", status.queue_position),
        None => String::new(),
    };
    Look {
        finished: phase.is_finished(),
        phase: phase.to_string(),
        doing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use caravel_api::v1::{BackupPhase, BackupProgress, BackupStatus};

    fn args() -> Args {
        Args {
            name: "b1".into(),
            ..Args::default()
        }
    }

    #[test]
    fn without_flags_every_namespace_is_included_and_the_rest_is_the_servers() {
        let yaml =
            super::super::super::output::render(&backup(&args(), "velero").ok().unwrap(), Format::Yaml)
                .ok()
                .unwrap();
        assert_eq!(
            yaml,
            "apiVersion: velero.io/v1\nkind: Backup\nmetadata:\n  name: b1\n  namespace: velero\nspec:\n  includedNamespaces:\n  - \"*\"\n"
        );
    }

    #[test]
    fn flags_land_in_the_spec() {
        let args = Args {
            include_namespaces: vec!["shop,web".into()],
            snapshot_move_data: Some(false),
            ttl: Some(caravel_api::Duration::from_hours(24)),
            labels: vec!["a=b".into()],
            ..args()
        };
        let backup = backup(&args, "velero").ok().unwrap();
        assert_eq!(backup.spec.included_namespaces, ["shop", "web"]);
        assert_eq!(backup.spec.snapshot_move_data, Some(false));
        assert_eq!(backup.spec.ttl.unwrap().to_string(), "24h0m0s");
        assert_eq!(backup.metadata.labels.unwrap()["a"], "b");
    }

    #[test]
    fn waiting_says_what_it_waits_for() {
        let mut backup = Backup::new("b1", BackupSpec::default());
        backup.status = Some(BackupStatus {
            phase: Some(BackupPhase::InProgress),
            progress: Some(BackupProgress {
                items_backed_up: 3,
                total_items: 40,
            }),
            ..BackupStatus::default()
        });
        assert_eq!(look(&backup).doing, "3 of 40 items");
        let status = backup.status.as_mut().unwrap();
        status.phase = Some(BackupPhase::WaitingForPluginOperations);
        status.backup_item_operations_attempted = 2;
        status.backup_item_operations_completed = 1;
        assert_eq!(look(&backup).doing, "data movement, 1 of 2 volumes done");
        assert!(!look(&backup).finished);
    }
}
