//! Google Cloud Storage: its settings, its credentials and its client, over the XML API. What it shares with other object
//! stores is [`crate::bucket`].
//!
//! Source: the config keys of velero-plugin-for-gcp (`backupstoragelocation.md`, 2026-02), the XML API's reference. The
//! client is `object_store`'s; requests carry a token that the service account's own key signs, so that nobody is asked
//! for one.

mod answer;
mod credentials;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use object_store::{
    ClientOptions, StaticCredentialProvider,
    gcp::{GcpSigningCredential, GoogleCloudStorage, GoogleCloudStorageBuilder},
};
use url::Url;

pub(crate) use answer::answered;
pub use credentials::{GcsCredentials, GcsCredentialsError};

use crate::{
    Operation, StorageError, StorageErrorKind,
    bucket::{BucketStorage, Place, address, answer::Dialect, http::Connector, is_loopback, retries, tls},
};

/// Where requests go unless told otherwise, and what signed addresses always name.
const GOOGLE: &str = "https://storage.googleapis.com";
/// The setting that holds another address.
pub(crate) const ENDPOINT_SETTING: &str = "storeEndpoint";
/// With which key an object is to be encrypted (XML API, request headers).
const KMS_KEY: &str = "x-goog-encryption-kms-key-name";

/// Where a bucket is and how to reach it.
#[derive(Clone, Debug, Default)]
pub struct GcsConfig {
    /// The bucket's name.
    pub bucket: String,
    /// What every key starts with, verbatim; normally ends with `/`.
    pub prefix: String,
    /// The server's address (`https://host` or `host`); none for Google itself.
    pub endpoint: Option<String>,
    /// Certificates (PEM) that are trusted beside the public ones.
    pub ca_pem: Option<Vec<u8>>,
    /// A service account's key. Without one the machine's metadata service is asked (GKE's workload identity), or what
    /// `gcloud auth application-default login` left in the home of whoever runs this.
    pub credentials: Option<GcsCredentials>,
    /// Without a key: whose name signed addresses carry (IAM's `signBlob` signs them). Else the metadata service says it.
    pub service_account: Option<String>,
    /// The Cloud KMS key that new objects are encrypted with, `projects/P/locations/L/keyRings/R/cryptoKeys/K`.
    pub kms_key_name: Option<String>,
    /// How often a request is tried again; [`crate::bucket::DEFAULT_RETRIES`] where none is set.
    pub retries: Option<usize>,
}

impl GcsConfig {
    /// The server's address. Google's libraries take it without a scheme and with the path of the JSON API too; the path
    /// is not used here.
    pub(crate) fn address(&self) -> Result<Url, StorageError> {
        let text = self.endpoint.as_deref().unwrap_or(GOOGLE);
        let text = match text.contains("://") {
            true => text.to_owned(),
            false => format!("https://{text}"),
        };
        let trimmed = text.trim_end_matches('/');
        let trimmed = trimmed.strip_suffix("/storage/v1").unwrap_or(trimmed);
        address(trimmed, "Google's address (storeEndpoint)", false)
    }
}

/// Blobs of one prefix in one bucket of Google Cloud Storage.
pub type GcsStorage = BucketStorage<GoogleCloudStorage>;

impl GcsStorage {
    /// Makes the client; nothing is sent. The prefix is used verbatim, so it normally ends with `/`.
    ///
    /// Errors: [`StorageErrorKind::Misconfigured`] for settings that cannot work.
    pub fn new(config: GcsConfig) -> Result<Self, StorageError> {
        let (place, store) = (Place::of_gcs(&config), google_cloud_storage(&config)?);
        Self::below(config.prefix, place, store)
    }
}

impl Place {
    /// Where these settings point.
    pub fn of_gcs(config: &GcsConfig) -> Self {
        let server = config
            .address()
            .map_or_else(|_| GOOGLE.to_owned(), |url| url.as_str().to_owned());
        Self {
            dialect: Dialect::Gcs,
            bucket: config.bucket.clone(),
            server: server.trim_end_matches('/').to_owned(),
            region: String::new(),
        }
    }
}

/// The `object_store` client for these settings; the prefix is not part of it. Nothing is sent.
///
/// Errors: [`StorageErrorKind::Misconfigured`].
pub fn google_cloud_storage(config: &GcsConfig) -> Result<GoogleCloudStorage, StorageError> {
    let misconfigured = |cause: String| {
        let subject = format!("bucket {:?}", config.bucket);
        StorageError::new(StorageErrorKind::Misconfigured, Operation::Open, subject, cause)
    };
    if config.bucket.is_empty() {
        return Err(misconfigured("no bucket is named".to_owned()));
    }
    let address = config.address()?;
    let is_http = address.scheme() == "http";
    let tls = tls::client_config(config.ca_pem.as_deref(), false)
        .map_err(|cause| misconfigured(format!("the CA certificate cannot be used: {cause}")))?;
    let mut connector = Connector::new(tls, is_loopback(&address));
    if let Some(key) = &config.kms_key_name {
        let value = HeaderValue::from_str(key)
            .map_err(|_| misconfigured(format!("kmsKeyName {key:?} is no name of a key")))?;
        connector = connector.with_creation_header(HeaderName::from_static(KMS_KEY), value);
    }
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&config.bucket)
        .with_base_url(address.as_str().trim_end_matches('/'))
        .with_client_options(ClientOptions::new().with_allow_http(is_http))
        .with_http_connector(connector)
        .with_retry(retries(config.retries));
    if let Some(credentials) = &config.credentials {
        builder = builder.with_service_account_key(credentials.json());
    } else if let Some(email) = &config.service_account {
        builder =
            builder.with_signing_credentials(Arc::new(StaticCredentialProvider::new(GcpSigningCredential {
                email: email.clone(),
                private_key: None,
            })));
    }
    // The builder's own words may repeat what stands in a file.
    let wrong = match config.credentials {
        Some(_) => {
            "the service account's private_key is no RSA key in PEM: make a new one (gcloud iam service-accounts keys create)"
        }
        None => {
            "what gcloud left in this user's home (.config/gcloud/application_default_credentials.json) cannot be used"
        }
    };
    builder.build().map_err(|_| misconfigured(wrong.to_owned()))
}

/// The client whose addresses are handed out: Google verifies them for its own name only, so `endpoint` is not used, as
/// in velero-plugin-for-gcp.
///
/// Errors: [`StorageErrorKind::Misconfigured`].
pub fn signer(config: &GcsConfig) -> Result<GoogleCloudStorage, StorageError> {
    google_cloud_storage(&GcsConfig {
        endpoint: None,
        ..config.clone()
    })
}
