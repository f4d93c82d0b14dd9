//! A backup's or restore's files in the bucket, as `describe` and `logs` read them: which there are at what stage, what
//! they are called in a DownloadRequest, and which location's certificates are trusted.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use caravel_api::v1::{Backup, BackupPhase, DownloadTargetKind, Restore, RestorePhase};
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::describe::artifacts::Files;
use super::describe::words;
use super::download::{DEADLINE, Downloader, location_of};
use super::failure::{Failure, Outcome};

/// How far an object's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It was refused before it started: there will never be any.
    Refused,
    /// It collects or creates items: there are none yet.
    Running,
    /// It failed as a whole, or is being deleted: a log, perhaps.
    LogOnly,
    /// It has got past its items: all of them.
    Complete,
}

/// What the files are called in a DownloadRequest.
pub struct Kinds {
    log: DownloadTargetKind,
    results: DownloadTargetKind,
    operations: DownloadTargetKind,
    resource_list: DownloadTargetKind,
    volumes: DownloadTargetKind,
}

/// A kind of object that has files in the bucket.
pub trait HasFiles:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned
{
    /// As the user types it: `backup`.
    const NOUN: &'static str;
    /// Its files.
    const KINDS: Kinds;
    /// Whether `describe` says errors and warnings also without `--details`.
    const RESULTS_ALWAYS: bool;

    /// How far its files are.
    fn stage(&self) -> Stage;
    /// Which location they are in.
    fn location(&self) -> Beside<'_>;
}

/// Who names the location of the files.
pub enum Beside<'a> {
    /// The object itself: this one.
    Location(&'a str),
    /// The backup of this name, beside whose files they lie.
    Backup(&'a str),
}

impl HasFiles for Backup {
    const NOUN: &'static str = "backup";
    const KINDS: Kinds = Kinds {
        log: DownloadTargetKind::BackupLog,
        results: DownloadTargetKind::BackupResults,
        operations: DownloadTargetKind::BackupItemOperations,
        resource_list: DownloadTargetKind::BackupResourceList,
        volumes: DownloadTargetKind::BackupVolumeInfos,
    };
    const RESULTS_ALWAYS: bool = false;

    fn stage(&self) -> Stage {
        use BackupPhase::{Deleting, Failed, FailedValidation, InProgress, New, Queued, ReadyToStart};
        match self.phase() {
            FailedValidation => Stage::Refused,
            New | Queued | ReadyToStart | InProgress => Stage::Running,
            Failed | Deleting => Stage::LogOnly,
            _ => Stage::Complete,
        }
    }

    fn location(&self) -> Beside<'_> {
        Beside::Location(&self.spec.storage_location)
    }
}

impl HasFiles for Restore {
    const NOUN: &'static str = "restore";
    const KINDS: Kinds = Kinds {
        log: DownloadTargetKind::RestoreLog,
        results: DownloadTargetKind::RestoreResults,
        operations: DownloadTargetKind::RestoreItemOperations,
        resource_list: DownloadTargetKind::RestoreResourceList,
        volumes: DownloadTargetKind::RestoreVolumeInfo,
    };
    const RESULTS_ALWAYS: bool = true;

    fn stage(&self) -> Stage {
        use RestorePhase::{Failed, FailedValidation, InProgress, New};
        match self.phase() {
            FailedValidation => Stage::Refused,
            New | InProgress => Stage::Running,
            Failed => Stage::LogOnly,
            _ => Stage::Complete,
        }
    }

    fn location(&self) -> Beside<'_> {
        Beside::Backup(&self.spec.backup_name)
    }
}

/// What `describe` prints of the files; what is not there yet or was not asked for is absent.
pub async fn read<K: HasFiles>(
    client: &Client,
    namespace: &str,
    object: &K,
    cacert: Option<&Path>,
    details: bool,
) -> Outcome<Files> {
    let mut read = Files::default();
    if object.stage() != Stage::Complete {
        return Ok(read);
    }
    let name = object.name_any();
    let files = downloader(client, namespace, object, cacert, DEADLINE).await?;
    read.volumes = files.json(K::KINDS.volumes, &name).await;
    if details || K::RESULTS_ALWAYS {
        read.results = files.json(K::KINDS.results, &name).await;
    }
    if details {
        read.operations = files.json(K::KINDS.operations, &name).await;
        read.resource_list = files.json(K::KINDS.resource_list, &name).await;
    }
    Ok(read)
}

/// The log of the object with this name.
pub async fn log<K: HasFiles>(
    client: &Client,
    namespace: &str,
    name: &str,
    cacert: Option<&Path>,
    deadline: Duration,
) -> Outcome<String> {
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let object = words::one(&api, namespace, K::NOUN, name).await?;
    has_log(&object, name)?;
    let files = downloader(client, namespace, &object, cacert, deadline).await?;
    let log = files.bytes(K::KINDS.log, name).await?;
    Ok(String::from_utf8_lossy(&log).into_owned())
}

fn has_log<K: HasFiles>(object: &K, name: &str) -> Outcome {
    let noun = K::NOUN;
    let why = match object.stage() {
        Stage::LogOnly | Stage::Complete => return Ok(()),
        Stage::Refused => format!("{noun} \"{name}\" was refused before it started, so it has no logs"),
        Stage::Running => format!(
            "logs for {noun} \"{name}\" are not available until it's finished processing, please wait until the {noun} has a phase of Completed or Failed and try again"
        ),
    };
    Err(Failure::new(why).next(format!("velero {noun} describe {name}")))
}

async fn downloader<K: HasFiles>(
    client: &Client,
    namespace: &str,
    object: &K,
    cacert: Option<&Path>,
    deadline: Duration,
) -> Outcome<Downloader> {
    let location = match object.location() {
        Beside::Location(name) => name.to_owned(),
        Beside::Backup(name) => location_of(client, namespace, name).await,
    };
    Downloader::new(client.clone(), namespace, &location, cacert, deadline).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use caravel_api::v1::{BackupSpec, BackupStatus, RestoreSpec, RestoreStatus};

    fn backup(phase: BackupPhase) -> Backup {
        let mut backup = Backup::new("b1", BackupSpec::default());
        backup.status = Some(BackupStatus {
            phase: Some(phase),
            ..BackupStatus::default()
        });
        backup
    }

    fn restore(phase: RestorePhase) -> Restore {
        let mut restore = Restore::new("r1", RestoreSpec::default());
        restore.status = Some(RestoreStatus {
            phase: Some(phase),
            ..RestoreStatus::default()
        });
        restore
    }

    fn refusal<K: HasFiles>(object: &K) -> String {
        has_log(object, "x").unwrap_err().to_string()
    }

    #[test]
    fn what_still_runs_has_no_logs_yet() {
        let text = refusal(&backup(BackupPhase::InProgress));
        assert!(
            text.contains("logs for backup \"x\" are not available until it's finished"),
            "{text}"
        );
        let text = refusal(&restore(RestorePhase::New));
        assert!(
            text.contains("wait until the restore has a phase of Completed or Failed"),
            "{text}"
        );
        assert!(text.ends_with("Next: velero restore describe x"), "{text}");
    }

    #[test]
    fn what_was_refused_has_no_logs_and_what_failed_may_have() {
        assert!(refusal(&backup(BackupPhase::FailedValidation)).contains("was refused before it started"));
        assert!(has_log(&backup(BackupPhase::Failed), "x").is_ok());
        assert!(has_log(&backup(BackupPhase::WaitingForPluginOperations), "x").is_ok());
        assert!(has_log(&restore(RestorePhase::Failed), "x").is_ok());
    }

    #[test]
    fn a_backups_files_are_complete_when_it_has_got_past_its_items() {
        assert_eq!(backup(BackupPhase::Finalizing).stage(), Stage::Complete);
        assert_eq!(backup(BackupPhase::PartiallyFailed).stage(), Stage::Complete);
        assert_eq!(backup(BackupPhase::Deleting).stage(), Stage::LogOnly);
        assert_eq!(
            restore(RestorePhase::WaitingForPluginOperations).stage(),
            Stage::Complete
        );
    }
}
