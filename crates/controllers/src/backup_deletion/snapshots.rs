//! The snapshots that a backup has in the storage: which they are, and deleting them (velero-behaviour.md 3.9, 4.5).
//!
//! Which they are is told by the tarball, by the documented files, by the volume info, and by what is left in the cluster of
//! a backup that did not end. A content of the tarball counts only with this backup's label: another one's snapshot, which an
//! item action brought along, is not this backup's to delete.
//!
//! Where the objects of a backup's snapshots are in the cluster ([`crate::snapshot_objects`]), a snapshot goes by its own object,
//! and no object stays behind; but which snapshots a backup has, no such object says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_backup_store::BackupStore;
use caravel_backup_store::volume_info::{BackupVolumeInfo, VolumeMethod};
use caravel_csi::{
    VolumeSnapshot, VolumeSnapshotContent, VolumeSnapshotContentStatus, driver, in_storage, snapshot,
};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::tarball::{Own, Tarball};
use crate::context::Context;
use crate::reconcile::{Error, chain};
use crate::snapshot_objects;

/// Storages accept a deletion in seconds. What takes longer is said, and done again by the next request: no other deletion
/// waits behind it for ever.
const GONE_WITHIN: Duration = Duration::from_secs(120);

/// Deletions that the storage is asked for at once.
const AT_ONCE: usize = 8;

/// The snapshots of a backup in the storage; each once, by driver and handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshots {
    contents: BTreeMap<(String, String), VolumeSnapshotContent>,
    /// Of contents that say no handle.
    unknown: BTreeSet<String>,
    /// Taken, and bound to nothing: they only have an object.
    unbound: Vec<(String, String)>,
    /// The contents that were kept in this cluster, or synced into it, and that nobody deletes.
    objects: Vec<VolumeSnapshotContent>,
}

impl Snapshots {
    /// Reads all that is known. `saved`: the Backup as its folder has it, if it has a folder.
    pub(super) async fn read(
        context: &Context,
        store: &BackupStore,
        tarball: &mut Tarball<'_>,
        backup: &Backup,
        saved: Option<&Backup>,
        volumes: &[BackupVolumeInfo],
    ) -> Result<Self, Error> {
        let mut found = Self::default();
        found.add_left_in_cluster(&context.client, backup).await?;
        if let Some(saved) = saved {
            found
                .add_saved(store, tarball, &backup.name_any(), saved, volumes)
                .await?;
        }
        found.objects =
            snapshot_objects::contents(&context.client, &snapshot_objects::uids(backup, saved)).await?;
        found.go_by_objects();
        Ok(found)
    }

    /// What the backup's folder tells.
    async fn add_saved(
        &mut self,
        store: &BackupStore,
        tarball: &mut Tarball<'_>,
        name: &str,
        saved: &Backup,
        volumes: &[BackupVolumeInfo],
    ) -> Result<(), Error> {
        let resources = store.get_resource_list(name).await?;
        let may_have = resources.is_none_or(|resources| {
            let is_content = |kind: &String| kind.ends_with("/VolumeSnapshotContent");
            resources.keys().any(is_content)
        });
        let own = Own::of(saved);
        let in_files = store.get_csi_snapshots(name).await?.contents;
        let in_tarball = if may_have || volumes.iter().any(is_in_the_storage) {
            tarball.objects().await?.contents.clone()
        } else {
            Vec::new()
        };
        for content in in_tarball.into_iter().chain(in_files) {
            let content: VolumeSnapshotContent = serde_json::from_value(content)?;
            if own.is(&content) {
                self.add(content);
            }
        }
        for volume in volumes.iter().filter(|volume| is_in_the_storage(volume)) {
            self.add_told(volume);
        }
        Ok(())
    }

    /// A snapshot that has an object of the backup's own in the cluster goes by that: not by one that a restore made of it,
    /// and not by a temporary one.
    fn go_by_objects(&mut self) {
        for object in &self.objects {
            let Some(handle) = object.handle() else { continue };
            let key = (object.spec.driver.clone(), handle.to_owned());
            if let Some(known) = self.contents.get_mut(&key) {
                known.clone_from(object);
            }
        }
    }

    /// What a backup that did not end has left: nobody else would look for it.
    async fn add_left_in_cluster(&mut self, client: &Client, backup: &Backup) -> Result<(), Error> {
        let Some(uid) = backup.uid().filter(|uid| !uid.is_empty()) else {
            return Ok(());
        };
        let of_backup = ListParams::default().labels(&format!("{}={uid}", labels::BACKUP_UID));
        let snapshots: Api<VolumeSnapshot> = Api::all(client.clone());
        let left = match snapshots.list(&of_backup).await {
            Ok(left) => left.items,
            // A cluster without snapshots.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let contents: Api<VolumeSnapshotContent> = Api::all(client.clone());
        for one in left {
            let content = match snapshot::bound_content(&one) {
                Some(content) => contents.get_opt(content).await?,
                None => None,
            };
            match content {
                Some(content) if content.handle().is_some() => self.add(content),
                _ => self
                    .unbound
                    .push((one.namespace().unwrap_or_default(), one.name_any())),
            }
        }
        Ok(())
    }

    fn add(&mut self, content: VolumeSnapshotContent) {
        match content.handle().map(str::to_owned) {
            Some(handle) => {
                let key = (content.spec.driver.clone(), handle);
                self.contents.entry(key).or_insert(content);
            }
            None => {
                self.unknown.insert(content.name_any());
            }
        }
    }

    /// By the volume info alone, where nothing else says it.
    fn add_told(&mut self, volume: &BackupVolumeInfo) {
        let Some(csi) = volume.csi_snapshot_info.as_ref() else {
            return;
        };
        if csi.snapshot_handle.is_empty() || csi.driver.is_empty() {
            return;
        }
        let mut content = VolumeSnapshotContent::default();
        content.metadata.name = Some(csi.vsc_name.clone());
        content.spec.driver.clone_from(&csi.driver);
        content.status = Some(VolumeSnapshotContentStatus {
            snapshot_handle: Some(csi.snapshot_handle.clone()),
            ..VolumeSnapshotContentStatus::default()
        });
        self.add(content);
    }

    /// What could not be deleted here, in sentences; asked before anything is.
    pub(super) async fn cannot_go(&self, client: &Client) -> Result<Vec<String>, Error> {
        let mut said: Vec<String> = self
            .unknown
            .iter()
            .map(|content| {
                format!(
                    "VolumeSnapshotContent {content} of the backup has no snapshot handle: which snapshot of the storage it was is not known; delete that by hand, and then backups/<name>/ in the bucket"
                )
            })
            .collect();
        let drivers: BTreeSet<&String> = self.contents.keys().map(|(driver, _)| driver).collect();
        for name in drivers {
            if driver::find(client, name).await?.is_none() {
                said.push(format!(
                    "the backup has snapshots in the storage of driver {name}, which is not in this cluster: delete the backup in a cluster that has the driver"
                ));
            }
        }
        Ok(said)
    }

    /// Deletes all of them, and sees that they are gone; gives what went wrong.
    pub(super) async fn delete(&self, client: &Client, backup: &Backup) -> Vec<String> {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut work = JoinSet::new();
        for ((driver, handle), content) in &self.contents {
            let temporary = temporary_name(backup, driver, handle);
            let (client, content, places) = (client.clone(), content.clone(), Arc::clone(&places));
            let deletion = async move {
                // The semaphore is never closed.
                let _place = places.acquire_owned().await;
                in_storage::delete(&client, &content, &temporary, GONE_WITHIN).await
            };
            work.spawn(deletion.in_current_span());
        }
        let mut errors = Vec::new();
        while let Some(ended) = work.join_next().await {
            let why = match ended {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => chain(&error),
                Err(join) => format!("its deletion ended abnormally: {join}"),
            };
            errors.push(format!("error deleting a snapshot: {why}"));
        }
        for (namespace, name) in &self.unbound {
            let deleted = snapshot::delete_with_content(client, namespace, name).await;
            errors.extend(deleted.err().map(|error| chain(&error)));
        }
        if errors.is_empty() {
            for object in &self.objects {
                let removed = self.remove_object(client, object).await;
                errors.extend(removed.err().map(|error| chain(&*error)));
            }
        }
        errors.sort();
        errors
    }

    /// An object that the deletion of its snapshot has left: of one that went by another object, or of one that is not known
    /// to be the backup's, which stays in the storage.
    async fn remove_object(&self, client: &Client, object: &VolumeSnapshotContent) -> Result<(), Error> {
        let handle = object.handle().unwrap_or_default().to_owned();
        if self.contents.contains_key(&(object.spec.driver.clone(), handle)) {
            return Ok(in_storage::delete_objects(client, object).await?);
        }
        snapshot_objects::release_content(client, object).await
    }
}

/// The same for each try at the same snapshot, so that a server that died goes on.
fn temporary_name(backup: &Backup, driver: &str, handle: &str) -> String {
    let of = format!("{}/{driver}/{handle}", backup.uid().unwrap_or_default());
    let digits = labels::name_digest(&of);
    format!("velero-delete-{}", digits.get(..40).unwrap_or(&digits))
}

fn is_in_the_storage(volume: &BackupVolumeInfo) -> bool {
    volume.backup_method == VolumeMethod::CsiSnapshot && !volume.snapshot_data_moved && !volume.skipped
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Deletes a backup whose tarball has this content; gives the errors.
    pub(in super::super) async fn deleted(
        client: &Client,
        backup: &Backup,
        content: VolumeSnapshotContent,
    ) -> Vec<String> {
        let mut found = Snapshots::default();
        if Own::of(backup).is(&content) {
            found.add(content);
        }
        found.delete(client, backup).await
    }

    fn content(labels: Value, handle: &str) -> VolumeSnapshotContent {
        serde_json::from_value(
            json!({"metadata": {"name": format!("content-{handle}"), "labels": labels},
            "spec": {"driver": "disk.example.com"}, "status": {"snapshotHandle": handle}}),
        )
        .unwrap()
    }

    #[test]
    fn each_snapshot_is_known_once_whoever_tells_of_it() {
        let mut found = Snapshots::default();
        found.add(content(json!({}), "snap-1"));
        let told: Vec<BackupVolumeInfo> = serde_json::from_value(json!([
            {"backupMethod": "CSISnapshot", "csiSnapshotInfo": {"snapshotHandle": "snap-1", "driver": "disk.example.com", "vscName": "x"}},
            {"backupMethod": "CSISnapshot", "csiSnapshotInfo": {"snapshotHandle": "snap-2", "driver": "disk.example.com", "vscName": "y"}},
            {"backupMethod": "CSISnapshot", "csiSnapshotInfo": {"snapshotHandle": "", "driver": "disk.example.com", "vscName": "z"}}]))
        .unwrap();
        told.iter().for_each(|volume| found.add_told(volume));
        let names: Vec<String> = found.contents.values().map(ResourceExt::name_any).collect();
        assert_eq!(names, ["content-snap-1", "y"]);
    }

    #[test]
    fn a_moved_volume_has_nothing_in_the_storage() {
        let volume = |method: &str, moved: bool| -> BackupVolumeInfo {
            serde_json::from_value(json!({"backupMethod": method, "snapshotDataMoved": moved})).unwrap()
        };
        assert!(is_in_the_storage(&volume("CSISnapshot", false)));
        assert!(!is_in_the_storage(&volume("CSISnapshot", true)));
        assert!(!is_in_the_storage(&volume("PodVolumeBackup", false)));
    }

    #[test]
    fn a_later_try_uses_the_same_temporary_content_and_no_other_snapshot_does() {
        let backup = Backup::new("b1", Default::default());
        let name = temporary_name(&backup, "d", "1");
        assert_eq!(name, temporary_name(&backup, "d", "1"));
        assert_ne!(name, temporary_name(&backup, "d", "2"));
        assert!(name.len() < 63);
    }
}
