//! The restore-finalizer controller: gives new volumes the labels and reclaim policy of the old ones, writes the last
//! results and ends the Restore (velero-behaviour.md 8.8). Mirrors Velero's
//! `pkg/controller/restore_finalizer_controller.go`, but watches claims instead of asking every 10 s.
//!
//! [`decide`] says what; a claim that is not bound within the resource timeout is left with a warning.

pub mod decide;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api::labels;
use caravel_api::phase::RestorePhase;
use caravel_api::v1::{HookStatus, Restore};
use caravel_backup_store::BackupStore;
use caravel_backup_store::item_operations::{OperationPhase, RestoreOperation};
use caravel_backup_store::results::Results;
use caravel_backup_store::volume_info::PvInfo;
use caravel_restore::saved_volumes::SavedVolumes;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::reconcile::{self, Error, Key, Next, Reconciler, Source, chain};
use crate::restore::{delete_result_maps, exec_hooks};
use crate::restore_operations::open_store;
use decide::{ClaimDecision, ClaimState, created_objects, decide_claim, final_phase, operations_of};

/// The server's flags that matter here.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--resource-timeout`: how long a claim may take to be bound.
    pub resource_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resource_timeout: Duration::from_secs(10 * 60),
        }
    }
}

/// How often the restore's exec hooks are looked at, while some are still to come.
const HOOKS_INTERVAL: Duration = Duration::from_secs(1);

/// Starts the controller.
pub fn spawn(context: Context, settings: Settings, shutdown: CancellationToken) -> JoinHandle<()> {
    let namespace = context.namespace.clone();
    let sources = vec![
        Source::objects(context.api::<Restore>(), watcher::Config::default()),
        Source::watch(
            Api::<PersistentVolumeClaim>::all(context.client.clone()),
            watcher::Config::default().labels(labels::RESTORE_NAME),
            // A name of over 63 characters is shortened in the label and finds nothing; then the deadline wakes.
            move |claim: &PersistentVolumeClaim| {
                claim
                    .labels()
                    .get(labels::RESTORE_NAME)
                    .map(|name| Key::new(namespace.clone(), name.clone()))
                    .into_iter()
                    .collect()
            },
        ),
    ];
    let controller = RestoreFinalizer {
        context,
        settings,
        since: Mutex::default(),
    };
    tokio::spawn(reconcile::run(controller, sources, 2, shutdown))
}

struct RestoreFinalizer {
    context: Context,
    settings: Settings,
    /// By the Restore's UID: when this process first looked at it.
    since: Mutex<BTreeMap<String, Instant>>,
}

/// What the end is made of.
struct Observed {
    restore: Restore,
    phase: RestorePhase,
    store: BackupStore,
    results: Results,
    operations: Vec<RestoreOperation>,
    claims: Vec<ClaimState>,
}

#[async_trait]
impl Reconciler for RestoreFinalizer {
    fn name(&self) -> &'static str {
        "restore-finalizer"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(restore) = self.context.api::<Restore>().get_opt(&key.name).await? else {
            return Ok(Next::Done);
        };
        let phase = restore
            .status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default();
        let uid = restore.uid().unwrap_or_default();
        if final_phase(&phase, 0).is_none() {
            self.since.lock().remove(&uid);
            return Ok(Next::Done);
        }
        let observed = self.observe(restore, phase).await?;
        let waited = self
            .since
            .lock()
            .entry(uid)
            .or_insert_with(Instant::now)
            .elapsed();
        self.act(observed, self.settings.resource_timeout.saturating_sub(waited))
            .await
    }
}

impl RestoreFinalizer {
    async fn observe(&self, restore: Restore, phase: RestorePhase) -> Result<Observed, Error> {
        let store = open_store(&self.context, &restore).await?;
        exec_hooks::resume(&self.context, &restore, &store).await?;
        let name = restore.name_any();
        let results = store.get_restore_results(&name).await?.unwrap_or_default();
        let operations = store.get_restore_item_operations(&name).await?;
        let resources = store.get_restore_resource_list(&name).await?.unwrap_or_default();
        let saved = SavedVolumes::from(
            store
                .get_volume_info(&restore.spec.backup_name)
                .await?
                .unwrap_or_default(),
        );
        let created = created_objects(
            resources
                .get("v1/PersistentVolumeClaim")
                .map(Vec::as_slice)
                .unwrap_or_default(),
        );
        let mut claims = Vec::new();
        for (namespace, name) in created {
            let source = source_namespace(&restore, &namespace);
            let old = saved.info(source, &name).and_then(|info| info.pv_info.clone());
            let failed = operations_of(&operations, source, &name)
                .any(|operation| operation.status.phase == OperationPhase::Failed);
            claims.push(self.claim_state(namespace, name, old, failed).await?);
        }
        Ok(Observed {
            restore,
            phase,
            store,
            results,
            operations,
            claims,
        })
    }

    async fn claim_state(
        &self,
        namespace: String,
        name: String,
        old_volume: Option<PvInfo>,
        download_failed: bool,
    ) -> Result<ClaimState, Error> {
        let mut state = ClaimState {
            namespace,
            name,
            old_volume,
            download_failed,
            ..Default::default()
        };
        if state.old_volume.is_none() || download_failed {
            return Ok(state);
        }
        let client = &self.context.client;
        state.claim = Api::<PersistentVolumeClaim>::namespaced(client.clone(), &state.namespace)
            .get_opt(&state.name)
            .await?;
        let Some(claim) = &state.claim else {
            return Ok(state);
        };
        let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
        let spec = claim.spec.clone().unwrap_or_default();
        match spec.volume_name.filter(|volume| bound && !volume.is_empty()) {
            Some(volume) => {
                state.volume = Api::<PersistentVolume>::all(client.clone())
                    .get_opt(&volume)
                    .await?;
            }
            None => {
                if let Some(class) = spec.storage_class_name.filter(|class| !class.is_empty()) {
                    let class = Api::<StorageClass>::all(client.clone()).get_opt(&class).await?;
                    let mode = class.and_then(|class| class.volume_binding_mode);
                    state.waits_for_consumer = mode.as_deref() == Some("WaitForFirstConsumer");
                }
            }
        }
        Ok(state)
    }

    async fn act(&self, mut observed: Observed, left: Duration) -> Result<Next, Error> {
        let mut waiting = Vec::new();
        for state in &observed.claims {
            match decide_claim(state) {
                ClaimDecision::Leave(why) => {
                    tracing::debug!(claim = %state.name, namespace = %state.namespace, why, "volume is left");
                }
                ClaimDecision::Wait => waiting.push(state),
                ClaimDecision::Wrong(why) => add_once(&mut observed.results, &state.namespace, why),
                ClaimDecision::PatchVolume { volume, patch } => {
                    let volumes: Api<PersistentVolume> = Api::all(self.context.client.clone());
                    if let Err(error) = volumes
                        .patch(&volume, &PatchParams::default(), &Patch::Merge(&patch))
                        .await
                    {
                        let message = format!(
                            "fail to patch dynamic PV {volume} of PersistentVolumeClaim {}/{} to the old one's labels and reclaim policy: {}",
                            state.namespace,
                            state.name,
                            chain(&error)
                        );
                        observed.results.warnings.add(&state.namespace, message);
                    }
                }
            }
        }
        if !waiting.is_empty() && !left.is_zero() {
            return Ok(Next::After(left));
        }
        if !self.hooks_are_complete(&observed.restore) {
            return Ok(Next::After(HOOKS_INTERVAL));
        }
        for state in waiting {
            let message = format!(
                "PersistentVolumeClaim {}/{} is not bound after {:?} (--resource-timeout): its volume does not get the old one's labels and reclaim policy; see `kubectl describe pvc`",
                state.namespace, state.name, self.settings.resource_timeout
            );
            if is_filled_from_snapshot(state) {
                // Its data is not back: that is more than a label of its volume.
                add_once(&mut observed.results, &state.namespace, message);
            } else {
                observed.results.warnings.add(&state.namespace, message);
            }
        }
        self.end(observed).await
    }

    async fn end(&self, mut observed: Observed) -> Result<Next, Error> {
        add_failed_operations(&observed.restore, &observed.operations, &mut observed.results);
        let hooks = self.end_hooks(&observed.restore, &mut observed.results);
        let (errors, warnings) = (observed.results.errors.count(), observed.results.warnings.count());
        let Some(phase) = final_phase(&observed.phase, errors) else {
            return Ok(Next::Done);
        };
        observed
            .store
            .put_restore_results(&observed.restore.name_any(), &observed.results)
            .await?;
        delete_result_maps(&self.context, &observed.restore).await?;
        self.write(&observed.restore, &phase, errors, warnings, &hooks)
            .await?;
        self.context
            .restore_hooks
            .forget(&observed.restore.uid().unwrap_or_default());
        tracing::info!(restore = %observed.restore.name_any(), %phase, errors, warnings, "restore ends");
        Ok(Next::Done)
    }

    /// Each of the restore's exec hooks ends at its own timeouts, so this does, too.
    fn hooks_are_complete(&self, restore: &Restore) -> bool {
        let hooks = self.context.restore_hooks.of(&restore.uid().unwrap_or_default());
        hooks.is_none_or(|hooks| hooks.is_complete())
    }

    /// How the hooks went; their errors are errors of the Restore. Of those that the run has counted, a server that was
    /// started since finds the ones whose pods are still there; that others did not run is an error, too.
    fn end_hooks(&self, restore: &Restore, results: &mut Results) -> HookStatus {
        let hooks = self.context.restore_hooks.of(&restore.uid().unwrap_or_default());
        let mut status = HookStatus::default();
        if let Some(hooks) = hooks {
            for (namespace, error) in hooks.errors() {
                add_once(results, &namespace, error);
            }
            status = hooks.status();
        }
        let missing = exec_hooks::attempted(restore) - status.hooks_attempted;
        if missing > 0 {
            let lost = format!(
                "the server was restarted before the end of this restore, and the pods of {missing} of its exec hooks are gone: those hooks may not have run"
            );
            if !results.errors.velero.contains(&lost) {
                results.errors.velero.push(lost);
            }
            status.hooks_attempted += missing;
            status.hooks_failed += missing;
        }
        status
    }

    /// The one place where this controller writes a Restore.
    async fn write(
        &self,
        restore: &Restore,
        phase: &RestorePhase,
        errors: usize,
        warnings: usize,
        hooks: &HookStatus,
    ) -> Result<(), kube::Error> {
        let patch = json!({
            "metadata": {"resourceVersion": restore.resource_version(), "annotations": exec_hooks::forgotten()},
            "status": {"hookStatus": hooks, "phase": phase, "completionTimestamp": self.context.now(), "errors": errors, "warnings": warnings},
        });
        let restores: Api<Restore> = self.context.api();
        restores
            .patch(
                &restore.name_any(),
                &PatchParams::default(),
                &Patch::Merge(&patch),
            )
            .await?;
        Ok(())
    }
}

fn is_filled_from_snapshot(state: &ClaimState) -> bool {
    let source = state
        .claim
        .as_ref()
        .and_then(|claim| claim.spec.as_ref()?.data_source.as_ref());
    source.is_some_and(|source| source.kind == "VolumeSnapshot")
}

/// A failed operation is an error of the Restore, named after the claim that stays without its data.
fn add_failed_operations(restore: &Restore, operations: &[RestoreOperation], results: &mut Results) {
    for operation in operations
        .iter()
        .filter(|operation| operation.status.phase == OperationPhase::Failed)
    {
        let id = &operation.spec.resource_identifier;
        let namespace = restore
            .spec
            .namespace_mapping
            .get(&id.namespace)
            .unwrap_or(&id.namespace);
        let message = format!(
            "error restoring {}/{namespace}/{}: {}",
            id.resource, id.name, operation.status.error
        );
        add_once(results, namespace, message);
    }
}

/// The end may be written in several tries.
fn add_once(results: &mut Results, namespace: &str, message: String) {
    let known = results
        .errors
        .namespaces
        .get(namespace)
        .is_some_and(|messages| messages.contains(&message));
    if !known {
        results.errors.add(namespace, message);
    }
}

/// The namespace in the backup of a namespace in the cluster.
fn source_namespace<'a>(restore: &'a Restore, target: &'a str) -> &'a str {
    let mapped = restore
        .spec
        .namespace_mapping
        .iter()
        .find(|(_, to)| *to == target);
    mapped.map_or(target, |(from, _)| from.as_str())
}
