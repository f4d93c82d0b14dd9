//! The `backup` controller: `ReadyToStart` → `FailedValidation`, or `InProgress` → run, upload → `WaitingFor…` /
//! `Finalizing…` / `Failed`. Upstream: `pkg/controller/backup_controller.go`.
//!
//! ```text
//! ReadyToStart ─ observe ─ decide ─┬─ Refuse ► FailedValidation
//!   (from backup_queue)            └─ Start ► InProgress ─ run ─ upload ─┬► WaitingForPluginOperations[PartiallyFailed]
//!                                              │  ▲   └─ fatal ► Failed  └► Finalizing[PartiallyFailed]
//!                              its server ended └──┘ tidy, then begin again (`crate::attempts`)
//! ```
//! `observe.rs` reads, `defaults.rs` and `decide.rs` decide (pure), `run.rs` acts, `status.rs` is the one writer.
//! `recover.rs` is for what a server left behind when it ended, `orphans.rs` for snapshots that nothing uses.

pub mod decide;
pub mod defaults;
#[cfg(test)]
mod lost_answers;
mod observe;
mod orphans;
pub mod owed_hooks;
mod recover;
mod run;
pub mod snapshot_locations;
pub mod status;
#[cfg(test)]
mod velero_cases;

use std::path::PathBuf;

use async_trait::async_trait;
use caravel_api::labels;
use caravel_api::v1::{Backup, BackupPhase};
use kube::ResourceExt;
use kube::runtime::watcher;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::decide::{Decision, Turn, decide, turn};
use self::defaults::Defaults;
use self::observe::observe;
use self::status::StatusWriter;
use crate::attempts;
use crate::cancel;
use crate::context::Context;
use crate::reconcile::{self, Error, Key, Next, Reconciler, Source};

pub use recover::recover;

/// The server's flags, as far as backups care.
#[derive(Clone, Debug)]
pub struct Settings {
    pub defaults: Defaults,
    /// `--default-backup-storage-location`.
    pub default_location: String,
    /// `--features=EnableCSI`.
    pub enable_csi: bool,
    /// `--features=EnableAPIGroupVersions`: each object in all versions that its group serves it in.
    pub all_versions: bool,
    /// `--client-page-size`.
    pub page_size: u32,
    /// `--concurrent-backups`.
    pub concurrent_backups: usize,
    /// Folder for tarballs and logs being made.
    pub scratch: PathBuf,
}

/// Starts the controller. Call [`recover`] before.
pub fn spawn(context: Context, settings: Settings, shutdown: CancellationToken) -> JoinHandle<()> {
    let source = Source::objects(context.api::<Backup>(), watcher::Config::default());
    // One more than backups: the others' events only pass through here.
    let workers = settings.concurrent_backups + 1;
    let controller = BackupController {
        context,
        settings,
        shutdown: shutdown.clone(),
    };
    tokio::spawn(reconcile::run(controller, vec![source], workers, shutdown))
}

struct BackupController {
    context: Context,
    settings: Settings,
    shutdown: CancellationToken,
}

#[async_trait]
impl Reconciler for BackupController {
    fn name(&self) -> &'static str {
        "backup"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(backup) = self.context.api::<Backup>().get_opt(&key.name).await? else {
            return Ok(Next::Done);
        };
        let turn = turn(&backup);
        if turn == Turn::NotOurs {
            return Ok(Next::Done);
        }
        let api = self.context.api::<Backup>();
        tokio::select! {
            biased;
            // What is cut off here is begun again by the next server.
            () = self.shutdown.cancelled() => {
                let is_in_progress = |backup: &Backup| backup.phase() == BackupPhase::InProgress;
                attempts::not_counted(&api, &key.name, is_in_progress).await;
            }
            done = Box::pin(self.take(backup, turn)) => done?,
        }
        Ok(Next::Done)
    }
}

impl BackupController {
    async fn take(&self, backup: Backup, turn: Turn) -> Result<(), Error> {
        match turn {
            Turn::NotOurs => Ok(()),
            Turn::Start => Box::pin(self.start(backup, None)).await,
            Turn::Again { attempt } => Box::pin(self.again(backup, attempt)).await,
            Turn::GiveUp { reason } => {
                recover::tidy(&self.context, &backup).await?;
                self.fail(backup, reason).await
            }
        }
    }

    /// The server that ran it ended.
    async fn again(&self, backup: Backup, attempt: u32) -> Result<(), Error> {
        tracing::warn!(backup = %display_name(&backup), attempt, "the server that ran this backup ended; it begins again");
        recover::tidy(&self.context, &backup).await?;
        // As it is now: tidying has changed it.
        let found = self.context.api::<Backup>().get_opt(&backup.name_any()).await?;
        let same = |found: &Backup| found.uid() == backup.uid() && found.phase() == BackupPhase::InProgress;
        match found.filter(same) {
            Some(backup) => Box::pin(self.start(backup, Some(attempt))).await,
            None => Ok(()),
        }
    }

    /// `again`: the number of the attempt, when it is not the first.
    async fn start(&self, backup: Backup, again: Option<u32>) -> Result<(), Error> {
        let seen = observe(&self.context, &self.settings, &backup).await?;
        let decision = decide(&seen.observed);
        tracing::info!(backup = %display_name(&backup), ?decision, "backup is ready to start");
        let now = self.context.now();
        if let Some(who) = cancel::wished_by(&backup) {
            let what = match again {
                None => "it had not begun, and nothing of it was saved",
                Some(_) => "its server had ended, and it does not begin again; it cannot be restored from",
            };
            return self.fail(backup, cancel::reason(&who, now.0, what)).await;
        }
        let mut writer = StatusWriter::new(&self.context.client, backup);
        match decision {
            Decision::Refuse { errors } if again.is_some() => {
                let reason = format!(
                    "its server ended while it ran, and it cannot begin again: {}",
                    errors.join("; ")
                );
                self.fail(writer.current, reason).await
            }
            Decision::Refuse { errors } => {
                let mut patch = prepared(&seen.observed.backup);
                patch["status"] = json!({"phase": BackupPhase::FailedValidation, "validationErrors": errors});
                Ok(writer.write(patch).await?)
            }
            Decision::Start => {
                let mut patch = prepared(&seen.observed.backup);
                patch["metadata"]["annotations"][labels::ATTEMPT] =
                    json!(again.map(|number| number.to_string()));
                patch["status"] = match again {
                    None => self.started(&seen.observed.backup),
                    // It began when it began; what was counted is counted anew.
                    Some(_) => json!({"progress": null}),
                };
                writer.write(patch).await?;
                Box::pin(run::run(&self.context, &self.settings, seen, writer, again)).await
            }
        }
    }

    /// The status of a backup that begins.
    fn started(&self, backup: &Backup) -> Value {
        let now = self.context.now();
        let ttl = backup.spec.ttl.unwrap_or_default();
        json!({
            "phase": BackupPhase::InProgress,
            "version": 1,
            "formatVersion": "1.1.0",
            "startTimestamp": now,
            "expiration": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now.0 + *ttl),
        })
    }

    /// It ends before it has begun, or begun again.
    async fn fail(&self, backup: Backup, reason: String) -> Result<(), Error> {
        tracing::warn!(backup = %display_name(&backup), %reason, "backup has failed");
        recover::cancel_uploads(&self.context, &backup).await;
        let status = json!({
            "phase": BackupPhase::Failed,
            "failureReason": reason,
            "completionTimestamp": self.context.now(),
        });
        let mut writer = StatusWriter::new(&self.context.client, backup);
        Ok(writer.write(json!({ "status": status })).await?)
    }
}

/// The defaults, as a patch. Lists are replaced as a whole, so all of the spec goes along.
fn prepared(backup: &Backup) -> Value {
    json!({
        "metadata": {"labels": backup.labels(), "annotations": backup.annotations()},
        "spec": backup.spec,
    })
}

/// `velero/b1`.
pub(crate) fn display_name(backup: &Backup) -> String {
    format!("{}/{}", backup.namespace().unwrap_or_default(), backup.name_any())
}
