//! An opened repository: snapshots by id, directories and objects by name, a writer.
//!
//! Two kinds of methods: `async` ones for callers on a runtime (they move to a blocking thread by themselves),
//! and plain ones for the engine's own threads and `spawn_blocking` (they block; calling them on a runtime's
//! worker thread panics). Neighbours: `open.rs` (creating and opening), `writer.rs`.

use std::sync::Arc;

use bytes::Bytes;
use caravel_storage::Storage;

use crate::{
    blob::{self, Blobs},
    content::{ContentId, committed::Committed, reader::ContentReader, writer::Identity},
    crypto::Sealer,
    environment::Environment,
    error::{RepositoryError, Result},
    format::{Format, FormatOptions, guard::FormatGuard},
    manifest::{
        Labels, Manifest, ManifestId,
        load::{self, Loaded, ManifestCache},
    },
    object::{
        ObjectId,
        indirect::Piece,
        reader,
        reader::{Location, ObjectReader},
    },
    snapshot::{Directory, Snapshot, SnapshotFilter, SnapshotManifest, directory},
    writer::Writer,
};

/// Directories are read whole; Kopia's own are smaller by far (10 million entries of 100 bytes).
const MAX_DIRECTORY_BYTES: u64 = 1 << 30;

/// An opened repository. Clones share everything.
#[derive(Clone)]
pub struct Repository {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub blobs: Blobs,
    pub environment: Environment,
    pub format: Arc<Format>,
    pub guard: Arc<FormatGuard>,
    pub sealer: Arc<Sealer>,
    pub identity: Identity,
    pub committed: Arc<Committed>,
    pub contents: Arc<ContentReader>,
    pub manifests: ManifestCache,
}

impl Inner {
    /// Errors: `Unsupported` where the repository wants locks that this storage cannot give; then nothing may be written.
    pub(crate) fn refuse_unkept_retention(&self) -> Result<()> {
        match self.blobs.keeps_retention() {
            true => Ok(()),
            false => Err(RepositoryError::unsupported(
                "object-lock retention in another kind of storage than S3",
            )),
        }
    }
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository")
            .field("unique_id", &hex::encode(self.unique_id()))
            .finish_non_exhaustive()
    }
}

impl Repository {
    /// The bytes that tell this repository from all others.
    pub fn unique_id(&self) -> &[u8] {
        &self.inner.format.unique_id
    }

    /// What the repository was made with.
    pub fn format_options(&self) -> FormatOptions {
        let options = self.inner.format.options();
        options.expect("the algorithms were found when the repository was opened")
    }

    /// Of its indexes: 1, or 2, which knows compressed contents.
    pub fn index_version(&self) -> u8 {
        self.inner.format.config.index_version()
    }

    /// The storage it lives in.
    pub fn storage(&self) -> Arc<dyn Storage> {
        self.inner.blobs.storage().clone()
    }

    /// What it was opened with.
    pub fn environment(&self) -> &Environment {
        &self.inner.environment
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Repository) -> T + Send + 'static) -> T {
        let repository = self.clone();
        blob::run(&self.inner.environment, move || work(&repository)).await
    }

    /// Snapshots that match, oldest first. Reads the storage's present state.
    pub async fn snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>> {
        let filter = filter.clone();
        self.run(move |repository| repository.find_snapshots(&filter))
            .await
    }

    /// One snapshot. Errors: `NotFound` when the id is unknown or not a snapshot's.
    pub async fn snapshot(&self, id: &ManifestId) -> Result<Snapshot> {
        let id = id.clone();
        self.run(move |repository| repository.load_snapshot(&id)).await
    }

    /// Deletes a snapshot's manifest and commits; its space returns with later maintenance. One that does not
    /// exist any more is no error.
    pub async fn delete_snapshot(&self, id: &ManifestId) -> Result<()> {
        self.delete_snapshots(std::slice::from_ref(id)).await
    }

    /// Deletes several snapshots in one commit.
    pub async fn delete_snapshots(&self, ids: &[ManifestId]) -> Result<()> {
        let ids = ids.to_vec();
        self.run(move |repository| {
            let loaded = repository.load_manifests()?;
            let writer = repository.write()?;
            for id in ids {
                match loaded.get(id.as_str()) {
                    None => {}
                    Some(found) if found.labels.get("type").map(String::as_str) == Some("snapshot") => {
                        writer.delete_manifest(&id);
                    }
                    Some(_) => return Err(not_a_snapshot(&id)),
                }
            }
            writer.commit()
        })
        .await
    }

    /// Starts a writer; see [`Repository::write`].
    pub async fn begin_write(&self) -> Result<Writer> {
        self.run(Repository::write).await
    }

    /// Reads the index blobs again, so that what others committed is seen.
    pub async fn refresh(&self) -> Result<()> {
        self.run(|repository| repository.inner.committed.refresh().map(drop))
            .await
    }

    // From here on: for the engine's own threads.

    /// Starts a writer (blocking). Several may write at the same time.
    ///
    /// Errors: `Unsupported` when the repository's splitter is one that this version lacks, or its blobs must be
    /// kept under retention.
    pub fn write(&self) -> Result<Writer> {
        Writer::new(self)
    }

    /// Blocking form of [`Repository::snapshots`].
    pub fn find_snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>> {
        let found = self.load_manifests()?.find(&filter.labels());
        let snapshots = found.iter().map(parse_snapshot).collect::<Result<Vec<_>>>()?;
        let wanted = |s: &Snapshot| filter.include_incomplete || s.manifest.incomplete.is_empty();
        let mut wanted: Vec<Snapshot> = snapshots.into_iter().filter(wanted).collect();
        wanted.sort_by(|a, b| {
            a.manifest
                .start_time
                .cmp(&b.manifest.start_time)
                .then_with(|| a.id.cmp(&b.id))
        });
        Ok(wanted)
    }

    /// Blocking form of [`Repository::snapshot`].
    pub fn load_snapshot(&self, id: &ManifestId) -> Result<Snapshot> {
        found(&self.load_manifests()?, id)
    }

    /// The same past every cache, in memory and on disk: what is returned has come from storage just now (guarantee 3).
    pub fn read_back_snapshot(&self, id: &ManifestId) -> Result<Snapshot> {
        self.inner.manifests.forget();
        // Not for what is read, but for memory: the same packs come a second time.
        self.inner.contents.forget_cached();
        let contents = self.inner.contents.past_caches();
        let loaded = load::load(&contents, &ManifestCache::default())?;
        found(&loaded, id)
    }

    /// Manifests that carry all of `labels`, oldest first (blocking).
    pub fn find_manifests(&self, labels: &Labels) -> Result<Vec<Manifest>> {
        Ok(self.load_manifests()?.find(labels))
    }

    pub(crate) fn load_manifests(&self) -> Result<Loaded> {
        load::load(&self.inner.contents, &self.inner.manifests)
    }

    /// Opens an object for reading in order (blocking).
    pub fn open_object(&self, id: ObjectId) -> Result<ObjectReader<'_>> {
        ObjectReader::open(&self.inner.contents, id)
    }

    /// Reads the bytes at a location of `object` (blocking); any thread may.
    pub fn read_location(&self, object: ObjectId, location: &Location) -> Result<Bytes> {
        reader::read_location(&self.inner.contents, object, location)
    }

    /// The pieces of a long object, from its outermost list (blocking).
    pub(crate) fn pieces_of(&self, id: ObjectId) -> Result<Vec<Piece>> {
        reader::pieces(&self.inner.contents, id)
    }

    /// Reads a directory object (blocking).
    pub fn read_directory(&self, id: ObjectId) -> Result<Directory> {
        let bytes = self.open_object(id)?.read_to_end(MAX_DIRECTORY_BYTES)?;
        directory::decode(&bytes).map_err(|e| e.while_doing(format_args!("cannot read directory {id}")))
    }

    /// Whether every content of an object is known and not about to be dropped, so that a new snapshot may refer
    /// to it (blocking). Lists are read, file data is not.
    pub fn is_reusable(&self, id: ObjectId) -> Result<bool> {
        reader::for_each_content(&self.inner.contents, id, &mut |content| {
            self.inner.contents.is_live(content)
        })
    }

    /// Reads one content (blocking).
    pub fn read_content(&self, id: &ContentId) -> Result<Vec<u8>> {
        self.inner.contents.read(id).map(Vec::from)
    }

    /// The ids of all live contents, in order, as of the last reading of the index (blocking).
    pub fn live_contents(&self) -> Vec<ContentId> {
        self.inner
            .committed
            .current()
            .index
            .live()
            .map(|entry| entry.id)
            .collect()
    }

    /// Whether a content's bytes hash to its name (blocking): more than the authentication that every read does.
    pub fn content_matches_name(&self, id: &ContentId) -> Result<bool> {
        Ok(*self.inner.sealer.hash(&self.read_content(id)?) == *id.hash())
    }
}

fn found(loaded: &Loaded, id: &ManifestId) -> Result<Snapshot> {
    match loaded.get(id.as_str()) {
        Some(found) => parse_snapshot(&found),
        None => Err(RepositoryError::not_found(format!(
            "snapshot {id} is not in the repository"
        ))),
    }
}

fn not_a_snapshot(id: &ManifestId) -> RepositoryError {
    RepositoryError::not_found(format!("manifest {id} exists, but is not a snapshot"))
}

fn parse_snapshot(manifest: &Manifest) -> Result<Snapshot> {
    if manifest.labels.get("type").map(String::as_str) != Some("snapshot") {
        return Err(not_a_snapshot(&manifest.id));
    }
    let parsed: SnapshotManifest = serde_json::from_str(manifest.payload.get())
        .map_err(|e| RepositoryError::damaged(format!("snapshot {} is not well formed: {e}", manifest.id)))?;
    Ok(Snapshot {
        id: manifest.id.clone(),
        manifest: parsed,
    })
}
