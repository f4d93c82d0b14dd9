//! What `lstat` says of one name, in the words of a snapshot.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use caravel_repository::snapshot::{DirectoryEntry, EntryKind, FileMode};
use jiff::Timestamp;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use crate::error::{Result, UploaderError};

/// One name of a directory, before its content is known.
pub(crate) struct Found {
    /// As the kernel has it.
    pub name: CString,
    /// As the snapshot stores it: bytes that are not UTF-8 become U+FFFD, as in Kopia.
    pub stored_name: String,
    /// What `lstat` said.
    pub stat: Stat,
}

impl Found {
    /// Looks at `name` in `directory` without following a link.
    pub fn look(directory: impl AsFd, name: &CStr, path_of_directory: &str) -> Result<Self> {
        let stored_name = name.to_string_lossy().into_owned();
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| UploaderError::entry(&join(path_of_directory, &stored_name), "look at", error))?;
        Ok(Self { name: name.to_owned(), stored_name, stat })
    }

    /// What it is; `None` for what no snapshot can hold.
    pub fn kind(&self) -> Option<EntryKind> {
        match self.file_type() {
            FileType::Directory => Some(EntryKind::Directory),
            FileType::RegularFile => Some(EntryKind::File),
            FileType::Symlink => Some(EntryKind::Symlink),
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

    /// The entry as far as `lstat` tells it; object and summary come with the content.
    pub fn entry(&self, kind: EntryKind) -> DirectoryEntry {
        describe(self.stored_name.clone(), kind, &self.stat)
    }

    fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// A name and what `stat` says of it as a snapshot's entry without content.
pub(crate) fn describe(name: String, kind: EntryKind, stat: &Stat) -> DirectoryEntry {
    DirectoryEntry {
        name,
        kind,
        mode: FileMode::from_unix(stat.st_mode),
        size: if kind == EntryKind::Directory { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) },
        mtime: Timestamp::new(stat.st_mtime, i32::try_from(stat.st_mtime_nsec).unwrap_or(0))
            .unwrap_or(Timestamp::UNIX_EPOCH),
        uid: stat.st_uid,
        gid: stat.st_gid,
        object: None,
        summary: None,
    }
}

/// Whether a file is as the parent snapshot has it, so that its bytes need not be read (kopia-format.md 10.6).
pub(crate) fn unchanged(now: &DirectoryEntry, before: &DirectoryEntry) -> bool {
    before.object.is_some()
        && now.kind == before.kind
        && now.mtime == before.mtime
        && now.mode == before.mode
        && now.size == before.size
        && (now.uid, now.gid) == (before.uid, before.gid)
}

/// The path below the root, for messages.
pub(crate) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// Opens a name of `directory` without following links.
pub(crate) fn open(directory: impl AsFd, name: &CStr, flags: OFlags, path: &str) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::openat(directory, name, flags, Mode::empty())
        .map_err(|error| UploaderError::entry(path, "open", error))
}
