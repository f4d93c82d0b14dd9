//! What the settings of all stores have in common: an address, and how patient a client is.

use std::time::Duration;

use object_store::{BackoffConfig, RetryConfig};
use url::{Host, Url};

use crate::{Operation, StorageError, StorageErrorKind};

/// Five tries in all, within a minute: a controller tries again by itself, and a status must not wait longer.
pub const DEFAULT_RETRIES: usize = 4;

/// The address of a store as the user gave it: http or https, a host, perhaps a path where `with_path`, nothing else.
/// `setting` is what the messages call it; the address itself may hold a password and is not repeated.
pub(crate) fn address(text: &str, setting: &str, with_path: bool) -> Result<Url, StorageError> {
    let failed =
        |cause: String| StorageError::new(StorageErrorKind::Misconfigured, Operation::Open, setting, cause);
    let url = Url::parse(text).map_err(|e| failed(format!("not an address: {e}")))?;
    let wrong = match url.scheme() {
        "http" | "https" if url.host_str().is_some() => None,
        _ => Some("it must start with http:// or https:// and name a host"),
    };
    let wrong = wrong.or_else(|| {
        let has_path = !matches!(url.path(), "" | "/") && !with_path;
        (has_path || url.query().is_some())
            .then_some("it must have no path after the host; put a folder in the location's prefix")
    });
    let wrong = wrong.or_else(|| {
        (!url.username().is_empty() || url.password().is_some())
            .then_some("it must hold no user name or password; put keys in the credentials secret")
    });
    match wrong {
        Some(cause) => Err(failed(cause.to_owned())),
        None => Ok(url),
    }
}

/// Whether an address is on this machine: no proxy is asked for it, as in Go (`net/http`, `ProxyFromEnvironment`) and so
/// in Velero.
pub fn is_loopback(address: &Url) -> bool {
    match address.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

/// How often and how long apart requests are tried again; [`DEFAULT_RETRIES`] where none is set.
pub(crate) fn retries(given: Option<usize>) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(5),
            base: 3.0,
        },
        max_retries: given.unwrap_or(DEFAULT_RETRIES),
        retry_timeout: Duration::from_secs(60),
    }
}
