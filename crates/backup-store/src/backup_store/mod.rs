//! The backups and restores of one location: which objects they are made of, in which order they are written,
//! and what must be true before one is touched (velero-behaviour.md 2.1; upstream
//! `pkg/persistence/object_store.go`; guarantee 4).
//!
//! Neighbours: `put.rs` writes a finished backup; `layout.rs` has the keys; `encoding.rs` gzip and JSON.

mod encoding;
mod error;
mod put;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, io::Write as _, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use caravel_api::{phase::DownloadTargetKind, v1::Backup};
use caravel_storage::StorageError;
use futures::TryStreamExt as _;
use serde::{Serialize, de::DeserializeOwned};

pub use encoding::encode_metadata;
pub use error::BackupStoreError;
pub use put::{BackupArtifacts, CsiSnapshotFiles};

use crate::{
    Body, Layout, ObjectStore, PutMode, SignedUrl,
    item_operations::{BackupOperation, RestoreOperation},
    layout::{
        CSI_CLASSES, CSI_CONTENTS, CSI_SNAPSHOTS, ITEM_OPERATIONS, LEGAL_DIRECTORIES, LOG,
        POD_VOLUME_BACKUPS, RESOURCE_LIST, RESULTS, VOLUME_INFO, VOLUME_SNAPSHOTS,
    },
    results::Results,
    volume_info::{BackupVolumeInfo, RestoreVolumeInfo},
};

/// `apps/v1/Deployment` (core: `v1/Pod`) to its sorted items (`shop/web`, or `web`).
pub type ResourceList = BTreeMap<String, Vec<String>>;

type Result<T, E = BackupStoreError> = std::result::Result<T, E>;

/// What a DownloadRequest asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadTarget {
    /// Which file.
    pub kind: DownloadTargetKind,
    /// Of which backup or restore.
    pub name: String,
}

/// What a finished restore leaves in the bucket; what is none is not written.
#[derive(Debug, Default)]
pub struct RestoreArtifacts {
    /// The gzip'd log file.
    pub log: Option<std::path::PathBuf>,
    /// Errors and warnings.
    pub results: Option<Results>,
    /// `apps/v1/Deployment` to `shop/web(created)`.
    pub resource_list: Option<ResourceList>,
    /// Operations that go on.
    pub item_operations: Option<Vec<RestoreOperation>>,
    /// What happened to each volume.
    pub volume_info: Option<Vec<RestoreVolumeInfo>>,
}

/// The backups and restores of one location.
#[derive(Clone, Debug)]
pub struct BackupStore {
    store: Arc<dyn ObjectStore>,
    layout: Layout,
}

impl BackupStore {
    /// The backups below `prefix` of a bucket.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: impl AsRef<str>) -> Self {
        Self {
            store,
            layout: Layout::new(prefix.as_ref()),
        }
    }

    /// The keys.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Reads the bucket's first level: it must be readable, and hold only folders that belong there.
    ///
    /// Errors: [`BackupStoreError::Storage`], [`BackupStoreError::InvalidDirectories`].
    pub async fn check(&self) -> Result<()> {
        let root = self.layout.root();
        let found = self.store.list_common_prefixes(root).await?;
        let names = found
            .iter()
            .map(|folder| folder.strip_prefix(root).unwrap_or(folder).trim_end_matches('/'));
        let invalid: Vec<_> = names
            .filter(|name| !LEGAL_DIRECTORIES.contains(name))
            .map(str::to_owned)
            .collect();
        if invalid.is_empty() {
            Ok(())
        } else {
            Err(BackupStoreError::InvalidDirectories(invalid))
        }
    }

    /// The names of all backups: of every folder below `backups/` that has a `velero-backup.json`, sorted.
    ///
    /// Errors: [`BackupStoreError::Storage`]; never a part of the list.
    pub async fn list_backups(&self) -> Result<Vec<String>> {
        let root = self.layout.backups();
        let mut names = Vec::new();
        for folder in self.store.list_common_prefixes(&root).await? {
            let name = folder
                .strip_prefix(&root)
                .unwrap_or(&folder)
                .trim_end_matches('/')
                .to_owned();
            if self.backup_exists(&name).await? {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Whether the backup's `velero-backup.json` is there.
    ///
    /// Errors: [`BackupStoreError::Storage`]; a refusal or timeout is one, and not "no".
    pub async fn backup_exists(&self, name: &str) -> Result<bool> {
        Ok(self
            .store
            .object_exists(&self.layout.backup_metadata(name))
            .await?)
    }

    /// The Backup object as it was saved.
    ///
    /// Errors: [`BackupStoreError::is_not_found`] where there is no such backup.
    pub async fn get_backup_metadata(&self, name: &str) -> Result<Backup> {
        let key = self.layout.backup_metadata(name);
        let text = self.read(&key).await?;
        serde_json::from_slice(&text).map_err(|source| BackupStoreError::Unreadable {
            key,
            cause: source.to_string(),
        })
    }

    /// Writes the tarball to the file `to`, which is created or emptied.
    ///
    /// Errors: [`BackupStoreError::is_not_found`] where there is none.
    pub async fn get_backup_contents(&self, name: &str, to: &Path) -> Result<()> {
        let key = self.layout.backup_contents(name);
        let failed = |source| BackupStoreError::File {
            path: to.to_owned(),
            source,
        };
        let mut contents = self.store.get_object(&key).await?;
        // Written here, not on another thread: a part is small and goes into the page cache, and a simulation repeats only
        // what happens in one thread. Not synced: the file is needed as long as this process.
        let mut file = std::fs::File::create(to).map_err(failed)?;
        while let Some(part) = contents.try_next().await? {
            file.write_all(&part).map_err(failed)?;
        }
        Ok(())
    }

    /// Whether a backup that was saved whole has any other file than its `velero-backup.json`: when it has none, a deletion
    /// ([`Self::delete_backup`]) is at its end, here or in another cluster.
    pub async fn has_more_than_metadata(&self, name: &str) -> Result<bool> {
        let metadata = self.layout.backup_metadata(name);
        let keys = self.store.list_objects(&self.layout.backup(name)).await?;
        Ok(keys.iter().any(|key| *key != metadata))
    }

    /// Deletes all files of a backup, `velero-backup.json` last: until then the backup is seen, and can be deleted again. The
    /// tarball goes just before it, for whoever deletes the backup at the same time: it tells what data the backup has.
    ///
    /// Errors: [`BackupStoreError::Storage`]; some files may be gone then.
    pub async fn delete_backup(&self, name: &str) -> Result<()> {
        let (contents, metadata) = (
            self.layout.backup_contents(name),
            self.layout.backup_metadata(name),
        );
        let mut keys = self.store.list_objects(&self.layout.backup(name)).await?;
        keys.retain(|key| *key != metadata);
        // Stable: the tarball behind all others.
        keys.sort_by_key(|key| *key == contents);
        for key in keys.iter().chain([&metadata]) {
            self.store.delete_object(key).await?;
        }
        Ok(())
    }

    /// Deletes all files of a restore.
    ///
    /// Errors: [`BackupStoreError::Storage`]; some files may be gone then.
    pub async fn delete_restore(&self, name: &str) -> Result<()> {
        for key in self.store.list_objects(&self.layout.restore(name)).await? {
            self.store.delete_object(&key).await?;
        }
        Ok(())
    }

    /// The backup's operations; empty where none were saved.
    pub async fn get_item_operations(&self, name: &str) -> Result<Vec<BackupOperation>> {
        self.read_list(self.layout.backup_file(name, ITEM_OPERATIONS))
            .await
    }

    /// What happened to each volume; none where the backup has no such file (before Velero 1.13).
    pub async fn get_volume_info(&self, name: &str) -> Result<Option<Vec<BackupVolumeInfo>>> {
        self.read_json(&self.layout.backup_file(name, VOLUME_INFO)).await
    }

    /// The backup's errors and warnings; none where they were not saved.
    pub async fn get_results(&self, name: &str) -> Result<Option<Results>> {
        self.read_json(&self.layout.backup_file(name, RESULTS)).await
    }

    /// The backup's items by kind; none where they were not saved.
    pub async fn get_resource_list(&self, name: &str) -> Result<Option<ResourceList>> {
        self.read_json(&self.layout.backup_file(name, RESOURCE_LIST))
            .await
    }

    /// The PodVolumeBackups that were part of the backup, as JSON objects.
    pub async fn get_pod_volume_backups(&self, name: &str) -> Result<Vec<serde_json::Value>> {
        self.read_list(self.layout.backup_file(name, POD_VOLUME_BACKUPS))
            .await
    }

    /// The native snapshots of the backup, as Velero's JSON objects (`{"spec": …, "status": …}`).
    pub async fn get_native_snapshots(&self, name: &str) -> Result<Vec<serde_json::Value>> {
        self.read_list(self.layout.backup_file(name, VOLUME_SNAPSHOTS))
            .await
    }

    /// The objects of the snapshots that stay in the storage; empty where there are none, or Velero 1.14 or later made the
    /// backup.
    pub async fn get_csi_snapshots(&self, name: &str) -> Result<CsiSnapshotFiles> {
        Ok(CsiSnapshotFiles {
            snapshots: self
                .read_list(self.layout.backup_file(name, CSI_SNAPSHOTS))
                .await?,
            contents: self
                .read_list(self.layout.backup_file(name, CSI_CONTENTS))
                .await?,
            classes: self.read_list(self.layout.backup_file(name, CSI_CLASSES)).await?,
        })
    }

    /// Replaces the backup's operations.
    pub async fn put_item_operations(&self, name: &str, operations: &[BackupOperation]) -> Result<()> {
        self.write_json(&self.layout.backup_file(name, ITEM_OPERATIONS), operations)
            .await
    }

    /// Replaces what happened to each volume.
    pub async fn put_volume_info(&self, name: &str, volumes: &[BackupVolumeInfo]) -> Result<()> {
        self.write_json(&self.layout.backup_file(name, VOLUME_INFO), volumes)
            .await
    }

    /// Replaces the backup's errors and warnings.
    pub async fn put_results(&self, name: &str, results: &Results) -> Result<()> {
        self.write_json(&self.layout.backup_file(name, RESULTS), results)
            .await
    }

    /// Replaces the backup's items by kind.
    pub async fn put_resource_list(&self, name: &str, resources: &ResourceList) -> Result<()> {
        self.write_json(&self.layout.backup_file(name, RESOURCE_LIST), resources)
            .await
    }

    /// Puts the log (a gzip'd file).
    pub async fn put_log(&self, name: &str, file: &Path) -> Result<()> {
        self.put_file(&self.layout.backup_file(name, LOG), file).await
    }

    /// Replaces the tarball by this file.
    pub async fn put_backup_contents(&self, name: &str, file: &Path) -> Result<()> {
        self.put_file(&self.layout.backup_contents(name), file).await
    }

    /// Puts what a finished restore leaves, in Velero's order, going on after a failure.
    ///
    /// Errors: the first failure.
    pub async fn put_restore(&self, name: &str, artifacts: &RestoreArtifacts) -> Result<()> {
        let mut first = Ok(());
        if let Some(log) = &artifacts.log {
            first = first.and(self.put_restore_log(name, log).await);
        }
        if let Some(results) = &artifacts.results {
            first = first.and(self.put_restore_results(name, results).await);
        }
        if let Some(resources) = &artifacts.resource_list {
            first = first.and(self.put_restore_resource_list(name, resources).await);
        }
        if let Some(operations) = &artifacts.item_operations {
            first = first.and(self.put_restore_item_operations(name, operations).await);
        }
        if let Some(volumes) = &artifacts.volume_info {
            first = first.and(self.put_restore_volume_info(name, volumes).await);
        }
        first
    }

    /// Puts a restore's log (a gzip'd file).
    pub async fn put_restore_log(&self, name: &str, file: &Path) -> Result<()> {
        self.put_file(&self.layout.restore_file(name, LOG), file).await
    }

    /// Replaces a restore's errors and warnings.
    pub async fn put_restore_results(&self, name: &str, results: &Results) -> Result<()> {
        self.write_json(&self.layout.restore_file(name, RESULTS), results)
            .await
    }

    /// Replaces a restore's items by kind.
    pub async fn put_restore_resource_list(&self, name: &str, resources: &ResourceList) -> Result<()> {
        self.write_json(&self.layout.restore_file(name, RESOURCE_LIST), resources)
            .await
    }

    /// Replaces a restore's operations.
    pub async fn put_restore_item_operations(
        &self,
        name: &str,
        operations: &[RestoreOperation],
    ) -> Result<()> {
        self.write_json(&self.layout.restore_file(name, ITEM_OPERATIONS), operations)
            .await
    }

    /// Replaces what a restore did to each volume.
    pub async fn put_restore_volume_info(&self, name: &str, volumes: &[RestoreVolumeInfo]) -> Result<()> {
        self.write_json(&self.layout.restore_volume_info(name), volumes)
            .await
    }

    /// A restore's errors and warnings; none where they were not saved.
    pub async fn get_restore_results(&self, name: &str) -> Result<Option<Results>> {
        self.read_json(&self.layout.restore_file(name, RESULTS)).await
    }

    /// A restore's items by kind; none where they were not saved.
    pub async fn get_restore_resource_list(&self, name: &str) -> Result<Option<ResourceList>> {
        self.read_json(&self.layout.restore_file(name, RESOURCE_LIST))
            .await
    }

    /// A restore's operations; empty where none were saved.
    pub async fn get_restore_item_operations(&self, name: &str) -> Result<Vec<RestoreOperation>> {
        self.read_list(self.layout.restore_file(name, ITEM_OPERATIONS))
            .await
    }

    /// What a restore did to each volume; none where it was not saved.
    pub async fn get_restore_volume_info(&self, name: &str) -> Result<Option<Vec<RestoreVolumeInfo>>> {
        self.read_json(&self.layout.restore_volume_info(name)).await
    }

    /// An address that the file can be read from for `ttl` (Velero: 10 minutes). Velero does not look whether
    /// the file is there, and neither does this.
    ///
    /// Errors: [`BackupStoreError::UnknownTarget`], [`BackupStoreError::Storage`].
    pub async fn signed_url(&self, target: &DownloadTarget, ttl: Duration) -> Result<SignedUrl> {
        let key = self.layout.download_target(&target.kind, &target.name);
        let key = key.ok_or_else(|| BackupStoreError::UnknownTarget(target.kind.to_string()))?;
        Ok(self.store.create_signed_url(&key, ttl).await?)
    }

    async fn put_file(&self, key: &str, file: &Path) -> Result<()> {
        Ok(self
            .store
            .put_object(key, Body::File(file.to_owned()), PutMode::Replace)
            .await?)
    }

    async fn write_json<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<()> {
        let data = encoding::gzip_json(value)?;
        Ok(self.store.put_object(key, data.into(), PutMode::Replace).await?)
    }

    async fn read(&self, key: &str) -> Result<Bytes, StorageError> {
        let parts: Vec<Bytes> = self.store.get_object(key).await?.try_collect().await?;
        Ok(match <[Bytes; 1]>::try_from(parts) {
            Ok([whole]) => whole,
            Err(parts) => parts.concat().into(),
        })
    }

    async fn read_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        match self.read(key).await {
            Ok(data) => encoding::parse_gzip(key, &data).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A list; a missing file and Go's `null` are empty ones.
    async fn read_list<T: DeserializeOwned>(&self, key: String) -> Result<Vec<T>> {
        Ok(self
            .read_json::<Option<Vec<T>>>(&key)
            .await?
            .flatten()
            .unwrap_or_default())
    }
}
