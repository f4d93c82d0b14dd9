//! One backup: from the selection to a tarball, with everything that is uploaded beside it.
//!
//! The selected items are listed; the PVCs' actions are started, all at once (a snapshot each, bounded), so that the
//! snapshots are as close in time as the storage allows; meanwhile all other items are written; then the PVCs and what
//! they bring along, the namespaces that have items, and the CRDs of custom resources. Upstream: `pkg/backup/backup.go`,
//! `item_backupper.go`. Pods with hooks come first, with their claims (`run/blocks.rs`) and what item-block actions say of
//! them (`run/relate.rs`). The order of all that is `run/listed.rs`, what becomes of one item `run/item.rs`, and what comes
//! along because of what was written `run/follows.rs`.

mod blocks;
mod follows;
mod item;
mod listed;
mod prepare;
mod relate;
#[cfg(test)]
mod relate_tests;
pub mod snapshot_objects;
#[cfg(test)]
mod snapshot_tests;
#[cfg(test)]
mod tests;
pub mod volume_infos;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use caravel_api::v1::{Backup, HookStatus};
use caravel_backup_store::item_operations::BackupOperation;
use caravel_backup_store::tarball;
use caravel_backup_store::volume_info::{BackupVolumeInfo, PvInfo};
use caravel_item_action::{BackupItemAction, IdentifierSet, ItemBlockAction, ResourceIdentifier};
use kube::Client;
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::collect::{self, Items, Selection, listed_name};
use crate::discovery::{Resource, Resources};
use crate::filter::NamespaceNotes;
use crate::hooks::Hooks;
use crate::log::{About, BackupLog};
use crate::volumes;
use prepare::{Failure, Prepared};
use snapshot_objects::SnapshotObjects;

/// Snapshots that are taken at the same time. Drivers and clouds limit the rate of snapshots; 16 keeps a namespace of
/// usual size at one point in time without a storm.
const SNAPSHOTS_AT_ONCE: usize = 16;

/// Everything a run needs.
pub struct Request {
    pub client: Client,
    /// With all defaults applied.
    pub backup: Backup,
    pub discovered: Resources,
    pub selection: Selection,
    pub namespace_notes: NamespaceNotes,
    /// All Namespace objects of the cluster.
    pub namespaces: Vec<Value>,
    pub actions: Vec<Arc<dyn BackupItemAction>>,
    /// Which items belong together, beside pods and their claims.
    pub item_block_actions: Vec<Arc<dyn ItemBlockAction>>,
    pub hooks: Hooks,
    /// Where temporary files go.
    pub folder: PathBuf,
    /// The tarball is written here.
    pub contents: PathBuf,
    pub page_size: u32,
    /// `--features=EnableAPIGroupVersions`: objects are also saved in the versions that their groups do not prefer.
    pub all_versions: bool,
    pub log: Arc<BackupLog>,
    pub progress: Arc<Progress>,
}

/// How far a run is; read by the controller.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicU32,
    done: AtomicU32,
}

impl Progress {
    /// (items in all as far as known, items written)
    pub fn get(&self) -> (u32, u32) {
        (
            self.total.load(Ordering::Relaxed),
            self.done.load(Ordering::Relaxed),
        )
    }
}

/// What a run made, beside the tarball.
#[derive(Debug, Default)]
pub struct Outcome {
    pub operations: Vec<BackupOperation>,
    pub volume_infos: Vec<BackupVolumeInfo>,
    /// `apps/v1/Deployment` → sorted `shop/web`.
    pub resource_list: BTreeMap<String, Vec<String>>,
    pub total_items: u32,
    pub hooks: HookStatus,
    /// Snapshots that stay in the storage, as they are in the tarball.
    pub snapshots: SnapshotObjects,
}

/// The backup as a whole cannot go on: it ends `Failed`.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot write temporary files: {0}; is the scratch volume full?")]
    Scratch(#[from] io::Error),
    #[error("cannot write the backup's tarball: {0}")]
    Tarball(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Runs the backup. Items that cannot be backed up are error lines in the log; only what stops everything is an error.
///
/// # Errors
/// [`RunError`].
pub async fn run(request: Request) -> Result<Outcome, RunError> {
    let log = Arc::clone(&request.log);
    let (included, excluded) = request.selection.namespaces.describe();
    log.info(format!("Including namespaces: {included}"));
    log.info(format!("Excluding namespaces: {excluded}"));
    for missing in &request.namespace_notes.missing {
        let about = About {
            resource: "namespaces",
            namespace: Some(""),
            name: missing,
        };
        log.error(
            about,
            "Error getting namespace",
            format!("namespace {missing} is included by name and does not exist"),
        );
    }
    for pattern in &request.namespace_notes.empty_patterns {
        log.warn(
            About::default(),
            format!("No namespace matches the pattern {pattern}"),
        );
    }
    let mut items = collect::collect(
        &request.client,
        &request.discovered,
        &request.selection,
        request.page_size,
        &request.folder,
        collect::LookedFor {
            everything: !request.item_block_actions.is_empty(),
            hooked: |pod: &Value| caravel_hooks::backup::concerns(pod, &request.hooks.spec),
        },
        &log,
    )
    .await?;
    let tarball =
        tarball::Writer::create(&request.contents).map_err(|error| RunError::Tarball(Box::new(error)))?;
    let mut run = Run::new(request, tarball);
    let written = run.everything(&mut items).await;
    // Also when the backup cannot go on: no application stays frozen.
    for (block, stop) in std::mem::take(&mut run.blocks) {
        drop(stop);
        let _ = block.await;
    }
    written?;
    let outcome = run.finish()?;
    log.info(format!("Backed up a total of {} items", outcome.total_items));
    Ok(outcome)
}

struct Run {
    request: Arc<Request>,
    tarball: tarball::Writer,
    /// Taken, being taken, or given up: never looked at again.
    seen: IdentifierSet,
    /// What was written, where other versions of it are asked for.
    written: IdentifierSet,
    /// Namespaces that items were written of; empty: cluster scope.
    namespaces: BTreeSet<String>,
    /// `resource.group` of written items that may be custom resources.
    custom: BTreeSet<String>,
    /// PVCs whose actions run.
    /// A run that is dropped (the backup is canceled) takes them along.
    claims: VecDeque<(ResourceIdentifier, AbortOnDropHandle<Result<Prepared, Failure>>)>,
    /// Applications that are frozen, or about to be. A run that is dropped takes their snapshots along; their post-hooks
    /// run, then.
    blocks: VecDeque<(JoinHandle<blocks::Ended>, oneshot::Sender<()>)>,
    snapshots: Arc<Semaphore>,
    pv_infos: BTreeMap<String, PvInfo>,
    outcome: Outcome,
}

impl Run {
    fn new(request: Request, tarball: tarball::Writer) -> Self {
        Self {
            request: Arc::new(request),
            tarball,
            seen: IdentifierSet::default(),
            written: IdentifierSet::default(),
            namespaces: BTreeSet::new(),
            custom: BTreeSet::new(),
            claims: VecDeque::new(),
            blocks: VecDeque::new(),
            snapshots: Arc::new(Semaphore::new(SNAPSHOTS_AT_ONCE)),
            pv_infos: BTreeMap::new(),
            outcome: Outcome::default(),
        }
    }

    async fn everything(&mut self, items: &mut Items) -> Result<(), RunError> {
        let related = self.relate(items).await?;
        self.items(items, &related).await?;
        self.claims().await?;
        self.namespaces()?;
        self.custom_resource_definitions().await?;
        self.other_versions().await
    }

    fn write(&mut self, id: &ResourceIdentifier, item: &Value) -> Result<(), RunError> {
        let request = Arc::clone(&self.request);
        let Some(resource) = request.discovered.find(&id.group, &id.resource) else {
            return Ok(());
        };
        if request.all_versions {
            self.written.insert(id);
        }
        if !self.namespaces.contains(&id.namespace) {
            self.namespaces.insert(id.namespace.clone());
        }
        // The CRDs of snapshots belong to the cluster's snapshot-controller, as in Velero.
        if id.group.contains('.') && id.group != crate::item_actions::snapshots::GROUP {
            self.custom.insert(id.group_resource());
        }
        self.outcome.snapshots.note(id, item);
        self.put(resource, true, id, item)
    }

    /// Into the tarball, in this version.
    fn put(
        &mut self,
        resource: &Resource,
        preferred: bool,
        id: &ResourceIdentifier,
        item: &Value,
    ) -> Result<(), RunError> {
        let gr = id.group_resource();
        let version = &resource.api.version;
        self.tarball
            .append(&gr, version, preferred, &id.namespace, &id.name, item)
            .map_err(|error| RunError::Tarball(Box::new(error)))?;
        self.outcome
            .resource_list
            .entry(resource.list_key())
            .or_default()
            .push(listed_name(id));
        let done = self.request.progress.done.fetch_add(1, Ordering::Relaxed) + 1;
        let (total, _) = self.request.progress.get();
        self.request.log.item(
            about(&gr, id),
            format!("Backed up {done} items out of an estimated total of {total} (estimate will change throughout the backup)"),
        );
        Ok(())
    }

    fn finish(mut self) -> Result<Outcome, RunError> {
        self.tarball
            .finish()
            .map_err(|error| RunError::Tarball(Box::new(error)))?;
        for names in self.outcome.resource_list.values_mut() {
            names.sort();
        }
        for info in &mut self.outcome.volume_infos {
            info.pv_info = self.pv_infos.remove(&info.pv_name);
        }
        warn_of_volumes_without_claims(&self.request, &self.pv_infos);
        let (_, done) = self.request.progress.get();
        self.request.progress.total.store(done, Ordering::Relaxed);
        self.outcome.total_items = done;
        self.outcome.hooks = self.request.hooks.tracker.status();
        Ok(self.outcome)
    }

    fn add_to_total(&self, items: usize) {
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        self.request.progress.total.fetch_add(items, Ordering::Relaxed);
    }
}

fn warn_of_volumes_without_claims(request: &Request, left: &BTreeMap<String, PvInfo>) {
    for name in volumes::without_native_snapshot(&request.backup.spec, left.keys()) {
        let id = ResourceIdentifier::new("", "persistentvolumes", "", name);
        request.log.warn(
            about("persistentvolumes", &id),
            "PersistentVolume is backed up without its data: its claim is not in the backup, and this version takes no native snapshots",
        );
    }
}

fn is_claim(id: &ResourceIdentifier) -> bool {
    id.group.is_empty() && id.resource == "persistentvolumeclaims"
}

fn about<'a>(group_resource: &'a str, id: &'a ResourceIdentifier) -> About<'a> {
    About {
        resource: group_resource,
        namespace: Some(&id.namespace),
        name: &id.name,
    }
}
