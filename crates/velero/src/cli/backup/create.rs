//! `velero backup create NAME`.
//!
//! Mirrors `pkg/cmd/cli/backup/create.go`. A location that cannot take the backup refuses it here, with its reason,
//! before an object exists that could only fail.

use std::collections::BTreeMap;

use caravel_api::v1::{Backup, Schedule};
use caravel_controllers::schedule::decide::backup_of;
use kube::ResourceExt;
use kube::api::{Api, PostParams};

use super::super::connection::Global;
use super::super::describe::words;
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::flags::{boolean, map};
use super::super::follow::{Look, until_finished};
use super::super::location;
use super::super::output::{Format, emit, print};
use super::spec::SpecFlags;

/// Create a backup.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Name of the backup [default with --from-schedule: the schedule's and the time].
    name: Option<String>,
    #[command(flatten)]
    spec: SpecFlags,
    /// Labels of the Backup: key1=value1,key2=value2.
    #[arg(long)]
    labels: Vec<String>,
    /// Annotations of the Backup: key1=value1,key2=value2.
    #[arg(long)]
    annotations: Vec<String>,
    /// Back up what this Schedule says; all filters given here are ignored.
    #[arg(long, value_name = "SCHEDULE")]
    from_schedule: Option<String>,
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
    let backup = match args.from_schedule.as_deref() {
        None => backup(args, &namespace)?,
        Some("") => {
            return Err(
                Failure::usage("flag must have a non-empty value: --from-schedule")
                    .next("velero schedule get"),
            );
        }
        Some(schedule) => {
            let api: Api<Schedule> = Api::namespaced(global.client().await?, &namespace);
            let schedule = words::one(&api, &namespace, "schedule", schedule).await?;
            from_schedule(args, &schedule, &namespace, jiff::Timestamp::now())?
        }
    };
    if let Some(format) = args.output {
        return print(&backup, format);
    }
    if args.from_schedule.is_some() {
        emit("Creating backup from schedule, all other filters are ignored.\n")?;
    }
    let client = global.client().await?;
    let wanted = Some(&*backup.spec.storage_location).filter(|location| !location.is_empty());
    location::check(&client, &namespace, wanted).await?;
    let api: Api<Backup> = Api::namespaced(client, &namespace);
    let name = &backup.name_any();
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
    let Some(name) = &args.name else {
        return Err(
            Failure::usage("a backup name is required, unless you are creating based on a schedule")
                .next("velero backup create NAME, or velero backup create --from-schedule SCHEDULE"),
        );
    };
    let mut backup = Backup::new(name, args.spec.spec()?);
    backup.metadata.namespace = Some(namespace.to_owned());
    let (labels, annotations) = metadata(args)?;
    backup.metadata.labels = (!labels.is_empty()).then_some(labels);
    backup.metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    Ok(backup)
}

/// As the server makes it when the Schedule is due, with labels and annotations of the command line over it.
fn from_schedule(args: &Args, schedule: &Schedule, namespace: &str, now: jiff::Timestamp) -> Outcome<Backup> {
    let mut backup = backup_of(schedule, now);
    backup.metadata.namespace = Some(namespace.to_owned());
    if let Some(name) = &args.name {
        backup.metadata.name = Some(name.clone());
    }
    let (labels, annotations) = metadata(args)?;
    backup.labels_mut().extend(labels);
    if !annotations.is_empty() {
        backup.annotations_mut().extend(annotations);
    }
    Ok(backup)
}

type Pairs = BTreeMap<String, String>;

fn metadata(args: &Args) -> Outcome<(Pairs, Pairs)> {
    let labels = map(&args.labels).map_err(|why| Failure::usage(format!("--labels: {why}")))?;
    let annotations =
        map(&args.annotations).map_err(|why| Failure::usage(format!("--annotations: {why}")))?;
    Ok((labels, annotations))
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
    use super::super::super::filters::FilterFlags;
    use super::*;
    use caravel_api::v1::{BackupPhase, BackupProgress, BackupSpec, BackupStatus};

    fn args() -> Args {
        Args {
            name: Some("b1".into()),
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
            spec: SpecFlags {
                filters: FilterFlags {
                    include_namespaces: vec!["shop,web".into()],
                    ..FilterFlags::default()
                },
                snapshot_move_data: Some(false),
                ttl: Some(caravel_api::Duration::from_hours(24)),
                ..SpecFlags::default()
            },
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
    fn filters_of_two_styles_and_two_kinds_of_selectors_are_refused_together() {
        let refused = |spec: SpecFlags| backup(&Args { spec, ..args() }, "velero").unwrap_err();
        let styles = refused(SpecFlags {
            filters: FilterFlags {
                include_resources: vec!["pods".into()],
                ..FilterFlags::default()
            },
            exclude_cluster_scoped_resources: vec!["*".into()],
            ..SpecFlags::default()
        });
        assert_eq!(styles.code(), 2);
        let selectors = refused(SpecFlags {
            filters: FilterFlags {
                selector: super::super::super::flags::label_selector("a=b").ok(),
                or_selector: Some("c=d".into()),
                ..FilterFlags::default()
            },
            ..SpecFlags::default()
        });
        assert!(selectors.to_string().contains("not both"));
    }

    #[test]
    fn a_backup_from_a_schedule_is_the_schedules() {
        let schedule: Schedule = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "daily", "labels": {"team": "shop"}},
            "spec": {"schedule": "@daily", "template": {"includedNamespaces": ["shop"], "ttl": "24h0m0s"}}}))
        .unwrap();
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let nameless = Args {
            labels: vec!["by=hand".into()],
            ..Args::default()
        };
        let made = from_schedule(&nameless, &schedule, "velero", now).ok().unwrap();
        assert_eq!(made.name_any(), "daily-20261121100000");
        assert_eq!(made.spec.included_namespaces, ["shop"]);
        let labels = made.labels();
        assert_eq!((&*labels["by"], &*labels["team"]), ("hand", "shop"));
        assert_eq!(labels["velero.io/schedule-name"], "daily");
        let named = from_schedule(&args(), &schedule, "velero", now).ok().unwrap();
        assert_eq!(named.name_any(), "b1");
        assert_eq!(
            backup(&Args::default(), "velero").unwrap_err().code(),
            2,
            "a name or a schedule"
        );
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
