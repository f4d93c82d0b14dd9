//! A copy of a folder with everything in it: contents with their holes, modes, times, symbolic and hard links, and
//! owners as far as this user may set them. Where the filesystem can (FICLONE) a file's blocks are shared until one
//! of the two is written to; else the kernel copies (`copy_file_range`), on as many threads as there are processors.
//!
//! [`linked`] makes the folders anew and hard links of the files: many times quicker, for who will not write.
//!
//! Nobody should write meanwhile ([`crate::writers`]). A file that vanishes under the copy shows that somebody does:
//! the copy begins anew, and after the third time it is an error.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, SeekFrom, Timespec, Timestamps};
use rustix::io::Errno;

use crate::error::{Error, Result};

const ATTEMPTS: usize = 3;
/// Below this many files a second thread costs more than it brings.
const FILES_PER_THREAD: usize = 16;

/// What becomes of the files.
type Contents = fn(&Path, &Path, &[(PathBuf, Metadata)]) -> Result<()>;

/// Copies the folder `from` to `to`, which must not exist. On an error nothing is left there.
pub fn tree(from: &Path, to: &Path) -> Result<()> {
    repeatedly(from, to, contents)
}

/// As [`tree`], but the files of the copy are those of the original: neither side may write to them.
pub fn linked(from: &Path, to: &Path) -> Result<()> {
    repeatedly(from, to, links)
}

fn repeatedly(from: &Path, to: &Path, contents: Contents) -> Result<()> {
    let mut attempt = 1;
    loop {
        let Err(cause) = once(from, to, contents) else {
            return Ok(());
        };
        remove_tree(to)?;
        let vanished = matches!(&cause, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound);
        if !vanished || attempt == ATTEMPTS || !from.exists() {
            return Err(cause);
        }
        tracing::debug!(%cause, "A file vanished while its volume was copied; the copy begins anew");
        attempt += 1;
    }
}

/// Removes a folder with everything in it, also where its folders are read-only; a missing one is fine.
pub fn remove_tree(folder: &Path) -> Result<()> {
    let first = fs::remove_dir_all(folder);
    let again = match first {
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
            open_folders(folder).and_then(|()| fs::remove_dir_all(folder))
        }
        other => other,
    };
    match again {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", folder)(cause)),
        _ => Ok(()),
    }
}

/// Bytes on disk and number of files.
pub fn measure(folder: &Path) -> io::Result<(u64, u64)> {
    let (mut bytes, mut files) = (0, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let Ok(found) = entry.metadata() else { continue };
            files += 1;
            bytes += found.blocks() * 512;
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok((bytes, files))
}

/// What the walk found and left to do.
#[derive(Default)]
struct Walk {
    /// Parents before children.
    folders: Vec<(PathBuf, Metadata)>,
    files: Vec<(PathBuf, Metadata)>,
    /// A further name of a file, and the first one.
    links: Vec<(PathBuf, PathBuf)>,
    first_names: BTreeMap<(u64, u64), PathBuf>,
    opened: Opened,
}

/// Folders that their owner could not read, made readable for the copy.
#[derive(Default)]
struct Opened(Vec<(PathBuf, u32)>);

impl Drop for Opened {
    fn drop(&mut self) {
        for (folder, mode) in self.0.iter().rev() {
            if let Err(cause) = fs::set_permissions(folder, Permissions::from_mode(*mode)) {
                tracing::warn!(folder = %folder.display(), %cause, "A folder keeps the mode it was copied with");
            }
        }
    }
}

fn once(from: &Path, to: &Path, contents: Contents) -> Result<()> {
    let mut walk = Walk::default();
    let found = fs::symlink_metadata(from).map_err(Error::io("look at", from))?;
    walk.folder(from, to, PathBuf::new(), found)?;
    let mut next = 0;
    while let Some((folder, _)) = walk.folders.get(next) {
        let folder = folder.clone();
        walk.entries(from, to, &folder)?;
        next += 1;
    }
    contents(from, to, &walk.files)?;
    for (name, first) in &walk.links {
        let link = to.join(name);
        fs::hard_link(to.join(first), &link).map_err(Error::io("link", &link))?;
    }
    for (folder, found) in walk.folders.iter().rev() {
        let copy = to.join(folder);
        File::open(&copy)
            .and_then(|file| finish(&file, found))
            .map_err(Error::io("finish", &copy))?;
    }
    Ok(())
}

impl Walk {
    fn folder(&mut self, from: &Path, to: &Path, name: PathBuf, found: Metadata) -> Result<()> {
        let (source, copy) = (from.join(&name), to.join(&name));
        let mode = found.mode() & 0o7777;
        if mode & 0o500 != 0o500 && !rustix::process::geteuid().is_root() {
            fs::set_permissions(&source, Permissions::from_mode(mode | 0o700))
                .map_err(Error::io("open", &source))?;
            self.opened.0.push((source, mode));
        }
        fs::create_dir(&copy).map_err(Error::io("create", &copy))?;
        self.folders.push((name, found));
        Ok(())
    }

    fn entries(&mut self, from: &Path, to: &Path, folder: &Path) -> Result<()> {
        let source = from.join(folder);
        for entry in fs::read_dir(&source).map_err(Error::io("list", &source))? {
            let entry = entry.map_err(Error::io("list", &source))?;
            let name = folder.join(entry.file_name());
            let found = entry.metadata().map_err(Error::io("look at", &entry.path()))?;
            let kind = found.file_type();
            if kind.is_dir() {
                self.folder(from, to, name, found)?;
            } else if kind.is_file() {
                self.file(name, found);
            } else {
                let copy = to.join(&name);
                special(&entry.path(), &copy, &found).map_err(Error::io("copy", &entry.path()))?;
            }
        }
        Ok(())
    }

    fn file(&mut self, name: PathBuf, found: Metadata) {
        if found.nlink() > 1 {
            let inode = (found.dev(), found.ino());
            if let Some(first) = self.first_names.get(&inode) {
                self.links.push((name, first.clone()));
                return;
            }
            self.first_names.insert(inode, name.clone());
        }
        self.files.push((name, found));
    }
}

/// Symbolic links, pipes, sockets and devices.
fn special(source: &Path, copy: &Path, found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    if kind.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(source)?, copy)?;
    } else {
        let kind = if kind.is_fifo() {
            FileType::Fifo
        } else if kind.is_socket() {
            FileType::Socket
        } else if kind.is_block_device() {
            FileType::BlockDevice
        } else {
            FileType::CharacterDevice
        };
        rustix::fs::mknodat(CWD, copy, kind, Mode::from_raw_mode(0o600), found.rdev())?;
    }
    if is_of_others(found) {
        as_far_as_allowed(std::os::unix::fs::lchown(
            copy,
            Some(found.uid()),
            Some(found.gid()),
        ))?;
    }
    if !found.is_symlink() {
        fs::set_permissions(copy, Permissions::from_mode(found.mode() & 0o7777))?;
    }
    let at = |secs: i64, nanos: i64| Timespec {
        tv_sec: secs,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: at(found.atime(), found.atime_nsec()),
        last_modification: at(found.mtime(), found.mtime_nsec()),
    };
    Ok(rustix::fs::utimensat(
        CWD,
        copy,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn links(from: &Path, to: &Path, files: &[(PathBuf, Metadata)]) -> Result<()> {
    for (name, _) in files {
        let link = to.join(name);
        fs::hard_link(from.join(name), &link).map_err(Error::io("link", &link))?;
    }
    Ok(())
}

/// Copies all files, several at a time.
fn contents(from: &Path, to: &Path, files: &[(PathBuf, Metadata)]) -> Result<()> {
    let (next, clones) = (AtomicUsize::new(0), AtomicBool::new(true));
    let work = || -> Result<()> {
        while let Some((name, found)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let source = from.join(name);
            file(&source, &to.join(name), found, &clones).map_err(Error::io("copy", &source))?;
        }
        Ok(())
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.min(files.len() / FILES_PER_THREAD);
    if threads < 2 {
        return work();
    }
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = started.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| {
                Err(Error::io("copy", from)(io::Error::other(
                    "a copying thread panicked",
                )))
            })
        });
        // All are joined, then the first error counts.
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

fn file(source: &Path, copy: &Path, found: &Metadata, clones: &AtomicBool) -> io::Result<()> {
    let reader = open(source, found)?;
    let writer = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(copy)?;
    data(&reader, &writer, found, clones)?;
    finish(&writer, found)
}

/// Opens a file to read, also one that its owner has made unreadable.
fn open(path: &Path, found: &Metadata) -> io::Result<File> {
    let try_open = || {
        // The open flags of Linux fit an i32.
        File::options()
            .read(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
    };
    match try_open() {
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
            let mode = found.mode() & 0o7777;
            fs::set_permissions(path, Permissions::from_mode(mode | 0o400))?;
            let opened = try_open();
            fs::set_permissions(path, Permissions::from_mode(mode))?;
            opened
        }
        other => other,
    }
}

fn data(reader: &File, writer: &File, found: &Metadata, clones: &AtomicBool) -> io::Result<()> {
    let length = found.len();
    if length == 0 {
        return Ok(());
    }
    if clones.load(Ordering::Relaxed) {
        if rustix::fs::ioctl_ficlone(writer, reader).is_ok() {
            return Ok(());
        }
        clones.store(false, Ordering::Relaxed);
    }
    if found.blocks() * 512 >= length {
        return range(reader, writer, 0, length);
    }
    writer.set_len(length)?;
    let mut at = 0;
    while at < length {
        let start = match rustix::fs::seek(reader, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(cause) => return Err(cause.into()),
        };
        at = rustix::fs::seek(reader, SeekFrom::Hole(start))?.min(length);
        range(reader, writer, start, at)?;
    }
    Ok(())
}

/// Copies the bytes from `at` to `end`; a file that has become shorter ends the copy.
fn range(reader: &File, writer: &File, mut at: u64, end: u64) -> io::Result<()> {
    while at < end {
        let (mut from, mut to) = (at, at);
        let most = usize::try_from(end - at).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(reader, Some(&mut from), writer, Some(&mut to), most) {
            Ok(0) => return Ok(()),
            Ok(copied) => at += copied as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return read_and_write(reader, writer, at, end);
            }
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok(())
}

fn read_and_write(reader: &File, writer: &File, mut at: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    while at < end {
        let most = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let read = reader.read_at(&mut buffer[..most], at)?;
        if read == 0 {
            break;
        }
        writer.write_all_at(&buffer[..read], at)?;
        at += read as u64;
    }
    Ok(())
}

/// Owner, mode and times; in this order, since a new owner clears mode bits.
fn finish(copy: &File, found: &Metadata) -> io::Result<()> {
    if is_of_others(found) {
        as_far_as_allowed(std::os::unix::fs::fchown(
            copy,
            Some(found.uid()),
            Some(found.gid()),
        ))?;
    }
    copy.set_permissions(Permissions::from_mode(found.mode() & 0o7777))?;
    copy.set_times(
        FileTimes::new()
            .set_accessed(found.accessed()?)
            .set_modified(found.modified()?),
    )
}

fn is_of_others(found: &Metadata) -> bool {
    found.uid() != rustix::process::geteuid().as_raw() || found.gid() != rustix::process::getegid().as_raw()
}

fn as_far_as_allowed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

fn open_folders(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
