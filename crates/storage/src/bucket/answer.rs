//! What a store's refusal or silence means, in words a user can act on: these end up in the status of a
//! BackupStorageLocation. Nothing of a request (address, header, signature) is repeated (guarantee 8).

use std::{error::Error as StdError, fmt, time::Duration};

use http::StatusCode;

use super::http::innermost;
use crate::{Operation, StorageError, StorageErrorKind, azure, gcs, s3};

/// Whose words a store speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    #[default]
    S3,
    Gcs,
    Azure,
}

/// The bucket and the server, as messages name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub(crate) dialect: Dialect,
    pub(crate) bucket: String,
    pub(crate) server: String,
    pub(crate) region: String,
}

/// What a store said when it refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal<'a> {
    pub(crate) status: StatusCode,
    /// The store's word for the cause; empty where it said none.
    pub(crate) code: &'a str,
    /// Its sentence.
    pub(crate) message: &'a str,
}

impl Refusal<'_> {
    /// Code and sentence, or what there is of them.
    pub(crate) fn said(&self) -> String {
        let Self {
            status,
            code,
            message,
        } = self;
        match (code.is_empty(), message.is_empty()) {
            (false, false) => format!("{code}: {message}"),
            (false, true) => (*code).to_owned(),
            (true, false) => format!("{status}: {message}"),
            (true, true) => status.to_string(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.server, self.bucket)
    }
}

/// Why a request brought no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
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
    /// Reads an error document (S3, Google and Azure write the same one); a body that is none leaves the code empty.
    pub(crate) fn of_answer(status: StatusCode, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&body[..body.len().min(16 << 10)]);
        let code = element(&text, "Code");
        let message = match code.is_empty() {
            false => element(&text, "Message"),
            // A server that is none (or a TLS server asked without TLS) says it in plain text.
            true if !text.contains('<') => text.trim().chars().take(200).collect(),
            true => String::new(),
        };
        Failure::Answer {
            status,
            code,
            message,
        }
    }

    /// The same, with the code from a header where there is no document: the answer to HEAD (Azure).
    pub(crate) fn with_code(mut self, header: Option<&str>) -> Self {
        if let Self::Answer { code, .. } = &mut self
            && code.is_empty()
        {
            code.push_str(header.unwrap_or_default());
        }
        self
    }

    /// Reads a failure of the HTTP client; one of ours stays as it is.
    pub(crate) fn of_transport(error: &(dyn StdError + 'static)) -> Self {
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
            // `object_store` (0.14.2, `util.rs`, whose error is private) about a store that answers a range behind the end
            // with success: Azurite does, where the range begins at the end.
            None if innermost.starts_with("Wanted range starting at ") => Failure::Answer {
                status: StatusCode::RANGE_NOT_SATISFIABLE,
                code: "InvalidRange".to_owned(),
                message: innermost,
            },
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
    pub fn of(config: &s3::S3Config) -> Self {
        let server = config
            .address()
            .map_or_else(|_| "S3".to_owned(), |url| url.as_str().to_owned());
        Self {
            dialect: Dialect::S3,
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
        let failure = Failure::of_transport(error);
        let (kind, cause) = if is_about_a_token(error) {
            self.without_token(&failure)
        } else {
            self.failed(error, failure)
        };
        StorageError::new(kind, operation, subject, cause)
    }

    fn failed(&self, error: &object_store::Error, failure: Failure) -> (StorageErrorKind, String) {
        match failure {
            Failure::Answer {
                status,
                code,
                message,
            } => self.answered(Refusal {
                status,
                code: &code,
                message: &message,
            }),
            Failure::Certificate(reason) => (
                StorageErrorKind::Misconfigured,
                format!(
                    "the certificate of {} is not trusted ({reason}): give its CA as the location's caCert \
                     (velero install --cacert){}",
                    self.server,
                    match self.dialect {
                        Dialect::S3 => ", or set insecureSkipTLSVerify to \"true\"",
                        Dialect::Gcs | Dialect::Azure => "",
                    }
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
            Failure::Transport(cause) => self.without_answer(error, &cause),
        }
    }

    /// What is needed before anything can be asked of the store did not come.
    fn without_token(&self, failure: &Failure) -> (StorageErrorKind, String) {
        let kind = match failure {
            Failure::Answer { .. } | Failure::Certificate(_) => StorageErrorKind::Denied,
            _ => StorageErrorKind::Unavailable,
        };
        let cause = format!(
            "no access token for {} could be had ({failure}): give a credentials file, or check the identity that the \
             cluster gives to this pod",
            self.server
        );
        (kind, cause)
    }

    /// The setting that holds the server's address.
    fn address_setting(&self) -> &'static str {
        match self.dialect {
            Dialect::S3 => "s3Url",
            Dialect::Gcs => gcs::ENDPOINT_SETTING,
            Dialect::Azure => azure::ENDPOINT_SETTING,
        }
    }

    /// Azure deletes in batches, whose answer `object_store` reads by itself.
    fn without_answer(&self, error: &object_store::Error, cause: &str) -> (StorageErrorKind, String) {
        if self.dialect == Dialect::Azure {
            if let object_store::Error::NotFound { .. } = error {
                let said = format!("container {} at {} has no such blob", self.bucket, self.server);
                return (StorageErrorKind::NotFound, said);
            }
            if let Some(refused) = azure::not_deleted(self, cause) {
                return refused;
            }
        }
        self.unreachable(error, cause)
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
                format!(
                    "the name of {server} cannot be resolved: is {} right? ({cause})",
                    self.address_setting()
                ),
            ),
            _ => (
                StorageErrorKind::Unavailable,
                format!("no usable answer from {server}: {cause}"),
            ),
        }
    }

    fn answered(&self, refusal: Refusal<'_>) -> (StorageErrorKind, String) {
        match self.dialect {
            Dialect::S3 => s3::answered(self, refusal),
            Dialect::Gcs => gcs::answered(self, refusal),
            Dialect::Azure => azure::answered(self, refusal),
        }
    }
}

/// Whether it was a token, not the store, that was asked for: `object_store` says so in these words alone
/// (`gcp/credential.rs`, `azure/credential.rs`, 0.14.2).
fn is_about_a_token(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if text.starts_with("Error performing token request")
            || text.starts_with("Error getting token response")
        {
            return true;
        }
        cause = inner.source();
    }
    false
}
