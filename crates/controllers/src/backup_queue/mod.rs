//! The `backup-queue` controller: new backups line up, and start when there is a place and nobody before them works on
//! the same namespaces.
//!
//! Mirrors Velero's `pkg/controller/backup_queue_controller.go`. The queue is one thing, so it has one key; every event
//! of any Backup wakes it, and each reconcile takes one step and looks again.

pub mod decide;

use std::num::NonZeroUsize;

use async_trait::async_trait;
use caravel_api::phase::BackupPhase;
use caravel_api::v1::Backup;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::decide::{Decision, Namespaces, Queued, decide};
use crate::cancel;
use crate::context::Context;
use crate::reconcile::{Error, Key, Next, Reconciler, Source, run};

/// What the server's flags say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--concurrent-backups`.
    pub concurrent_backups: NonZeroUsize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrent_backups: NonZeroUsize::MIN,
        }
    }
}

/// Starts the controller.
pub fn spawn(context: Context, settings: Settings, shutdown: CancellationToken) -> JoinHandle<()> {
    let queue = Key::new(context.namespace.clone(), "queue");
    let source = Source::own(&context, move |_: &Backup| vec![queue.clone()]);
    tokio::spawn(run(BackupQueue { context, settings }, vec![source], 1, shutdown))
}

struct BackupQueue {
    context: Context,
    settings: Settings,
}

#[async_trait]
impl Reconciler for BackupQueue {
    fn name(&self) -> &'static str {
        "backup-queue"
    }

    async fn reconcile(&self, _: &Key) -> Result<Next, Error> {
        let api: Api<Backup> = self.context.api();
        // Every step changes a Backup, whose event brings the queue back; the loop only saves the way round.
        loop {
            let backups = self.context.list::<Backup>(&ListParams::default()).await?;
            let queue = self.observe(&backups).await?;
            let (name, status) = match decide(&queue, self.settings.concurrent_backups.get()) {
                Decision::Wait => return Ok(Next::Done),
                Decision::Enqueue { name, position } => (
                    name,
                    json!({ "phase": BackupPhase::Queued, "queuePosition": position }),
                ),
                Decision::Cancel { name, who } => {
                    let now = self.context.now();
                    let reason = cancel::reason(&who, now.0, "it had not begun, and nothing of it was saved");
                    tracing::info!(backup = %name, %reason, "backup is canceled");
                    let status = json!({
                        "phase": BackupPhase::Failed,
                        "failureReason": reason,
                        "completionTimestamp": now,
                        "queuePosition": null,
                    });
                    (name, status)
                }
                Decision::Renumber { name, position } => (name, json!({ "queuePosition": position })),
                Decision::Start { name } => (
                    name,
                    json!({ "phase": BackupPhase::ReadyToStart, "queuePosition": null }),
                ),
            };
            write(&api, &backups, &name, &status).await?;
        }
    }
}

impl BackupQueue {
    async fn observe(&self, backups: &[Backup]) -> Result<Vec<Queued>, Error> {
        let waiting = |backup: &Backup| {
            use BackupPhase::{InProgress, New, Queued, ReadyToStart};
            matches!(backup.phase(), New | Queued | ReadyToStart | InProgress)
        };
        let mut live = None;
        let mut queue = Vec::new();
        for backup in backups
            .iter()
            .filter(|backup| waiting(backup) && backup.metadata.deletion_timestamp.is_none())
        {
            if live.is_none() && !backup.spec.excluded_namespaces.is_empty() {
                live = Some(self.live_namespaces().await?);
            }
            queue.push(queued(backup, live.as_deref().unwrap_or_default()));
        }
        Ok(queue)
    }

    async fn live_namespaces(&self) -> Result<Vec<String>, Error> {
        let api: Api<Namespace> = Api::all(self.context.client.clone());
        Ok(api
            .list_metadata(&ListParams::default())
            .await?
            .items
            .iter()
            .map(ResourceExt::name_any)
            .collect())
    }
}

fn queued(backup: &Backup, live: &[String]) -> Queued {
    Queued {
        name: backup.name_any(),
        phase: backup.phase(),
        position: backup.status.as_ref().map_or(0, |status| status.queue_position),
        created: backup.creation_timestamp().map(|time| time.0),
        namespaces: namespaces(backup, live),
        canceled_by: cancel::wished_by(backup),
    }
}

/// The namespaces that a backup may touch. A pattern counts as all of them: to wait too long is harmless.
fn namespaces(backup: &Backup, live: &[String]) -> Namespaces {
    let (included, excluded) = (&backup.spec.included_namespaces, &backup.spec.excluded_namespaces);
    let is_pattern = |name: &String| name.contains(['*', '?', '[']);
    let everything = included.is_empty() || included.iter().any(|name| name == "*");
    if included.iter().any(|name| name != "*" && is_pattern(name)) || excluded.iter().any(is_pattern) {
        return Namespaces::All;
    }
    match (everything, excluded.is_empty()) {
        (true, true) => Namespaces::All,
        (true, false) => Namespaces::Some(
            live.iter()
                .filter(|name| !excluded.contains(name))
                .cloned()
                .collect(),
        ),
        (false, _) => Namespaces::Some(
            included
                .iter()
                .filter(|name| !excluded.contains(name))
                .cloned()
                .collect(),
        ),
    }
}

/// The one place where the queue writes; a conflict means that it looks again.
async fn write(
    api: &Api<Backup>,
    backups: &[Backup],
    name: &str,
    status: &serde_json::Value,
) -> Result<(), Error> {
    let version = backups
        .iter()
        .find(|backup| backup.name_any() == name)
        .and_then(ResourceExt::resource_version);
    let patch = json!({ "metadata": { "resourceVersion": version }, "status": status });
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    tracing::debug!(backup = %name, %status, "the backup queue moves");
    Ok(())
}

#[cfg(test)]
mod tests {
    use caravel_api::v1::BackupSpec;

    use super::*;

    /// One case: does the queue move the backup as Velero's does? Others may move before it: then it stays.
    fn moved(case: &caravel_cases::Case) -> Result<(), String> {
        let read = |value: &serde_json::Value| -> Backup { serde_json::from_value(value.clone()).unwrap() };
        let own = read(case.input("backup"));
        let mut backups = vec![own.clone()];
        backups.extend(
            case.input("priorBackups")
                .as_array()
                .into_iter()
                .flatten()
                .map(read),
        );
        let live = case.texts("namespaces");
        let queue: Vec<Queued> = backups.iter().map(|backup| queued(backup, &live)).collect();
        let concurrent = case.input("concurrentBackups").as_u64().unwrap_or(0).max(1);
        let status = own.status.clone().unwrap_or_default();
        let (mut phase, mut place) = (own.phase(), status.queue_position);
        match decide(&queue, usize::try_from(concurrent).unwrap()) {
            Decision::Enqueue { name, position } if name == own.name_any() => {
                (phase, place) = (BackupPhase::Queued, position);
            }
            Decision::Start { name } if name == own.name_any() => {
                (phase, place) = (BackupPhase::ReadyToStart, 0);
            }
            Decision::Renumber { name, position } if name == own.name_any() => place = position,
            _ => {}
        }
        caravel_cases::same(phase.as_str(), case.want("expectPhase").as_str().unwrap())?;
        caravel_cases::same(
            &i64::from(place),
            &case.want("expectQueuePosition").as_i64().unwrap(),
        )
    }

    #[test]
    fn the_queue_moves_as_veleros() {
        caravel_cases::each("pkg_controller/TestBackupQueueReconciler.json", moved);
    }

    fn backup(included: &[&str], excluded: &[&str]) -> Backup {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let spec = BackupSpec {
            included_namespaces: own(included),
            excluded_namespaces: own(excluded),
            ..BackupSpec::default()
        };
        Backup::new("b", spec)
    }

    fn some(names: &[&str]) -> Namespaces {
        Namespaces::Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_backup_without_a_list_touches_every_namespace() {
        assert_eq!(namespaces(&backup(&[], &[]), &[]), Namespaces::All);
        assert_eq!(namespaces(&backup(&["*"], &[]), &[]), Namespaces::All);
    }

    #[test]
    fn excluded_namespaces_are_free_for_others() {
        let live = ["shop".to_owned(), "bank".to_owned()];
        assert_eq!(namespaces(&backup(&["*"], &["bank"]), &live), some(&["shop"]));
        assert_eq!(
            namespaces(&backup(&["shop", "bank"], &["bank"]), &live),
            some(&["shop"])
        );
    }

    #[test]
    fn a_pattern_counts_as_everything() {
        assert_eq!(namespaces(&backup(&["sho?"], &[]), &[]), Namespaces::All);
        assert_eq!(namespaces(&backup(&["*"], &["ba*"]), &[]), Namespaces::All);
    }
}
