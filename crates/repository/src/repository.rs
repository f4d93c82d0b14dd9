//! An opened repository: snapshots by id, directories and objects by name, a writer.
//!
//! Two kinds of methods: `async` ones for callers on a runtime (they move to a blocking thread by themselves),
//! and plain ones for the engine's own threads and `spawn_blocking` (they block; calling them on a runtime's
//! worker thread panics). Neighbour: `writer.rs`.

use std::sync::Arc;

use bytes::Bytes;
use caravel_storage::Storage;
use secrecy::SecretString;

use crate::{
    blob::{self, Blobs},
    content::{ContentId, committed::Committed, reader::ContentReader, writer::Identity},
    crypto::Sealer,
    environment::Environment,
    epoch::IndexManager,
    error::{RepositoryError, RepositoryErrorKind, Result},
    format::{self, Format, FormatOptions, guard::FormatGuard},
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

/// What to create a repository with; everything else is Kopia's default (format version 3).
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Owner of maintenance, as `username@hostname`: who may run it.
    pub username: String,
    /// See `username`.
    pub hostname: String,
}

/// A repository that was just created.
#[derive(Clone, Debug)]
pub struct CreatedRepository {
    /// 32 random bytes; also readable without the password.
    pub unique_id: Vec<u8>,
}

/// Who opens a repository: written into session markers.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    pub username: String,
    pub hostname: String,
}

/// Creates a repository: format blob (the first of two simultaneous creators wins), retention blob,
/// maintenance parameters with their owner.
///
/// Errors: `AlreadyInitialized` when there is one, also when it appeared this very moment; `Storage`.
pub async fn create(
    storage: Arc<dyn Storage>,
    password: &SecretString,
    options: &CreateOptions,
    environment: Environment,
) -> Result<CreatedRepository> {
    create_with(storage, password, options, &FormatOptions::default(), environment).await
}

/// The same with every choice that there is.
///
/// Errors: as of [`create`]; `Invalid` for choices that do not go together, `ForeignFiles` when other things are in
/// the storage. Nothing is written then.
pub async fn create_with(
    storage: Arc<dyn Storage>,
    password: &SecretString,
    options: &CreateOptions,
    format: &FormatOptions,
    environment: Environment,
) -> Result<CreatedRepository> {
    let format = format.clone();
    let blobs = Blobs::new(storage, &environment);
    let (password, options, env) = (password.clone(), options.clone(), environment.clone());
    blob::run(&environment, move || {
        let unique_id = format::create::initialize(&blobs, &password, &format, &env)?;
        let open = OpenOptions {
            username: options.username,
            hostname: options.hostname,
        };
        let owner = format!("{}@{}", open.username, open.hostname);
        let writer = Repository::open_blocking(blobs, &password, open, env)?.write()?;
        writer.put_maintenance_parameters(&owner);
        writer.commit()?;
        Ok(CreatedRepository { unique_id })
    })
    .await
}

/// Opens a repository and reads its index.
///
/// Errors: `NotInitialized`, `WrongPassword`, `Unsupported` (naming what), `Locked`, `Damaged`, `Storage`.
pub async fn open(
    storage: Arc<dyn Storage>,
    password: &SecretString,
    options: OpenOptions,
    environment: Environment,
) -> Result<Repository> {
    let blobs = Blobs::new(storage, &environment);
    let (password, env) = (password.clone(), environment.clone());
    blob::run(&environment, move || {
        Repository::open_blocking(blobs, &password, options, env)
    })
    .await
}

/// The unique id of the repository in `storage`, without its password; `None` when the storage says that there
/// is no repository.
pub async fn peek_unique_id(storage: Arc<dyn Storage>, environment: &Environment) -> Result<Option<Vec<u8>>> {
    let blobs = Blobs::new(storage, environment);
    blob::run(environment, move || format::peek_unique_id(&blobs)).await
}

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

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository")
            .field("unique_id", &hex::encode(self.unique_id()))
            .finish_non_exhaustive()
    }
}

impl Repository {
    fn open_blocking(
        blobs: Blobs,
        password: &SecretString,
        options: OpenOptions,
        environment: Environment,
    ) -> Result<Self> {
        Self::open_with(blobs, password, options, environment, true)
    }

    /// Opens, with or without its index.
    pub(crate) fn open_with(
        blobs: Blobs,
        password: &SecretString,
        options: OpenOptions,
        environment: Environment,
        reads_index: bool,
    ) -> Result<Self> {
        let format = format::load(&blobs, password, &environment)?;
        let sealer = Sealer::new(
            format.config.algorithms()?,
            &format.config.secret.0,
            &format.config.master_key.0,
            environment.clone(),
        )
        .ok_or_else(|| RepositoryError::unsupported("a hash key of this length"))?;
        let sealer = Arc::new(sealer);
        let manager = format.config.index_manager();
        let max_reading_secs = match manager {
            IndexManager::Epochs => format.config.epoch_parameters.epoch_refresh_frequency / 1_000_000_000,
            // Compacted index blobs stay for an hour.
            IndexManager::Legacy => 30 * 60,
        };
        let committed = Committed::unread(
            blobs.clone(),
            sealer.clone(),
            environment.clone(),
            manager,
            max_reading_secs,
        );
        if reads_index {
            committed.refresh()?;
        }
        let committed = Arc::new(committed);
        let contents = Arc::new(ContentReader::new(
            blobs.clone(),
            sealer.clone(),
            committed.clone(),
        ));
        let identity = Identity {
            username: options.username,
            hostname: options.hostname,
        };
        let manifests = ManifestCache::default();
        Ok(Self {
            inner: Arc::new(Inner {
                blobs,
                guard: Arc::new(FormatGuard::new(&environment)),
                environment,
                format: Arc::new(format),
                sealer,
                identity,
                committed,
                contents,
                manifests,
            }),
        })
    }

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

    /// Whether the local clock lags behind the storage's (blocking): some blob was written more than `allowed` from now.
    /// Such a client takes what is new for old, and what it writes is taken for old by others. A clock that is ahead
    /// cannot be seen without writing; maintenance looks for that, as Kopia's does.
    ///
    /// Errors: `ClockSkew`, saying by how much.
    pub fn check_clock(&self, allowed: std::time::Duration) -> Result<()> {
        let mut newest = None;
        for prefix in ["kopia.", "n", "x", "s"] {
            let listed = self.inner.blobs.list(prefix)?;
            newest = newest.max(listed.iter().map(|blob| blob.timestamp).max());
        }
        let now = self.inner.environment.clock.now();
        match newest {
            Some(newest) if newest.duration_since(now).unsigned_abs() > allowed && newest > now => {
                let lag = newest.duration_since(now).as_secs();
                Err(RepositoryError::new(
                    RepositoryErrorKind::ClockSkew,
                    format!(
                        "the storage has blobs from {newest}, {lag} s after this machine's {now}; nothing was written: \
                         set the clock (NTP) and start again"
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

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
        match self.load_manifests()?.get(id.as_str()) {
            Some(found) => parse_snapshot(&found),
            None => Err(RepositoryError::not_found(format!(
                "snapshot {id} is not in the repository"
            ))),
        }
    }

    /// The same, with every cache emptied first: what is returned has come from storage just now (guarantee 3).
    pub fn read_back_snapshot(&self, id: &ManifestId) -> Result<Snapshot> {
        self.inner.manifests.forget();
        self.inner.contents.forget_cached();
        self.load_snapshot(id)
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
        self.inner.contents.read(id)
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
