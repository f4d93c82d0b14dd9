//! The operations of snapshots that stay in the storage: each ends when its VolumeSnapshotContent is ready to use.

use std::collections::BTreeMap;
use std::time::Duration;

use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_backup::item_actions::snapshots::{NAME, Operation, progress_of};
use caravel_backup_store::item_operations::BackupOperation;
use caravel_csi::{VolumeSnapshot, VolumeSnapshotContent, snapshot};
use caravel_item_action::OperationProgress;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use kube::api::ListParams;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};

use crate::cancel;
use crate::context::Context;
use crate::reconcile::{Error, Key, Source};

/// A watch wakes the backup; this is for a snapshot whose label does not hold the Backup's whole name.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// A cluster that has no snapshots may get them.
const LOOK_FOR_SNAPSHOTS: Duration = Duration::from_secs(60);

/// Every change of a snapshot that a backup took wakes the backup. In a cluster without snapshots there is nothing to watch.
pub(super) fn source(context: &Context) -> Source {
    let velero = context.namespace.clone();
    let of_backups = watcher::Config::default().labels(labels::BACKUP_UID);
    let snapshots: Api<VolumeSnapshot> = Api::all(context.client.clone());
    let served = wait_until_served(snapshots.clone());
    let keys = move |()| {
        Source::watch(snapshots, of_backups, move |snapshot: &VolumeSnapshot| {
            let backup = snapshot.labels().get(labels::BACKUP_NAME);
            backup
                .map(|backup| Key::new(&velero, backup))
                .into_iter()
                .collect()
        })
    };
    Source::keys(served.map(keys).into_stream().flatten())
}

async fn wait_until_served(snapshots: Api<VolumeSnapshot>) {
    while snapshots.list(&ListParams::default().limit(1)).await.is_err() {
        tokio::time::sleep(LOOK_FOR_SNAPSHOTS).await;
    }
}

/// When to look again, whatever the watch says.
pub(super) fn look_again(operations: &[BackupOperation]) -> Duration {
    if operations.iter().any(is_going) {
        LOOK_AGAIN
    } else {
        Duration::MAX
    }
}

fn is_going(operation: &BackupOperation) -> bool {
    operation.spec.backup_item_action == NAME && !operation.status.phase.is_terminal()
}

/// What the objects say of each operation that goes on, by its id.
pub(super) async fn progress(
    client: &Client,
    backup: &Backup,
    operations: &[BackupOperation],
    now: Timestamp,
) -> Result<BTreeMap<String, OperationProgress>, Error> {
    let mut all = BTreeMap::new();
    for operation in operations.iter().filter(|operation| is_going(operation)) {
        let id = &operation.spec.operation_id;
        let progress = one(client, id, now).await?;
        all.insert(id.clone(), unless_canceled(progress, backup, now));
    }
    Ok(all)
}

async fn one(client: &Client, id: &str, now: Timestamp) -> Result<OperationProgress, kube::Error> {
    let operation = match Operation::parse(id) {
        Ok(operation) => operation,
        Err(error) => return Ok(failed(error.to_string(), now)),
    };
    let of = &operation.snapshot;
    let snapshots: Api<VolumeSnapshot> = Api::namespaced(client.clone(), &of.namespace);
    let found = snapshots.get_opt(&of.name).await?;
    let content = match found.as_ref().and_then(snapshot::bound_content) {
        Some(content) => {
            Api::<VolumeSnapshotContent>::all(client.clone())
                .get_opt(content)
                .await?
        }
        None => None,
    };
    let progress = progress_of(&operation, found.as_ref(), content.as_ref(), now);
    Ok(progress.unwrap_or_else(|error| failed(error.to_string(), now)))
}

/// Somebody who cancels a backup does not wait for the storage.
fn unless_canceled(progress: OperationProgress, backup: &Backup, now: Timestamp) -> OperationProgress {
    match cancel::wished_by(backup) {
        Some(who) if !progress.completed => OperationProgress {
            started: progress.started,
            ..failed(
                format!("canceled by {who} before the snapshot was ready to use"),
                now,
            )
        },
        _ => progress,
    }
}

fn failed(error: String, now: Timestamp) -> OperationProgress {
    OperationProgress {
        completed: true,
        error,
        updated: Some(now),
        ..OperationProgress::default()
    }
}

#[cfg(test)]
mod tests {
    use caravel_backup_store::item_operations::OperationPhase;

    use super::*;

    fn operation(action: &str, phase: OperationPhase) -> BackupOperation {
        let mut operation = BackupOperation::default();
        operation.spec.backup_item_action = action.to_owned();
        operation.status.phase = phase;
        operation
    }

    #[test]
    fn only_a_snapshot_that_is_not_ready_is_looked_at_again() {
        let again = |action: &str, phase| look_again(&[operation(action, phase)]);
        assert_eq!(again(NAME, OperationPhase::New), LOOK_AGAIN);
        assert_eq!(again(NAME, OperationPhase::Completed), Duration::MAX);
        assert_eq!(
            again("velero.io/csi-pvc-backupper", OperationPhase::New),
            Duration::MAX
        );
    }
}
