//! What an S3 server's refusal means, in words a user can act on. Its caller is [`crate::bucket::answer`].

use crate::{
    StorageErrorKind,
    bucket::{Place, answer::Refusal},
};

/// The kind and the cause, with what to correct.
pub(crate) fn answered(place: &Place, refusal: Refusal<'_>) -> (StorageErrorKind, String) {
    use StorageErrorKind::{
        AlreadyExists, Damaged, Denied, Misconfigured, NoSpace, NotFound, Unavailable, Unsupported,
    };
    let Place {
        bucket,
        server,
        region,
        ..
    } = place;
    let said = refusal.said();
    let code = refusal.code;
    match (refusal.status.as_u16(), code) {
        (_, "NoSuchKey") => (
            NotFound,
            format!("bucket {bucket} at {server} has no such object"),
        ),
        (_, "NoSuchBucket") => (
            Misconfigured,
            format!("bucket {bucket} does not exist at {server}: create it, or correct objectStorage.bucket"),
        ),
        // What MinIO, Ceph and others say when a disk or a quota is full.
        (507, _) | (_, "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "QuotaExceeded") => (
            NoSpace,
            format!("{server} has no room left for bucket {bucket} ({said}): make room or raise the quota"),
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
        (_, "InvalidRequest")
            if said.contains("missing ObjectLock") || said.contains("missing Object Lock") =>
        {
            (
                Misconfigured,
                format!(
                    "bucket {bucket} at {server} was made without object lock ({said}): take one that was made with it, or end the \
                 repository's retention (velero kopia repository set-parameters --retention-mode=none)"
                ),
            )
        }
        (_, "NotImplemented") | (501, _) => (Unsupported, format!("{server} cannot do this ({said})")),
        // Another conditional write is under way; also 5xx and "slow down".
        (409 | 429 | 408 | 500.., _) => (Unavailable, format!("{server} answered {said}")),
        (401 | 403, _) => (
            Denied,
            format!("{server} denies access to bucket {bucket} ({said}): check the key and its permissions"),
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
