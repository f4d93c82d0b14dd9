//! The repository as a data mover reaches it: no Secret is read from the API, all of it is mounted.

use std::path::PathBuf;
use std::sync::Arc;

use caravel_backup_repository::Prepare;
use caravel_backup_store::{Location, ProcessCredentials, Stores};
use caravel_repository::{Environment, Repository};
use secrecy::SecretString;

/// Where the pod finds location and password.
#[derive(Clone, Debug)]
pub(crate) struct Mounted {
    /// JSON of the location (`CARAVEL_LOCATION`).
    pub location: String,
    /// The node agent's credentials file, or the location's own, mounted in its place.
    pub credentials: ProcessCredentials,
    /// File with the repository password.
    pub password_file: PathBuf,
    pub stores: Arc<dyn Stores>,
    pub environment: Environment,
}

/// The repository cannot be opened. No text holds a password or credential.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("variable CARAVEL_LOCATION of the data mover pod is not a location: {0}")]
    Location(#[source] serde_json::Error),
    #[error("cannot read the repository password {path} (Secret velero-repo-credentials): {source}")]
    Password {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{0}")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot open the backup repository of namespace {namespace}: {source}")]
    Open {
        namespace: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Connects to the repository of a volume namespace; it is never created here.
pub(crate) async fn open(mounted: &Mounted, volume_namespace: &str) -> Result<Repository, StoreError> {
    let location: Location = serde_json::from_str(&mounted.location).map_err(StoreError::Location)?;
    let password =
        std::fs::read_to_string(&mounted.password_file).map_err(|source| StoreError::Password {
            path: mounted.password_file.display().to_string(),
            source,
        })?;
    let password = SecretString::from(password.trim().to_owned());
    let credentials = mounted
        .credentials
        .read()
        .map_err(|error| StoreError::Storage(error.into()))?;
    let storage = mounted
        .stores
        .repository_storage(&location, credentials.as_ref(), volume_namespace)
        .map_err(|error| StoreError::Storage(error.into()))?;
    let environment = mounted.environment.clone();
    caravel_backup_repository::prepare(storage, &password, Prepare::ConnectOnly, environment)
        .await
        .map_err(|error| StoreError::Open {
            namespace: volume_namespace.to_owned(),
            source: error.into(),
        })
}
