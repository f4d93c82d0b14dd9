//! Bringing back what was lost from what is left: the index from the packs (Kopia's `index recover`), the format blob
//! from packs of format version 1 (`repository repair`). Neighbours: `local_index.rs` (what one pack says of itself).
//!
//! The index is only added to: an entry that is known already and wins by kopia-format.md 6.5 stays. Tombstones come
//! back with the rest, so nothing that was deleted comes alive, unless the tombstone was only in a lost index blob;
//! then it is garbage again, which maintenance removes.

mod local_index;

use std::sync::Arc;

use bytes::Bytes;
use caravel_storage::{BlobMetadata, Storage, StorageErrorKind};
use secrecy::SecretString;

use crate::{
    OpenOptions, Repository,
    blob::{self, Blobs},
    content::writer::{ContentWriter, Layout, WriterParts},
    environment::Environment,
    epoch::IndexManager,
    error::{RepositoryError, RepositoryErrorKind, Result},
    format::{FORMAT_BLOB, parse_outer, replica},
    index::{self, Entry, PackNames},
};

/// What to rebuild the index from.
#[derive(Clone, Debug)]
pub struct IndexRecovery {
    /// Packs whose names start so; `p` and `q` are all of them.
    pub prefixes: Vec<String>,
    /// Write what was found; without it, only say what would be.
    pub commit: bool,
    /// Delete index blobs that cannot be opened, which keep everybody from opening the repository. Only with `commit`,
    /// and only after what was found has been written.
    pub delete_damaged: bool,
}

impl Default for IndexRecovery {
    /// All packs, writing nothing.
    fn default() -> Self {
        Self {
            prefixes: vec!["p".into(), "q".into()],
            commit: false,
            delete_damaged: false,
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct RecoveredIndex {
    /// Packs that were looked at.
    pub packs: usize,
    /// Different contents that they name, tombstones included.
    pub contents: usize,
    /// Packs that say nothing, each with the reason: truncated, altered, or another program's.
    pub failed: Vec<(String, RepositoryError)>,
    /// Index blobs that cannot be read, each with the reason.
    pub damaged: Vec<(String, RepositoryError)>,
    /// Whether the index was written.
    pub committed: bool,
}

/// Rebuilds the index of the repository in `storage` from its packs; works without any readable index.
///
/// Errors: as of opening a repository, and `Storage`. A pack that cannot be read is no error: see
/// [`RecoveredIndex::failed`].
pub async fn packs(
    storage: Arc<dyn Storage>,
    password: &SecretString,
    options: OpenOptions,
    recovery: &IndexRecovery,
    environment: Environment,
) -> Result<RecoveredIndex> {
    let blobs = Blobs::new(storage, &environment);
    let (password, recovery, env) = (password.clone(), recovery.clone(), environment.clone());
    blob::run(&environment, move || {
        let repository = Repository::open_with(blobs, &password, options, env, false)?;
        recover_index(&repository, &recovery)
    })
    .await
}

fn recover_index(repository: &Repository, recovery: &IndexRecovery) -> Result<RecoveredIndex> {
    let inner = &repository.inner;
    let mut found = RecoveredIndex::default();
    let (mut entries, mut names) = (Vec::new(), PackNames::default());
    for prefix in &recovery.prefixes {
        let packs = inner.blobs.list(prefix)?;
        found.packs += packs.len();
        local_index::read_all(&inner.blobs, &inner.sealer, &packs, |pack, local| match local {
            Ok(plain) => {
                let before = entries.len();
                if let Err(error) = index::decode(&plain, &mut names, &mut entries) {
                    entries.truncate(before);
                    found.failed.push((pack.to_owned(), error));
                }
            }
            Err(error) => found.failed.push((pack.to_owned(), error)),
        });
    }
    index::keep_winners(&mut entries, &names);
    found.contents = entries.len();
    found.damaged = damaged_index_blobs(repository)?;
    if recovery.commit {
        commit(
            repository,
            &entries,
            &names,
            recovery.delete_damaged.then_some(&found.damaged),
        )?;
        found.committed = true;
    }
    Ok(found)
}

/// Index blobs that are listed and cannot be opened or decoded.
fn damaged_index_blobs(repository: &Repository) -> Result<Vec<(String, RepositoryError)>> {
    let inner = &repository.inner;
    let prefixes: &[&str] = match inner.format.config.index_manager() {
        IndexManager::Epochs => &["xn", "xs", "xr"],
        IndexManager::Legacy => &["n"],
    };
    let mut damaged = Vec::new();
    for prefix in prefixes {
        for blob in inner.blobs.list(prefix)? {
            let name = blob.id.as_str();
            if name == crate::epoch::legacy::POISON {
                continue;
            }
            let body = inner.blobs.get(name)?;
            let read = match inner.sealer.open_blob(name, &body) {
                Some(plain) => index::decode(&plain, &mut PackNames::default(), &mut Vec::new()),
                None => Err(RepositoryError::damaged(
                    "it was altered or truncated: it cannot be opened",
                )),
            };
            if let Err(error) = read {
                damaged.push((name.to_owned(), error));
            }
        }
    }
    Ok(damaged)
}

fn commit(
    repository: &Repository,
    entries: &[Entry],
    names: &PackNames,
    delete: Option<&Vec<(String, RepositoryError)>>,
) -> Result<()> {
    let inner = &repository.inner;
    let writer = ContentWriter::new(WriterParts {
        blobs: inner.blobs.clone(),
        sealer: inner.sealer.clone(),
        environment: inner.environment.clone(),
        committed: inner.committed.clone(),
        identity: inner.identity.clone(),
        layout: Layout::of(&inner.format)?,
        format: inner.format.clone(),
        guard: inner.guard.clone(),
    });
    writer.adopt(entries, names);
    writer.commit_unread()?;
    for (name, _) in delete.into_iter().flatten() {
        inner.blobs.delete(name)?;
    }
    Ok(())
}

/// Looks for the format blob in the packs of a repository of format version 1, and puts it back when `commit` says so
/// and it is missing. Returns the name of the pack that held it.
///
/// Errors: `AlreadyInitialized` when a well formed format blob is there, `NotFound` when no pack holds a replica.
pub async fn format_blob(
    storage: Arc<dyn Storage>,
    commit: bool,
    environment: &Environment,
) -> Result<String> {
    let blobs = Blobs::new(storage, environment);
    blob::run(environment, move || recover_format_blob(&blobs, commit)).await
}

fn recover_format_blob(blobs: &Blobs, commit: bool) -> Result<String> {
    let present = match blobs.get(FORMAT_BLOB) {
        Err(error) if error.is_missing_blob() => None,
        other => Some(other?),
    };
    if present.as_ref().is_some_and(|bytes| parse_outer(bytes).is_ok()) {
        return Err(RepositoryError::new(
            RepositoryErrorKind::AlreadyInitialized,
            format!("blob {FORMAT_BLOB} is there and well formed; it needs no repair"),
        ));
    }
    let mut packs = blobs.list("p")?;
    packs.extend(blobs.list("q")?);
    for pack in &packs {
        let Some(replica) = find_replica(blobs, pack)? else {
            continue;
        };
        if commit {
            match present {
                None => blobs
                    .put_if_absent(FORMAT_BLOB, replica.clone())
                    .or_else(|error| match error.kind() {
                        StorageErrorKind::Unsupported => blobs.put(FORMAT_BLOB, replica),
                        _ => Err(RepositoryError::storage_while(
                            "cannot put the format blob back",
                            error,
                        )),
                    })?,
                Some(_) => blobs.put(FORMAT_BLOB, replica)?,
            }
        }
        return Ok(pack.id.as_str().to_owned());
    }
    Err(RepositoryError::not_found(format!(
        "none of {} packs holds a copy of {FORMAT_BLOB}: only format version 1 keeps one in its packs; bring the blob \
         back from a backup of it",
        packs.len()
    )))
}

/// The replica at the start of a pack, else at its end.
fn find_replica(blobs: &Blobs, pack: &BlobMetadata) -> Result<Option<Bytes>> {
    let window = replica::WINDOW.min(pack.length);
    for range in [0..window, pack.length - window..pack.length] {
        let bytes = blobs.get_range(pack.id.as_str(), range)?;
        let found = replica::find(&bytes).filter(|blob| parse_outer(blob).is_ok());
        if let Some(blob) = found {
            return Ok(Some(Bytes::copy_from_slice(blob)));
        }
    }
    Ok(None)
}
