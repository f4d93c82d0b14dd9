//! The `backup-finalizer` controller: `Finalizing[PartiallyFailed]` → `Completed` / `PartiallyFailed`
//! (velero-behaviour.md 3.7; upstream `pkg/controller/backup_finalizer_controller.go`).
//!
//! When operations ran, their post-operation items (the finished DataUploads) are written over what the tarball has,
//! volume infos are completed, and entries that a data mover left out become warnings. Each step can be repeated: a
//! failure keeps the phase and everything is done again.

pub mod decide;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use caravel_api::labels;
use caravel_api::phase::DownloadTargetKind;
use caravel_api::v1::{Backup, BackupPhase};
use caravel_api::v2alpha1::DataUpload;
use caravel_backup::cluster;
use caravel_backup::discovery::Resources;
use caravel_backup::log::{About, appended_warning};
use caravel_backup_store::item_operations::{BackupOperation, ResourceIdentifier};
use caravel_backup_store::results::Results;
use caravel_backup_store::tarball::{self, ItemPath};
use caravel_backup_store::{BackupStore, Body, PutMode, encode_metadata};
use futures::TryStreamExt;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::runtime::watcher;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::decide::{Decision, LeftOut, Observed, decide};
use crate::backup::display_name;
use crate::backup::status::StatusWriter;
use crate::context::Context;
use crate::reconcile::{Error, Key, Next, Reconciler, Source, run};

/// Starts the controller. `scratch`: folder for tarballs being rewritten.
pub fn spawn(context: Context, scratch: PathBuf, shutdown: CancellationToken) -> JoinHandle<()> {
    let source = Source::objects(context.api::<Backup>(), watcher::Config::default());
    tokio::spawn(run(
        BackupFinalizer { context, scratch },
        vec![source],
        2,
        shutdown,
    ))
}

struct BackupFinalizer {
    context: Context,
    scratch: PathBuf,
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
        let uploads = self.uploads(&backup).await?;
        let observed = Observed {
            phase: backup.phase(),
            volume_infos: store.get_volume_info(&name).await?.unwrap_or_default(),
            uploads,
        };
        let decision = decide(&observed);
        let operations = store.get_item_operations(&name).await?;
        if !operations.is_empty() {
            let rewrite = self.rewrite_contents(&store, &name, &operations);
            let infos = async { Ok::<_, Error>(store.put_volume_info(&name, &decision.volume_infos).await?) };
            tokio::try_join!(rewrite, infos)?;
        }
        let warnings = self.say_left_out(&backup, &store, &decision.left_out).await?;
        self.finish(backup, &store, decision, warnings).await
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

    /// Writes the post-operation items, as they are now, over the tarball's.
    async fn rewrite_contents(
        &self,
        store: &BackupStore,
        name: &str,
        operations: &[BackupOperation],
    ) -> Result<(), Error> {
        let items = self.post_operation_items(operations).await?;
        let folder = tempfile::Builder::new()
            .prefix("finalize-")
            .tempdir_in(&self.scratch)?;
        let (old, new) = (folder.path().join("old.tar.gz"), folder.path().join("new.tar.gz"));
        store.get_backup_contents(name, &old).await?;
        let to = new.clone();
        let replaced = self
            .context
            .environment
            .run(move || tarball::replace(&old, &to, &items));
        replaced.await??;
        store.put_backup_contents(name, &new).await?;
        Ok(())
    }

    async fn post_operation_items(
        &self,
        operations: &[BackupOperation],
    ) -> Result<Vec<(ItemPath, Value)>, Error> {
        let discovered = Resources::discover(&self.context.client).await?;
        let mut items = Vec::new();
        for id in operations
            .iter()
            .flat_map(|operation| &operation.spec.post_operation_items)
        {
            let resource = discovered
                .find(&id.group, &id.resource)
                .ok_or_else(|| format!("the cluster has no {}.{} any more", id.resource, id.group))?;
            match cluster::get(&self.context.client, &resource.api, &id.namespace, &id.name).await? {
                Some(item) => items.push((
                    item_path(id, &resource.group_resource(), &resource.api.version),
                    item,
                )),
                // Its operation has failed for that already; the tarball keeps what it has.
                None => tracing::warn!(item = ?id, "post-operation item does not exist any more"),
            }
        }
        Ok(items)
    }

    /// Adds what data movers left out to results and log. Gives the number of warnings of the backup, if it changed.
    async fn say_left_out(
        &self,
        backup: &Backup,
        store: &BackupStore,
        left_out: &[LeftOut],
    ) -> Result<Option<usize>, Error> {
        if left_out.is_empty() {
            return Ok(None);
        }
        let name = backup.name_any();
        let mut results: Results = store.get_results(&name).await?.unwrap_or_default();
        let mut lines = Vec::new();
        let known = results.warnings.clone();
        for entry in left_out {
            let about = About {
                resource: "persistentvolumeclaims",
                namespace: Some(&entry.namespace),
                name: &entry.claim,
            };
            let mut one = Default::default();
            let message = format!(
                "left out of the volume's snapshot, as it cannot be restored: {}",
                entry.entry
            );
            let line = appended_warning(&display_name(backup), about, &message, &mut one)?;
            // A repeat after a failure finds its own words.
            let said = one.namespaces.iter().all(|(namespace, messages)| {
                known
                    .namespaces
                    .get(namespace)
                    .is_some_and(|known| messages.iter().all(|message| known.contains(message)))
            });
            if !said {
                results.warnings.merge(one);
                lines.extend(line);
            }
        }
        if !lines.is_empty() {
            self.append_to_log(backup, &name, &lines).await?;
            store.put_results(&name, &results).await?;
        }
        Ok(Some(results.warnings.count()))
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
        let parts: Vec<bytes::Bytes> = objects.get_object(&key).await?.try_collect().await?;
        let mut log = parts.concat();
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
        warnings: Option<usize>,
    ) -> Result<(), Error> {
        let now = self.context.now();
        let mut last = backup.clone();
        let status = last.status.get_or_insert_default();
        status.phase = Some(decision.phase.clone());
        status.completion_timestamp = Some(now.clone());
        let mut patch = json!({"phase": decision.phase, "completionTimestamp": now});
        if let Some(warnings) = warnings {
            status.warnings = i32::try_from(warnings)?;
            patch["warnings"] = json!(warnings);
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

fn item_path(id: &ResourceIdentifier, group_resource: &str, version: &str) -> ItemPath {
    ItemPath {
        group_resource: group_resource.to_owned(),
        version: Some(version.to_owned()),
        preferred: true,
        namespace: (!id.namespace.is_empty()).then(|| id.namespace.clone()),
        name: id.name.clone(),
    }
}
