//! From a storage prefix to an opened repository (kopia-format.md 13.2; guarantee 4).
//!
//! ```text
//! what is below the prefix                  ConnectOnly          ConnectOrCreate
//! nothing                                   NotInitialized       create, then as below
//! anything, but no kopia.repository         NotEmpty             NotEmpty: never initialised over
//! kopia.repository, no marker               open                 open; finish: maintenance owner, marker
//! kopia.repository and marker, ids differ   Damaged              Damaged
//! kopia.repository and marker               open                 open
//! ```
//! Two that create at the same moment: `kopia.repository` is put with If-None-Match, so one of them wins, and the
//! other opens the winner's. Finishing is the same for everybody who does it, so it may be done twice.
//! (Velero calls a repository without marker "not initialised" and tries to create it again, which then fails.)

use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use caravel_repository::{
    CreateOptions, Environment, Labels, OpenOptions, Repository, RepositoryError, RepositoryErrorKind,
    create, maintenance::MaintenanceParameters, open, peek_unique_id,
};
use caravel_storage::{Storage, StorageError, StorageErrorKind};
use secrecy::SecretString;

use crate::{
    marker::{self, MARKER, Marker, MarkerError},
    naming::{HOST, USER},
    passwords::Passwords,
};

/// Kopia's format blob: its existence is the repository's existence.
const FORMAT_BLOB: &str = "kopia.repository";
/// How often Kopia maintains a repository in full that says nothing.
const FULL_MAINTENANCE_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// Whether a repository may be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepare {
    /// Only open what is there, and write nothing: data movers, read-only locations.
    ConnectOnly,
    /// Create it where the prefix is empty, and finish one that was half created.
    ConnectOrCreate,
}

/// What the user can do about a [`PrepareError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrepareErrorKind {
    /// The password does not open it: put the right one into the Secret. Nothing was written.
    WrongPassword,
    /// There is no repository, and none may be created.
    NotInitialized,
    /// Other objects are below the prefix, but no repository: nothing is created among them.
    NotEmpty,
    /// What is there contradicts itself.
    Damaged,
    /// The store did not answer; try again later.
    Unreachable,
    /// The store refuses, or is not set up.
    Refused,
    /// An upgrade of the repository is going on, or it needs a newer version.
    Unsupported,
}

/// Why a repository could not be prepared, in words for `status.message`.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PrepareError {
    kind: PrepareErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl PrepareError {
    pub(crate) fn new(kind: PrepareErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// What the user can do.
    pub fn kind(&self) -> PrepareErrorKind {
        self.kind
    }
}

impl From<StorageError> for PrepareError {
    fn from(error: StorageError) -> Self {
        let message = format!("the backup repository cannot be reached: {error}");
        Self {
            kind: kind_of(&error),
            message,
            source: Some(Box::new(error)),
        }
    }
}

impl From<RepositoryError> for PrepareError {
    fn from(error: RepositoryError) -> Self {
        let kind = match error.kind() {
            RepositoryErrorKind::WrongPassword => PrepareErrorKind::WrongPassword,
            RepositoryErrorKind::NotInitialized => PrepareErrorKind::NotInitialized,
            RepositoryErrorKind::Unsupported
            | RepositoryErrorKind::NewerVersion
            | RepositoryErrorKind::MissingFeature
            | RepositoryErrorKind::Locked => PrepareErrorKind::Unsupported,
            RepositoryErrorKind::ForeignFiles => PrepareErrorKind::NotEmpty,
            RepositoryErrorKind::NoSpace | RepositoryErrorKind::ReadOnly | RepositoryErrorKind::ClockSkew => {
                PrepareErrorKind::Refused
            }
            RepositoryErrorKind::Storage => error.storage().map_or(PrepareErrorKind::Unreachable, kind_of),
            RepositoryErrorKind::TooSlow | RepositoryErrorKind::AlreadyInitialized => {
                PrepareErrorKind::Unreachable
            }
            _ => PrepareErrorKind::Damaged,
        };
        let message = match kind {
            PrepareErrorKind::WrongPassword => format!(
                "the backup repository does not open with the password in Secret {}, key {}: put the password there \
                 that it was created with; nothing was changed in it",
                crate::PASSWORD_SECRET,
                crate::PASSWORD_KEY
            ),
            _ => format!("the backup repository cannot be opened: {error}"),
        };
        Self {
            kind,
            message,
            source: Some(Box::new(error)),
        }
    }
}

fn kind_of(error: &StorageError) -> PrepareErrorKind {
    match error.kind() {
        StorageErrorKind::Unavailable => PrepareErrorKind::Unreachable,
        StorageErrorKind::Denied
        | StorageErrorKind::Misconfigured
        | StorageErrorKind::Unsupported
        | StorageErrorKind::NoSpace
        | StorageErrorKind::ReadOnly => PrepareErrorKind::Refused,
        // Blobs that were listed a moment ago.
        StorageErrorKind::NotFound | StorageErrorKind::AlreadyExists | StorageErrorKind::Damaged => {
            PrepareErrorKind::Damaged
        }
    }
}

/// Opens the repository in `storage`, as `default@default`; creates or finishes it where `mode` allows it. While the
/// password is being changed (two in `password`) it opens with either, and is created with the newer one.
///
/// Errors: [`PrepareError`]; its kind says what to do. Only an empty prefix is ever initialised, and what is
/// there is never overwritten.
pub async fn prepare(
    storage: Arc<dyn Storage>,
    password: impl Into<Passwords>,
    mode: Prepare,
    environment: Environment,
) -> Result<Repository, PrepareError> {
    prepare_with(storage, password, mode, FULL_MAINTENANCE_INTERVAL, environment).await
}

/// The same, and a repository that is created or finished here is maintained in full this often; one with a marker keeps
/// what it has.
///
/// Errors: as of [`prepare`].
pub async fn prepare_with(
    storage: Arc<dyn Storage>,
    password: impl Into<Passwords>,
    mode: Prepare,
    full_maintenance: Duration,
    environment: Environment,
) -> Result<Repository, PrepareError> {
    let passwords = password.into();
    let found = storage.list("").await?;
    let holds = |name: &str| found.iter().any(|blob| blob.id.as_str() == name);
    if !holds(FORMAT_BLOB) {
        match (found.first(), mode) {
            (Some(other), _) => return Err(not_empty(other.id.as_str(), found.len())),
            (None, Prepare::ConnectOnly) => {
                let message = "there is no backup repository yet, and none may be created here";
                return Err(PrepareError::new(PrepareErrorKind::NotInitialized, message));
            }
            (None, Prepare::ConnectOrCreate) => {
                create_or_lose(&storage, passwords.newest(), &environment).await?
            }
        }
    }
    check_marker(&storage, &environment).await?;
    let repository = open_with_any(&storage, &passwords, &environment).await?;
    if mode == Prepare::ConnectOrCreate && !holds(MARKER) {
        finish(&storage, &repository, full_maintenance).await?;
        // Where the store cannot put with a condition, the winner is known only now.
        check_marker(&storage, &environment).await?;
        let now = peek_unique_id(storage, &environment).await?;
        if now.as_deref() != Some(repository.unique_id()) {
            let message =
                "another install created the backup repository at the same moment; it is opened next time";
            return Err(PrepareError::new(PrepareErrorKind::Unreachable, message));
        }
    }
    Ok(repository)
}

async fn open_with_any(
    storage: &Arc<dyn Storage>,
    passwords: &Passwords,
    environment: &Environment,
) -> Result<Repository, RepositoryError> {
    // The current one first: a repository that is re-keyed between the two tries still opens.
    let opened = open_with(storage, passwords.current(), environment).await;
    match (opened, passwords.next()) {
        (Err(error), Some(next)) if error.kind() == RepositoryErrorKind::WrongPassword => {
            open_with(storage, next, environment).await
        }
        (opened, _) => opened,
    }
}

async fn open_with(
    storage: &Arc<dyn Storage>,
    password: &SecretString,
    environment: &Environment,
) -> Result<Repository, RepositoryError> {
    let options = OpenOptions {
        username: USER.to_owned(),
        hostname: HOST.to_owned(),
    };
    open(storage.clone(), password, options, environment.clone()).await
}

/// Creates the repository; it is as good if somebody else just did.
async fn create_or_lose(
    storage: &Arc<dyn Storage>,
    password: &SecretString,
    environment: &Environment,
) -> Result<(), PrepareError> {
    let options = CreateOptions {
        username: USER.to_owned(),
        hostname: HOST.to_owned(),
    };
    match create(storage.clone(), password, &options, environment.clone()).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == RepositoryErrorKind::AlreadyInitialized => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A marker that is there must name this repository.
async fn check_marker(storage: &Arc<dyn Storage>, environment: &Environment) -> Result<(), PrepareError> {
    let damaged = |message: String| PrepareError::new(PrepareErrorKind::Damaged, message);
    let marker = match marker::read(storage).await {
        Ok(Some(marker)) => marker,
        Ok(None) => return Ok(()),
        Err(MarkerError::Storage(error)) => return Err(error.into()),
        Err(MarkerError::NotJson(error)) => {
            return Err(damaged(format!("blob {MARKER} is not valid JSON: {error}")));
        }
    };
    let id = peek_unique_id(storage.clone(), environment)
        .await?
        .map(|id| BASE64_STANDARD.encode(id));
    match id {
        Some(id) if id == marker.unique_id => Ok(()),
        _ => Err(damaged(format!(
            "blob {MARKER} belongs to another repository than {FORMAT_BLOB}: they were mixed; \
             restore the one that was there, or use another prefix"
        ))),
    }
}

/// What creating does after the format blob, where it is missing: maintenance parameters, marker.
async fn finish(
    storage: &Arc<dyn Storage>,
    repository: &Repository,
    full_maintenance: Duration,
) -> Result<(), PrepareError> {
    let engine = repository.clone();
    let work = move || set_maintenance(&engine, full_maintenance);
    match repository.environment().run(work).await {
        Ok(done) => done?,
        Err(_) => {
            let message = "finishing the backup repository was interrupted";
            return Err(PrepareError::new(PrepareErrorKind::Unreachable, message));
        }
    }
    marker::write(
        storage,
        &Marker {
            unique_id: BASE64_STANDARD.encode(repository.unique_id()),
        },
    )
    .await?;
    Ok(())
}

/// Blocking. Parameters that are there are changed only while they are as creating leaves them: somebody else's stay. A
/// crash in between costs nothing, since the marker comes last.
fn set_maintenance(engine: &Repository, full_maintenance: Duration) -> Result<(), RepositoryError> {
    let owner = format!("{USER}@{HOST}");
    let standard = MaintenanceParameters::standard(owner.as_str());
    let mut wanted = standard.clone();
    wanted.full.interval = i64::try_from(full_maintenance.as_nanos()).unwrap_or(i64::MAX);
    let maintenance = Labels::from([("type".to_owned(), "maintenance".to_owned())]);
    if engine.find_manifests(&maintenance)?.is_empty() {
        return engine.set_maintenance_parameters(&wanted);
    }
    if wanted != standard && engine.maintenance_parameters()? == standard {
        engine.set_maintenance_parameters(&wanted)?;
    }
    Ok(())
}

fn not_empty(first: &str, count: usize) -> PrepareError {
    let message = format!(
        "the prefix holds {count} objects (first: {first}) but no {FORMAT_BLOB}, so no repository is created over \
         them: bring {FORMAT_BLOB} back if it was lost, else empty the prefix or use another one"
    );
    PrepareError::new(PrepareErrorKind::NotEmpty, message)
}
