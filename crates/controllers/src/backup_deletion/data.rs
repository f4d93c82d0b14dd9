//! The data of a backup: the snapshots that its volumes have in the repositories and in the storage, and its DataUploads.
//!
//! Which snapshots those are, the backup's own volume info says (for those in the storage see [`super::snapshots`]). One
//! whose repository cannot be opened, or which the storage does not delete, is an error, and the backup stays: without its
//! files nobody would know any more that the data is there.

use std::collections::BTreeMap;
use std::path::Path;

use caravel_api::labels;
use caravel_api::v1::{Backup, BackupStorageLocation};
use caravel_api::v2alpha1::DataUpload;
use caravel_backup_repository::{PASSWORD_SECRET, Prepare};
use caravel_backup_store::BackupStore;
use caravel_backup_store::volume_info::{BackupVolumeInfo, VolumeMethod};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use super::snapshots::Snapshots;
use crate::context::Context;
use crate::reconcile::{Error, chain};

/// Namespace of the volumes → snapshot ids in its repository.
type InRepositories = BTreeMap<String, Vec<String>>;

/// The snapshots of a backup. Uploads that failed have none.
fn snapshots(volumes: &[BackupVolumeInfo], uploads: &[DataUpload]) -> InRepositories {
    let mut found = InRepositories::new();
    let mut add = |namespace: &str, snapshot: &str| {
        let ids = found.entry(namespace.to_owned()).or_default();
        if !snapshot.is_empty() && !ids.iter().any(|id| id == snapshot) {
            ids.push(snapshot.to_owned());
        }
    };
    for volume in volumes {
        if let Some(moved) = &volume.snapshot_data_movement_info {
            add(&volume.pvc_namespace, &moved.snapshot_handle);
        }
        if let Some(through_pod) = &volume.pvb_info {
            add(&through_pod.pod_namespace, &through_pod.snapshot_handle);
        }
    }
    // What a backup that did not end has in the cluster only.
    for upload in uploads {
        let snapshot = upload.status.as_ref().map(|status| status.snapshot_id.as_str());
        add(&upload.spec.source_namespace, snapshot.unwrap_or_default());
    }
    found.retain(|_, ids| !ids.is_empty());
    found
}

/// Native snapshots, which this version cannot delete: a Velero server made them.
fn native(volumes: &[BackupVolumeInfo]) -> Vec<String> {
    let volumes = volumes
        .iter()
        .filter(|volume| volume.backup_method == VolumeMethod::NativeSnapshot);
    let said = volumes.map(|volume| {
        format!(
            "the native snapshot of volume {} ({}/{}) is in the storage system, and this version cannot delete it: delete the backup with Velero, or the snapshot by hand and then backups/<name>/ in the bucket",
            volume.pv_name, volume.pvc_namespace, volume.pvc_name
        )
    });
    said.collect()
}

/// What a backup has outside its own folder.
pub(super) struct Data {
    /// None: the folder says nothing about volumes.
    volumes: Option<Vec<BackupVolumeInfo>>,
    /// The folder is there.
    saved: bool,
    uploads: Vec<DataUpload>,
    /// In the storage.
    snapshots: Snapshots,
    /// Why some of those cannot be deleted here.
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
        let selector = format!("{}={}", labels::BACKUP_UID, backup.uid().unwrap_or_default());
        let volumes = store.get_volume_info(&name).await?;
        let told = volumes.as_deref().unwrap_or_default();
        let snapshots = Snapshots::read(context, scratch, store, backup, saved, told).await?;
        Ok(Self {
            saved: saved.is_some(),
            uploads: context.list(&ListParams::default().labels(&selector)).await?,
            cannot_go: snapshots.cannot_go(&context.client).await?,
            snapshots,
            volumes,
        })
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
        let mut said = self.unknown_or_native();
        said.extend(self.cannot_go.iter().cloned());
        said
    }

    fn unknown_or_native(&self) -> Vec<String> {
        match &self.volumes {
            Some(volumes) => native(volumes),
            None if self.saved => vec![
                "the backup's folder has no volume info (Velero before 1.13 made it): which snapshots belong to it is not known to this version; delete the backup with Velero, or its snapshots and its folder in the bucket by hand".to_owned(),
            ],
            None => Vec::new(),
        }
    }

    /// Deletes the snapshots and the uploads; gives what went wrong.
    pub(super) async fn delete(
        &self,
        context: &Context,
        backup: &Backup,
        location: &BackupStorageLocation,
    ) -> Vec<String> {
        let mut errors = self.snapshots.delete(&context.client, backup).await;
        for (namespace, ids) in snapshots(self.volumes.as_deref().unwrap_or_default(), &self.uploads) {
            if let Err(error) = forget(context, location, &namespace, &ids).await {
                errors.push(format!(
                    "error deleting {} snapshots of namespace {namespace} from its repository: {}",
                    ids.len(),
                    chain(&*error)
                ));
            }
        }
        if !errors.is_empty() {
            return errors;
        }
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
}

async fn forget(
    context: &Context,
    location: &BackupStorageLocation,
    namespace: &str,
    ids: &[String],
) -> Result<(), Error> {
    let secret = context.api::<Secret>().get_opt(PASSWORD_SECRET).await?;
    let password = crate::backup_repository::password(secret.as_ref())?;
    let storage = context
        .locations
        .resolve(location)
        .await?
        .repository_storage(namespace)?;
    // Never made for the sake of a deletion.
    let repository = caravel_backup_repository::prepare(
        storage,
        &password,
        Prepare::ConnectOnly,
        context.environment.clone(),
    )
    .await?;
    let ids = ids.iter().map(|id| id.parse()).collect::<Result<Vec<_>, _>>()?;
    caravel_backup_repository::forget(&repository, &ids).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_native_snapshot_stops_the_deletion() {
        let volume = |method: &str, moved: bool| -> BackupVolumeInfo {
            serde_json::from_value(
                json!({"pvName": "pv1", "backupMethod": method, "snapshotDataMoved": moved}),
            )
            .unwrap()
        };
        assert_eq!(
            native(&[volume("CSISnapshot", false), volume("NativeSnapshot", false)]).len(),
            1
        );
        assert!(
            native(&[
                volume("CSISnapshot", true),
                volume("PodVolumeBackup", false),
                volume("", false)
            ])
            .is_empty()
        );
    }

    fn data(saved: bool, volumes: Option<Vec<BackupVolumeInfo>>, uploads: &[&str]) -> Data {
        let upload = |phase: &&str| -> DataUpload {
            serde_json::from_value(
                json!({"metadata": {"name": phase.to_lowercase()}, "spec": {}, "status": {"phase": phase}}),
            )
            .unwrap()
        };
        Data {
            volumes,
            saved,
            uploads: uploads.iter().map(upload).collect(),
            snapshots: Snapshots::default(),
            cannot_go: Vec::new(),
        }
    }

    #[test]
    fn a_folder_that_does_not_say_what_its_volumes_are_is_not_deleted() {
        assert!(data(true, None, &[]).stays()[0].contains("Velero before 1.13"));
        assert!(data(true, Some(Vec::new()), &[]).stays().is_empty());
        assert!(
            data(false, None, &[]).stays().is_empty(),
            "a backup that never came so far"
        );
    }

    #[test]
    fn uploads_that_are_still_at_work_are_waited_for() {
        let data = data(
            true,
            None,
            &["Completed", "InProgress", "Canceled", "Canceling", "Failed"],
        );
        assert_eq!(data.unfinished(), ["inprogress", "canceling"]);
    }

    #[test]
    fn each_snapshot_is_found_once_by_volume_info_or_upload() {
        let volumes: Vec<BackupVolumeInfo> = serde_json::from_value(json!([
            {"pvcNamespace": "shop", "snapshotDataMovementInfo": {"snapshotHandle": "a1", "dataMover": "velero",
                "uploaderType": "kopia", "operationID": "du-1", "size": 1, "Phase": "Completed"}},
            {"pvcNamespace": "shop", "skipped": true},
            {"pvcNamespace": "bank", "snapshotDataMovementInfo": {"snapshotHandle": "", "dataMover": "velero",
                "uploaderType": "kopia", "operationID": "du-2", "size": 1, "Phase": "Failed"}}]))
        .unwrap();
        let upload = |namespace: &str, id: &str| -> DataUpload {
            serde_json::from_value(json!({"metadata": {"name": "u"}, "spec": {"sourceNamespace": namespace}, "status": {"snapshotID": id}})).unwrap()
        };
        let found = snapshots(&volumes, &[upload("shop", "a1"), upload("shop", "a2")]);
        assert_eq!(
            found,
            [("shop".to_owned(), vec!["a1".to_owned(), "a2".to_owned()])].into()
        );
    }
}
