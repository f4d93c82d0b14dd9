//! A block device ↔ a snapshot of one streamed file (kopia-format.md 13.5).
//!
//! Every byte is read, and on restore every byte is written: a device keeps what was on it before, so zeros must be
//! written like anything else (guarantee 6).

use std::os::fd::OwnedFd;

use caravel_repository::Repository;
use caravel_repository::snapshot::{
    Directory, DirectoryEntry, DirectorySummary, EntryKind, FileMode, SnapshotStats,
};
use jiff::Timestamp;
use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::error::{Result, UploaderError};
use crate::filesystem::{Recording, read::BUFFER_BYTES, record};
use crate::progress::{CancelToken, Progress};
use crate::request::{RestoreOutcome, RestoreRequest, UploadOutcome, UploadRequest};
use crate::restore::{load, write::fill};

/// Velero writes these bits for the device and for the folder that stands for it.
const DEVICE_MODE: u32 = 0o777;

pub(crate) fn upload(
    repository: &Repository,
    request: &UploadRequest,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<UploadOutcome> {
    let start_time = repository.now();
    let device = open(&request.path, OFlags::RDONLY)?;
    let size = length(&device)?;
    progress.found(size);
    let failed = |error| UploaderError::repository("storing the device", error);
    let writer = repository.begin_write().map_err(failed)?;
    let mut object = writer.object(None);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut position = 0;
    while position < size {
        if cancel.is_canceled() {
            return Err(UploaderError::Canceled);
        }
        let wanted = usize::try_from(size - position).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
        let got = rustix::io::pread(&device, &mut buffer[..wanted], position)
            .map_err(|error| UploaderError::entry("", "read", error))?;
        if got == 0 {
            let error = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Err(UploaderError::entry("", "read", error));
        }
        object.write_all(&buffer[..got]).map_err(failed)?;
        position += got as u64;
        progress.finished(got as u64);
    }
    let name = request.path.to_string_lossy().into_owned();
    let file = DirectoryEntry {
        size,
        object: Some(object.finish().map_err(failed)?),
        ..entry(&name, EntryKind::File, start_time)
    };
    let summary = DirectorySummary { size, files: 1, dirs: 1, max_time: start_time, ..DirectorySummary::default() };
    let directory = Directory { entries: vec![file], summary: Some(summary.clone()) };
    let root_entry = DirectoryEntry {
        object: Some(writer.write_directory(&directory).map_err(failed)?),
        summary: Some(summary),
        ..entry(&name, EntryKind::Directory, start_time)
    };
    let stats = SnapshotStats {
        total_size: size,
        file_count: 1,
        non_cached_files: 1,
        dir_count: 1,
        ..SnapshotStats::default()
    };
    let snapshot_id = record(repository, &writer, request, Recording { start_time, root_entry, stats })?;
    Ok(UploadOutcome {
        snapshot_id,
        total_bytes: size,
        incremental_bytes: size,
        empty: false,
        left_out: Vec::new(),
    })
}

pub(crate) fn restore(
    repository: &Repository,
    request: &RestoreRequest,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<RestoreOutcome> {
    let failed = |error| UploaderError::repository("reading the device's snapshot", error);
    let file = only_file(repository, &request.snapshot_id)?;
    let object = file
        .object
        .as_ref()
        .ok_or_else(|| UploaderError::Mismatch(format!("snapshot {} has no object", request.snapshot_id)))?;
    let mut reader = repository.open_object(object).map_err(failed)?;
    let device = open(&request.path, OFlags::WRONLY)?;
    let (needed, available) = (reader.len(), length(&device)?);
    if needed > available {
        return Err(UploaderError::TooSmall { needed, available });
    }
    progress.found(needed);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut position = 0;
    loop {
        if cancel.is_canceled() {
            return Err(UploaderError::Canceled);
        }
        let got = fill(&mut reader, &mut buffer, "")?;
        if got == 0 {
            break;
        }
        write_all(&device, &buffer[..got], position)?;
        position += got as u64;
        progress.finished(got as u64);
    }
    rustix::fs::fsync(&device).map_err(|error| UploaderError::entry("", "sync", error))?;
    Ok(RestoreOutcome { total_bytes: position })
}

/// The one file of a device's snapshot. Its name is a path on another machine and is never used as one.
fn only_file(repository: &Repository, id: &str) -> Result<DirectoryEntry> {
    let not_a_device = |what: &str| {
        UploaderError::Mismatch(format!("snapshot {id} {what}; it is of a file system, not of a block volume"))
    };
    let root = load(repository, id)?.root_entry;
    if root.kind == EntryKind::File {
        return Ok(root);
    }
    let object = root.object.ok_or_else(|| not_a_device("has no content"))?;
    let directory = repository
        .read_directory(&object)
        .map_err(|error| UploaderError::repository(format!("reading snapshot {id}"), error))?;
    let mut files = directory.entries.into_iter();
    match (files.next(), files.next()) {
        (Some(file), None) if file.kind == EntryKind::File => Ok(file),
        _ => Err(not_a_device("does not hold exactly one file")),
    }
}

fn entry(name: &str, kind: EntryKind, mtime: Timestamp) -> DirectoryEntry {
    DirectoryEntry {
        name: name.to_owned(),
        kind,
        mode: FileMode::from_unix(DEVICE_MODE),
        size: 0,
        mtime,
        uid: 0,
        gid: 0,
        object: None,
        summary: None,
    }
}

fn open(path: &std::path::Path, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| UploaderError::entry("", "open", error))
}

/// A device has no size in its metadata; its end does.
fn length(device: &OwnedFd) -> Result<u64> {
    rustix::fs::seek(device, SeekFrom::End(0)).map_err(|error| UploaderError::entry("", "find the end of", error))
}

fn write_all(device: &OwnedFd, mut data: &[u8], mut position: u64) -> Result<()> {
    while !data.is_empty() {
        match rustix::io::pwrite(device, data, position) {
            Ok(written) => {
                data = &data[written..];
                position += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(UploaderError::entry("", "write", error)),
        }
    }
    Ok(())
}
