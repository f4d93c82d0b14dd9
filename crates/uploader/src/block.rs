//! A block device ↔ a snapshot of one streamed file (kopia-format.md 13.5).
//!
//! Everything is read but holes, where the device can tell them (a real one says that it has none; a file that stands
//! for one can), and on restore all of it is put there: a device keeps what was on it before, so that zeros are written or
//! made, never skipped (guarantee 6; `restore/device.rs`).

use std::os::fd::OwnedFd;

use caravel_repository::{
    DirectoryEntry, DirectorySummary, EntryType, FileMode, ObjectId, ObjectOptions, ObjectWriter, Repository,
    RepositoryError, SnapshotStats, Writer,
};
use jiff::Timestamp;
use rustix::fs::{Mode, OFlags, SeekFrom};

use crate::checkpoint::{self, Checkpoints};
use crate::error::{Result, UploaderError};
use crate::filesystem::read::{Sink, copy_bytes};
use crate::filesystem::{Recording, record};
use crate::progress::{CancelToken, Progress};
use crate::request::{RestoreOutcome, RestoreRequest, UploadOutcome, UploadRequest};
use crate::restore::{device::Device, load, write::Run};

/// Velero writes these bits for the device and for the folder that stands for it.
const DEVICE_MODE: u32 = 0o777;

pub(crate) fn upload(
    repository: &Repository,
    request: &UploadRequest,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<UploadOutcome> {
    let start_time = repository.environment().clock.now();
    let device = open(&request.path, OFlags::RDONLY)?;
    let size = length(&device)?;
    progress.found(size);
    let failed = |error| UploaderError::repository("storing the device", error);
    let writer = repository.write().map_err(failed)?;
    let checkpoints = Checkpoints::new(repository, &writer, request, start_time);
    let name = request.path.to_string_lossy();
    let options = ObjectOptions {
        compressor: request.rules.compressor,
        splitter: None,
    };
    let mut stream = Stream {
        object: writer.object_with(options),
        name: &name,
        checkpoints: &checkpoints,
        repository,
        writer: &writer,
        start_time,
        cancel,
    };
    copy_bytes(&device, size, &mut stream, "", progress)?;
    let (object, _) = stream.object.finish().map_err(failed)?;
    let file = entry(&name, EntryType::File, object, start_time);
    let (root_entry, stats) = tree(&writer, &name, file, size, "")?;
    let incremental_bytes = writer.new_bytes();
    let snapshot_id = record(
        repository,
        &writer,
        request,
        Recording {
            start_time,
            root_entry,
            stats,
        },
    )?;
    Ok(UploadOutcome {
        snapshot_id,
        total_bytes: size,
        // There is no list of changed blocks to go by; what the repository did not have yet is the honest figure.
        incremental_bytes,
        empty: false,
        left_out: Vec::new(),
        failed: Vec::new(),
        ignored_errors: 0,
        excluded: 0,
    })
}

/// The one object that a device becomes, with its checkpoints.
struct Stream<'run> {
    object: ObjectWriter<'run>,
    name: &'run str,
    checkpoints: &'run Checkpoints<'run>,
    repository: &'run Repository,
    writer: &'run Writer,
    start_time: Timestamp,
    cancel: &'run CancelToken,
}

impl Sink for Stream<'_> {
    fn data(&mut self, bytes: &[u8]) -> Result<(), RepositoryError> {
        self.object.write(bytes)
    }

    fn zeros(&mut self, count: u64) -> Result<(), RepositoryError> {
        self.object.write_zeros(count)
    }

    fn pause(&mut self) -> Result<()> {
        self.cancel.check()?;
        let (object, path) = (&mut self.object, self.name);
        let (repository, writer, start_time) = (self.repository, self.writer, self.start_time);
        self.checkpoints.save_if_due(move || {
            let so_far = object.so_far();
            let so_far = so_far.map_err(|error| UploaderError::repository("storing the device", error))?;
            let Some((object, size)) = so_far else {
                return Ok(None);
            };
            let name = checkpoint::name_of_unfinished(path.as_bytes(), repository);
            let file = entry(
                &String::from_utf8_lossy(&name),
                EntryType::File,
                object,
                start_time,
            );
            tree(writer, path, file, size, checkpoint::REASON).map(Some)
        })
    }
}

/// The folder that stands for the device, with its one file.
fn tree(
    writer: &Writer,
    name: &str,
    mut file: DirectoryEntry,
    size: u64,
    incomplete: &str,
) -> Result<(DirectoryEntry, SnapshotStats)> {
    file.size = size;
    let mtime = file.mtime;
    let summary = DirectorySummary {
        size,
        files: 1,
        dirs: 1,
        max_time: mtime,
        incomplete: incomplete.to_owned(),
        ..DirectorySummary::default()
    };
    let directory = writer
        .write_directory(&mut [file], &summary)
        .map_err(|error| UploaderError::repository("storing the device", error))?;
    let mut root_entry = entry(name, EntryType::Directory, directory, mtime);
    root_entry.summary = Some(summary);
    let stats = SnapshotStats {
        total_size: size,
        file_count: 1,
        non_cached_files: 1,
        dir_count: 1,
        ..SnapshotStats::default()
    };
    Ok((root_entry, stats))
}

pub(crate) fn restore(
    repository: &Repository,
    request: &RestoreRequest,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<RestoreOutcome> {
    let failed = |error| UploaderError::repository("reading the device's snapshot", error);
    let file = only_file(repository, &request.snapshot_id)?;
    let reader = repository.open_object(file.object).map_err(failed)?;
    let device = open(&request.path, OFlags::WRONLY)?;
    let (needed, available) = (file.size, length(&device)?);
    if needed > available {
        return Err(UploaderError::TooSmall { needed, available });
    }
    progress.found(needed);
    let run = Run {
        path: "",
        progress,
        cancel,
        hole_bytes: 0,
    };
    let written = run.overwrite(reader, Device::new(&device))?;
    if written != needed {
        return Err(UploaderError::Mismatch(format!(
            "snapshot {} has {written} bytes in the repository where its directory says {needed}",
            request.snapshot_id
        )));
    }
    if request.synced {
        rustix::fs::fsync(&device).map_err(|error| UploaderError::entry("", "sync", error))?;
    }
    Ok(RestoreOutcome {
        total_bytes: written,
        failed: Vec::new(),
    })
}

/// The one file of a device's snapshot. Its name is a path on another machine and is never used as one.
fn only_file(repository: &Repository, id: &str) -> Result<DirectoryEntry> {
    let not_a_device = |what: &str| {
        UploaderError::Mismatch(format!(
            "snapshot {id} {what}; it is of a file system, not of a block volume"
        ))
    };
    let root = load(repository, id)?;
    if root.kind == EntryType::File {
        return Ok(root);
    }
    let directory = repository
        .read_directory(root.object)
        .map_err(|error| UploaderError::repository(format!("reading snapshot {id}"), error))?;
    let mut files = directory.entries.into_iter();
    match (files.next(), files.next()) {
        (Some(file), None) if file.kind == EntryType::File => Ok(file),
        _ => Err(not_a_device("does not hold exactly one file")),
    }
}

fn entry(name: &str, kind: EntryType, object: ObjectId, mtime: Timestamp) -> DirectoryEntry {
    let mut entry = DirectoryEntry::new(kind, name.as_bytes(), object);
    entry.mode = FileMode::from_unix(DEVICE_MODE);
    entry.mtime = mtime;
    entry
}

fn open(path: &std::path::Path, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| UploaderError::entry("", "open", error))
}

/// A device has no size in its metadata; its end does.
fn length(device: &OwnedFd) -> Result<u64> {
    rustix::fs::seek(device, SeekFrom::End(0))
        .map_err(|error| UploaderError::entry("", "find the end of", error))
}
