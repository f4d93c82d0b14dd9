//! What `lstat` says of one name, in the words of a snapshot.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use caravel_repository::{DirectoryEntry, EntryType, FileMode, LONGEST_PATH, ObjectId};
use jiff::Timestamp;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{Result, UploaderError};

/// Holes of less than this in all are not worth a word.
const SPARSE_FROM_BYTES: u64 = 1 << 20;

/// One name of a directory, before its content is known.
pub(crate) struct Found {
    /// As the kernel has it.
    pub name: CString,
    /// What `lstat` said.
    pub stat: Stat,
}

impl Found {
    /// Looks at `name` in `directory` without following a link.
    pub fn look(directory: impl AsFd, name: &CStr, path_of_directory: &str) -> Result<Self> {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| {
            UploaderError::entry(&join(path_of_directory, name.to_bytes()), "look at", error)
        })?;
        Ok(Self {
            name: name.to_owned(),
            stat,
        })
    }

    /// What it is; `None` for what no snapshot can hold.
    pub fn kind(&self) -> Option<EntryType> {
        match self.file_type() {
            FileType::Directory => Some(EntryType::Directory),
            FileType::RegularFile => Some(EntryType::File),
            FileType::Symlink => Some(EntryType::Symlink),
            _ => None,
        }
    }

    /// The user's word for what no snapshot can hold.
    pub fn word(&self) -> &'static str {
        match self.file_type() {
            FileType::Fifo => "fifo",
            FileType::Socket => "socket",
            FileType::CharacterDevice => "character device",
            FileType::BlockDevice => "block device",
            _ => "unknown kind of file",
        }
    }

    /// The name and what `lstat` tells, to become an entry when the content is known.
    pub fn into_described(self, kind: EntryType) -> Described {
        Described {
            name: self.name,
            kind,
            stat: self.stat,
            extended_attributes: None,
            hard_link: None,
        }
    }

    fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// A name whose content is not known yet.
#[derive(Clone)]
pub(crate) struct Described {
    /// As the kernel has it.
    pub name: CString,
    /// What it is.
    pub kind: EntryType,
    /// What `lstat` said.
    pub stat: Stat,
    /// By name; only where they are kept.
    pub extended_attributes: Option<BTreeMap<String, Vec<u8>>>,
    /// The same for all names of one file; only where that is kept.
    pub hard_link: Option<Box<str>>,
}

impl Described {
    /// A directory that was opened.
    pub fn directory(name: CString, stat: Stat) -> Self {
        Found { name, stat }.into_described(EntryType::Directory)
    }

    /// The entry, now that its content is stored as `object` with `size` bytes.
    pub fn entry(&self, object: ObjectId, size: u64) -> DirectoryEntry {
        let mut entry = DirectoryEntry::new(self.kind, self.name.to_bytes(), object);
        entry.mode = FileMode::from_unix(self.stat.st_mode);
        entry.size = size;
        entry.mtime = self.mtime();
        entry.uid = self.stat.st_uid;
        entry.gid = self.stat.st_gid;
        entry.allocated = self.allocated();
        if let Some(attributes) = &self.extended_attributes {
            entry.set_extended_attributes(attributes);
        }
        entry.hard_link = self.hard_link.clone();
        entry
    }

    /// Bytes of a file as `lstat` saw it.
    pub fn size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    /// When its content last changed.
    pub fn mtime(&self) -> Timestamp {
        Timestamp::new(
            self.stat.st_mtime,
            i32::try_from(self.stat.st_mtime_nsec).unwrap_or(0),
        )
        .unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Whether a file is as the parent snapshot has it, so that its bytes need not be read (kopia-format.md 10.6).
    pub fn is_unchanged_since(&self, before: &DirectoryEntry) -> bool {
        before.kind == self.kind
            && before.mtime == self.mtime()
            && before.mode == FileMode::from_unix(self.stat.st_mode)
            && before.size == self.size()
            && (before.uid, before.gid) == (self.stat.st_uid, self.stat.st_gid)
    }

    /// What a sparse file occupies: said only when it is clearly less than the size.
    fn allocated(&self) -> Option<u64> {
        let occupied = u64::try_from(self.stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512);
        let sparse = self.kind == EntryType::File && occupied + SPARSE_FROM_BYTES <= self.size();
        sparse.then_some(occupied)
    }
}

/// The path below the root, for messages.
pub(crate) fn join(directory: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    if directory.is_empty() {
        name.into_owned()
    } else {
        format!("{directory}/{name}")
    }
}

/// An error for a directory that lies too deep. The kernel says the same of one path that is too long.
pub(crate) fn follow(path: &str) -> Result<()> {
    match path.len() > LONGEST_PATH {
        true => Err(UploaderError::entry(path, "go down into", Errno::NAMETOOLONG)),
        false => Ok(()),
    }
}

/// Opens a name of `directory` without following links.
pub(crate) fn open(directory: impl AsFd, name: &CStr, flags: OFlags, path: &str) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    #[cfg(test)]
    opened::note(name).map_err(|error| UploaderError::entry(path, "open", error))?;
    rustix::fs::openat(directory, name, flags, Mode::empty())
        .map_err(|error| UploaderError::entry(path, "open", error))
}

/// What was opened, for tests that count reads, and names that cannot be, or only the first time: root may read
/// everything.
#[cfg(test)]
pub(crate) mod opened {
    use std::ffi::CStr;

    use parking_lot::Mutex;
    use rustix::io::Errno;

    static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());

    /// How often a name was opened in this process; tests use names of their own.
    pub fn count(name: &str) -> usize {
        NAMES.lock().iter().filter(|opened| *opened == name).count()
    }

    pub fn note(name: &CStr) -> Result<(), Errno> {
        let name = name.to_string_lossy().into_owned();
        let fails = match name.starts_with("unreadable later") {
            true => count(&name) > 0,
            false => name.starts_with("unreadable"),
        };
        NAMES.lock().push(name);
        if fails { Err(Errno::IO) } else { Ok(()) }
    }
}
