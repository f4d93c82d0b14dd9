//! Blobs as files below a folder, in Kopia's sharded layout (kopia-format.md 1.3; upstream
//! `repo/blob/sharded` and `repo/blob/filesystem`, v0.22.3), so that Kopia opens the same folder.
//!
//! `q0fa32cbe…-s4488…147` lives in `q/0fa/32cbe…-s4488…147.f`; names of at most 20 letters stay in the root.
//! A blob is written to `<final>.tmp.<16 hex>`, flushed to the disk and renamed (or, when it must not replace
//! one, hard-linked), and the folder is flushed too: a power cut leaves the old state or the new one.

mod direct;

use std::{
    fs, io,
    io::{Read as _, Seek as _, Write as _},
    ops::Range,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use rand::RngCore as _;
use serde::{Deserialize, Serialize};

use crate::{
    BlobId, BlobMetadata, Operation, Storage, StorageError, StorageErrorKind,
    blob::{check_name, check_range},
};

const SUFFIX: &str = ".f";
const SHARDS_FILE: &str = ".shards";

/// What `.shards` says: into which folders a name is cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Shards {
    default: Vec<usize>,
    #[serde(rename = "maxNonShardedLength")]
    max_non_sharded_length: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    overrides: Vec<ShardsOverride>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ShardsOverride {
    prefix: String,
    shards: Vec<usize>,
}

impl Default for Shards {
    /// What a current Kopia writes for a new folder.
    fn default() -> Self {
        Self {
            default: vec![1, 3],
            max_non_sharded_length: 20,
            overrides: Vec::new(),
        }
    }
}

impl Shards {
    /// What repositories have that are older than `.shards`.
    fn before_they_were_written() -> Self {
        Self {
            default: vec![3, 3],
            ..Self::default()
        }
    }

    /// The folder below the root, and the file's name without its suffix.
    fn split<'a>(&self, name: &'a str) -> (PathBuf, &'a str) {
        let mut folder = PathBuf::new();
        let mut rest = name;
        if name.len() <= self.max_non_sharded_length {
            return (folder, rest);
        }
        let chosen = self.overrides.iter().find(|o| name.starts_with(&o.prefix));
        for &size in chosen.map_or(&self.default, |o| &o.shards) {
            if rest.len() <= size {
                break;
            }
            let (shard, remaining) = rest.split_at(size);
            folder.push(shard);
            rest = remaining;
        }
        (folder, rest)
    }
}

/// A folder of blobs.
#[derive(Clone, Debug)]
pub struct FilesystemStorage {
    root: Arc<PathBuf>,
    shards: Arc<Shards>,
    /// Whether `.shards` is still to be written, before the first blob.
    unwritten: Arc<AtomicBool>,
}

impl FilesystemStorage {
    /// Opens the folder, which must exist. Nothing is written before the first blob is: then `.shards`, if it is
    /// missing.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let root = root.into();
        blocking(move || Self::open_now(root)).await
    }

    fn open_now(root: PathBuf) -> Result<Self, StorageError> {
        let shown = root.display().to_string();
        let failed = |cause: String| {
            StorageError::new(
                StorageErrorKind::Misconfigured,
                Operation::Open,
                shown.clone(),
                cause,
            )
        };
        if !root.is_dir() {
            return Err(failed("there is no such folder; create it first".to_owned()));
        }
        let (shards, unwritten) = match fs::read(root.join(SHARDS_FILE)) {
            Ok(text) => {
                let read = serde_json::from_slice(&text);
                (
                    read.map_err(|e| failed(format!("unreadable {SHARDS_FILE}: {e}")))?,
                    false,
                )
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let used = root.join(format!("kopia.repository{SUFFIX}")).exists();
                (
                    if used {
                        Shards::before_they_were_written()
                    } else {
                        Shards::default()
                    },
                    true,
                )
            }
            Err(e) => return Err(failed(format!("cannot read {SHARDS_FILE}: {e}"))),
        };
        Ok(Self {
            root: Arc::new(root),
            shards: Arc::new(shards),
            unwritten: Arc::new(AtomicBool::new(unwritten)),
        })
    }

    /// Says into which folders names are cut, for whoever comes next, before the first blob lies there.
    fn write_shards(&self) -> io::Result<()> {
        if !self.unwritten.load(Ordering::Relaxed) {
            return Ok(());
        }
        let file = self.root.join(SHARDS_FILE);
        let text = serde_json::to_vec(&*self.shards).map_err(io::Error::other)?;
        match write_whole(&file, &text, Replace::No) {
            // Another client was faster; it must have chosen the same.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                if fs::read(&file)? != text {
                    let cause = format!(
                        "another client has just written another {SHARDS_FILE}; open the folder again"
                    );
                    return Err(io::Error::other(cause));
                }
            }
            written => written?,
        }
        self.unwritten.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        let (folder, name) = self.shards.split(id.as_str());
        self.root.join(folder).join(format!("{name}{SUFFIX}"))
    }

    async fn write(
        &self,
        operation: Operation,
        id: &BlobId,
        data: Bytes,
        replace: Replace,
    ) -> Result<(), StorageError> {
        check_name(operation, id)?;
        let (path, id, storage) = (self.path(id), id.clone(), self.clone());
        blocking(move || {
            match storage
                .write_shards()
                .and_then(|()| write_whole(&path, &data, replace))
            {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(StorageError::already_exists(&id)),
                written => written.map_err(|e| explain(operation, id.as_str(), e)),
            }
        })
        .await
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => {
            let cause = format!("the worker thread ended: {e}");
            Err(StorageError::new(
                StorageErrorKind::Unavailable,
                Operation::Open,
                "folder",
                cause,
            ))
        }
    }
}

fn explain(operation: Operation, subject: &str, error: io::Error) -> StorageError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => StorageErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => StorageErrorKind::Denied,
        io::ErrorKind::ReadOnlyFilesystem => StorageErrorKind::ReadOnly,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StorageErrorKind::NoSpace
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => StorageErrorKind::Damaged,
        _ => StorageErrorKind::Unavailable,
    };
    StorageError::new(kind, operation, subject, error.to_string()).with_source(error)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Replace {
    Yes,
    No,
}

/// Writes `data` beside `path` and moves it there once it is on the disk.
fn write_whole(path: &Path, data: &[u8], replace: Replace) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if !folder.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".tmp.{:016x}", rand::rng().next_u64()));
    let temporary = PathBuf::from(name);
    let moved = write_flushed(&temporary, data).and_then(|()| match replace {
        Replace::Yes => fs::rename(&temporary, path),
        Replace::No => fs::hard_link(&temporary, path),
    });
    if moved.is_err() || replace == Replace::No {
        // A leftover is not a blob (no suffix), so failing to remove it loses nothing.
        let _ = fs::remove_file(&temporary);
    }
    moved?;
    fs::File::open(folder)?.sync_all()
}

fn write_flushed(path: &Path, data: &[u8]) -> io::Result<()> {
    if data.len() >= direct::WORTH_BYTES && direct::write(path, data)? {
        return Ok(());
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(data)?;
    file.sync_all()
}

fn describe(id: BlobId, metadata: &fs::Metadata) -> io::Result<BlobMetadata> {
    let timestamp = Timestamp::try_from(metadata.modified()?)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
    Ok(BlobMetadata {
        id,
        length: metadata.len(),
        timestamp,
    })
}

/// Adds the blobs in `folder` whose name starts with `prefix`; `above` is the part of their names that the
/// folders hold. A folder that vanishes meanwhile held nothing; any other failure fails the listing.
fn walk(folder: &Path, above: &str, prefix: &str, found: &mut Vec<BlobMetadata>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && !above.is_empty() => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        // A name that is no UTF-8 or starts with a dot is none of ours.
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let is_folder = entry.file_type()?.is_dir();
        let full = format!("{above}{}", name.strip_suffix(SUFFIX).unwrap_or(name));
        if is_folder {
            let full = format!("{above}{name}");
            if full.starts_with(prefix) || prefix.starts_with(&full) {
                walk(&entry.path(), &full, prefix, found)?;
            }
        } else if name.ends_with(SUFFIX) && full.starts_with(prefix) {
            match entry.metadata() {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                metadata => found.push(describe(BlobId::from(full), &metadata?)?),
            }
        }
    }
    Ok(())
}

#[async_trait]
impl Storage for FilesystemStorage {
    async fn put(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.write(Operation::Put, id, data, Replace::Yes).await
    }

    async fn put_if_absent(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        self.write(Operation::PutIfAbsent, id, data, Replace::No).await
    }

    async fn get(&self, id: &BlobId) -> Result<Bytes, StorageError> {
        let (path, id) = (self.path(id), id.clone());
        blocking(move || {
            let data = fs::read(&path).map_err(|e| explain(Operation::Get, id.as_str(), e))?;
            Ok(Bytes::from(data))
        })
        .await
    }

    async fn get_range(&self, id: &BlobId, range: Range<u64>) -> Result<Bytes, StorageError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let (path, id) = (self.path(id), id.clone());
        blocking(move || {
            let failed = |e| explain(Operation::GetRange, id.as_str(), e);
            let mut file = fs::File::open(&path).map_err(failed)?;
            check_range(&id, &range, file.metadata().map_err(failed)?.len())?;
            let length = range.end - range.start;
            let mut data = Vec::with_capacity(length as usize);
            file.seek(io::SeekFrom::Start(range.start)).map_err(failed)?;
            file.take(length).read_to_end(&mut data).map_err(failed)?;
            if data.len() as u64 != length {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(Bytes::from(data))
        })
        .await
    }

    async fn metadata(&self, id: &BlobId) -> Result<BlobMetadata, StorageError> {
        let (path, id) = (self.path(id), id.clone());
        blocking(move || {
            let described = fs::metadata(&path).and_then(|metadata| describe(id.clone(), &metadata));
            described.map_err(|e| explain(Operation::Metadata, id.as_str(), e))
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<BlobMetadata>, StorageError> {
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        blocking(move || {
            let mut found = Vec::new();
            walk(&root, "", &prefix, &mut found).map_err(|e| match e.kind() {
                // A root that went away (an unmounted volume) is not an empty one.
                io::ErrorKind::NotFound => StorageError::new(
                    StorageErrorKind::Unavailable,
                    Operation::List,
                    root.display().to_string(),
                    "the folder has gone; is its volume mounted?",
                ),
                _ => explain(Operation::List, &root.display().to_string(), e),
            })?;
            found.sort_by(|a, b| a.id.cmp(&b.id));
            Ok(found)
        })
        .await
    }

    async fn delete(&self, id: &BlobId) -> Result<(), StorageError> {
        let (path, id) = (self.path(id), id.clone());
        blocking(move || match fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|e| explain(Operation::Delete, id.as_str(), e)),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_into_folders_as_kopia_cuts_them() {
        let shards = Shards::default();
        let cut = |name: &str| {
            let (folder, rest) = shards.split(name);
            format!("{}{SUFFIX}", folder.join(rest).display())
        };
        assert_eq!(cut("kopia.repository"), "kopia.repository.f");
        let long = "q0fa32cbe00112233445566778899c185a-s4488a8a3654b79ad147";
        assert_eq!(
            cut(long),
            "q/0fa/32cbe00112233445566778899c185a-s4488a8a3654b79ad147.f"
        );
        assert_eq!(
            cut("xn0_d56c00112233445566778899"),
            "x/n0_/d56c00112233445566778899.f"
        );
        assert_eq!(cut("_log_20260101010101_abcd"), "_/log/_20260101010101_abcd.f");
    }

    #[tokio::test]
    async fn a_folder_behaves_as_a_storage_must() {
        let folder = tempfile::tempdir().unwrap();
        crate::conformance::verify(Arc::new(FilesystemStorage::open(folder.path()).await.unwrap())).await;
        let text = fs::read_to_string(folder.path().join(SHARDS_FILE)).unwrap();
        assert_eq!(text, r#"{"default":[1,3],"maxNonShardedLength":20}"#);
    }

    #[tokio::test]
    async fn opening_writes_nothing_and_the_first_blob_says_how_names_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FilesystemStorage::open(folder.path()).await.unwrap();
        assert_eq!(storage.list("").await.unwrap(), []);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        storage
            .put(&BlobId::from("kopia.repository"), Bytes::from_static(b"{}"))
            .await
            .unwrap();
        assert!(folder.path().join(SHARDS_FILE).exists());
    }

    #[tokio::test]
    async fn a_repository_without_a_shards_file_is_an_old_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kopia.repository.f"), "{}").unwrap();
        let old = folder.path().join("p01/234/5678901234567890");
        fs::create_dir_all(old.parent().unwrap()).unwrap();
        fs::write(old.with_extension("f"), "a pack").unwrap();
        let storage = FilesystemStorage::open(folder.path()).await.unwrap();
        let pack = BlobId::from("p012345678901234567890");
        assert_eq!(storage.get(&pack).await.unwrap(), "a pack");
        storage
            .put(&BlobId::from("xe1"), Bytes::from_static(b"epoch-marker"))
            .await
            .unwrap();
        let text = fs::read_to_string(folder.path().join(SHARDS_FILE)).unwrap();
        assert_eq!(text, r#"{"default":[3,3],"maxNonShardedLength":20}"#);
    }

    #[tokio::test]
    async fn leftovers_of_an_interrupted_write_are_not_blobs() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FilesystemStorage::open(folder.path()).await.unwrap();
        fs::write(
            folder.path().join("kopia.repository.f.tmp.0123456789abcdef"),
            "half",
        )
        .unwrap();
        assert_eq!(storage.list("").await.unwrap(), []);
    }

    #[tokio::test]
    async fn guarantee_4_a_folder_that_went_away_is_not_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FilesystemStorage::open(folder.path()).await.unwrap();
        fs::remove_dir_all(folder.path()).unwrap();
        let error = storage.list("").await.unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Unavailable);
    }
}
