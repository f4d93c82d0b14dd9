//! The `backup-finalizer` controller: `Finalizing[PartiallyFailed]` → `Completed` / `PartiallyFailed`
//! (velero-behaviour.md 3.7; upstream `pkg/controller/backup_finalizer_controller.go`).
//!
//! When operations ran, their post-operation items (the finished DataUploads) are written over what the tarball has,
//! volume infos are completed, entries that a data mover left out become warnings, and operations that failed become errors
//! of the results (upstream only counts those in `status.errors`). Snapshots that stay in the storage
//! are kept there, and their objects go from the cluster, or stay and are marked ([`snapshots`]). Each step can be repeated: a failure keeps the
//! phase and everything is done again.

pub mod decide;
mod snapshots;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use caravel_api::labels;
use caravel_api::phase::DownloadTargetKind;
use caravel_api::v1::{Backup, BackupPhase};
use caravel_api::v2alpha1::DataUpload;
use caravel_backup::cluster;
use caravel_backup::discovery::Resources;
use caravel_backup::log::{About, Level, appended_line};
use caravel_backup_store::item_operations::{BackupOperation, OperationPhase, ResourceIdentifier};
use caravel_backup_store::results::{ResultSet, Results};
use caravel_backup_store::tarball::{self, ItemPath};
use caravel_backup_store::{BackupStore, Body, PutMode, encode_metadata};
use futures::TryStreamExt;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::runtime::watcher;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::decide::{Decision, Lost, Observed, decide, failed_operations, snapshot_operations};
use self::snapshots::Kept;
use crate::backup::display_name;
use crate::backup::status::StatusWriter;
use crate::cancel;
use crate::context::Context;
use crate::reconcile::{Error, Key, Next, Reconciler, Source, run};
use crate::snapshot_objects::SnapshotObjects;

/// The server's flags, as far as the end of backups cares.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder for tarballs being rewritten.
    pub scratch: PathBuf,
    pub snapshot_objects: SnapshotObjects,
}

/// Starts the controller.
pub fn spawn(context: Context, settings: Settings, shutdown: CancellationToken) -> JoinHandle<()> {
    let source = Source::objects(context.api::<Backup>(), watcher::Config::default());
    let finalizer = BackupFinalizer { context, settings };
    tokio::spawn(run(finalizer, vec![source], 2, shutdown))
}

struct BackupFinalizer {
    context: Context,
    settings: Settings,
}

#[async_trait]
impl Reconciler for BackupFinalizer {
    fn name(&self) -> &'static str {
        "backup-finalizer"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(backup) = self.context.api::<Backup>().get_opt(&key.name).await? else {
            return Ok(Next::Done);
        };
        if !matches!(
            backup.phase(),
            BackupPhase::Finalizing | BackupPhase::FinalizingPartiallyFailed
        ) {
            return Ok(Next::Done);
        }
        Box::pin(self.finalize(backup)).await?;
        Ok(Next::Done)
    }
}

impl BackupFinalizer {
    async fn finalize(&self, backup: Backup) -> Result<(), Error> {
        let name = backup.name_any();
        let location = self.context.locations.get(&backup.spec.storage_location).await?;
        let store = self.context.locations.backup_store(&location).await?;
        let operations = store.get_item_operations(&name).await?;
        let (lost, kept) = if operations.is_empty() {
            (Vec::new(), Kept::default())
        } else {
            self.rewrite_contents(&store, &name, &operations).await?
        };
        let observed = Observed {
            phase: backup.phase(),
            volume_infos: store.get_volume_info(&name).await?.unwrap_or_default(),
            uploads: self.uploads(&backup).await?,
            snapshots: snapshot_operations(&operations),
            lost_snapshots: kept.lost.clone(),
            lost,
            not_saved: failed_operations(&operations),
        };
        let decision = decide(&observed);
        if !operations.is_empty() {
            store.put_volume_info(&name, &decision.volume_infos).await?;
        }
        let counted = self.say_what_is_missing(&backup, &store, &decision).await?;
        kept.save_files(&store, &name).await?;
        // Only now: the bucket has all that leads to the snapshots, and says that they are kept.
        kept.settle(&self.context.client, self.objects_of(&backup))
            .await?;
        self.finish(backup, &store, decision, counted).await
    }

    /// Of a backup that somebody has canceled nothing is to be left in the cluster.
    fn objects_of(&self, backup: &Backup) -> SnapshotObjects {
        match cancel::wished_by(backup) {
            Some(_) => SnapshotObjects::Remove,
            None => self.settings.snapshot_objects,
        }
    }

    async fn uploads(&self, backup: &Backup) -> Result<BTreeMap<String, DataUpload>, Error> {
        let selector = format!("{}={}", labels::BACKUP_UID, backup.uid().unwrap_or_default());
        let uploads = self
            .context
            .list::<DataUpload>(&ListParams::default().labels(&selector))
            .await?;
        let by_id = uploads.into_iter().filter_map(|upload| {
            let id = upload.labels().get(labels::ASYNC_OPERATION_ID)?.clone();
            Some((id, upload))
        });
        Ok(by_id.collect())
    }

    /// Writes the post-operation items, as they are now, over the tarball's. Gives those that should be there and are not.
    async fn rewrite_contents(
        &self,
        store: &BackupStore,
        name: &str,
        operations: &[BackupOperation],
    ) -> Result<(Vec<Lost>, Kept), Error> {
        let discovered = Resources::discover(&self.context.client).await?;
        let (mut items, lost) = self.post_operation_items(&discovered, operations).await?;
        let folder = tempfile::Builder::new()
            .prefix("finalize-")
            .tempdir_in(&self.settings.scratch)?;
        let (old, new) = (folder.path().join("old.tar.gz"), folder.path().join("new.tar.gz"));
        store.get_backup_contents(name, &old).await?;
        let (client, environment) = (&self.context.client, &self.context.environment);
        let kept = snapshots::keep(client, environment, &discovered, operations, &old).await?;
        items.extend(kept.items.iter().cloned());
        let to = new.clone();
        let replaced = self
            .context
            .environment
            .run(move || tarball::replace(&old, &to, &items));
        replaced.await??;
        store.put_backup_contents(name, &new).await?;
        Ok((lost, kept))
    }

    async fn post_operation_items(
        &self,
        discovered: &Resources,
        operations: &[BackupOperation],
    ) -> Result<(Vec<(ItemPath, Value)>, Vec<Lost>), Error> {
        let (mut items, mut lost) = (Vec::new(), Vec::new());
        let others = operations
            .iter()
            .filter(|operation| !snapshots::is_of_snapshot(operation));
        for operation in others {
            for id in &operation.spec.post_operation_items {
                let resource = discovered
                    .find(&id.group, &id.resource)
                    .ok_or_else(|| format!("the cluster has no {}.{} any more", id.resource, id.group))?;
                match cluster::get(&self.context.client, &resource.api, &id.namespace, &id.name).await? {
                    Some(item) => items.push((
                        item_path(id, &resource.group_resource(), &resource.api.version),
                        item,
                    )),
                    // Somebody deleted it after its operation had ended: the tarball has it as it was before it ended.
                    None if operation.status.phase == OperationPhase::Completed => lost.push(Lost {
                        namespace: operation.spec.resource_identifier.namespace.clone(),
                        claim: operation.spec.resource_identifier.name.clone(),
                        object: format!("DataUpload {}", id.name),
                    }),
                    // Its operation has failed for that already; the tarball keeps what it has.
                    None => tracing::warn!(item = ?id, "post-operation item does not exist any more"),
                }
            }
        }
        Ok((items, lost))
    }

    /// Adds what data movers left out (warnings), and what is not saved or no restore would find (errors), to results and
    /// log. Gives the counts of the backup, if they changed.
    async fn say_what_is_missing(
        &self,
        backup: &Backup,
        store: &BackupStore,
        decision: &Decision,
    ) -> Result<Option<Counted>, Error> {
        if missing(decision).next().is_none() {
            return Ok(None);
        }
        let name = backup.name_any();
        let mut results: Results = store.get_results(&name).await?.unwrap_or_default();
        let mut lines = Vec::new();
        let known = results.clone();
        for (level, about, message) in missing(decision) {
            let (known, into) = match level {
                Level::Error => (&known.errors, &mut results.errors),
                _ => (&known.warnings, &mut results.warnings),
            };
            let mut one = ResultSet::default();
            let line = appended_line(level, &display_name(backup), about, &message, &mut one)?;
            if !is_said(known, &one) {
                into.merge(one);
                lines.extend(line);
            }
        }
        if !lines.is_empty() {
            self.append_to_log(backup, &name, &lines).await?;
            store.put_results(&name, &results).await?;
        }
        Ok(Some(Counted {
            warnings: results.warnings.count(),
            errors: results.errors.count(),
        }))
    }

    /// A gzip file may have several members: the log is not unpacked.
    async fn append_to_log(&self, backup: &Backup, name: &str, lines: &[u8]) -> Result<(), Error> {
        let resolved = self
            .context
            .locations
            .by_name(&backup.spec.storage_location)
            .await?;
        let store = resolved.backup_store(&backup.spec.storage_location)?;
        let objects = resolved.object_store()?;
        let key = store
            .layout()
            .download_target(&DownloadTargetKind::BackupLog, name)
            .ok_or("the layout has no backup log")?;
        let mut log = match objects.get_object(&key).await {
            Ok(parts) => parts.try_collect::<Vec<bytes::Bytes>>().await?.concat(),
            // The run could not save its log, and said so: this is all that there will be.
            Err(error) if error.is_not_found() => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        log.extend_from_slice(lines);
        objects
            .put_object(&key, Body::from(log), PutMode::Replace)
            .await?;
        Ok(())
    }

    async fn finish(
        &self,
        backup: Backup,
        store: &BackupStore,
        decision: Decision,
        counted: Option<Counted>,
    ) -> Result<(), Error> {
        let now = self.context.now();
        let mut last = backup.clone();
        let status = last.status.get_or_insert_default();
        status.phase = Some(decision.phase.clone());
        status.completion_timestamp = Some(now.clone());
        status.csi_volume_snapshots_completed = i32::try_from(decision.snapshots_completed)?;
        let mut patch = json!({
            "phase": decision.phase,
            "completionTimestamp": now,
            "csiVolumeSnapshotsCompleted": decision.snapshots_completed,
        });
        if let Some(Counted { warnings, errors }) = counted {
            // Fewer messages than were counted: an old Velero wrote no results.
            status.warnings = status.warnings.max(i32::try_from(warnings)?);
            status.errors = status.errors.max(i32::try_from(errors)?);
            patch["warnings"] = json!(status.warnings);
            patch["errors"] = json!(status.errors);
        }
        store
            .put_backup_metadata(&backup.name_any(), &encode_metadata(&last)?)
            .await?;
        tracing::info!(backup = %display_name(&backup), phase = %decision.phase, "backup ended");
        StatusWriter::new(&self.context.client, backup)
            .write(json!({"status": patch}))
            .await?;
        Ok(())
    }
}

/// Counts of a backup's results.
struct Counted {
    warnings: usize,
    errors: usize,
}

/// What is to be said, and of which item.
fn missing(decision: &Decision) -> impl Iterator<Item = (Level, About<'_>, String)> {
    let left_out = decision.left_out.iter().map(|it| {
        let message = format!(
            "left out of the volume's snapshot, as it cannot be restored: {}",
            it.entry
        );
        (Level::Warning, claim(&it.namespace, &it.claim), message)
    });
    let lost = decision.lost.iter().map(|it| {
        let message = format!(
            "{} was deleted before the backup was finalized: no restore finds the data of this volume; back it up again",
            it.object
        );
        (Level::Error, claim(&it.namespace, &it.claim), message)
    });
    let not_saved = decision.not_saved.iter().map(|it| {
        let about = About {
            resource: &it.item.resource,
            namespace: Some(&it.item.namespace),
            name: &it.item.name,
        };
        let message = format!("its data is not in the backup: {}", it.error);
        (Level::Error, about, message)
    });
    left_out.chain(lost).chain(not_saved)
}

fn claim<'a>(namespace: &'a str, name: &'a str) -> About<'a> {
    About {
        resource: "persistentvolumeclaims",
        namespace: Some(namespace),
        name,
    }
}

/// A repeat after a failure finds its own words.
fn is_said(known: &ResultSet, one: &ResultSet) -> bool {
    let all = |known: &[String], said: &[String]| said.iter().all(|message| known.contains(message));
    let nothing = Vec::new();
    let of_namespaces = one
        .namespaces
        .iter()
        .all(|(namespace, messages)| all(known.namespaces.get(namespace).unwrap_or(&nothing), messages));
    of_namespaces && all(&known.cluster, &one.cluster) && all(&known.velero, &one.velero)
}

fn item_path(id: &ResourceIdentifier, group_resource: &str, version: &str) -> ItemPath {
    ItemPath {
        group_resource: group_resource.to_owned(),
        version: Some(version.to_owned()),
        preferred: true,
        namespace: (!id.namespace.is_empty()).then(|| id.namespace.clone()),
        name: id.name.clone(),
    }
}
