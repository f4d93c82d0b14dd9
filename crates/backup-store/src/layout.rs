//! Which object holds what (velero-behaviour.md 2.1; upstream `pkg/persistence/object_store_layout.go`).

use caravel_api::phase::DownloadTargetKind;

/// The first-level folders that may be in a location.
pub(crate) const LEGAL_DIRECTORIES: [&str; 6] =
    ["backups", "restores", "restic", "metadata", "plugins", "kopia"];

/// The keys of one location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: String,
}

impl Layout {
    /// The layout below a location's prefix (`""`, `velero` or `a/b/`).
    pub fn new(prefix: &str) -> Self {
        let root = if prefix.is_empty() || prefix.ends_with('/') {
            prefix.to_owned()
        } else {
            format!("{prefix}/")
        };
        Self { root }
    }

    /// What every key starts with: empty, or ending in `/`.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Below which the backups are folders.
    pub fn backups(&self) -> String {
        format!("{}backups/", self.root)
    }

    /// A backup's folder.
    pub fn backup(&self, name: &str) -> String {
        format!("{}backups/{name}/", self.root)
    }

    /// A restore's folder.
    pub fn restore(&self, name: &str) -> String {
        format!("{}restores/{name}/", self.root)
    }

    /// The Backup object; its existence is the backup's existence.
    pub fn backup_metadata(&self, name: &str) -> String {
        format!("{}velero-backup.json", self.backup(name))
    }

    /// The tarball.
    pub fn backup_contents(&self, name: &str) -> String {
        self.backup_file(name, ".tar.gz")
    }

    /// A file whose name starts with the backup's.
    pub(crate) fn backup_file(&self, name: &str, rest: &str) -> String {
        format!("{}{name}{rest}", self.backup(name))
    }

    /// A file whose name starts with `restore-` and the restore's.
    pub(crate) fn restore_file(&self, name: &str, rest: &str) -> String {
        format!("{}restore-{name}{rest}", self.restore(name))
    }

    /// The restore's volume infos, the one file without the `restore-` in front.
    pub(crate) fn restore_volume_info(&self, name: &str) -> String {
        format!("{}{name}{VOLUME_INFO}", self.restore(name))
    }

    /// The object that a DownloadRequest asks for; none for a kind that this version does not know.
    pub fn download_target(&self, kind: &DownloadTargetKind, name: &str) -> Option<String> {
        use DownloadTargetKind as Kind;
        Some(match kind {
            Kind::BackupLog => self.backup_file(name, LOG),
            Kind::BackupContents => self.backup_contents(name),
            Kind::BackupVolumeSnapshots => self.backup_file(name, VOLUME_SNAPSHOTS),
            Kind::BackupItemOperations => self.backup_file(name, ITEM_OPERATIONS),
            Kind::BackupResourceList => self.backup_file(name, RESOURCE_LIST),
            Kind::BackupResults => self.backup_file(name, RESULTS),
            Kind::CsiBackupVolumeSnapshots => self.backup_file(name, CSI_SNAPSHOTS),
            Kind::CsiBackupVolumeSnapshotContents => self.backup_file(name, CSI_CONTENTS),
            Kind::BackupVolumeInfos => self.backup_file(name, VOLUME_INFO),
            Kind::RestoreLog => self.restore_file(name, LOG),
            Kind::RestoreResults => self.restore_file(name, RESULTS),
            Kind::RestoreResourceList => self.restore_file(name, RESOURCE_LIST),
            Kind::RestoreItemOperations => self.restore_file(name, ITEM_OPERATIONS),
            Kind::RestoreVolumeInfo => self.restore_volume_info(name),
            _ => return None,
        })
    }
}

pub(crate) const LOG: &str = "-logs.gz";
pub(crate) const RESULTS: &str = "-results.gz";
pub(crate) const RESOURCE_LIST: &str = "-resource-list.json.gz";
pub(crate) const ITEM_OPERATIONS: &str = "-itemoperations.json.gz";
pub(crate) const VOLUME_INFO: &str = "-volumeinfo.json.gz";
pub(crate) const VOLUME_SNAPSHOTS: &str = "-volumesnapshots.json.gz";
pub(crate) const CSI_SNAPSHOTS: &str = "-csi-volumesnapshots.json.gz";
pub(crate) const CSI_CONTENTS: &str = "-csi-volumesnapshotcontents.json.gz";
pub(crate) const CSI_CLASSES: &str = "-csi-volumesnapshotclasses.json.gz";
pub(crate) const POD_VOLUME_BACKUPS: &str = "-podvolumebackups.json.gz";
