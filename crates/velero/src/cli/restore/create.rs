//! `velero restore create [NAME] --from-backup BACKUP`.
//!
//! Mirrors `pkg/cmd/cli/restore/create.go`; the default name is the backup's and the time, in UTC.

use caravel_api::v1::{Backup, BackupPhase, Restore};
use kube::api::{Api, PostParams};

use super::super::connection::Global;
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::flags::{boolean, map};
use super::super::follow::{Look, until_finished};
use super::super::output::{Format, emit, print};
use super::spec::SpecFlags;

/// Create a restore.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Name of the restore [default: the backup's name and the time].
    name: Option<String>,
    #[command(flatten)]
    spec: SpecFlags,
    /// Labels of the Restore: key1=value1,key2=value2.
    #[arg(long)]
    labels: Vec<String>,
    /// Annotations of the Restore: key1=value1,key2=value2.
    #[arg(long)]
    annotations: Vec<String>,
    /// Wait until it has run to its end.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    wait: Option<bool>,
    /// Print the Restore instead of creating it: yaml or json.
    #[arg(short, long)]
    output: Option<Format>,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let restore = restore(args, &namespace, jiff::Timestamp::now())?;
    if let Some(format) = args.output {
        return print(&restore, format);
    }
    let client = global.client().await?;
    backup_can_be_restored(
        &Api::namespaced(client.clone(), &namespace),
        &namespace,
        &args.spec.from_backup,
    )
    .await?;
    let name = restore.metadata.name.clone().unwrap_or_default();
    let api: Api<Restore> = Api::namespaced(client, &namespace);
    api.create(&PostParams::default(), &restore)
        .await
        .map_err(|error| match &error {
            kube::Error::Api(status) if status.is_already_exists() => {
                Failure::new(format!("restore {namespace}/{name} exists already")).next(format!(
                    "velero restore describe {name}    (or choose another name)"
                ))
            }
            _ => kubernetes(format!("creating restore {namespace}/{name}"), &error),
        })?;
    emit(&format!("Restore request \"{name}\" submitted successfully.\n"))?;
    if !args.wait.unwrap_or(false) {
        return emit(&format!(
            "Run `velero restore describe {name}` or `velero restore logs {name}` for more details.\n"
        ));
    }
    emit(
        "Waiting for restore to complete. You may safely press ctrl-c to stop waiting - your restore will continue in the background.\n",
    )?;
    let finished = until_finished(api, &name, &namespace, look).await?;
    emit(&format!(
        "Restore completed with status: {}. You may check for more information using the commands `velero restore describe {name}` and `velero restore logs {name}`.\n",
        finished.phase()
    ))
}

async fn backup_can_be_restored(api: &Api<Backup>, namespace: &str, name: &str) -> Outcome {
    let backup = api
        .get_opt(name)
        .await
        .map_err(|error| kubernetes(format!("getting backup {namespace}/{name}"), &error))?;
    let Some(backup) = backup else {
        return Err(
            Failure::new(format!("backup {namespace}/{name} does not exist")).next("velero backup get")
        );
    };
    match backup.phase() {
        // A partial backup may be all that is left; the user asked for it by name.
        BackupPhase::Completed | BackupPhase::PartiallyFailed | BackupPhase::Other(_) => Ok(()),
        phase => Err(Failure::new(format!(
            "backup {namespace}/{name} is {phase}; only a Completed or PartiallyFailed backup can be restored"
        ))
        .next(format!("velero backup describe {name}"))),
    }
}

fn restore(args: &Args, namespace: &str, now: jiff::Timestamp) -> Outcome<Restore> {
    let spec = args.spec.spec()?;
    let name = args
        .name
        .clone()
        .unwrap_or_else(|| format!("{}-{}", spec.backup_name, now.strftime("%Y%m%d%H%M%S")));
    let mut restore = Restore::new(&name, spec);
    restore.metadata.namespace = Some(namespace.to_owned());
    let labels = map(&args.labels).map_err(|why| Failure::usage(format!("--labels: {why}")))?;
    let annotations =
        map(&args.annotations).map_err(|why| Failure::usage(format!("--annotations: {why}")))?;
    restore.metadata.labels = (!labels.is_empty()).then_some(labels);
    restore.metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    Ok(restore)
}

fn look(restore: &Restore) -> Look {
    let status = restore.status.clone().unwrap_or_default();
    let phase = restore.phase();
    let operations = status.restore_item_operations_attempted;
    let doing = match &status.progress {
        _ if operations > 0 && phase.as_str().starts_with("WaitingForPluginOperations") => {
            let ended = status.restore_item_operations_completed + status.restore_item_operations_failed;
            format!("data movement, {ended} of {operations} volumes done")
        }
        Some(progress) => format!("{} of {} items", progress.items_restored, progress.total_items),
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

    #[test]
    fn a_restore_without_a_name_is_named_after_its_backup_and_the_time() {
        let args = Args {
            spec: SpecFlags {
                from_backup: "b1".into(),
                ..SpecFlags::default()
            },
            ..Args::default()
        };
        let restore = restore(&args, "velero", "2026-11-21T03:04:05Z".parse().unwrap())
            .ok()
            .unwrap();
        assert_eq!(restore.metadata.name.as_deref(), Some("b1-20261121030405"));
        assert_eq!(restore.spec.included_namespaces, ["*"]);
    }
}
