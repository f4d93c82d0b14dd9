//! S3: its settings and its client. What it shares with other object stores is [`crate::bucket`].

mod answer;
mod client;
mod locks;

#[cfg(any(test, feature = "test-server"))]
mod chunked;
#[cfg(any(test, feature = "test-server"))]
pub mod storage_server;
#[cfg(any(test, feature = "test-server"))]
pub mod test_server;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use locks::S3Locks;
use object_store::aws::AmazonS3;

pub(crate) use answer::answered;
pub use client::{ROLE_VARIABLES, S3Config, S3Credentials, amazon_s3};

/// Whom clients trust; for others that follow the addresses a location signs.
pub use crate::bucket::tls::client_config as tls_client_config;
pub use crate::bucket::{DEFAULT_RETRIES, Place, create, is_loopback, key_path};

use crate::{
    StorageError,
    bucket::{BucketStorage, retries},
};

/// Blobs of one prefix in one bucket of an S3 server.
pub type S3Storage = BucketStorage<AmazonS3>;

impl S3Storage {
    /// Makes the client; nothing is sent. The prefix is used verbatim, so it normally ends with `/`.
    ///
    /// Errors: [`crate::StorageErrorKind::Misconfigured`] for settings that cannot work (an unreadable CA, a bad
    /// address, a prefix that S3 keys cannot have).
    pub fn new(config: S3Config) -> Result<Self, StorageError> {
        let connector = client::connector(&config)?;
        let store = client::amazon_s3_with(&config, connector.clone(), None)?;
        let place = Place::of(&config);
        let storage = Self::below(config.prefix.clone(), place, store)?;
        let retry = retries(config.retries);
        Ok(storage.with_locks(retry, Arc::new(S3Locks::new(config, connector))))
    }
}
