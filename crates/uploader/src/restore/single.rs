//! One file or link of a snapshot, under a name of its own. A file is written beside its place and renamed, so that nobody
//! sees half of it.

use std::os::unix::ffi::OsStrExt as _;

use caravel_repository::{DirectoryEntry, EntryType, Repository};
use rustix::fs::{AtFlags, Mode, OFlags};

use super::{attributes, hole_bytes, write};
use crate::error::{Result, UploaderError};
use crate::progress::{CancelToken, Progress};
use crate::request::{EntryRestoreRequest, RestoreOutcome};

pub(crate) fn restore(
    repository: &Repository,
    entry: &DirectoryEntry,
    request: &EntryRestoreRequest,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<RestoreOutcome> {
    let path = request.path.display().to_string();
    let name = request.path.file_name().ok_or_else(|| UploaderError::Unsafe {
        path: path.clone(),
        why: "is restored to a path that names no file",
    })?;
    let folder = match request.path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => std::path::Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())
        .map_err(|error| UploaderError::entry(&path, "open the folder of", error))?;
    let reader = repository
        .open_object(entry.object)
        .map_err(|error| UploaderError::repository(format!("opening `{path}` of the snapshot"), error))?;
    if !write::makes_way(&request.rules, &folder, name.as_bytes(), entry, &path)? {
        return Ok(RestoreOutcome::default());
    }
    if entry.kind == EntryType::Symlink {
        write::symlink(&request.rules, &folder, name.as_bytes(), entry, reader, &path)?;
        return Ok(RestoreOutcome::default());
    }
    let unfinished = write::Unfinished::new(repository.environment()).name();
    let run = write::Run {
        path: &path,
        progress,
        cancel,
        hole_bytes: hole_bytes(request.sparse),
    };
    let written = (|| {
        let file = write::create(&folder, &unfinished, &path)?;
        let written = run.copy(reader, &file)?;
        if written != entry.size {
            return Err(UploaderError::Mismatch(format!(
                "`{path}` has {written} bytes in the repository where its directory says {}",
                entry.size
            )));
        }
        attributes::set(&request.rules, &file, entry, &path)?;
        rustix::fs::fsync(&file).map_err(|error| UploaderError::entry(&path, "sync", error))?;
        write::take_name(&folder, &unfinished, name.as_bytes(), &path)?;
        Ok(written)
    })();
    let total_bytes = written.inspect_err(|_| {
        // What is left of it is of no use; that it cannot be removed changes nothing about the failure.
        let _ = rustix::fs::unlinkat(&folder, unfinished.as_slice(), AtFlags::empty());
    })?;
    Ok(RestoreOutcome {
        total_bytes,
        failed: Vec::new(),
    })
}
