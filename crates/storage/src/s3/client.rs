//! From settings to a client: what to connect to, as whom, with which limits. Whom to trust is `bucket/tls.rs`.

use std::{collections::BTreeMap, fmt};

use http::HeaderMap;
use object_store::{
    ClientOptions,
    aws::{AmazonS3, AmazonS3Builder, AwsCredentialProvider, Checksum},
};
use url::Url;

use crate::{
    Operation, StorageError, StorageErrorKind,
    bucket::{address, http::Connector, is_loopback, retries, tls},
};

/// An access key. Its Debug shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The session token of temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("S3Credentials(hidden)")
    }
}

/// Where a bucket is and how to reach it.
#[derive(Clone, Debug, Default)]
pub struct S3Config {
    /// The bucket's name.
    pub bucket: String,
    /// What every key starts with, verbatim; normally ends with `/`.
    pub prefix: String,
    /// The region requests are signed for; `us-east-1` where none is given.
    pub region: Option<String>,
    /// The server's address (`https://host:port`); none for AWS itself.
    pub endpoint: Option<String>,
    /// `host/bucket/key` rather than `bucket.host/key`.
    pub path_style: bool,
    /// Certificates (PEM) that are trusted beside the public ones.
    pub ca_pem: Option<Vec<u8>>,
    /// Trusts any certificate: for tests and emergencies.
    pub insecure_skip_tls_verify: bool,
    /// The key; without one the role that follows is used.
    pub credentials: Option<S3Credentials>,
    /// Those of [`ROLE_VARIABLES`] that the process has, with their values (web identity, container role); without any
    /// the instance's metadata service is asked. Nothing is read from the environment here.
    pub role: BTreeMap<String, String>,
    /// `AES256` or `aws:kms`: the header that new objects are written with.
    pub server_side_encryption: Option<String>,
    /// The KMS key of `aws:kms`.
    pub kms_key_id: Option<String>,
    /// How often a request is tried again; [`super::DEFAULT_RETRIES`] where none is set.
    pub retries: Option<usize>,
}

/// The region where none is set: what S3-compatible servers expect.
pub(super) const DEFAULT_REGION: &str = "us-east-1";

impl S3Config {
    /// The server's address without its bucket; AWS's own by region where none is set.
    pub(crate) fn address(&self) -> Result<Url, StorageError> {
        let text = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => {
                let region = self.region.as_deref().unwrap_or(DEFAULT_REGION);
                let domain = if region.starts_with("cn-") {
                    "amazonaws.com.cn"
                } else {
                    "amazonaws.com"
                };
                format!("https://s3.{region}.{domain}")
            }
        };
        address(&text, "the S3 address (s3Url)", false)
    }

    /// The address with the bucket where `path_style` puts it.
    fn endpoint_for_builder(&self) -> Result<String, StorageError> {
        let mut url = self.address()?;
        if !self.path_style {
            let host = format!("{}.{}", self.bucket, url.host_str().unwrap_or_default());
            url.set_host(Some(&host)).map_err(|e| {
                let cause = format!("not a host name ({e}); set s3ForcePathStyle to \"true\"");
                StorageError::new(
                    StorageErrorKind::Misconfigured,
                    Operation::Open,
                    host.clone(),
                    cause,
                )
            })?;
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }
}

/// The `object_store` client for these settings; the prefix is not part of it. Nothing is sent.
///
/// Errors: [`StorageErrorKind::Misconfigured`].
pub fn amazon_s3(config: &S3Config) -> Result<AmazonS3, StorageError> {
    amazon_s3_with(config, connector(config)?, None)
}

fn misconfigured(config: &S3Config, cause: String) -> StorageError {
    let subject = format!("bucket {:?}", config.bucket);
    StorageError::new(StorageErrorKind::Misconfigured, Operation::Open, subject, cause)
}

/// What makes the connections of such a client.
pub(super) fn connector(config: &S3Config) -> Result<Connector, StorageError> {
    let tls = tls::client_config(config.ca_pem.as_deref(), config.insecure_skip_tls_verify)
        .map_err(|cause| misconfigured(config, format!("the CA certificate cannot be used: {cause}")))?;
    Ok(Connector::new(tls, is_loopback(&config.address()?)))
}

/// What a client has that puts under a lock.
pub(super) struct Locked {
    /// For every request; S3 wants a checksum then.
    pub headers: HeaderMap,
    /// Those of the client beside it, so that they are not asked for again.
    pub credentials: AwsCredentialProvider,
}

/// The same by a connector, and under a lock.
pub(super) fn amazon_s3_with(
    config: &S3Config,
    connector: Connector,
    locked: Option<Locked>,
) -> Result<AmazonS3, StorageError> {
    let misconfigured = |cause: String| misconfigured(config, cause);
    if config.bucket.is_empty() {
        return Err(misconfigured("no bucket is named".to_owned()));
    }
    let address = config.address()?;
    let is_http = address.scheme() == "http";
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_region(config.region.as_deref().unwrap_or(DEFAULT_REGION))
        .with_endpoint(config.endpoint_for_builder()?)
        .with_virtual_hosted_style_request(!config.path_style)
        .with_http_connector(connector)
        // TLS already protects the bytes on the way; their SHA-256 would cost a core.
        .with_unsigned_payload(!is_http)
        .with_retry(retries(config.retries));
    let client = ClientOptions::new().with_allow_http(is_http);
    builder = match (locked, &config.credentials) {
        (Some(Locked { headers, credentials }), _) => builder
            .with_client_options(client.with_default_headers(headers))
            .with_checksum_algorithm(Checksum::SHA256)
            .with_credentials(credentials),
        (None, Some(credentials)) => with_key(builder.with_client_options(client), credentials),
        (None, None) => with_role(builder.with_client_options(client), &config.role),
    };
    builder = match (config.server_side_encryption.as_deref(), &config.kms_key_id) {
        (None, None) => builder,
        (Some("AES256"), None) => {
            use object_store::aws::AmazonS3ConfigKey;
            let key: AmazonS3ConfigKey = "aws_server_side_encryption"
                .parse()
                .map_err(|e| misconfigured(format!("server side encryption cannot be set: {e}")))?;
            builder.with_config(key, "AES256")
        }
        (None | Some("aws:kms"), Some(key)) => builder.with_sse_kms_encryption(key),
        (Some(other), _) => {
            return Err(misconfigured(format!(
                "serverSideEncryption {other:?} with this kmsKeyId is not known; use AES256 without a key, or aws:kms with one"
            )));
        }
    };
    builder.build().map_err(|e| misconfigured(e.to_string()))
}

fn with_key(builder: AmazonS3Builder, credentials: &S3Credentials) -> AmazonS3Builder {
    let builder = builder
        .with_access_key_id(&credentials.access_key_id)
        .with_secret_access_key(&credentials.secret_access_key);
    match &credentials.session_token {
        Some(token) => builder.with_token(token),
        None => builder,
    }
}

/// The variables by which EKS, ECS and IRSA give a pod its role.
pub const ROLE_VARIABLES: [&str; 7] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

fn with_role(mut builder: AmazonS3Builder, role: &BTreeMap<String, String>) -> AmazonS3Builder {
    for (name, value) in role {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    builder
}
