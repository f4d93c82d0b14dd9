//! What a store's refusal or silence means, in words a user can act on: these end up in the status of a
//! BackupStorageLocation. Nothing of a request (address, header, signature) is repeated (guarantee 8).

use std::{error::Error as StdError, fmt, time::Duration};

use http::StatusCode;

use super::{S3Config, http::innermost};
use crate::{Operation, StorageError, StorageErrorKind};

/// The bucket and the server, as messages name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    bucket: String,
    server: String,
    region: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.server, self.bucket)
    }
}

/// Why a request brought no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The store answered with an error.
    Answer {
        status: StatusCode,
        code: String,
        message: String,
    },
    /// Its certificate is not trusted; the reason of the TLS library.
    Certificate(String),
    /// Nothing came in time.
    Timeout { limit: Duration },
    /// The listing broke off or is none.
    PartialListing,
    /// The connection failed.
    Transport(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Answer {
                status,
                code,
                message,
            } => write!(f, "{status} {code} {message}"),
            Failure::Certificate(cause) | Failure::Transport(cause) => f.write_str(cause),
            Failure::Timeout { limit } => write!(f, "no answer within {} s", limit.as_secs()),
            Failure::PartialListing => f.write_str("the listing is incomplete"),
        }
    }
}

impl StdError for Failure {}

impl Failure {
    /// Reads an S3 error document; a body that is none leaves the code empty.
    pub(super) fn of_answer(status: StatusCode, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&body[..body.len().min(16 << 10)]);
        let code = element(&text, "Code");
        let message = match code.is_empty() {
            false => element(&text, "Message"),
            // A server that is no S3 (or a TLS server asked without TLS) says it in plain text.
            true if !text.contains('<') => text.trim().chars().take(200).collect(),
            true => String::new(),
        };
        Failure::Answer {
            status,
            code,
            message,
        }
    }

    /// Reads a failure of the HTTP client; one of ours stays as it is.
    pub(super) fn of_transport(error: &(dyn StdError + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(inner) = cause {
            if let Some(failure) = inner.downcast_ref::<Failure>() {
                return failure.clone();
            }
            if let Some(rustls::Error::InvalidCertificate(reason)) = inner.downcast_ref::<rustls::Error>() {
                return Failure::Certificate(format!("{reason:?}"));
            }
            cause = inner.source();
        }
        let innermost = innermost(error).to_string();
        match innermost.split_once("invalid peer certificate: ") {
            Some((_, reason)) => Failure::Certificate(reason.to_owned()),
            None => Failure::Transport(innermost),
        }
    }
}

/// The text of the first `<name>`; error documents are flat and small.
fn element(text: &str, name: &str) -> String {
    let found = text
        .split_once(&format!("<{name}>"))
        .and_then(|(_, rest)| rest.split_once('<'));
    found
        .map(|(value, _)| value.chars().take(300).collect())
        .unwrap_or_default()
}

impl Place {
    /// Where these settings point.
    pub fn of(config: &S3Config) -> Self {
        let server = config
            .address()
            .map_or_else(|_| "S3".to_owned(), |url| url.as_str().to_owned());
        Self {
            bucket: config.bucket.clone(),
            server: server.trim_end_matches('/').to_owned(),
            region: config.region.clone().unwrap_or_else(|| "us-east-1".to_owned()),
        }
    }

    /// What a listing of these keys is called in messages.
    pub fn listing(&self, prefix: &str) -> String {
        format!("{}/{prefix}", self.bucket)
    }

    /// The error for `subject`, with a kind and a cause that say what to do.
    pub fn explain(&self, operation: Operation, subject: &str, error: &object_store::Error) -> StorageError {
        let (kind, cause) = match Failure::of_transport(error) {
            Failure::Answer {
                status,
                code,
                message,
            } => self.answered(status, &code, &message),
            Failure::Certificate(reason) => (
                StorageErrorKind::Misconfigured,
                format!(
                    "the certificate of {} is not trusted ({reason}): give its CA as the location's caCert \
                     (velero install --cacert), or set insecureSkipTLSVerify to \"true\"",
                    self.server
                ),
            ),
            Failure::Timeout { limit } => (
                StorageErrorKind::Unavailable,
                format!("{} did not answer within {} s", self.server, limit.as_secs()),
            ),
            Failure::PartialListing => (
                StorageErrorKind::Unavailable,
                format!(
                    "{} answered with something that is not a complete listing",
                    self.server
                ),
            ),
            Failure::Transport(cause) => self.unreachable(error, &cause),
        };
        StorageError::new(kind, operation, subject, cause)
    }

    fn unreachable(&self, error: &object_store::Error, cause: &str) -> (StorageErrorKind, String) {
        let server = &self.server;
        match error {
            object_store::Error::InvalidPath { .. } | object_store::Error::NotSupported { .. } => {
                (StorageErrorKind::Misconfigured, cause.to_owned())
            }
            object_store::Error::NotImplemented { .. } => (StorageErrorKind::Unsupported, cause.to_owned()),
            _ if cause.contains("failed to lookup address") || cause.contains("dns error") => (
                StorageErrorKind::Unavailable,
                format!("the name of {server} cannot be resolved: is s3Url right? ({cause})"),
            ),
            _ => (
                StorageErrorKind::Unavailable,
                format!("no usable answer from {server}: {cause}"),
            ),
        }
    }

    fn answered(&self, status: StatusCode, code: &str, message: &str) -> (StorageErrorKind, String) {
        use StorageErrorKind::{
            AlreadyExists, Damaged, Denied, Misconfigured, NoSpace, NotFound, Unavailable, Unsupported,
        };
        let Self {
            bucket,
            server,
            region,
        } = self;
        let said = match (code.is_empty(), message.is_empty()) {
            (false, false) => format!("{code}: {message}"),
            (false, true) => code.to_owned(),
            (true, false) => format!("{status}: {message}"),
            (true, true) => status.to_string(),
        };
        match (status.as_u16(), code) {
            (_, "NoSuchKey") => (
                NotFound,
                format!("bucket {bucket} at {server} has no such object"),
            ),
            (_, "NoSuchBucket") => (
                Misconfigured,
                format!(
                    "bucket {bucket} does not exist at {server}: create it, or correct objectStorage.bucket"
                ),
            ),
            // What MinIO, Ceph and others say when a disk or a quota is full.
            (507, _) | (_, "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "QuotaExceeded") => (
                NoSpace,
                format!(
                    "{server} has no room left for bucket {bucket} ({said}): make room or raise the quota"
                ),
            ),
            // versitygw says it in a word of its own.
            (_, "InvalidAccessKeyId" | "XAdminUserNotFound") => (
                Denied,
                format!("{server} does not know the access key id: correct the credentials secret"),
            ),
            (_, "SignatureDoesNotMatch") => (
                Denied,
                format!(
                    "{server} refuses the signature: the secret access key is wrong; correct the credentials secret"
                ),
            ),
            (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => (
                Denied,
                format!("the session token is refused by {server} ({code}): renew the credentials"),
            ),
            (_, "RequestTimeTooSkewed") => (
                Misconfigured,
                format!("the clocks of this machine and {server} differ too much"),
            ),
            (_, "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect")
            | (301 | 302 | 307 | 308, _) => (
                Misconfigured,
                format!(
                    "bucket {bucket} is not in region {region} of {server} ({said}): correct the config's region or s3Url"
                ),
            ),
            (_, "InvalidRange") | (416, _) => (
                Damaged,
                "the object is shorter than the range asked for".to_owned(),
            ),
            (_, "PreconditionFailed") | (412 | 304, _) => (
                AlreadyExists,
                format!("bucket {bucket} at {server} holds an object of this name already"),
            ),
            (_, "NotImplemented") | (501, _) => (Unsupported, format!("{server} cannot do this ({said})")),
            // Another conditional write is under way; also 5xx and "slow down".
            (409 | 429 | 408 | 500.., _) => (Unavailable, format!("{server} answered {said}")),
            (401 | 403, _) => (
                Denied,
                format!(
                    "{server} denies access to bucket {bucket} ({said}): check the key and its permissions"
                ),
            ),
            (404 | 405, _) => (
                Misconfigured,
                format!(
                    "{server} did not answer as S3 does ({said}): check s3Url, s3ForcePathStyle and the bucket {bucket}"
                ),
            ),
            _ => (Misconfigured, format!("{server} refused the request ({said})")),
        }
    }
}
