//! Whether the deletion of a backup is asked for. Pure.

use std::fmt;
use std::time::Duration;

use caravel_api::labels;
use caravel_api::phase::DeleteBackupRequestPhase;
use caravel_api::v1::{
    Backup, BackupStorageLocation, BackupStorageLocationAccessMode, BackupStorageLocationPhase,
    DeleteBackupRequest, DeleteBackupRequestSpec,
};
use jiff::Timestamp;
use kube::ResourceExt;

use crate::backup_deletion::decide::in_progress;

/// The label that says why an expired backup stays.
pub const GC_FAILURE: &str = "velero.io/gc-failure";

/// What the decision looks at: an expired backup.
#[derive(Clone, Debug)]
pub struct Observed {
    pub backup: Backup,
    /// Its location, if that exists.
    pub location: Option<BackupStorageLocation>,
    /// Those for this backup's UID.
    pub requests: Vec<DeleteBackupRequest>,
    /// One that failed is made again after this long: `--garbage-collection-frequency`.
    pub frequency: Duration,
}

/// Why an expired backup stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    LocationNotFound,
    ReadOnly,
}

impl fmt::Display for Failure {
    /// The label's value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LocationNotFound => "BSLNotFound",
            Self::ReadOnly => "BSLReadOnly",
        })
    }
}

/// What to do with an expired backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is going already, or still being made.
    Nothing,
    /// Its deletion is asked for.
    Pending,
    /// Its location does not let it be deleted now; the label says so where that is not for a moment.
    Wait(Option<Failure>),
    /// A DeleteBackupRequest is made.
    Request,
}

/// How long a backup lives yet; `None`: it has expired. One without an expiration lives as long as anything.
pub fn left(backup: &Backup, now: Timestamp) -> Option<Duration> {
    let expiration = backup
        .status
        .as_ref()
        .and_then(|status| status.expiration.clone());
    match expiration {
        None => Some(Duration::MAX),
        Some(time) if time.0 > now => {
            Some(Duration::try_from(time.0.duration_since(now)).unwrap_or(Duration::MAX))
        }
        Some(_) => None,
    }
}

/// Decides about an expired backup.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    // One that is being made is not deleted under the hands of the server that makes it.
    let going = observed.backup.metadata.deletion_timestamp.is_some();
    if going || in_progress(&observed.backup).is_some() {
        return Decision::Nothing;
    }
    let Some(location) = &observed.location else {
        return Decision::Wait(Some(Failure::LocationNotFound));
    };
    let phase = location.status.as_ref().and_then(|status| status.phase.clone());
    if phase != Some(BackupStorageLocationPhase::Available) {
        return Decision::Wait(None);
    }
    if location.spec.access_mode == Some(BackupStorageLocationAccessMode::ReadOnly) {
        return Decision::Wait(Some(Failure::ReadOnly));
    }
    // Every change of the Backup comes by here: a deletion that failed is not tried again with each of them.
    let just_made = |request: &DeleteBackupRequest| {
        let created = request
            .creation_timestamp()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        Duration::try_from(now.duration_since(created)).is_ok_and(|age| age < observed.frequency)
    };
    let open = |request: &DeleteBackupRequest| {
        request.phase() != DeleteBackupRequestPhase::Processed || just_made(request)
    };
    if observed.requests.iter().any(open) {
        Decision::Pending
    } else {
        Decision::Request
    }
}

/// The request for one backup.
pub fn request_for(backup: &Backup, namespace: &str) -> DeleteBackupRequest {
    let name = backup.name_any();
    let mut request = DeleteBackupRequest::new(
        "",
        DeleteBackupRequestSpec {
            backup_name: name.clone(),
        },
    );
    request.metadata.name = None;
    request.metadata.generate_name = Some(format!("{name}-"));
    request.metadata.namespace = Some(namespace.to_owned());
    request.metadata.labels = Some(
        [
            (labels::BACKUP_NAME.to_owned(), labels::label_value(&name)),
            (labels::BACKUP_UID.to_owned(), backup.uid().unwrap_or_default()),
        ]
        .into(),
    );
    request
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn backup(expiration: &str, phase: &str) -> Backup {
        let value = json!({"metadata": {"name": "b", "uid": "u"}, "spec": {"storageLocation": "default"},
            "status": {"phase": phase, "expiration": expiration}});
        serde_json::from_value(value).unwrap()
    }

    fn observed(access_mode: &str, phase: &str) -> Observed {
        let location = json!({"metadata": {"name": "default"}, "spec": {"provider": "aws", "accessMode": access_mode,
            "objectStorage": {"bucket": "b"}}, "status": {"phase": phase}});
        Observed {
            backup: backup("2026-01-01T00:00:00Z", "Completed"),
            location: Some(serde_json::from_value(location).unwrap()),
            requests: Vec::new(),
            frequency: Duration::from_secs(3600),
        }
    }

    fn now() -> Timestamp {
        "2026-02-01T00:00:00Z".parse().unwrap()
    }

    fn decide(observed: &Observed) -> Decision {
        super::decide(observed, now())
    }

    #[test]
    fn a_deletion_that_failed_is_asked_for_again_after_the_frequency_and_not_with_every_change() {
        let failed = |created: &str| {
            let mut asked = observed("ReadWrite", "Available");
            let request = json!({"metadata": {"name": "d", "creationTimestamp": created}, "spec": {"backupName": "b"},
                "status": {"phase": "Processed", "errors": ["no"]}});
            asked.requests = vec![serde_json::from_value(request).unwrap()];
            decide(&asked)
        };
        assert_eq!(failed("2026-01-31T23:30:00Z"), Decision::Pending);
        assert_eq!(failed("2026-01-31T22:59:00Z"), Decision::Request);
    }

    #[test]
    fn a_backup_expires_at_its_time() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(left(&backup("2026-01-01T00:00:00Z", "Completed"), now), None);
        assert_eq!(
            left(&backup("2026-01-01T01:00:00Z", "Completed"), now),
            Some(Duration::from_secs(3600))
        );
        assert!(left(&Backup::new("b", Default::default()), now).is_some());
    }

    #[test]
    fn an_expired_backup_is_asked_for_once_and_only_where_it_can_be_deleted() {
        assert_eq!(decide(&observed("ReadWrite", "Available")), Decision::Request);
        assert_eq!(
            decide(&observed("ReadWrite", "Unavailable")),
            Decision::Wait(None)
        );
        assert_eq!(
            decide(&observed("ReadOnly", "Available")),
            Decision::Wait(Some(Failure::ReadOnly))
        );
        let gone = Observed {
            location: None,
            ..observed("ReadWrite", "Available")
        };
        assert_eq!(decide(&gone), Decision::Wait(Some(Failure::LocationNotFound)));
        let mut asked = observed("ReadWrite", "Available");
        asked.requests = vec![request_for(&asked.backup, "velero")];
        assert_eq!(decide(&asked), Decision::Pending);
        let with = |phase| Observed {
            backup: backup("2026-01-01T00:00:00Z", phase),
            ..observed("ReadWrite", "Available")
        };
        for phase in [
            "ReadyToStart",
            "InProgress",
            "WaitingForPluginOperations",
            "Finalizing",
        ] {
            assert_eq!(decide(&with(phase)), Decision::Nothing, "{phase}");
        }
        assert_eq!(
            decide(&with("Deleting")),
            Decision::Request,
            "a deletion that failed is tried again"
        );
    }
}
