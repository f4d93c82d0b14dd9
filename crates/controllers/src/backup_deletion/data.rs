//! The data of a backup: the snapshots that its volumes have in the repositories and in the storage, and its DataUploads.
//!
//! Which snapshots those are, [`super::in_repositories`] and [`super::snapshots`] say. One whose repository cannot be opened,
//! or which the storage does not delete, is an error, and the backup stays: without its files nobody would know any more that
//! the data is there.

use std::path::Path;

use caravel_api::labels;
use caravel_api::v1::{Backup, BackupPhase, BackupStorageLocation, PodVolumeBackup};
use caravel_api::v2alpha1::DataUpload;
use caravel_backup_store::BackupStore;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::forget::Repositories;
use super::in_repositories::{InRepositories, asks_tarball};
use super::snapshot_info::{self, SnapshotInfo};
use super::snapshots::Snapshots;
use super::tarball::{Own, Tarball};
use crate::context::Context;
use crate::reconcile::{Error, chain};
use crate::snapshot_objects;

/// What a backup has outside its own folder.
#[derive(Default)]
pub(super) struct Data {
    /// The folder is there.
    saved: bool,
    /// In the cluster.
    uploads: Vec<DataUpload>,
    /// What a deletion of Velero's has left.
    infos: Vec<SnapshotInfo>,
    in_repositories: InRepositories,
    /// In the storage.
    snapshots: Snapshots,
    /// Why something cannot be deleted here.
    cannot_go: Vec<String>,
}

impl Data {
    /// `saved`: the Backup as its folder has it, if it has a folder.
    pub(super) async fn read(
        context: &Context,
        scratch: &Path,
        store: &BackupStore,
        backup: &Backup,
        saved: Option<&Backup>,
    ) -> Result<Self, Error> {
        let name = backup.name_any();
        let mut tarball = Tarball::new(context, scratch, store, &name);
        let volumes = store.get_volume_info(&name).await?;
        let told = volumes.as_deref().unwrap_or_default();
        let snapshots = Snapshots::read(context, store, &mut tarball, backup, saved, told).await?;
        let mut data = Self {
            saved: saved.is_some(),
            uploads: uploads_in_cluster(context, backup, saved).await?,
            cannot_go: snapshots.cannot_go(&context.client).await?,
            snapshots,
            ..Self::default()
        };
        data.in_repositories.add_volumes(told);
        data.in_repositories.add_uploads(&data.uploads);
        if let Some(saved) = saved {
            if asks_tarball(volumes.as_deref()) {
                let own = Own::of(saved);
                let in_tarball: Vec<DataUpload> = decode(&tarball.objects().await?.uploads)?;
                let of_backup = in_tarball.iter().filter(|upload| own.is(*upload));
                data.in_repositories.add_uploads(of_backup);
                if tarball.is_missing()
                    && must_be_known(saved, backup)
                    && is_still_there(store, &name).await?
                {
                    data.cannot_go.push(unknown(&name));
                }
            }
            if volumes.is_none() {
                // Velero before 1.13.
                let pod_volumes: Vec<PodVolumeBackup> = decode(&store.get_pod_volume_backups(&name).await?)?;
                data.in_repositories.add_pod_volume_backups(&pod_volumes);
                data.in_repositories
                    .add_native(&store.get_native_snapshots(&name).await?);
            }
        }
        for info in snapshot_info::read(context, backup).await? {
            match info {
                Ok(info) => {
                    data.in_repositories.add(&info.namespace, &info.snapshot);
                    data.infos.push(info);
                }
                Err(why) => data.cannot_go.push(why),
            }
        }
        Ok(data)
    }

    /// The uploads that are still at work: what they save would come after the deletion, and nobody would know of it.
    pub(super) fn unfinished(&self) -> Vec<String> {
        let unfinished = self.uploads.iter().filter(|upload| !upload.phase().is_finished());
        unfinished.map(ResourceExt::name_any).collect()
    }

    /// Tells the uploads that are still at work to end: the backup that they are of is being deleted.
    pub(super) async fn cancel(&self, context: &Context) -> Result<(), Error> {
        let going = |upload: &&DataUpload| !upload.phase().is_finished() && !upload.spec.cancel;
        for upload in self.uploads.iter().filter(going) {
            let patch = Patch::Merge(json!({"spec": {"cancel": true}}));
            let api = context.api::<DataUpload>();
            api.patch(&upload.name_any(), &PatchParams::default(), &patch)
                .await?;
        }
        Ok(())
    }

    /// What this version could not delete, in sentences.
    pub(super) fn stays(&self) -> Vec<String> {
        let mut said = self.in_repositories.cannot_go.clone();
        said.extend(self.cannot_go.iter().cloned());
        said
    }

    /// Deletes the snapshots, then what else tells of them: ConfigMaps and uploads. Gives what went wrong.
    pub(super) async fn delete(
        &self,
        context: &Context,
        backup: &Backup,
        location: &BackupStorageLocation,
    ) -> Vec<String> {
        let mut errors = self.snapshots.delete(&context.client, backup).await;
        errors.extend(self.forget(context, location).await);
        if !errors.is_empty() {
            return errors;
        }
        errors.extend(snapshot_info::delete(context, &self.infos).await);
        let api = context.api::<DataUpload>();
        for upload in &self.uploads {
            match api.delete(&upload.name_any(), &Default::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => errors.push(format!(
                    "error deleting DataUpload {}: {error}",
                    upload.name_any()
                )),
            }
        }
        errors
    }

    async fn forget(&self, context: &Context, location: &BackupStorageLocation) -> Vec<String> {
        let snapshots = &self.in_repositories.snapshots;
        if snapshots.is_empty() {
            return Vec::new();
        }
        match Repositories::of(context, location).await {
            Ok(repositories) => repositories.forget(snapshots, self.saved).await,
            Err(error) => vec![format!(
                "error deleting the backup's snapshots from their repositories: {}",
                chain(&*error)
            )],
        }
    }
}

/// A backup that failed may never have had a tarball; one that this server was deleting has lost it after its data.
fn must_be_known(saved: &Backup, backup: &Backup) -> bool {
    let phase = |backup: &Backup| backup.status.as_ref().and_then(|status| status.phase.clone());
    let has_ended_with_data = matches!(
        phase(saved),
        Some(BackupPhase::Completed | BackupPhase::PartiallyFailed)
    );
    has_ended_with_data && phase(backup) != Some(BackupPhase::Deleting)
}

/// Not while another cluster deletes it: its data has gone before its files, and `velero-backup.json` goes last.
async fn is_still_there(store: &BackupStore, name: &str) -> Result<bool, Error> {
    Ok(store.has_more_than_metadata(name).await?)
}

fn unknown(name: &str) -> String {
    format!(
        "neither the volume info nor the tarball of the backup says which snapshots in the repositories belong to it: {name}-volumeinfo.json.gz is missing or was written before its data was moved, and {name}.tar.gz is missing. Bring the tarball back, or delete backups/{name}/ in the bucket by hand if its data may stay in the repositories for ever"
    )
}

/// By the UID of the Backup, and by that of the one that was saved: a Backup that was synced back has a new one.
async fn uploads_in_cluster(
    context: &Context,
    backup: &Backup,
    saved: Option<&Backup>,
) -> Result<Vec<DataUpload>, kube::Error> {
    let uids = snapshot_objects::uids(backup, saved);
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    let selector = format!("{} in ({})", labels::BACKUP_UID, uids.join(","));
    context.list(&ListParams::default().labels(&selector)).await
}

fn decode<T: serde::de::DeserializeOwned>(objects: &[Value]) -> Result<Vec<T>, serde_json::Error> {
    objects
        .iter()
        .map(|object| serde_json::from_value(object.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_that_are_still_at_work_are_waited_for() {
        let upload = |phase: &str| -> DataUpload {
            serde_json::from_value(
                json!({"metadata": {"name": phase.to_lowercase()}, "spec": {}, "status": {"phase": phase}}),
            )
            .unwrap()
        };
        let phases = ["Completed", "InProgress", "Canceled", "Canceling", "Failed"];
        let data = Data {
            uploads: phases.map(upload).into(),
            ..Data::default()
        };
        assert_eq!(data.unfinished(), ["inprogress", "canceling"]);
    }
}
