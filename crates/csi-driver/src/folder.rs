//! Volumes that are folders: needs no root, serves the sandbox. A snapshot is a copy ([`copy`]), taken while no writer
//! is in the middle of a change ([`crate::writers`]); the capacity is a record, nothing enforces it.
//!
//! ```text
//! <state dir>/volumes/<id>/       the volume's content; a block volume is the sparse file `disk` in it
//!             volumes/<id>.json   its record
//!             snapshots/<id>/     a copy
//!             snapshots/<id>.json
//! ```
//! Publishing puts a symbolic link to the content at the pod's path; that a publication is read-only is recorded, and
//! left to the program to honour. Nothing is synced to disk: the sandbox's volumes need not outlive a power cut.
//!
//! A volume from a snapshot begins as hard links to the snapshot's files, and gets files of its own when it is first
//! published for writing: a data mover that only reads costs no second copy.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::csi::VolumeUsage;
use crate::csi::volume_usage::Unit;
use crate::error::{Error, Result};
use crate::medium::{self, Medium, Publication};
use crate::records::{self, Record, SnapshotRecord, Source, VolumeRecord};
use crate::request::Access;
use crate::store::{Room, room_of};
use crate::writers::Writers;

mod copy;

/// What the driver takes for the time of a snapshot.
pub type Now = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Ending of a folder that takes another's place when it is whole.
const UNFINISHED: &str = "new";

/// The file of a block volume.
const DISK: &str = "disk";

/// The folders and records of a state dir.
pub(crate) struct Folders {
    root: PathBuf,
    now: Now,
    /// Target path to volume, and whether it was published read-only. A new process begins without publications.
    published: Mutex<BTreeMap<PathBuf, (String, bool)>>,
}

impl fmt::Debug for Folders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folders")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Folders {
    /// Opens a state dir, and removes what an interrupted operation left in it.
    pub fn open(root: &Path, now: Now) -> Result<Self> {
        fs::create_dir_all(root).map_err(Error::io("create", root))?;
        let root = fs::canonicalize(root).map_err(Error::io("resolve", root))?;
        let folders = Self {
            root,
            now,
            published: Mutex::default(),
        };
        folders.sweep::<VolumeRecord>()?;
        folders.sweep::<SnapshotRecord>()?;
        Ok(folders)
    }

    /// Where a volume's or snapshot's content is.
    fn content<R: Record>(&self, id: &str) -> PathBuf {
        self.root.join(R::FOLDER).join(id)
    }

    /// What a pod sees of a volume.
    fn shown(&self, volume: &VolumeRecord) -> PathBuf {
        let folder = self.content::<VolumeRecord>(&volume.id);
        if volume.block { folder.join(DISK) } else { folder }
    }

    fn sweep<R: Record>(&self) -> Result<()> {
        let folder = self.root.join(R::FOLDER);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        spread(&folder);
        for entry in fs::read_dir(&folder)
            .map_err(Error::io("list", &folder))?
            .flatten()
        {
            let path = entry.path();
            let is_folder = entry.file_type().is_ok_and(|is| is.is_dir());
            let is_whole = path.extension().is_none() && path.with_extension("json").exists();
            if is_folder && !is_whole {
                tracing::info!(path = %path.display(), "Removing what an interrupted operation left");
                copy::remove_tree(&path)?;
            } else if path.extension().is_some_and(|ending| ending == "tmp") {
                records::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn publications(&self) -> MutexGuard<'_, BTreeMap<PathBuf, (String, bool)>> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse_if_published(&self, volume: &str) -> Result<()> {
        let published = self.publications();
        match published.iter().find(|(_, (id, _))| id == volume) {
            None => Ok(()),
            Some((place, _)) => Err(Error::FailedPrecondition(format!(
                "volume {volume} is in use at {}; unpublish it first",
                place.display()
            ))),
        }
    }

    /// Gives a volume files of its own. Who reads it already finds the same in the new ones.
    fn unlink(&self, volume: &VolumeRecord) -> Result<()> {
        let folder = self.content::<VolumeRecord>(&volume.id);
        let own = folder.with_extension(UNFINISHED);
        copy::remove_tree(&own)?;
        copy::tree(&folder, &own)?;
        let exchanged = rustix::fs::renameat_with(
            rustix::fs::CWD,
            &own,
            rustix::fs::CWD,
            &folder,
            rustix::fs::RenameFlags::EXCHANGE,
        );
        exchanged.map_err(|e| Error::io("take over", &own)(e.into()))?;
        let record = VolumeRecord {
            linked: false,
            ..volume.clone()
        };
        records::put_unsynced(&self.root, &record)?;
        copy::remove_tree(&own)
    }

    /// A disk file at least this large.
    fn grow_disk(&self, volume: &VolumeRecord, bytes: u64) -> Result<()> {
        let disk = self.shown(volume);
        let grown = fs::File::options()
            .create(true)
            .append(true)
            .open(&disk)
            .and_then(|file| {
                if file.metadata()?.len() < bytes {
                    file.set_len(bytes)?;
                }
                Ok(())
            });
        grown.map_err(Error::io("grow", &disk))
    }
}

impl Medium for Folders {
    fn root(&self) -> &Path {
        &self.root
    }

    fn room(&self) -> Result<Room> {
        room_of(&self.root)
    }

    fn writers(&self, volume: &str) -> Option<Writers> {
        // A volume that is not there has no writers; the operation itself says so.
        let record = records::find::<VolumeRecord>(&self.root, volume).ok().flatten()?;
        Writers::of(&self.content::<VolumeRecord>(&record.id)).ok()
    }

    fn grows_on_node(&self) -> bool {
        false
    }

    fn create(&self, record: &VolumeRecord) -> Result<()> {
        let folder = self.content::<VolumeRecord>(&record.id);
        // Without a record whatever is there is a creation that failed.
        copy::remove_tree(&folder)?;
        match &record.source {
            None => fs::create_dir(&folder).map_err(Error::io("create", &folder))?,
            Some(Source::Snapshot(id)) if !record.block => {
                copy::linked(&self.content::<SnapshotRecord>(id), &folder)?;
                let record = VolumeRecord {
                    linked: true,
                    ..record.clone()
                };
                return records::put_unsynced(&self.root, &record);
            }
            Some(Source::Snapshot(id)) => copy::tree(&self.content::<SnapshotRecord>(id), &folder)?,
            Some(Source::Volume(id)) => copy::tree(&self.content::<VolumeRecord>(id), &folder)?,
        }
        if record.block {
            self.grow_disk(record, record.capacity_bytes)?;
        }
        records::put_unsynced(&self.root, record)
    }

    fn delete(&self, id: &str) -> Result<()> {
        let Some(record) = records::find::<VolumeRecord>(&self.root, id)? else {
            return Ok(());
        };
        self.refuse_if_published(&record.id)?;
        records::remove_unsynced::<VolumeRecord>(&self.root, &record.id)?;
        copy::remove_tree(&self.content::<VolumeRecord>(&record.id))
    }

    fn expand(&self, record: VolumeRecord, bytes: u64) -> Result<VolumeRecord> {
        if bytes <= record.capacity_bytes {
            return Ok(record);
        }
        let grown = VolumeRecord {
            capacity_bytes: bytes,
            ..record
        };
        if grown.block {
            self.grow_disk(&grown, bytes)?;
        }
        records::put_unsynced(&self.root, &grown)?;
        Ok(grown)
    }

    fn snapshot(&self, name: &str, volume: &str) -> Result<SnapshotRecord> {
        let id = records::id_for::<SnapshotRecord>(name);
        if let Some(taken) = records::find::<SnapshotRecord>(&self.root, &id)? {
            return taken.if_of(volume);
        }
        let source: VolumeRecord = records::get(&self.root, volume)?;
        let folder = self.content::<SnapshotRecord>(&id);
        copy::remove_tree(&folder)?;
        let created = (self.now)();
        copy::tree(&self.content::<VolumeRecord>(&source.id), &folder)?;
        let record = SnapshotRecord {
            id,
            name: name.to_owned(),
            source_volume_id: source.id,
            size_bytes: source.capacity_bytes,
            created,
        };
        records::put_unsynced(&self.root, &record)?;
        Ok(record)
    }

    fn delete_snapshot(&self, id: &str) -> Result<()> {
        if let Some(record) = records::find::<SnapshotRecord>(&self.root, id)? {
            records::remove_unsynced::<SnapshotRecord>(&self.root, &record.id)?;
            copy::remove_tree(&self.content::<SnapshotRecord>(&record.id))?;
        }
        Ok(())
    }

    fn stage(&self, _: &VolumeRecord, _: &Path, _: &Access) -> Result<()> {
        Ok(())
    }

    fn unstage(&self, _: &str, _: &Path) -> Result<()> {
        Ok(())
    }

    fn publish(&self, volume: &VolumeRecord, asked: &Publication<'_>) -> Result<()> {
        let read_only = asked.read_only || asked.access.read_only;
        let (content, target) = (self.shown(volume), asked.target);
        let mut published = self.publications();
        if let Some((id, before)) = published.get(target) {
            let differs = if id != &volume.id {
                "holds another volume"
            } else if *before != read_only {
                "has another read-only setting"
            } else {
                return Ok(());
            };
            return Err(Error::AlreadyExists(format!(
                "{} {differs}; volume {} cannot be published there",
                target.display(),
                volume.id
            )));
        }
        let other = published.iter().find(|(_, (id, _))| id == &volume.id);
        if let (true, Some((place, _))) = (asked.access.single_writer, other) {
            return Err(Error::FailedPrecondition(format!(
                "volume {} is for one writer (ReadWriteOncePod) and published at {} already",
                volume.id,
                place.display()
            )));
        }
        if volume.linked && !read_only {
            self.unlink(volume)?;
        }
        link(&content, target)?;
        published.insert(target.to_owned(), (volume.id.clone(), read_only));
        Ok(())
    }

    fn unpublish(&self, _: &str, target: &Path) -> Result<()> {
        remove_link(target)?;
        self.publications().remove(target);
        Ok(())
    }

    fn grow(&self, volume: &VolumeRecord, path: &Path) -> Result<()> {
        self.usage(volume, path).map(drop)
    }

    fn usage(&self, volume: &VolumeRecord, path: &Path) -> Result<Vec<VolumeUsage>> {
        let is_published = self
            .publications()
            .get(path)
            .is_some_and(|(id, _)| id == &volume.id);
        if !is_published {
            return Err(Error::NotFound {
                what: "published path",
                id: path.display().to_string(),
            });
        }
        let folder = self.content::<VolumeRecord>(&volume.id);
        let (used, files) = copy::measure(&folder).map_err(Error::io("measure", &folder))?;
        let free = volume.capacity_bytes.saturating_sub(used);
        let room = self.room()?.available;
        Ok(vec![
            medium::usage(used + free, free, free.min(room), Unit::Bytes),
            medium::usage(files, 0, 0, Unit::Inodes),
        ])
    }
}

/// Asks the file system to put the folders below this one far from each other (`chattr +T`), as volumes are on
/// machines; one that cannot is as good. ext4 without a journal steps over every inode that was freed in its group in
/// the last minute, once more for each new file (Linux 6.18, `fs/ext4/ialloc.c`, `recently_deleted`): a volume that is
/// filled beside one just deleted would take ten times as long.
fn spread(folder: &Path) {
    let asked = fs::File::open(folder).and_then(|folder| {
        let flags = rustix::fs::ioctl_getflags(&folder)?;
        Ok(rustix::fs::ioctl_setflags(
            &folder,
            flags | rustix::fs::IFlags::TOPDIR,
        )?)
    });
    if let Err(cause) = asked {
        tracing::debug!(folder = %folder.display(), %cause, "The file system takes no advice where to put folders");
    }
}

/// A symbolic link to the content in place of whatever empty folder or older link is at `target`.
fn link(content: &Path, target: &Path) -> Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    remove_link(target)?;
    std::os::unix::fs::symlink(content, target).map_err(Error::io("publish at", target))
}

fn remove_link(target: &Path) -> Result<()> {
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() => fs::remove_dir(target).map_err(Error::io("remove", target)),
        Ok(_) => fs::remove_file(target).map_err(Error::io("remove", target)),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
