//! Creating and opening a repository. Neighbours: `format/` (what is written and read for it), `repository.rs` (what an
//! opened one can do).

use std::sync::Arc;

use caravel_storage::Storage;
use secrecy::SecretString;

use crate::{
    blob::{self, Blobs},
    cache::{DiskCache, Protection},
    content::{committed::Committed, reader::ContentReader, writer::Identity},
    crypto::Sealer,
    environment::Environment,
    epoch::IndexManager,
    error::{RepositoryError, Result},
    format::{self, FormatOptions, guard::FormatGuard},
    manifest::load::ManifestCache,
    repository::{Inner, Repository},
};

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
        let blobs = blobs.with_retention(format.retention.as_ref(), &environment);
        let sealer = Sealer::new(
            format.config.algorithms()?,
            &format.config.secret.0,
            &format.config.master_key.0,
            environment.clone(),
        )
        .ok_or_else(|| RepositoryError::unsupported("a hash key of this length"))?;
        let sealer = Arc::new(sealer);
        let blobs = match &environment.cache {
            None => blobs,
            Some(settings) => {
                let protection = Protection::new(&format.config.secret.0, &format.unique_id);
                blobs.with_cache(Arc::new(DiskCache::new(settings, protection, &environment)))
            }
        };
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
            committed.begin()?;
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
}
