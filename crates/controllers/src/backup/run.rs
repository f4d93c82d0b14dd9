//! Runs one backup and puts it into the bucket.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use caravel_api::v1::{Backup, BackupPhase, BackupProgress, BackupStatus, BackupStorageLocation};
use caravel_backup::hooks::{Hooks, OwedPostHooks};
use caravel_backup::log::BackupLog;
use caravel_backup::run::snapshot_objects::SnapshotObjects;
use caravel_backup::run::{Outcome, Progress, RunError};
use caravel_backup::{Request, item_actions};
use caravel_backup_store::results::Results;
use caravel_backup_store::{BackupArtifacts, BackupStore, CsiSnapshotFiles, encode_metadata};
use caravel_hooks::exec::KubeExecutor;
use kube::ResourceExt;
use serde_json::json;

use super::decide::{Ended, phase_after};
use super::observe::Seen;
use super::owed_hooks::{OWED_POST_HOOKS, OwedInBackup};
use super::status::StatusWriter;
use super::{Settings, display_name, orphans, recover};
use crate::attempts;
use crate::cancel;
use crate::context::Context;
use crate::lease::NotLeader;
use crate::reconcile::{Error, chain};

/// Velero's own interval; more often would only load the API server.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A request that was on its way when a run was dropped is done within this time.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// The Backup is `InProgress`; at the end it is not.
pub(super) async fn run(
    context: &Context,
    settings: &Settings,
    seen: Seen,
    mut writer: StatusWriter,
    again: Option<u32>,
) -> Result<(), Error> {
    let failure = match Box::pin(attempt(context, settings, seen, &mut writer, again)).await {
        Ok(()) => return Ok(()),
        Err(failure) => failure,
    };
    if let Err(lost @ NotLeader::Lost { .. }) = context.leadership.confirm().await {
        // The next server begins it again: it is not this one's to fail.
        return Err(lost.into());
    }
    let failure = chain(&*failure);
    tracing::error!(backup = %display_name(&writer.current), error = %failure, "backup failed");
    // Whoever has moved it on meanwhile counts on its uploads; for one that is gone they are for nothing.
    if let Err(taken) = writer.look_again(settings.defaults.resource_timeout).await {
        if taken.is_gone() {
            recover::cancel_uploads(context, &writer.current).await;
        }
        return Err(taken.into());
    }
    recover::cancel_uploads(context, &writer.current).await;
    let status =
        json!({"phase": BackupPhase::Failed, "failureReason": failure, "completionTimestamp": context.now()});
    writer
        .write_persistently(json!({"status": status}), settings.defaults.resource_timeout)
        .await?;
    // Only of a backup that says itself that it has failed: then nobody counts on its snapshots.
    orphans::discard(
        context,
        &writer.current,
        &BTreeSet::new(),
        settings.defaults.resource_timeout,
    )
    .await;
    Ok(())
}

async fn attempt(
    context: &Context,
    settings: &Settings,
    seen: Seen,
    writer: &mut StatusWriter,
    again: Option<u32>,
) -> Result<(), Error> {
    let name = writer.current.name_any();
    let location = seen
        .observed
        .location
        .as_ref()
        .ok_or("the backup has no location")?;
    let store = context.locations.backup_store(location).await?;
    make_room(&store, &writer.current, location, again.is_some()).await?;
    let folder = tempfile::Builder::new()
        .prefix("backup-")
        .tempdir_in(&settings.scratch)?;
    let log_path = folder.path().join("log.gz");
    let contents = folder.path().join("contents.tar.gz");
    let log = Arc::new(BackupLog::create(&log_path, display_name(&writer.current))?);
    if let Some(number) = again {
        log.info(format!(
            "The server that ran this backup ended: it begins again, attempt {number} of {}. Objects are read as they are now; volumes whose data was being moved keep that snapshot.",
            attempts::MOST
        ));
    }
    let progress = Arc::new(Progress::default());
    let resources = &seen.discovered;
    let owed = Arc::new(OwedInBackup::new(
        &context.client,
        &writer.current,
        settings.defaults.resource_timeout,
    ));
    let hooks = Hooks {
        spec: caravel_hooks::backup::from_spec(writer.current.spec.hooks.as_ref(), |word| {
            resources.resolve(word)
        })?,
        executor: Arc::new(KubeExecutor::new(context.client.clone())),
        owed: Arc::clone(&owed) as Arc<dyn OwedPostHooks>,
        tracker: Arc::default(),
    };
    let (selection, namespace_notes) = seen.selection.ok_or("the backup's filters are not valid")?;
    let request = Request {
        client: context.client.clone(),
        backup: writer.current.clone(),
        discovered: seen.discovered,
        selection,
        namespace_notes,
        namespaces: seen.namespaces,
        actions: item_actions::built_in(
            &context.client,
            &context.namespace,
            settings.enable_csi,
            seen.observed.policies.as_ref().ok().cloned().flatten(),
        ),
        item_block_actions: item_actions::item_blocks(),
        hooks,
        folder: folder.path().to_owned(),
        contents: contents.clone(),
        page_size: settings.page_size,
        all_versions: settings.all_versions,
        log: Arc::clone(&log),
        progress: Arc::clone(&progress),
    };
    let wished = cancel::wished::<Backup>(context.api(), &name, writer.current.uid());
    let ran = tokio::select! {
        biased;
        ran = with_progress(writer, &progress, caravel_backup::run(request)) => Ok(ran),
        who = wished => Err(who),
    };
    let (outcome, fatal) = match ran {
        Ok(Ok(outcome)) => (outcome, None),
        Ok(Err(error)) => (Outcome::default(), Some(chain(&error))),
        Err(who) => {
            released(&log).await;
            // What was asked of the API server before has arrived by then.
            tokio::time::sleep(ON_THE_WAY).await;
            let what = "what it had not saved by then is not saved, and it cannot be restored from";
            (
                Outcome::default(),
                Some(cancel::reason(&who, context.now().0, what)),
            )
        }
    };
    owed.settle().await;
    let kept = SnapshotObjects::kept(&outcome.operations);
    let within = settings.defaults.resource_timeout;
    orphans::discard(context, &writer.current, &kept, within).await;
    if let Some(fatal) = &fatal {
        log.error(Default::default(), "backup failed", fatal);
    }
    let closed = Arc::try_unwrap(log)
        .map_err(|_| "the backup's log is still written to")?
        .close()?;
    let results = Results {
        errors: closed.errors,
        warnings: closed.warnings,
    };
    let status = status_after(&writer.current, &outcome, &results, fatal.as_deref());
    let contents = fatal.is_none().then_some(contents);
    upload(
        &store,
        &writer.current,
        &status,
        outcome,
        results,
        contents.as_deref(),
        &log_path,
    )
    .await?;
    match fatal {
        Some(fatal) => Err(fatal.into()),
        None => Ok(writer
            .write_persistently(json!({"status": status}), settings.defaults.resource_timeout)
            .await?),
    }
}

/// The name must be free in the bucket. What an attempt of this very Backup has left there goes: it was not whole, else
/// the Backup would have moved on.
async fn make_room(
    store: &BackupStore,
    backup: &Backup,
    location: &BackupStorageLocation,
    is_again: bool,
) -> Result<(), Error> {
    let name = backup.name_any();
    if !store.backup_exists(&name).await? {
        return Ok(());
    }
    let is_ours = is_again && store.get_backup_metadata(&name).await?.uid() == backup.uid();
    if !is_ours {
        let location = location.name_any();
        return Err(format!(
            "backup already exists in object storage (location {location}); use another name"
        )
        .into());
    }
    Ok(store.delete_backup(&name).await?)
}

/// What a run that was dropped still held of the log is given back in a moment: its tasks end at their next step.
async fn released(log: &Arc<BackupLog>) {
    for _ in 0..200 {
        if Arc::strong_count(log) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Waits for the run and writes its progress meanwhile. A progress that cannot be written is not worth a backup.
async fn with_progress(
    writer: &mut StatusWriter,
    progress: &Progress,
    run: impl Future<Output = Result<Outcome, RunError>>,
) -> Result<Outcome, RunError> {
    let mut run = Box::pin(run);
    let mut written = (0, 0);
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    ticks.tick().await;
    loop {
        tokio::select! {
            biased;
            outcome = &mut run => return outcome,
            _ = ticks.tick() => {}
        }
        let now = progress.get();
        if now != written {
            let patch = json!({"status": {"progress": {"totalItems": now.0, "itemsBackedUp": now.1}}});
            match writer.write(patch).await {
                Ok(()) => written = now,
                Err(error) => tracing::warn!(%error, "progress of a backup is not written"),
            }
        }
    }
}

fn status_after(backup: &Backup, outcome: &Outcome, results: &Results, fatal: Option<&str>) -> BackupStatus {
    let ended = Ended {
        errors: results.errors.count(),
        operations: outcome.operations.len(),
    };
    let items = i32_of(outcome.total_items as usize);
    BackupStatus {
        phase: Some(if fatal.is_some() {
            BackupPhase::Failed
        } else {
            phase_after(ended)
        }),
        failure_reason: fatal.unwrap_or_default().to_owned(),
        errors: i32_of(ended.errors),
        warnings: i32_of(results.warnings.count()),
        backup_item_operations_attempted: i32_of(ended.operations),
        csi_volume_snapshots_attempted: i32_of(SnapshotObjects::kept(&outcome.operations).len()),
        progress: Some(BackupProgress {
            total_items: items,
            items_backed_up: items,
        }),
        hook_status: Some(outcome.hooks.clone()),
        ..backup.status.clone().unwrap_or_default()
    }
}

fn i32_of(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// None where no snapshot stays in the storage: as Velero, which writes no such files then.
fn csi_snapshot_files(snapshots: &SnapshotObjects) -> Option<CsiSnapshotFiles> {
    (!snapshots.is_empty()).then(|| CsiSnapshotFiles {
        snapshots: snapshots.snapshots(),
        contents: snapshots.contents(),
        classes: snapshots.classes(),
    })
}

async fn upload(
    store: &BackupStore,
    backup: &Backup,
    status: &BackupStatus,
    outcome: Outcome,
    results: Results,
    contents: Option<&Path>,
    log: &Path,
) -> Result<(), Error> {
    let mut backup = backup.clone();
    // The run's own note; the next cluster that reads this owes nothing.
    backup.annotations_mut().remove(OWED_POST_HOOKS);
    backup.status = Some(status.clone());
    let artifacts = BackupArtifacts {
        metadata_json: encode_metadata(&backup)?,
        contents: contents.map(Path::to_owned),
        log: Some(log.to_owned()),
        pod_volume_backups: Some(Vec::new()),
        volume_snapshots: Some(Vec::new()),
        item_operations: Some(outcome.operations),
        resource_list: Some(outcome.resource_list),
        results: Some(results),
        volume_info: Some(outcome.volume_infos),
        csi_snapshots: csi_snapshot_files(&outcome.snapshots),
    };
    store.put_backup(&backup.name_any(), artifacts).await?;
    Ok(())
}
