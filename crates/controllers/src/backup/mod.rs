//! The `backup` controller: `ReadyToStart` → `FailedValidation`, or `InProgress` → run, upload → `WaitingFor…` /
//! `Finalizing…` / `Failed`. Upstream: `pkg/controller/backup_controller.go`.
//!
//! ```text
//! ReadyToStart ─ observe ─ decide ─┬─ Refuse ► FailedValidation
//!   (from backup_queue)            └─ Start ► InProgress ─ run ─ upload ─┬► WaitingForPluginOperations[PartiallyFailed]
//!                                                └─ fatal ► Failed       └► Finalizing[PartiallyFailed]
//! ```
//! `observe.rs` reads, `defaults.rs` and `decide.rs` decide (pure), `run.rs` acts, `status.rs` is the one writer.
//! `recover.rs` is for backups that a server left behind when it ended, `orphans.rs` for snapshots without a DataUpload.

pub mod decide;
pub mod defaults;
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
use caravel_api::v1::{Backup, BackupPhase};
use kube::ResourceExt;
use kube::runtime::watcher;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::decide::{Decision, decide};
use self::defaults::Defaults;
use self::observe::observe;
use self::status::StatusWriter;
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
        if backup.phase() != BackupPhase::ReadyToStart {
            return Ok(Next::Done);
        }
        tokio::select! {
            biased;
            // A backup cut off here is found `InProgress` by the next server, which fails it with the reason.
            () = self.shutdown.cancelled() => Ok(Next::Done),
            done = Box::pin(self.start(backup)) => done,
        }
    }
}

impl BackupController {
    async fn start(&self, backup: Backup) -> Result<Next, Error> {
        let seen = observe(&self.context, &self.settings, &backup).await?;
        let mut writer = StatusWriter::new(&self.context.client, backup);
        let decision = decide(&seen.observed);
        tracing::info!(backup = %display_name(&writer.current), ?decision, "backup is ready to start");
        if let Some(who) = cancel::wished_by(&writer.current) {
            let now = self.context.now();
            let reason = cancel::reason(&who, now.0, "it had not begun, and nothing of it was saved");
            let status =
                json!({"phase": BackupPhase::Failed, "failureReason": reason, "completionTimestamp": now});
            writer.write(json!({ "status": status })).await?;
            return Ok(Next::Done);
        }
        match decision {
            Decision::Refuse { errors } => {
                let mut patch = prepared(&seen.observed.backup);
                patch["status"] = json!({"phase": BackupPhase::FailedValidation, "validationErrors": errors});
                writer.write(patch).await?;
            }
            Decision::Start => {
                let now = self.context.now();
                let ttl = seen.observed.backup.spec.ttl.unwrap_or_default();
                let mut patch = prepared(&seen.observed.backup);
                patch["status"] = json!({
                    "phase": BackupPhase::InProgress,
                    "version": 1,
                    "formatVersion": "1.1.0",
                    "startTimestamp": now,
                    "expiration": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now.0 + *ttl),
                });
                writer.write(patch).await?;
                Box::pin(run::run(&self.context, &self.settings, seen, writer)).await?;
            }
        }
        Ok(Next::Done)
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
