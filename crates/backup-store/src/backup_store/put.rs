//! Writing a finished backup so that two installs with one bucket cannot damage each other (guarantee 4).
//!
//! ```text
//! look: another UID's velero-backup.json? ── yes ──► Conflict, nothing written
//!   └► create velero-backup.json (If-None-Match; where refused: write, look again, compare UIDs)
//!        └► log ► tarball ► the other files ► where the condition was refused: look once more
//!             └ a failure takes back the tarball and velero-backup.json, if that is still ours
//! ```
//! Velero writes the log first. Here velero-backup.json is first, because it is what claims the name: before it,
//! any file would be written over another install's backup of that name.

use std::path::PathBuf;

use caravel_storage::StorageErrorKind;
use serde::Serialize;
use serde_json::Value;

use super::{BackupStore, BackupStoreError, ResourceList, Result};
use crate::{
    Body, PutMode,
    item_operations::BackupOperation,
    layout::{
        CSI_CLASSES, CSI_CONTENTS, CSI_SNAPSHOTS, ITEM_OPERATIONS, LOG, POD_VOLUME_BACKUPS, RESOURCE_LIST,
        RESULTS, VOLUME_INFO, VOLUME_SNAPSHOTS,
    },
    results::Results,
    volume_info::BackupVolumeInfo,
};

/// What a finished backup is made of; what is none is not written.
#[derive(Debug, Default)]
pub struct BackupArtifacts {
    /// The Backup object, as [`super::encode_metadata`] writes it; must have a `metadata.uid`.
    pub metadata_json: Vec<u8>,
    /// The tarball's file.
    pub contents: Option<PathBuf>,
    /// The log's file (gzip'd).
    pub log: Option<PathBuf>,
    /// PodVolumeBackup objects.
    pub pod_volume_backups: Option<Vec<Value>>,
    /// Native snapshots.
    pub volume_snapshots: Option<Vec<Value>>,
    /// Operations that go on.
    pub item_operations: Option<Vec<BackupOperation>>,
    /// Items by kind.
    pub resource_list: Option<ResourceList>,
    /// Errors and warnings.
    pub results: Option<Results>,
    /// What happened to each volume.
    pub volume_info: Option<Vec<BackupVolumeInfo>>,
    /// Snapshots that stay in the storage.
    pub csi_snapshots: Option<CsiSnapshotFiles>,
}

/// The objects of CSI snapshots that stay in the storage, as JSON. Velero wrote them until 1.13, and documents them; the
/// tarball has them, too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CsiSnapshotFiles {
    pub snapshots: Vec<Value>,
    pub contents: Vec<Value>,
    pub classes: Vec<Value>,
}

/// Whose backup has the name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Ours,
}

/// How velero-backup.json came to be ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// The store made sure that nobody else created it.
    Certain,
    /// The store refuses conditions: it was ours when we looked.
    Looked,
}

impl BackupStore {
    /// Writes a finished backup. One that is there with the same UID is ours from before a restart, and is
    /// written again.
    ///
    /// Errors: [`BackupStoreError::Conflict`] when a backup of this name belongs to another UID: nothing of it
    /// was touched. After another failure only what this call wrote is taken back.
    pub async fn put_backup(&self, name: &str, artifacts: BackupArtifacts) -> Result<()> {
        let uid = uid_of(name, &artifacts.metadata_json)?;
        let found = self.look(name, &uid).await?;
        let claim = self.claim(name, &uid, &artifacts.metadata_json, found).await;
        if let Err(conflict @ BackupStoreError::Conflict { .. }) = claim {
            return Err(conflict);
        }
        // Also when velero-backup.json cannot be written: the log may say why.
        if let Some(log) = &artifacts.log
            && let Err(error) = self.put_log(name, log).await
        {
            tracing::warn!(backup = name, %error, "the backup's log cannot be saved");
        }
        let claim = claim?;
        let written = match self.put_rest(name, &artifacts).await {
            Ok(()) if claim == Claim::Looked => self.confirm(name, &uid).await,
            written => written,
        };
        match written {
            // Not ours any more: nothing there is to be removed by us.
            Ok(()) | Err(BackupStoreError::Conflict { .. }) => written,
            Err(failure) => Err(self.take_back(name, &uid, failure).await),
        }
    }

    /// Writes velero-backup.json again with a later state of the same Backup.
    ///
    /// Errors: [`BackupStoreError::Conflict`] when the one that is there has another UID.
    pub async fn put_backup_metadata(&self, name: &str, metadata_json: &[u8]) -> Result<()> {
        let uid = uid_of(name, metadata_json)?;
        let found = self.look(name, &uid).await?;
        self.claim(name, &uid, metadata_json, found).await.map(drop)
    }

    /// Who has the name: nobody, or we.
    async fn look(&self, name: &str, uid: &str) -> Result<Found> {
        match self.uid_in_bucket(name).await? {
            None => Ok(Found::Nothing),
            Some(theirs) if theirs == uid => Ok(Found::Ours),
            Some(theirs) => Err(conflict(name, uid, theirs)),
        }
    }

    /// Makes velero-backup.json ours with this content.
    async fn claim(&self, name: &str, uid: &str, metadata: &[u8], found: Found) -> Result<Claim> {
        let key = self.layout.backup_metadata(name);
        let body = || Body::from(metadata.to_vec());
        if found == Found::Ours {
            self.store.put_object(&key, body(), PutMode::Replace).await?;
            return Ok(Claim::Certain);
        }
        match self.store.put_object(&key, body(), PutMode::Create).await {
            Ok(()) => Ok(Claim::Certain),
            Err(error) if error.kind() == StorageErrorKind::AlreadyExists => {
                // Somebody was quicker: another install, or an earlier try of ours.
                self.confirm(name, uid).await?;
                Ok(Claim::Certain)
            }
            Err(error) if error.kind() == StorageErrorKind::Unsupported => {
                self.store.put_object(&key, body(), PutMode::Replace).await?;
                self.confirm(name, uid).await?;
                Ok(Claim::Looked)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lists and reads velero-backup.json again: it must be there and ours.
    async fn confirm(&self, name: &str, uid: &str) -> Result<()> {
        let key = self.layout.backup_metadata(name);
        let listed = self
            .store
            .list_objects(&self.layout.backup(name))
            .await?
            .contains(&key);
        match self.uid_in_bucket(name).await? {
            Some(theirs) if theirs == uid && listed => Ok(()),
            Some(theirs) if theirs == uid => {
                let cause = "it was written but is not listed; the store is not consistent".to_owned();
                Err(BackupStoreError::Unreadable { key, cause })
            }
            Some(theirs) => Err(conflict(name, uid, theirs)),
            None => {
                let cause = "it was written and is gone; somebody deleted it".to_owned();
                Err(BackupStoreError::Unreadable { key, cause })
            }
        }
    }

    /// The UID of the Backup that holds the name; none only if the store says that there is no object.
    async fn uid_in_bucket(&self, name: &str) -> Result<Option<String>> {
        let key = self.layout.backup_metadata(name);
        match self.read(&key).await {
            Ok(text) => match uid_of(name, &text) {
                Ok(uid) => Ok(Some(uid)),
                // Whose it is cannot be known: it is not touched.
                Err(_) => Ok(Some("(unreadable)".to_owned())),
            },
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The tarball, then everything else.
    async fn put_rest(&self, name: &str, artifacts: &BackupArtifacts) -> Result<()> {
        if let Some(contents) = &artifacts.contents {
            self.put_backup_contents(name, contents).await?;
        }
        self.put_optional(name, POD_VOLUME_BACKUPS, &artifacts.pod_volume_backups)
            .await?;
        self.put_optional(name, VOLUME_SNAPSHOTS, &artifacts.volume_snapshots)
            .await?;
        self.put_optional(name, ITEM_OPERATIONS, &artifacts.item_operations)
            .await?;
        self.put_optional(name, RESOURCE_LIST, &artifacts.resource_list)
            .await?;
        self.put_optional(name, RESULTS, &artifacts.results).await?;
        self.put_optional(name, VOLUME_INFO, &artifacts.volume_info)
            .await?;
        match &artifacts.csi_snapshots {
            Some(files) => self.put_csi_snapshots(name, files).await,
            None => Ok(()),
        }
    }

    /// Replaces the files of the snapshots that stay in the storage.
    ///
    /// Errors: [`BackupStoreError::Storage`]; some of the files may be written then.
    pub async fn put_csi_snapshots(&self, name: &str, files: &CsiSnapshotFiles) -> Result<()> {
        for (rest, objects) in [
            (CSI_SNAPSHOTS, &files.snapshots),
            (CSI_CONTENTS, &files.contents),
            (CSI_CLASSES, &files.classes),
        ] {
            let key = self.layout.backup_file(name, rest);
            self.write_json(&key, objects).await?;
        }
        Ok(())
    }

    async fn put_optional<T: Serialize>(&self, name: &str, rest: &str, value: &Option<T>) -> Result<()> {
        match value {
            Some(value) => self.write_json(&self.layout.backup_file(name, rest), value).await,
            None => Ok(()),
        }
    }

    /// After a failed upload: without its parts the backup must not look like one, but the log stays to be read.
    async fn take_back(&self, name: &str, uid: &str, failure: BackupStoreError) -> BackupStoreError {
        let removed = async {
            // Only what this UID wrote: somebody may have taken the name since.
            if self.uid_in_bucket(name).await?.as_deref() != Some(uid) {
                return Ok(());
            }
            let log = self.layout.backup_file(name, LOG);
            self.store
                .delete_object(&self.layout.backup_metadata(name))
                .await?;
            for key in self.store.list_objects(&self.layout.backup(name)).await? {
                if key != log {
                    self.store.delete_object(&key).await?;
                }
            }
            Ok(())
        };
        match removed.await {
            Ok(()) => failure,
            Err(cleanup) => BackupStoreError::Leftovers {
                failure: Box::new(failure),
                cleanup: Box::new(cleanup),
            },
        }
    }
}

fn conflict(name: &str, ours: &str, theirs: String) -> BackupStoreError {
    BackupStoreError::Conflict {
        name: name.to_owned(),
        ours: ours.to_owned(),
        theirs,
    }
}

/// `metadata.uid` of a Backup object.
fn uid_of(name: &str, metadata: &[u8]) -> Result<String> {
    let bad = |cause: String| BackupStoreError::BadMetadata {
        name: name.to_owned(),
        cause,
    };
    let object: Value = serde_json::from_slice(metadata).map_err(|e| bad(e.to_string()))?;
    match object["metadata"]["uid"].as_str() {
        Some(uid) if !uid.is_empty() => Ok(uid.to_owned()),
        _ => Err(bad("it has no metadata.uid".to_owned())),
    }
}
