//! What Azure's refusal means, in words a user can act on. Its caller is [`crate::bucket::answer`].
//! Codes: "Blob Storage error codes" and "Common REST API error codes" of Azure's reference.

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
    // The sentence is followed by lines with the request's number and time.
    let said = Refusal {
        message: refusal.message.lines().next().unwrap_or_default(),
        ..refusal
    }
    .said();
    match (refusal.status.as_u16(), refusal.code) {
        (_, "BlobNotFound") => (
            NotFound,
            format!("container {bucket} at {server} has no such blob"),
        ),
        (_, "ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled") => (
            Misconfigured,
            format!(
                "container {bucket} does not exist at {server} ({said}): create it, or correct objectStorage.bucket"
            ),
        ),
        (
            _,
            "BlobImmutableDueToPolicy"
            | "LeaseIdMissing"
            | "LeaseIdMismatchWithBlobOperation"
            | "SnapshotsPresent",
        ) => (
            Denied,
            format!(
                "container {bucket} keeps the blob by an immutability policy, a lease or a snapshot ({said}): wait until it \
                 ends, or remove it"
            ),
        ),
        (_, "BlobArchived" | "BlobBeingRehydrated") => (
            Denied,
            format!("the blob lies in the archive tier of container {bucket} ({said}): rehydrate it"),
        ),
        (_, "BlobAlreadyExists" | "ConditionNotMet") | (412 | 304, _) => (
            AlreadyExists,
            format!("container {bucket} at {server} holds a blob of this name already"),
        ),
        (_, "InvalidRange") | (416, _) => {
            (Damaged, "the blob is shorter than the range asked for".to_owned())
        }
        (507, _) | (_, "AccountLimitExceeded") => (
            NoSpace,
            format!("{server} has no room left for container {bucket} ({said})"),
        ),
        (_, "KeyBasedAuthenticationNotPermitted") => (
            Denied,
            format!(
                "{server} takes no account keys ({said}): set useAAD to \"true\" and give a service principal"
            ),
        ),
        (_, "AuthenticationFailed" | "InvalidAuthenticationInfo" | "NoAuthenticationInformation")
        | (401, _) => (
            Denied,
            format!(
                "{server} does not accept the key or token ({said}): correct the credentials secret, and check the clock of \
                 this machine"
            ),
        ),
        (_, "AuthorizationPermissionMismatch") => (
            Denied,
            format!(
                "{server} denies access to container {bucket} ({said}): give the identity the role Storage Blob Data \
                 Contributor on the account"
            ),
        ),
        (501, _) => (Unsupported, format!("{server} cannot do this ({said})")),
        (409 | 429 | 408 | 500.., _) => (Unavailable, format!("{server} answered {said}")),
        (403, _) => (
            Denied,
            format!(
                "{server} denies access to container {bucket} ({said}): check the key, the account's firewall and the \
                 identity's role"
            ),
        ),
        (301 | 302 | 307 | 308 | 404 | 405, _) => (
            Misconfigured,
            format!(
                "{server} did not answer as Azure Blob Storage does ({said}): check storageAccount, storageAccountURI and the \
                 container {bucket}"
            ),
        ),
        _ => (Misconfigured, format!("{server} refused the request ({said})")),
    }
}

/// A refused deletion. It comes in a batch's answer, of which `object_store` keeps the status and no code.
pub(crate) fn not_deleted(place: &Place, cause: &str) -> Option<(StorageErrorKind, String)> {
    let kind = match cause {
        _ if cause.contains("(code: 409)")
            || cause.contains("(code: 412)")
            || cause.contains("(code: 403)") =>
        {
            StorageErrorKind::Denied
        }
        _ => return None,
    };
    let Place { bucket, server, .. } = place;
    let cause = format!(
        "{server} does not delete it from container {bucket} ({cause}): the identity may not, or an immutability policy, a \
         lease or a snapshot keeps the blob"
    );
    Some((kind, cause))
}
