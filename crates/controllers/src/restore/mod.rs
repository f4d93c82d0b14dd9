//! The restore controller: New → FailedValidation, or InProgress, a run, and on to operations or the finalizer
//! (velero-behaviour.md 8.1). Mirrors Velero's `pkg/controller/restore_controller.go`.
//!
//! [`decide`] says what to do, [`status`] writes it, [`attempt`] downloads the backup, runs [`caravel_restore::run`] and
//! uploads what came of it. Restores run one after the other, as in Velero. Neighbours:
//! [`crate::restore_operations`] waits for the DataDownloads, [`crate::restore_finalizer`] ends the Restore.

mod attempt;
pub mod decide;
pub(crate) mod exec_hooks;
mod log;
mod status;
#[cfg(test)]
mod tests;
mod volume_info;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api::labels;
use caravel_api::phase::RestorePhase;
use caravel_api::v1::{Backup, BackupStorageLocation, BackupStorageLocationAccessMode, Restore};
use caravel_api::v2alpha1::DataDownload;
use caravel_resource_policies::{Found, Policies, PoliciesError};
pub use caravel_restore::priority::Priorities;
use caravel_restore::resource_modifiers::{self, ResourceModifiers};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::attempts;
use crate::context::Context;
use crate::reconcile::{self, Error, Key, Next, Reconciler, Source, chain};
use decide::{Decision, Observed, decide};
use status::{Change, write};

/// The server's flags that matter here.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--default-item-operation-timeout`.
    pub item_operation_timeout: Duration,
    /// `--resource-timeout`.
    pub resource_timeout: Duration,
    /// `--terminating-resource-timeout`.
    pub terminating_timeout: Duration,
    /// `--restore-resource-priorities`.
    pub priorities: Priorities,
    /// `--features=EnableAPIGroupVersions`: an object may come back in another version than the backup's preferred one.
    pub all_versions: bool,
    /// Where backups are unpacked; must be writable.
    pub scratch_dir: PathBuf,
}

impl Settings {
    /// The flags' defaults.
    pub fn new(scratch_dir: PathBuf) -> Self {
        Self {
            item_operation_timeout: Duration::from_secs(4 * 60 * 60),
            resource_timeout: Duration::from_secs(10 * 60),
            terminating_timeout: Duration::from_secs(10 * 60),
            priorities: Priorities::default(),
            all_versions: false,
            scratch_dir,
        }
    }
}

/// Starts the controller.
pub fn spawn(context: Context, settings: Settings, shutdown: CancellationToken) -> JoinHandle<()> {
    let sources = vec![Source::own(&context, |restore: &Restore| vec![Key::of(restore)])];
    let controller = controller(context, settings, shutdown.clone());
    tokio::spawn(reconcile::run(controller, sources, 1, shutdown))
}

pub(crate) fn controller(
    context: Context,
    settings: Settings,
    shutdown: CancellationToken,
) -> impl Reconciler {
    RestoreController {
        context,
        settings: Arc::new(settings),
        shutdown,
    }
}

struct RestoreController {
    context: Context,
    settings: Arc<Settings>,
    shutdown: CancellationToken,
}

#[async_trait]
impl Reconciler for RestoreController {
    fn name(&self) -> &'static str {
        "restore"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(observed) = self.observe(key).await? else {
            return Ok(Next::Done);
        };
        let decision = decide(&observed, self.settings.item_operation_timeout.into());
        if decision != Decision::Nothing {
            tracing::info!(restore = %key, ?decision, "decided");
        }
        let api = self.context.api::<Restore>();
        tokio::select! {
            biased;
            // What is cut off here is begun again by the next server.
            () = self.shutdown.cancelled() => attempts::not_counted(&api, &key.name, is_in_progress).await,
            done = Box::pin(self.act(observed, decision)) => done?,
        }
        Ok(Next::Done)
    }
}

fn is_in_progress(restore: &Restore) -> bool {
    let phase = restore.status.as_ref().and_then(|status| status.phase.as_ref());
    phase == Some(&RestorePhase::InProgress)
}

impl RestoreController {
    async fn observe(&self, key: &Key) -> Result<Option<Observed>, kube::Error> {
        let restores: Api<Restore> = self.context.api();
        let Some(restore) = restores.get_opt(&key.name).await? else {
            return Ok(None);
        };
        let backup = match (&*restore.spec.backup_name, &*restore.spec.schedule_name) {
            ("", "") => None,
            ("", schedule) => {
                let selector = format!("{}={}", labels::SCHEDULE_NAME, labels::label_value(schedule));
                let backups = self
                    .context
                    .list(&ListParams::default().labels(&selector))
                    .await?;
                decide::latest(&backups).cloned()
            }
            (name, _) => self.context.api::<Backup>().get_opt(name).await?,
        };
        let location = match backup
            .as_ref()
            .map(|backup| backup.spec.storage_location.as_str())
        {
            None | Some("") => None,
            Some(name) => self.context.api::<BackupStorageLocation>().get_opt(name).await?,
        };
        Ok(Some(Observed {
            policies: self.policies_of(&restore).await?,
            modifiers: self.modifiers_of(&restore).await?,
            restore,
            backup,
            location,
        }))
    }

    /// The resource policies that the Restore names. The inner error is the user's, as for the modifiers.
    async fn policies_of(
        &self,
        restore: &Restore,
    ) -> Result<Option<Result<Arc<Policies>, String>>, kube::Error> {
        let Some(reference) = &restore.spec.resource_policy else {
            return Ok(None);
        };
        let refused = |error: PoliciesError| format!("invalid restore resource policies: {}", chain(&error));
        let name = match caravel_resource_policies::referenced(reference) {
            Ok(name) => name,
            Err(error) => return Ok(Some(Err(refused(error)))),
        };
        let found = Found {
            name: format!("{}/{name}", self.context.namespace),
            map: self.context.api::<ConfigMap>().get_opt(name).await?,
        };
        let policies = caravel_resource_policies::for_restore(&found);
        Ok(Some(policies.map(Arc::new).map_err(refused)))
    }

    /// The resource modifiers that the Restore names. The inner error is the user's; an API server that is away is not.
    async fn modifiers_of(
        &self,
        restore: &Restore,
    ) -> Result<Option<Result<ResourceModifiers, String>>, kube::Error> {
        let Some(reference) = &restore.spec.resource_modifier else {
            return Ok(None);
        };
        let name = &reference.name;
        if !reference.kind.eq_ignore_ascii_case("configmap") {
            return Ok(Some(Err(format!(
                "spec.resourceModifier.kind is {}: modifiers are read from a ConfigMap only; set kind: configmap",
                reference.kind
            ))));
        }
        let Some(map) = self.context.api::<ConfigMap>().get_opt(name).await? else {
            return Ok(Some(Err(format!(
                "failed to get resource modifiers configmap {}/{name}: it does not exist",
                self.context.namespace
            ))));
        };
        Ok(Some(
            resource_modifiers::for_restore(&map).map_err(|error| chain(&error)),
        ))
    }

    async fn act(&self, observed: Observed, decision: Decision) -> Result<(), Error> {
        let context = &self.context;
        match decision {
            Decision::Nothing => {}
            Decision::ForgetFinalizer => {
                self.forget_files(&observed).await?;
                write(context, &observed.restore, Change::WithoutFinalizer).await?;
            }
            Decision::Refuse(reasons) => {
                write(context, &observed.restore, Change::FailedValidation(reasons)).await?;
            }
            Decision::Cancel(who) => {
                let what = if is_in_progress(&observed.restore) {
                    "its server had ended, and it does not begin again; what was restored by then stays"
                } else {
                    "it had not begun, and nothing was restored"
                };
                let reason = crate::cancel::reason(&who, context.clock.now(), what);
                self.give_up(&observed.restore, reason).await?;
            }
            Decision::GiveUp { reason } => self.give_up(&observed.restore, reason).await?,
            Decision::Run(start) => {
                let restore = write(context, &observed.restore, Change::Started(start)).await?;
                // First it is said, then looked: of a deletion that does the same one sees the other.
                if let Some(why) = self.deletion_met(&observed).await? {
                    write(context, &restore, Change::FailedValidation(vec![why])).await?;
                    return Ok(());
                }
                Box::pin(self.run(restore, observed)).await?;
            }
            Decision::Again { attempt } => {
                // Those of the last attempt would be doubled.
                delete_result_maps(context, &observed.restore).await?;
                let change = Change::StartedAgain { attempt };
                let restore = write(context, &observed.restore, change).await?;
                Box::pin(self.run(restore, observed)).await?;
            }
        }
        Ok(())
    }

    /// Not for a later attempt: its Restore has been InProgress since before the Backup was observed.
    async fn deletion_met(&self, observed: &Observed) -> Result<Option<String>, kube::Error> {
        let Some(was) = &observed.backup else {
            return Ok(None);
        };
        let now = self.context.api::<Backup>().get_opt(&was.name_any()).await?;
        Ok(decide::deletion_met(was, now.as_ref()))
    }

    /// `restore`: as it was written last.
    async fn run(&self, restore: Restore, observed: Observed) -> Result<(), Error> {
        let (Some(backup), Some(location)) = (observed.backup, observed.location) else {
            return Ok(());
        };
        let asked = attempt::Asked {
            policies: observed.policies.and_then(Result::ok),
            modifiers: observed.modifiers.and_then(Result::ok),
        };
        attempt::run(&self.context, &self.settings, restore, backup, asked, &location).await
    }

    /// The Restore's own files go from the bucket. Without its Backup or location nobody knows where they are: then
    /// only the record goes, as in Velero.
    async fn forget_files(&self, observed: &Observed) -> Result<(), Error> {
        let name = observed.restore.name_any();
        let Some(location) = &observed.location else {
            tracing::info!(restore = %name, "restore is deleted; its backup or location is gone, so its files stay");
            return Ok(());
        };
        if location.spec.access_mode == Some(BackupStorageLocationAccessMode::ReadOnly) {
            tracing::warn!(restore = %name, location = %location.name_any(), "restore is deleted; its location is read-only, so its files stay");
            return Ok(());
        }
        let store = self.context.locations.backup_store(location).await?;
        store.delete_restore(&name).await?;
        Ok(())
    }

    /// It ends here, and what it has left working ends, too.
    async fn give_up(&self, restore: &Restore, reason: String) -> Result<(), Error> {
        cancel_downloads(&self.context, restore).await?;
        delete_result_maps(&self.context, restore).await?;
        write(&self.context, restore, Change::Failed { reason }).await?;
        Ok(())
    }
}

/// Asks every DataDownload of a Restore to end.
pub(crate) async fn cancel_downloads(context: &Context, restore: &Restore) -> Result<(), kube::Error> {
    let api: Api<DataDownload> = context.api();
    let selector = format!("{}={}", labels::RESTORE_UID, restore.uid().unwrap_or_default());
    let ours = ListParams::default().labels(&selector);
    for download in context.list::<DataDownload>(&ours).await? {
        let finished = download
            .status
            .as_ref()
            .and_then(|status| status.phase.as_ref())
            .is_some_and(|p| p.is_finished());
        if !finished && !download.spec.cancel {
            let patch = json!({"spec": {"cancel": true}});
            api.patch(
                &download.name_any(),
                &PatchParams::default(),
                &Patch::Merge(&patch),
            )
            .await?;
        }
    }
    Ok(())
}

/// Deletes the DataUploadResult ConfigMaps of a Restore.
pub(crate) async fn delete_result_maps(context: &Context, restore: &Restore) -> Result<(), kube::Error> {
    let api: Api<ConfigMap> = context.api();
    let uid = restore.uid().unwrap_or_default();
    let selector = caravel_restore::item_actions::data_upload::result_selector(&uid);
    for map in api.list(&ListParams::default().labels(&selector)).await? {
        match api.delete(&map.name_any(), &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => drop(other?),
        }
    }
    Ok(())
}
