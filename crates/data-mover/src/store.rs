//! The repository as a data mover reaches it: no Secret is read from the API, all of it is mounted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use caravel_backup_repository::{NEXT_PASSWORD_KEY, PASSWORD_KEY, Passwords, Prepare};
use caravel_backup_store::{Location, ProcessCredentials, Stores};
use caravel_repository::{Environment, Repository};

/// Where the pod finds location and password.
#[derive(Clone, Debug)]
pub(crate) struct Mounted {
    /// JSON of the location (`CARAVEL_LOCATION`).
    pub location: String,
    /// The node agent's credentials file, or the location's own, mounted in its place.
    pub credentials: ProcessCredentials,
    /// File with the repository password. While it is being changed the next one lies beside it, in `<name>-next`.
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
    #[error("the repository password {path} (Secret velero-repo-credentials) is empty or not text")]
    NoPassword { path: String },
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
    let password = password(&mounted.password_file)?;
    let credentials = mounted
        .credentials
        .for_location(&location)
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

fn password(file: &Path) -> Result<Passwords, StoreError> {
    let path = file.display().to_string();
    let mut beside = file.as_os_str().to_owned();
    beside.push("-next");
    // Missing, but for a change of the password. Read first: when the change ends between the two readings the next one is
    // the current one then, and not lost with the old one in hand.
    let next = std::fs::read(beside).ok();
    let current = std::fs::read(file).map_err(|source| StoreError::Password {
        path: path.clone(),
        source,
    })?;
    let held = |key: &str| match key {
        PASSWORD_KEY => Some(current.as_slice()),
        NEXT_PASSWORD_KEY => next.as_deref(),
        _ => None,
    };
    Passwords::recorded(held).ok_or(StoreError::NoPassword { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_password_is_read_while_it_is_there_and_an_empty_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        assert!(matches!(password(&file), Err(StoreError::Password { .. })));
        std::fs::write(&file, " \n").unwrap();
        let why = password(&file).unwrap_err().to_string();
        assert!(why.contains("velero-repo-credentials"), "{why}");
        std::fs::write(&file, "old\n").unwrap();
        assert!(password(&file).unwrap().next().is_none());
        std::fs::write(folder.path().join("password-next"), "new\n").unwrap();
        assert!(password(&file).unwrap().next().is_some());
    }
}
