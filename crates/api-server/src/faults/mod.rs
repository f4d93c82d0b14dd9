//! What can go wrong between a caller and the API server, on purpose: asked at the start of every request to a
//! resource, and before a watch sends. [`Rules`] is the ready one; without any, nothing changes.
//!
//! ```
//! use caravel_api_server::faults::{Fault, Rule, Rules};
//! use caravel_api_server::{ApiServer, User};
//! use std::sync::Arc;
//!
//! let rules = Arc::new(Rules::new(7));
//! // The first two status patches of DataUploads by Velero are done, but nobody hears of it.
//! let rule = Rule::always(Fault::LostAnswer).on("patch").of("datauploads").subresource("status");
//! rules.add(rule.by("system:serviceaccount:velero:").first(2));
//! let server = ApiServer::builder().seed(7).faults(rules).build();
//! # let _ = server;
//! ```

mod rules;

use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{ApiError, Reason};

pub use rules::{Rule, RuleSet, Rules};

/// What a fault may be about: one request, in RBAC's words. Empty: it has no such part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Subject<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; of a CSI driver the call's
    /// name, `CreateSnapshot`.
    pub operation: &'a str,
    /// API group; empty for the core.
    pub group: &'a str,
    /// Plural, as in `datauploads`.
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// Of a `create` the name in the body; empty with `generateName`.
    pub name: &'a str,
    /// `system:serviceaccount:velero:velero`.
    pub user: &'a str,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// It is not done and answered with this error.
    Refuse(ApiError),
    /// It is done and then answered with this error, as when a 504 comes after the write.
    AnsweredAfter(ApiError),
    /// It is not done, and the connection is dead.
    Unreachable,
    /// It is done, and then the connection is dead.
    LostAnswer,
    /// It is done after this time of tokio's clock.
    Slow(Duration),
}

impl Fault {
    /// 500.
    pub fn internal_error() -> Self {
        Self::Refuse(ApiError::new(
            Reason::InternalError,
            "Internal error occurred: made to fail by a rule",
        ))
    }

    /// 503.
    pub fn unavailable() -> Self {
        Self::Refuse(ApiError::new(
            Reason::ServiceUnavailable,
            "the server is currently unable to handle the request: made to fail by a rule",
        ))
    }

    /// 429 with `Retry-After`, whole seconds.
    pub fn too_many_requests(retry_after: Duration) -> Self {
        let mut error = ApiError::new(
            Reason::TooManyRequests,
            "Too many requests, please try again later.",
        );
        error.details = json!({"retryAfterSeconds": retry_after.as_secs()});
        Self::Refuse(error)
    }

    /// 409, as of an object that has changed meanwhile.
    pub fn conflict() -> Self {
        Self::Refuse(ApiError::new(
            Reason::Conflict,
            "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version and try again",
        ))
    }

    /// 504, and the request was not done.
    pub fn timeout() -> Self {
        Self::Refuse(timed_out())
    }

    /// 504, but the request was done.
    pub fn timeout_after() -> Self {
        Self::AnsweredAfter(timed_out())
    }
}

fn timed_out() -> ApiError {
    ApiError::new(
        Reason::Timeout,
        "Timeout: request did not complete within the allotted duration",
    )
}

/// What goes wrong with a watch under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchFault {
    /// The stream ends without what it was about to send.
    Drop,
    /// 410: the caller has to list again.
    Expired,
}

/// Who decides what goes wrong.
pub trait Faults: Send + Sync + 'static {
    /// Asked once at the start of every request to a resource, watches included.
    fn request(&self, subject: &Subject<'_>) -> Option<Fault>;

    /// Asked before a watch sends what has changed (events of one moment are sent together).
    fn watch_event(&self, subject: &Subject<'_>) -> Option<WatchFault> {
        let _ = subject;
        None
    }
}

/// One write, as it was answered.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    pub subject: Subject<'a>,
    /// HTTP code of what the server did: of a lost answer the one that was lost; of a request that was not done because
    /// the connection was dead, 0.
    pub code: u16,
    /// The object as it is stored afterwards; of a deletion as it was answered. `None`: refused, or gone, or not an object.
    pub object: Option<&'a Value>,
    /// A fault was injected.
    pub is_fault: bool,
}

impl Write<'_> {
    /// `metadata.resourceVersion` of the object.
    pub fn resource_version(&self) -> Option<&str> {
        self.object?["metadata"]["resourceVersion"].as_str()
    }

    /// `metadata.name` of the object, which a generated name is first seen in; else the name asked for.
    pub fn name(&self) -> &str {
        let stored = self.object.and_then(|object| object["metadata"]["name"].as_str());
        stored.unwrap_or(self.subject.name)
    }
}

/// Who is told of every create, update, patch, delete and deletecollection, refused ones too, dry runs not. On a runtime of
/// one thread the order is that of the resourceVersions. Called under no lock of the server's.
pub trait Observer: Send + Sync + 'static {
    fn wrote(&self, write: &Write<'_>);
}
