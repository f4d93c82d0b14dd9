//! What Google's refusal means, in words a user can act on. Its caller is [`crate::bucket::answer`].
//! Codes: the XML API's reference, "HTTP status and error codes for XML".

use crate::{
    StorageErrorKind,
    bucket::{Place, answer::Refusal},
};

/// The kind and the cause, with what to correct.
pub(crate) fn answered(place: &Place, refusal: Refusal<'_>) -> (StorageErrorKind, String) {
    use StorageErrorKind::{
        AlreadyExists, Damaged, Denied, Misconfigured, NoSpace, NotFound, Unavailable, Unsupported,
    };
    let Place { bucket, server, .. } = place;
    let said = refusal.said();
    match (refusal.status.as_u16(), refusal.code) {
        (_, "NoSuchKey") => (
            NotFound,
            format!("bucket {bucket} at {server} has no such object"),
        ),
        (_, "NoSuchBucket") => (
            Misconfigured,
            format!("bucket {bucket} does not exist at {server}: create it, or correct objectStorage.bucket"),
        ),
        (_, "PreconditionFailed") | (412 | 304, _) => (
            AlreadyExists,
            format!("bucket {bucket} at {server} holds an object of this name already"),
        ),
        (_, "InvalidRange") | (416, _) => (
            Damaged,
            "the object is shorter than the range asked for".to_owned(),
        ),
        (507, _) | (_, "QuotaExceeded") => (
            NoSpace,
            format!("{server} has no room left for bucket {bucket} ({said}): raise the quota"),
        ),
        // 403 too, and nothing that a key could change.
        (_, "ObjectUnderActiveHold" | "RetentionPolicyNotMet") => (
            Denied,
            format!(
                "bucket {bucket} keeps the object by a retention policy or a hold ({said}): wait until it ends, or change \
                 the bucket's retention"
            ),
        ),
        (_, "UserProjectAccountProblem" | "AccountProblem" | "UserProjectMissing") => (
            Denied,
            format!("{server} refuses the project's account ({said}): check its billing"),
        ),
        (_, "InvalidSecurity" | "AuthenticationRequired" | "InvalidAccessKeyId") | (401, _) => (
            Denied,
            format!(
                "{server} does not accept the service account's token ({said}): correct the credentials secret, and check the \
                 clock of this machine"
            ),
        ),
        (_, "NotImplemented") | (501, _) => (Unsupported, format!("{server} cannot do this ({said})")),
        (409 | 429 | 408 | 500.., _) => (Unavailable, format!("{server} answered {said}")),
        (403, _) => (
            Denied,
            format!(
                "{server} denies access to bucket {bucket} ({said}): give the service account storage.objects.get, create, \
                 delete and list on it"
            ),
        ),
        (301 | 302 | 307 | 308 | 404 | 405, _) => (
            Misconfigured,
            format!(
                "{server} did not answer as Google Cloud Storage does ({said}): check storeEndpoint and the bucket {bucket}"
            ),
        ),
        _ => (Misconfigured, format!("{server} refused the request ({said})")),
    }
}
