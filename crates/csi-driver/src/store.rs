//! Where images live: an XFS of its own inside one sparse file, so that a copy of an image is a reflink
//! (two milliseconds for 200 MB) and the room of all volumes together is bounded.
//!
//! ```text
//! <state dir>/store.img          the sparse file, made on first start
//! <state dir>/store/             where it is mounted
//!     volumes/<id>.img  <id>.json
//!     snapshots/<id>.img  <id>.json
//! ```
//! Where reflinks are missing ([`Store::folder`]) a copy reads the data and keeps the holes.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::command::run;
use crate::error::{Error, Result};
use crate::records::{self, Record, SnapshotRecord, VolumeRecord};
use crate::{loop_device, mounts};

/// The images and records of a state dir.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

/// Room in the store, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Of the whole store.
    pub total: u64,
    /// Not yet written to.
    pub available: u64,
}

impl Store {
    /// Mounts the store of a state dir, made with `size` bytes on first start. Needs root.
    pub fn open(state_dir: &Path, size: u64) -> Result<Self> {
        let root = mount_point(state_dir)?;
        if mounts::at(&root)?.is_none() {
            let image = state_dir.join("store.img");
            if !image.exists() {
                create(&image, size)?;
            }
            let device = match loop_device::attached(&image)?.into_iter().next() {
                Some(device) => device,
                None => loop_device::attach(&image, false)?,
            };
            // Discards give the room of deleted volumes back to the machine's own disk.
            let mounted = run(
                "mount",
                [
                    "-t".as_ref(),
                    "xfs".as_ref(),
                    "-o".as_ref(),
                    "discard,noatime".as_ref(),
                    device.path.as_os_str(),
                    root.as_os_str(),
                ],
            );
            // Detached now, the device goes when the store is unmounted, whoever does it.
            loop_device::detach(&device.path)?;
            mounted?;
        }
        Self::folder(root)
    }

    /// A store in an ordinary folder: what the unit tests use, without root.
    pub fn folder(root: PathBuf) -> Result<Self> {
        let store = Self { root };
        store.sweep::<VolumeRecord>()?;
        store.sweep::<SnapshotRecord>()?;
        Ok(store)
    }

    /// Folder of the records.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The image of a volume or snapshot.
    pub fn image<R: Record>(&self, id: &str) -> PathBuf {
        self.root.join(R::FOLDER).join(format!("{id}.img"))
    }

    /// How much fits.
    pub fn room(&self) -> Result<Room> {
        room_of(&self.root)
    }

    /// A blank image.
    pub fn create_image(&self, image: &Path, bytes: u64) -> Result<()> {
        File::create(image)
            .and_then(|f| f.set_len(bytes))
            .map_err(Error::io("create", image))
    }

    /// Copies an image as it is at one moment, if nobody writes meanwhile: by reflink, else sparsely.
    pub fn copy_image(&self, from: &Path, to: &Path) -> Result<()> {
        let source = File::open(from).map_err(Error::io("open", from))?;
        let copy = File::create(to).map_err(Error::io("create", to))?;
        match rustix::fs::ioctl_ficlone(&copy, &source) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY) => {
                copy_sparsely(source, copy).map_err(Error::io("copy", from))
            }
            Err(cause) => Err(Error::io("reflink", from)(cause.into())),
        }
    }

    /// Makes an image at least this large.
    pub fn grow_image(&self, image: &Path, bytes: u64) -> Result<()> {
        let file = File::options()
            .write(true)
            .open(image)
            .map_err(Error::io("open", image))?;
        if file.metadata().map_err(Error::io("look at", image))?.len() < bytes {
            file.set_len(bytes).map_err(Error::io("grow", image))?;
        }
        file.sync_all().map_err(Error::io("sync", image))
    }

    /// Removes what an interrupted creation or deletion left.
    fn sweep<R: Record>(&self) -> Result<()> {
        let folder = self.root.join(R::FOLDER);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        for entry in fs::read_dir(&folder)
            .map_err(Error::io("list", &folder))?
            .flatten()
        {
            let path = entry.path();
            let ending = path.extension().unwrap_or_default();
            if ending == "tmp" || (ending == "img" && !path.with_extension("json").exists()) {
                tracing::info!(path = %path.display(), "Removing what an interrupted operation left");
                records::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// `<state dir>/store`, without symbolic links, as the mount table shows it.
pub(crate) fn mount_point(state_dir: &Path) -> Result<PathBuf> {
    let path = state_dir.join("store");
    fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
    fs::canonicalize(&path).map_err(Error::io("resolve", &path))
}

/// How much fits where this folder is.
pub(crate) fn room_of(folder: &Path) -> Result<Room> {
    let found = rustix::fs::statvfs(folder).map_err(|e| Error::io("measure", folder)(e.into()))?;
    Ok(Room {
        total: found.f_blocks * found.f_frsize,
        available: found.f_bavail * found.f_frsize,
    })
}

fn create(image: &Path, size: u64) -> Result<()> {
    let temporary = image.with_extension("tmp");
    File::create(&temporary)
        .and_then(|f| f.set_len(size))
        .map_err(Error::io("create", &temporary))?;
    run(
        "mkfs.xfs",
        [
            "-q".as_ref(),
            "-f".as_ref(),
            "-m".as_ref(),
            "reflink=1".as_ref(),
            temporary.as_os_str(),
        ],
    )?;
    fs::rename(&temporary, image).map_err(Error::io("rename", &temporary))
}

fn copy_sparsely(mut source: File, mut copy: File) -> std::io::Result<()> {
    let length = source.metadata()?.len();
    copy.set_len(length)?;
    let mut at = 0;
    while at < length {
        let start = match rustix::fs::seek(&source, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(cause) => return Err(cause.into()),
        };
        at = rustix::fs::seek(&source, SeekFrom::Hole(start))?;
        source.seek(std::io::SeekFrom::Start(start))?;
        copy.seek(std::io::SeekFrom::Start(start))?;
        std::io::copy(&mut Read::by_ref(&mut source).take(at - start), &mut copy)?;
    }
    copy.flush()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_keeps_the_holes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::folder(folder.path().to_owned()).unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        store.create_image(&from, 64 << 20).unwrap();
        File::options()
            .write(true)
            .open(&from)
            .unwrap()
            .write_at(b"in the middle", 40 << 20)
            .unwrap();
        store.copy_image(&from, &to).unwrap();
        assert_eq!(fs::read(&from).unwrap(), fs::read(&to).unwrap());
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 1 << 20);
    }

    #[test]
    fn an_image_without_a_record_is_swept_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::folder(folder.path().to_owned()).unwrap();
        let image = store.image::<VolumeRecord>("vol-half");
        store.create_image(&image, 1 << 20).unwrap();
        Store::folder(folder.path().to_owned()).unwrap();
        assert!(!image.exists());
    }
}
