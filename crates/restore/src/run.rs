//! A restore run: carries the [`Plan`] out, resource by resource, and says what came of it.
//!
//! ```text
//! contents ─plan─► CRDs ─(Established, discovery again)─► resource after resource ─► Outcome
//!                                                            └ up to 32 objects of one resource at once
//! ```
//! One object's way is [`crate::item`]. Nothing here reads the bucket or writes the Restore's status.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use caravel_api::v1::{Backup, Restore};
use caravel_backup_store::results::{ResultSet, Results};
use caravel_item_action::{IdentifierSet, ResourceSelector, RestoreItemAction};
use caravel_resource_policies::Policies;
use futures::StreamExt;
use kube::Client;
use parking_lot::Mutex;

use crate::contents::{BackupContents, ContentsError};
use crate::discovery::Discovered;
use crate::established;
use crate::exec_hooks::ExecHooks;
use crate::group_resource::GroupResource;
use crate::item_name::ItemName;
use crate::log::{Level, RestoreLog};
use crate::own::Own;
use crate::plan::{Plan, PlannedResource, plan};
use crate::priority::Priorities;
use crate::resource_modifiers::ResourceModifiers;
use crate::saved_volumes::SavedVolumes;
use crate::selection::{InvalidSelector, Selection};
use crate::versions::{self, UserVersions};

/// Objects of one resource that are created at the same time. A creation waits for etcd's disk, and etcd writes what comes
/// in meanwhile at once; beyond this nothing is gained (`cargo xtask bench resources` measures the bare calls, too). The API
/// server's own share for service accounts is some 245 requests; what it cannot take it answers with 429, and the client waits.
pub(crate) const AT_ONCE: usize = 32;

/// What a run needs.
pub struct RestoreRun {
    /// Of the target cluster.
    pub client: Client,
    /// The Restore.
    pub restore: Arc<Restore>,
    /// The Backup it restores.
    pub backup: Arc<Backup>,
    /// The unpacked tarball.
    pub contents: BackupContents,
    /// `<backup>-volumeinfo.json.gz`.
    pub saved_volumes: SavedVolumes,
    /// `spec.resourcePolicy`, read and validated.
    pub policies: Option<Arc<Policies>>,
    /// `spec.resourceModifier`, read and validated.
    pub modifiers: Option<ResourceModifiers>,
    /// With `--features=EnableAPIGroupVersions`: the versions that the user prefers, of those that the backup holds.
    pub versions: Option<UserVersions>,
    /// In the order in which they run; those of the product are [`crate::item_actions::built_in`].
    pub actions: Vec<Box<dyn RestoreItemAction>>,
    /// Commands in pods that are created.
    pub exec_hooks: ExecHooks,
    /// `--restore-resource-priorities`.
    pub priorities: Priorities,
    /// `--resource-timeout`: how long a CustomResourceDefinition may take to be Established.
    pub resource_timeout: Duration,
    /// `--terminating-resource-timeout`: how long an old namespace may take to go away.
    pub terminating_timeout: Duration,
    /// Where lines go.
    pub log: Arc<dyn RestoreLog>,
    /// Read by the controller while the run goes on.
    pub progress: Arc<Progress>,
}

/// Objects done and objects in all; the total grows by additional items.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicUsize,
    restored: AtomicUsize,
}

impl Progress {
    /// (restored, total), as `status.progress`.
    pub fn now(&self) -> (usize, usize) {
        (
            self.restored.load(Ordering::Relaxed),
            self.total.load(Ordering::Relaxed),
        )
    }

    fn expect(&self, items: usize) {
        self.total.fetch_add(items, Ordering::Relaxed);
    }

    pub(crate) fn one_done(&self) {
        let restored = self.restored.fetch_add(1, Ordering::Relaxed) + 1;
        self.total.fetch_max(restored, Ordering::Relaxed);
    }
}

/// An operation that goes on after the run (a DataDownload).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedOperation {
    /// Action that started it.
    pub action: String,
    /// Item that waits for it.
    pub item: ItemName,
    /// `dd-…`.
    pub operation_id: String,
}

/// A claim that was created; the finalizer gives its new volume the old one's labels and reclaim policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RestoredClaim {
    /// In the backup.
    pub source_namespace: String,
    /// In the cluster.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Name of the volume in the backup.
    pub volume_in_backup: String,
    /// How its data comes back; for the restore's volume info.
    pub operation_id: Option<String>,
    /// The VolumeSnapshot in the cluster that it is filled from.
    pub snapshot: Option<String>,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Warnings and errors.
    pub results: Results,
    /// `<group>/<version>/<Kind>` → `ns/name(created|updated|failed|skipped)`, sorted.
    pub resource_list: BTreeMap<String, Vec<String>>,
    /// Operations that go on.
    pub operations: Vec<StartedOperation>,
    /// Claims that were created.
    pub claims: Vec<RestoredClaim>,
}

/// The run cannot go on at all; the Restore is Failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The backup cannot be read.
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// The Restore cannot be understood.
    #[error(transparent)]
    Selector(#[from] InvalidSelector),
    /// The cluster does not say what it serves.
    #[error("asking the cluster which resources it serves: {0}")]
    Discovery(#[source] Box<kube::Error>),
}

/// What the items of a run share.
pub(crate) struct Engine {
    pub(crate) run: RestoreRun,
    /// What each of the actions applies to, asked once.
    pub(crate) selectors: Vec<ResourceSelector>,
    pub(crate) own: Own,
    pub(crate) selection: Selection,
    pub(crate) discovered: Discovered,
    pub(crate) state: Mutex<State>,
    /// Target namespaces that are known to exist; held while one is made, so that it is made once.
    pub(crate) namespaces: tokio::sync::Mutex<BTreeSet<String>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) processed: IdentifierSet,
    /// Where objects of this run go, by their names in the cluster: two of the backup may be meant for the same.
    pub(crate) targets: IdentifierSet,
    pub(crate) outcome: Outcome,
}

/// Runs a restore to its end.
pub async fn run(mut run: RestoreRun) -> Result<Outcome, RunError> {
    let discovered = discover(&mut run).await?;
    let selection = Selection::from_spec(&run.restore.spec, run.policies.as_deref(), &discovered)?;
    let first = plan(&run.contents, &selection, &run.priorities, &discovered);
    run.progress.expect(first.total());
    let mut engine = Engine {
        own: Own::of(&run.restore),
        selectors: run.actions.iter().map(|action| action.applies_to()).collect(),
        run,
        selection,
        discovered,
        state: Mutex::default(),
        namespaces: tokio::sync::Mutex::default(),
    };
    if engine.run.contents.is_empty() {
        engine.say_nothing_is_there();
    }
    let (definitions, mut rest) = first.split_definitions();
    if let Some(definitions) = definitions {
        // Made anew below; not kept twice.
        drop(std::mem::take(&mut rest));
        engine.restore_resource(&definitions).await;
        engine.wait_for_discovery(&definitions).await?;
        engine.discovered = discover(&mut engine.run).await?;
        engine.selection = Selection::from_spec(
            &engine.run.restore.spec,
            engine.run.policies.as_deref(),
            &engine.discovered,
        )?;
        let again = plan(
            &engine.run.contents,
            &engine.selection,
            &engine.run.priorities,
            &engine.discovered,
        );
        (_, rest) = again.split_definitions();
        engine
            .run
            .progress
            .expect((rest.total() + definitions.total()).saturating_sub(engine.run.progress.now().1));
    }
    engine.warn_of_unserved(&rest);
    for resource in &rest.resources {
        engine.restore_resource(resource).await;
    }
    Ok(engine.into_outcome())
}

/// What the cluster serves; with it goes in which version objects come back, where that is a choice.
async fn discover(run: &mut RestoreRun) -> Result<Discovered, RunError> {
    let mut discovered = Discovered::of(&run.client)
        .await
        .map_err(|error| RunError::Discovery(Box::new(error)))?;
    let Some(user) = &run.versions else {
        return Ok(discovered);
    };
    for line in &user.unread {
        let said = format!(
            "a line of the ConfigMap {} means nothing and is passed over: {line:?}; write resource.group=version,version",
            versions::CONFIG_MAP
        );
        run.log.line(Level::Warning, &said, &[]);
    }
    for (resource, version) in versions::choose(&mut run.contents, &mut discovered, user)? {
        let said = format!("Objects come back in version {version}, which the backup holds too");
        run.log
            .line(Level::Info, &said, &[("resource", &resource.to_string())]);
    }
    Ok(discovered)
}

impl Engine {
    async fn restore_resource(&self, resource: &PlannedResource) {
        let name = resource.group_resource.to_string();
        self.log(
            Level::Info,
            &format!("Restoring {} objects", resource.total()),
            &[("resource", &name)],
        );
        futures::stream::iter(resource.objects())
            .for_each_concurrent(AT_ONCE, |name| self.restore_item(name))
            .await;
    }

    /// Until discovery lists what the definitions define, as far as the backup has objects of it.
    async fn wait_for_discovery(&self, definitions: &PlannedResource) -> Result<(), RunError> {
        let defined = definitions.objects().map(|name| GroupResource::parse(&name.name));
        let wanted = defined.filter(|resource| self.run.contents.names(resource).is_some());
        let timeout = self.run.resource_timeout;
        let missing = established::listed(&self.run.client, wanted.collect(), timeout)
            .await
            .map_err(|error| RunError::Discovery(Box::new(error)))?;
        for resource in missing {
            self.error("", format!("the objects of {resource} are not restored: its CustomResourceDefinition is ready, but the API server has not listed the resource in its discovery within {timeout:?} (--resource-timeout); restore again when `kubectl api-resources` shows it"));
        }
        Ok(())
    }

    fn warn_of_unserved(&self, plan: &Plan) {
        for (resource, count) in &plan.not_served {
            let message = format!(
                "{count} objects of {resource} stay behind: this cluster does not serve the resource"
            );
            self.log(Level::Warning, &message, &[]);
            self.state.lock().outcome.results.warnings.velero.push(message);
        }
    }

    /// A backup whose filters selected nothing is one too, and its restore ends well. Who expected more is told.
    fn say_nothing_is_there(&self) {
        let message = "zero items to be restored: the backup's tarball holds no objects".to_owned();
        self.log(Level::Warning, &message, &[]);
        self.state.lock().outcome.results.warnings.add_velero(message);
    }

    pub(crate) fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        self.run.log.line(level, message, fields);
    }

    /// An error of the run; `namespace` is the target's, empty for cluster scope.
    pub(crate) fn error(&self, namespace: &str, message: String) {
        self.log(Level::Error, &message, &[]);
        self.state.lock().outcome.results.errors.add(namespace, message);
    }

    pub(crate) fn warning(&self, namespace: &str, message: String) {
        self.log(Level::Warning, &message, &[]);
        self.state.lock().outcome.results.warnings.add(namespace, message);
    }

    fn into_outcome(self) -> Outcome {
        let mut outcome = self.state.into_inner().outcome;
        sort(&mut outcome.results.errors);
        sort(&mut outcome.results.warnings);
        outcome.resource_list.values_mut().for_each(|names| names.sort());
        outcome.claims.sort();
        outcome.operations.sort_by(|a, b| a.item.cmp(&b.item));
        outcome
    }
}

/// Objects are created side by side; the results file shall not depend on which came first.
fn sort(messages: &mut ResultSet) {
    messages.velero.sort();
    messages.cluster.sort();
    messages
        .namespaces
        .values_mut()
        .for_each(|messages| messages.sort());
}
