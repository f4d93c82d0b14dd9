//! One attempt at a Restore: download, unpack, run, upload what came of it, write the end. Whatever fails, the Restore
//! leaves InProgress, and nothing of the attempt stays on the scratch volume. A server that dies leaves it InProgress:
//! then it begins again, and finds its own objects and DataDownloads (`crate::attempts`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use caravel_api::labels;
use caravel_api::phase::RestorePhase;
use caravel_api::v1::{Backup, BackupStorageLocation, Restore};
use caravel_backup_store::item_operations::{OperationPhase, RestoreOperation};
use caravel_backup_store::tarball::{ItemPath, Reader};
use caravel_backup_store::volume_info::BackupVolumeInfo;
use caravel_backup_store::{BackupStore, RestoreArtifacts};
use caravel_hooks::tracker::Tracker;
use caravel_resource_policies::Policies;
use caravel_restore::contents::BackupContents;
use caravel_restore::item_actions;
use caravel_restore::log::{Level, RestoreLog};
use caravel_restore::resource_modifiers::ResourceModifiers;
use caravel_restore::run::{self, Outcome, Progress, RestoreRun, StartedOperation};
use caravel_restore::saved_volumes::SavedVolumes;
use caravel_restore::saved_volumes::older::{self, OlderFiles};
use caravel_restore::versions::{self, UserVersions};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};

use super::exec_hooks::exec_hooks;
use super::log::LogrusLog;
use super::status::{Change, write};
use super::volume_info::restored_volumes;
use super::{Settings, cancel_downloads, delete_result_maps, is_in_progress};
use crate::attempts;
use crate::cancel;
use crate::context::Context;
use crate::lease::NotLeader;
use crate::reconcile::{Error, chain, is_conflict};

/// The restore's log, on the scratch volume.
const LOG: &str = "log.gz";
/// How often progress is written, at most.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Waits between tries to write the end; some ten minutes in all, then the Restore begins again.
const END_TRIES: u32 = 20;

/// The ConfigMaps that the Restore names, read and validated.
pub(super) struct Asked {
    pub policies: Option<Arc<Policies>>,
    pub modifiers: Option<ResourceModifiers>,
}

/// Runs `restore` (InProgress by now) to the end of its run.
///
/// # Errors
/// When the end could not be written, or is the next server's to write; the Restore then begins again.
pub(super) async fn run(
    context: &Context,
    settings: &Settings,
    restore: Restore,
    backup: Backup,
    asked: Asked,
    location: &BackupStorageLocation,
) -> Result<(), Error> {
    let log = Arc::new(LogrusLog::new(format!(
        "{}/{}",
        context.namespace,
        restore.name_any()
    )));
    let progress = Arc::new(Progress::default());
    let attempt = Attempt {
        context,
        settings,
        restore: &restore,
        backup,
        asked,
        log: Arc::clone(&log),
        progress: Arc::clone(&progress),
    };
    let ended = {
        let work = Box::pin(attempt.run(location));
        with_progress(context, &restore, &progress, work).await
    };
    if let Err(lost @ NotLeader::Lost { .. }) = context.leadership.confirm().await {
        return Err(lost.into());
    }
    if let Err(error) = delete_result_maps(context, &restore).await {
        tracing::warn!(restore = %restore.name_any(), error = %chain(&error), "DataUploadResult ConfigMaps stay, the finalizer deletes them");
    }
    let change = match ended {
        Ok(change) => change,
        Err(error) => {
            context.restore_hooks.forget(&restore.uid().unwrap_or_default());
            cancel_downloads(context, &restore).await?;
            Change::Failed {
                reason: chain(&*error),
            }
        }
    };
    write_end(context, &restore, change).await
}

struct Attempt<'a> {
    context: &'a Context,
    settings: &'a Settings,
    restore: &'a Restore,
    backup: Backup,
    asked: Asked,
    log: Arc<LogrusLog>,
    progress: Arc<Progress>,
}

impl Attempt<'_> {
    async fn run(self, location: &BackupStorageLocation) -> Result<Change, Error> {
        let store = self.context.locations.backup_store(location).await?;
        let scratch = Scratch::create(
            &self.settings.scratch_dir,
            &self.restore.uid().unwrap_or_default(),
        )?;
        self.log.write_to(&scratch.path(LOG))?;
        let ended = self.restore_from(&store, &scratch).await;
        if let Err(error) = &ended {
            self.log
                .line(Level::Error, &format!("restore failed: {}", chain(&**error)), &[]);
        }
        // The log of a failed restore is what the user needs most; its own failure must not hide the first.
        let uploaded = self.put_log(&store, &scratch).await;
        let change = ended?;
        uploaded?;
        Ok(change)
    }

    async fn restore_from(&self, store: &BackupStore, scratch: &Scratch) -> Result<Change, Error> {
        let contents = self.unpack(store, scratch).await?;
        let saved = self.saved_volumes(store, &contents).await?;
        if let Some(number) = self.restore.annotations().get(labels::ATTEMPT) {
            let said = format!(
                "The server that ran this restore ended: it begins again, attempt {number} of {}. What it has created is its own.",
                attempts::MOST
            );
            self.log.line(Level::Info, &said, &[]);
        }
        self.log.line(
            Level::Info,
            "starting restore",
            &[("backup", &self.backup.name_any())],
        );
        let run = run::run(RestoreRun {
            client: self.context.client.clone(),
            restore: Arc::new(self.restore.clone()),
            backup: Arc::new(self.backup.clone()),
            contents,
            saved_volumes: SavedVolumes::from(saved.clone()),
            policies: self.asked.policies.clone(),
            modifiers: self.asked.modifiers.clone(),
            versions: self.user_versions().await?,
            actions: item_actions::built_in(
                &self.context.client,
                &Arc::new(self.backup.clone()),
                &self.context.namespace,
            ),
            exec_hooks: exec_hooks(self.context, self.restore)?,
            priorities: self.settings.priorities.clone(),
            resource_timeout: self.settings.resource_timeout,
            terminating_timeout: self.settings.terminating_timeout,
            log: Arc::clone(&self.log) as Arc<dyn RestoreLog>,
            progress: Arc::clone(&self.progress),
        });
        let name = self.restore.name_any();
        let wished = cancel::wished::<Restore>(self.context.api(), &name, self.restore.uid());
        let outcome = tokio::select! {
            biased;
            ran = run => ran?,
            who = wished => {
                let what = "what was restored by then stays, and the rest is not restored";
                return Err(cancel::reason(&who, self.context.clock.now(), what).into());
            }
        };
        self.log.line(Level::Info, "restore completed", &[]);
        let ran = self.ran(&outcome);
        let artifacts = RestoreArtifacts {
            log: None,
            item_operations: Some(self.operations(&outcome.operations)),
            volume_info: Some(restored_volumes(&SavedVolumes::from(saved), &outcome.claims)),
            results: Some(outcome.results),
            resource_list: Some(outcome.resource_list),
        };
        store.put_restore(&self.restore.name_any(), &artifacts).await?;
        Ok(ran)
    }

    /// What the backup says about its volumes, by whatever file it says it.
    async fn saved_volumes(
        &self,
        store: &BackupStore,
        contents: &BackupContents,
    ) -> Result<Vec<BackupVolumeInfo>, Error> {
        let name = self.backup.name_any();
        let told = store.get_volume_info(&name).await?;
        let is_older = told.is_none();
        let mut said = told.unwrap_or_default();
        let unsaid = older::unsaid(&said, contents);
        if unsaid.is_empty() && !is_older {
            return Ok(said);
        }
        let files = OlderFiles {
            native_snapshots: store.get_native_snapshots(&name).await?,
            pod_volume_backups: store.get_pod_volume_backups(&name).await?,
            csi_snapshots: store.get_csi_snapshots(&name).await?.snapshots,
        };
        if is_older {
            said.extend(older::of_pods(&files.pod_volume_backups));
        }
        Ok(older::completed(said, &unsaid, &files))
    }

    /// The API versions that the user prefers; `None` where each object comes back in the backup's preferred one.
    async fn user_versions(&self) -> Result<Option<UserVersions>, Error> {
        if !self.settings.all_versions {
            return Ok(None);
        }
        let maps: Api<ConfigMap> = Api::namespaced(self.context.client.clone(), &self.context.namespace);
        let map = maps.get_opt(versions::CONFIG_MAP).await?;
        let text = map.and_then(|map| map.data?.remove(versions::CONFIG_KEY));
        Ok(Some(UserVersions::parse(&text.unwrap_or_default())))
    }

    async fn unpack(&self, store: &BackupStore, scratch: &Scratch) -> Result<BackupContents, Error> {
        let (archive, folder) = (scratch.path("backup.tar.gz"), scratch.path("backup"));
        store
            .get_backup_contents(&self.backup.name_any(), &archive)
            .await?;
        std::fs::create_dir_all(&folder)?;
        let all_versions = self.settings.all_versions;
        let contents = self
            .context
            .environment
            .run(move || -> Result<BackupContents, Error> {
                let is_read = |entry: &str| all_versions || is_read(entry);
                Reader::open(&archive)?.unpack_some_to(&folder, is_read)?;
                std::fs::remove_file(&archive)?;
                Ok(BackupContents::read_or_empty(&folder)?)
            });
        contents.await?
    }

    fn hooks(&self) -> Arc<Tracker> {
        self.context
            .restore_hooks
            .begin(&self.restore.uid().unwrap_or_default())
    }

    async fn put_log(&self, store: &BackupStore, scratch: &Scratch) -> Result<(), Error> {
        self.log.close()?;
        let file = scratch.path(LOG);
        Ok(store.put_restore_log(&self.restore.name_any(), &file).await?)
    }

    fn operations(&self, started: &[StartedOperation]) -> Vec<RestoreOperation> {
        let now = self.context.now();
        let operation = |started: &StartedOperation| {
            let mut operation = RestoreOperation::default();
            operation.spec.restore_name = self.restore.name_any();
            operation.spec.restore_uid = self.restore.uid().unwrap_or_default();
            operation.spec.restore_item_action.clone_from(&started.action);
            operation.spec.operation_id.clone_from(&started.operation_id);
            let id = started.item.identifier();
            operation.spec.resource_identifier.group = id.group;
            operation.spec.resource_identifier.resource = id.resource;
            operation.spec.resource_identifier.namespace = id.namespace;
            operation.spec.resource_identifier.name = id.name;
            operation.status.phase = OperationPhase::New;
            operation.status.created = Some(now.clone());
            operation
        };
        started.iter().map(operation).collect()
    }

    fn ran(&self, outcome: &Outcome) -> Change {
        let (restored, total) = self.progress.now();
        let errors = outcome.results.errors.count();
        Change::Ran {
            phase: phase_after(errors, outcome.operations.len()),
            warnings: outcome.results.warnings.count(),
            errors,
            operations: outcome.operations.len(),
            restored,
            total,
            hooks: self.hooks().status(),
        }
    }
}

/// Whether a restore reads this file of the tarball: of an item only the plain copy, which is of the preferred version.
fn is_read(entry: &str) -> bool {
    ItemPath::parse(entry).is_none_or(|item| item.version.is_none())
}

/// Where a Restore goes after its run.
fn phase_after(errors: usize, operations: usize) -> RestorePhase {
    match (operations > 0, errors > 0) {
        (true, false) => RestorePhase::WaitingForPluginOperations,
        (true, true) => RestorePhase::WaitingForPluginOperationsPartiallyFailed,
        (false, false) => RestorePhase::Finalizing,
        (false, true) => RestorePhase::FinalizingPartiallyFailed,
    }
}

/// Drives `work`, and writes its progress at most once a second and only when it moved.
async fn with_progress<T>(
    context: &Context,
    restore: &Restore,
    progress: &Progress,
    mut work: std::pin::Pin<Box<impl Future<Output = T>>>,
) -> T {
    let mut current = restore.clone();
    let mut written = (0, 0);
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            ended = &mut work => return ended,
            _ = ticks.tick() => {}
        }
        let (restored, total) = progress.now();
        if (restored, total) == written {
            continue;
        }
        // The write runs beside the work; a failed one is made good by the next.
        let change = Change::Progress { restored, total };
        let patched = tokio::select! {
            biased;
            ended = &mut work => return ended,
            patched = write(context, &current, change) => patched,
        };
        match patched {
            Ok(newer) => (current, written) = (newer, (restored, total)),
            Err(error) if is_conflict(&error) => {
                let newer = context.api::<Restore>().get(&restore.name_any()).await;
                if let Ok(newer) = newer
                    && is_still(restore, &newer)
                {
                    current = newer;
                }
            }
            Err(error) => tracing::debug!(error = %chain(&error), "progress is not written"),
        }
    }
}

/// Writes the end of the run, whatever the API server's mood.
async fn write_end(context: &Context, restore: &Restore, change: Change) -> Result<(), Error> {
    let mut last: Error = "not tried".into();
    for attempt in 0..END_TRIES {
        let newest = match context.api::<Restore>().get_opt(&restore.name_any()).await {
            // Deleted, or another of the same name: nobody waits for this end.
            Ok(None) => return Ok(()),
            // Another attempt at it, neither. One that is not in progress has got its end: an answer was lost.
            Ok(Some(newest)) if !is_still(restore, &newest) || !is_in_progress(&newest) => return Ok(()),
            Ok(Some(newest)) => newest,
            Err(error) => {
                last = error.into();
                tokio::time::sleep(end_wait(attempt)).await;
                continue;
            }
        };
        match write(context, &newest, change.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if is_conflict(&error) => last = error.into(),
            Err(error) => {
                tracing::warn!(restore = %restore.name_any(), error = %chain(&error), "the end of the run is not written yet");
                last = error.into();
                tokio::time::sleep(end_wait(attempt)).await;
            }
        }
    }
    Err(last)
}

/// The same Restore, in the same attempt.
fn is_still(restore: &Restore, newest: &Restore) -> bool {
    newest.uid() == restore.uid() && attempts::of(newest) == attempts::of(restore)
}

fn end_wait(attempt: u32) -> Duration {
    Duration::from_millis(500)
        .saturating_mul(1 << attempt.min(6))
        .min(Duration::from_secs(30))
}

/// A folder of one attempt; gone when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn create(below: &Path, uid: &str) -> Result<Self, Error> {
        let folder = below.join(format!("restore-{uid}"));
        // Left by a server that was killed.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).map_err(|error| {
            format!(
                "creating {}: {error}; check the server's scratch volume",
                folder.display()
            )
        })?;
        Ok(Self(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "scratch folder stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_operations_say_where_a_restore_goes_after_its_run() {
        assert_eq!(phase_after(0, 0), RestorePhase::Finalizing);
        assert_eq!(phase_after(1, 0), RestorePhase::FinalizingPartiallyFailed);
        assert_eq!(phase_after(0, 2), RestorePhase::WaitingForPluginOperations);
        assert_eq!(
            phase_after(1, 2),
            RestorePhase::WaitingForPluginOperationsPartiallyFailed
        );
    }

    #[test]
    fn of_an_item_that_is_in_the_tarball_twice_one_file_is_unpacked() {
        for (entry, read) in [
            ("metadata/version", true),
            ("resources/secrets/namespaces/shop/till.json", true),
            (
                "resources/secrets/v1-preferredversion/namespaces/shop/till.json",
                false,
            ),
            ("resources/persistentvolumes/cluster/pv-1.json", true),
            ("resources/persistentvolumes/v1/cluster/pv-1.json", false),
            ("resources/secrets/namespaces/shop/not-an-item", true),
        ] {
            assert_eq!(is_read(entry), read, "{entry}");
        }
    }

    #[test]
    fn a_scratch_folder_goes_with_its_attempt() {
        let below = std::env::temp_dir();
        let uid = format!("test-{}", std::process::id());
        let scratch = Scratch::create(&below, &uid).unwrap();
        let file = scratch.path(LOG);
        std::fs::write(&file, b"line").unwrap();
        drop(scratch);
        assert!(!file.exists() && !below.join(format!("restore-{uid}")).exists());
    }
}
