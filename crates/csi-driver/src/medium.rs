//! What volumes are made of: images on loop devices ([`Store`], needs root), or folders ([`crate::folder::Folders`]).
//! The gRPC services decide on requests and know only this.

use std::fmt::Debug;
use std::path::Path;

use crate::controller::signed;
use crate::csi::VolumeUsage;
use crate::csi::volume_usage::Unit;
use crate::error::{Error, Result};
use crate::records::{SnapshotRecord, VolumeRecord};
use crate::request::Access;
use crate::store::{Room, Store};
use crate::writers::Writers;
use crate::{mounts, stage, volume};

/// Everything that is done to volumes and snapshots. All may block.
pub(crate) trait Medium: Send + Sync + Debug {
    /// Folder of the records.
    fn root(&self) -> &Path;
    /// How much fits.
    fn room(&self) -> Result<Room>;
    /// Whose writes a copy of this volume waits for; `None` where the medium itself makes a point in time.
    fn writers(&self, volume: &str) -> Option<Writers>;

    /// Whether a volume in use has to be told of its new size ([`Self::grow`]).
    fn grows_on_node(&self) -> bool;

    /// Makes the volume of a record: blank, or as a copy.
    fn create(&self, record: &VolumeRecord) -> Result<()>;
    /// Deletes a volume; a missing one is fine, one in use is refused.
    fn delete(&self, volume: &str) -> Result<()>;
    /// Makes a volume larger.
    fn expand(&self, record: VolumeRecord, bytes: u64) -> Result<VolumeRecord>;
    /// Takes a snapshot, or finds the one that a repeated request took.
    fn snapshot(&self, name: &str, volume: &str) -> Result<SnapshotRecord>;
    /// Deletes a snapshot; a missing one is fine.
    fn delete_snapshot(&self, snapshot: &str) -> Result<()>;

    /// Makes a volume usable on this node.
    fn stage(&self, volume: &VolumeRecord, staging: &Path, access: &Access) -> Result<()>;
    /// Takes a volume off this node.
    fn unstage(&self, volume: &str, staging: &Path) -> Result<()>;
    /// Shows a volume at a pod's path.
    fn publish(&self, volume: &VolumeRecord, asked: &Publication<'_>) -> Result<()>;
    /// Takes a volume off a pod's path, and removes the path.
    fn unpublish(&self, volume: &str, target: &Path) -> Result<()>;
    /// Lets a volume in use follow its new size.
    fn grow(&self, volume: &VolumeRecord, path: &Path) -> Result<()>;
    /// How full a published volume is.
    fn usage(&self, volume: &VolumeRecord, path: &Path) -> Result<Vec<VolumeUsage>>;
}

/// What a publish request asks for.
#[derive(Debug)]
pub(crate) struct Publication<'a> {
    /// Empty in a request that names none.
    pub staging: &'a Path,
    pub target: &'a Path,
    pub access: &'a Access,
    pub read_only: bool,
}

/// One line of a volume's statistics.
pub(crate) fn usage(total: u64, free: u64, available: u64, unit: Unit) -> VolumeUsage {
    VolumeUsage {
        available: signed(available),
        total: signed(total),
        used: signed(total.saturating_sub(free)),
        unit: unit.into(),
    }
}

impl Medium for Store {
    fn root(&self) -> &Path {
        Store::root(self)
    }

    fn room(&self) -> Result<Room> {
        Store::room(self)
    }

    fn writers(&self, _: &str) -> Option<Writers> {
        None
    }

    fn grows_on_node(&self) -> bool {
        true
    }

    fn create(&self, record: &VolumeRecord) -> Result<()> {
        volume::create(self, record)
    }

    fn delete(&self, id: &str) -> Result<()> {
        volume::delete(self, id)
    }

    fn expand(&self, record: VolumeRecord, bytes: u64) -> Result<VolumeRecord> {
        volume::expand(self, record, bytes)
    }

    fn snapshot(&self, name: &str, source: &str) -> Result<SnapshotRecord> {
        volume::snapshot(self, name, source)
    }

    fn delete_snapshot(&self, id: &str) -> Result<()> {
        volume::delete_snapshot(self, id)
    }

    fn stage(&self, volume: &VolumeRecord, staging: &Path, access: &Access) -> Result<()> {
        stage::stage(self, volume, staging, access)
    }

    fn unstage(&self, id: &str, staging: &Path) -> Result<()> {
        stage::unstage(self, id, staging)
    }

    fn publish(&self, volume: &VolumeRecord, asked: &Publication<'_>) -> Result<()> {
        if asked.staging.as_os_str().is_empty() {
            return Err(Error::FailedPrecondition(format!(
                "volume {}: the request has no staging target path",
                volume.id
            )));
        }
        stage::publish(
            self,
            volume,
            asked.staging,
            asked.target,
            asked.access,
            asked.read_only,
        )
    }

    fn unpublish(&self, id: &str, target: &Path) -> Result<()> {
        stage::unpublish(self, id, target)
    }

    fn grow(&self, volume: &VolumeRecord, path: &Path) -> Result<()> {
        published(path)?;
        stage::grow(self, volume)
    }

    fn usage(&self, volume: &VolumeRecord, path: &Path) -> Result<Vec<VolumeUsage>> {
        published(path)?;
        if !path.is_dir() {
            return Ok(vec![VolumeUsage {
                total: signed(volume.capacity_bytes),
                unit: Unit::Bytes.into(),
                ..VolumeUsage::default()
            }]);
        }
        let found = rustix::fs::statvfs(path).map_err(|e| Error::io("measure", path)(e.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(vec![
            usage(
                bytes(found.f_blocks),
                bytes(found.f_bfree),
                bytes(found.f_bavail),
                Unit::Bytes,
            ),
            usage(found.f_files, found.f_ffree, found.f_favail, Unit::Inodes),
        ])
    }
}

fn published(path: &Path) -> Result<()> {
    mounts::at(path)?.map(drop).ok_or_else(|| Error::NotFound {
        what: "published path",
        id: path.display().to_string(),
    })
}
