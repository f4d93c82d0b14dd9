//! `velero restore create [NAME] --from-backup BACKUP` or `--from-schedule SCHEDULE`.
//!
//! Mirrors `pkg/cmd/cli/restore/create.go`; the default name is the source's and the time, in UTC.

use caravel_api::labels;
use caravel_api::v1::{Backup, BackupPhase, Restore, RestoreSpec};
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};

use super::super::connection::Global;
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::flags::{boolean, map};
use super::super::follow::{Look, until_finished};
use super::super::output::{Format, emit, print};
use super::spec::SpecFlags;

/// Create a restore.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Name of the restore [default: the name of the backup or schedule, and the time].
    name: Option<String>,
    /// Backup to restore from.
    #[arg(long, value_name = "BACKUP")]
    from_backup: Option<String>,
    /// Schedule whose latest Completed backup is restored.
    #[arg(long, value_name = "SCHEDULE")]
    from_schedule: Option<String>,
    /// With --from-schedule: a PartiallyFailed backup may be the latest.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    allow_partially_failed: Option<bool>,
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
    let mut restore = restore(args, &namespace, jiff::Timestamp::now())?;
    let offline = args.output.is_some() && !args.allow_partially_failed.unwrap_or(false);
    if !offline {
        let backups = Api::namespaced(global.client().await?, &namespace);
        settle_source(&mut restore.spec, args, &backups, &namespace).await?;
    }
    if let Some(format) = args.output {
        return print(&restore, format);
    }
    let client = global.client().await?;
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

/// The backup or schedule is there; with `--allow-partially-failed` the schedule's latest backup takes its place.
async fn settle_source(
    spec: &mut RestoreSpec,
    args: &Args,
    backups: &Api<Backup>,
    namespace: &str,
) -> Outcome {
    if spec.schedule_name.is_empty() {
        return backup_can_be_restored(backups, namespace, &spec.backup_name).await;
    }
    let schedule = &spec.schedule_name;
    let selector = format!("{}={}", labels::SCHEDULE_NAME, labels::label_value(schedule));
    let of_schedule = backups
        .list(&ListParams::default().labels(&selector))
        .await
        .map_err(|error| kubernetes(format!("listing the backups of schedule {schedule}"), &error))?
        .items;
    if of_schedule.is_empty() {
        return Err(
            Failure::new(format!("No backups found for the schedule {schedule}")).next("velero schedule get"),
        );
    }
    if args.allow_partially_failed.unwrap_or(false)
        && let Some(name) = latest(&of_schedule)
    {
        (spec.backup_name, spec.schedule_name) = (name, String::new());
    }
    Ok(())
}

/// The last that began of those that can be restored. Without any the server says why not.
fn latest(backups: &[Backup]) -> Option<String> {
    let whole = |backup: &&Backup| {
        matches!(
            backup.phase(),
            BackupPhase::Completed | BackupPhase::PartiallyFailed
        )
    };
    let started = |backup: &Backup| {
        let status = backup.status.as_ref();
        status.and_then(|status| Some(status.start_timestamp.as_ref()?.0))
    };
    let latest = backups
        .iter()
        .filter(whole)
        .max_by_key(|backup| (started(backup), backup.name_any()));
    latest.map(ResourceExt::name_any)
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
    let given = |source: &Option<String>| source.clone().unwrap_or_default();
    let (backup_name, schedule_name) = (given(&args.from_backup), given(&args.from_schedule));
    if backup_name.is_empty() == schedule_name.is_empty() {
        return Err(
            Failure::usage("either a backup or schedule must be specified, but not both")
                .next("velero restore create --from-backup BACKUP, or --from-schedule SCHEDULE"),
        );
    }
    let name = args.name.clone().unwrap_or_else(|| {
        let source = format!("{backup_name}{schedule_name}");
        format!("{source}-{}", now.strftime("%Y%m%d%H%M%S"))
    });
    let spec = RestoreSpec {
        backup_name,
        schedule_name,
        ..args.spec.spec()?
    };
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
            from_backup: Some("b1".into()),
            ..Args::default()
        };
        let restore = restore(&args, "velero", "2026-11-21T03:04:05Z".parse().unwrap())
            .ok()
            .unwrap();
        assert_eq!(restore.metadata.name.as_deref(), Some("b1-20261121030405"));
        assert_eq!(restore.spec.included_namespaces, ["*"]);
    }

    #[test]
    fn a_restore_has_one_source() {
        let of = |from_backup: Option<&str>, from_schedule: Option<&str>| {
            let args = Args {
                from_backup: from_backup.map(str::to_owned),
                from_schedule: from_schedule.map(str::to_owned),
                ..Args::default()
            };
            restore(&args, "velero", "2026-11-21T03:04:05Z".parse().unwrap())
        };
        assert_eq!(of(None, None).unwrap_err().code(), 2);
        assert_eq!(of(Some("b1"), Some("daily")).unwrap_err().code(), 2);
        let daily = of(None, Some("daily")).ok().unwrap();
        assert_eq!(daily.metadata.name.as_deref(), Some("daily-20261121030405"));
        assert_eq!(daily.spec.schedule_name, "daily");
    }

    #[test]
    fn the_latest_backup_of_a_schedule_may_have_failed_in_part() {
        let backup = |name: &str, phase: &str, hour: u8| -> Backup {
            serde_json::from_value(serde_json::json!({"metadata": {"name": name},
                "status": {"phase": phase, "startTimestamp": format!("2026-11-21T{hour:02}:00:00Z")}}))
            .unwrap()
        };
        let all = [
            backup("a", "Completed", 1),
            backup("b", "PartiallyFailed", 2),
            backup("c", "Failed", 3),
            backup("d", "InProgress", 4),
        ];
        assert_eq!(latest(&all).as_deref(), Some("b"));
        assert_eq!(latest(&all[2..]), None);
    }
}
