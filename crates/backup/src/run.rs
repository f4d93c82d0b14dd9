//! One backup: from the selection to a tarball, with everything that is uploaded beside it.
//!
//! The selected items are listed; the PVCs' actions are started, all at once (a snapshot each, bounded), so that the
//! snapshots are as close in time as the storage allows; meanwhile all other items are written; then the PVCs and what
//! they bring along, the namespaces that have items, and the CRDs of custom resources. Upstream: `pkg/backup/backup.go`,
//! `item_backupper.go`. Pods with hooks come first, with their claims (`run/blocks.rs`) and what item-block actions say of
//! them (`run/relate.rs`).

mod blocks;
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
use tracing::Instrument as _;

use crate::cluster::{self, name, namespace, text};
use crate::collect::{self, Collected, Items, Selection, listed_name};
use crate::discovery::{Resource, Resources};
use crate::filter::NamespaceNotes;
use crate::hooks::Hooks;
use crate::log::{About, BackupLog};
use crate::volumes;
use blocks::{BLOCKS_AT_ONCE, Block, Members};
use prepare::{Failure, Prepared, prepare};
use relate::Related;
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

    async fn items(&mut self, items: &Items, related: &Related) -> Result<(), RunError> {
        self.add_to_total(items.list.len());
        let named = items
            .list
            .iter()
            .filter_map(|item| Some((item.id.as_deref()?, item)));
        let is_looked_for =
            |id: &ResourceIdentifier, item: &Collected| item.hooked || is_claim(id) || related.contains(id);
        let listed: Listed<'_> = named.filter(|(id, item)| is_looked_for(id, item)).collect();
        let mut blocks = blocks_of(items, related)?;
        for item in items.list.iter().filter(|item| item.ordered) {
            let (id, value) = items.named(item)?;
            let holds = |block: &Members| block.pods.contains(&id) || block.items.contains(&id);
            if let Some(at) = blocks.iter().position(holds) {
                self.start_block(blocks.remove(at), items, &listed).await?;
                self.end_block().await?;
                self.claims().await?;
            }
            if self.seen.insert(&id) {
                self.item(id, value).await?;
                // What it brought along, too: the next one is not begun before.
                self.claims().await?;
            }
        }
        let in_blocks: BTreeSet<&ResourceIdentifier> = blocks
            .iter()
            .flat_map(|block| block.items.iter().chain(&block.pods))
            .collect();
        let alone = |id: &ResourceIdentifier| is_claim(id) && !in_blocks.contains(id);
        for (id, item) in listed.iter().filter(|(id, _)| alone(id)) {
            if self.seen.insert(id) {
                self.start_claim((*id).clone(), items.read(item)?);
            }
        }
        drop(in_blocks);
        for block in blocks {
            if self.blocks.len() >= BLOCKS_AT_ONCE {
                self.end_block().await?;
            }
            self.start_block(block, items, &listed).await?;
        }
        while !self.blocks.is_empty() {
            self.end_block().await?;
        }
        for item in &items.list {
            let (id, value) = items.named(item)?;
            if self.seen.insert(&id) {
                self.item(id, value).await?;
            }
        }
        Ok(())
    }

    async fn start_block(
        &mut self,
        members: Members,
        items: &Items,
        listed: &Listed<'_>,
    ) -> Result<(), RunError> {
        let mut block = Block {
            pods: Vec::new(),
            items: Vec::new(),
        };
        for (id, item) in members.pods.iter().filter_map(|id| listed.get_key_value(id)) {
            if self.seen.insert(id) {
                block.pods.push(((*id).clone(), items.read(item)?));
            }
        }
        for id in members.items {
            if !self.seen.insert(&id) {
                continue;
            }
            // A claim that is not selected comes with its pod, if it may.
            let item = match listed.get(&id) {
                Some(item) => Some(items.read(item)?),
                None => self.fetch(&id, false).await.inspect(|_| self.add_to_total(1)),
            };
            block.items.extend(item.map(|item| (id, item)));
        }
        let (request, snapshots) = (Arc::clone(&self.request), Arc::clone(&self.snapshots));
        let (stop, stopped) = oneshot::channel();
        let work = blocks::run(request, snapshots, block, stopped).in_current_span();
        self.blocks.push_back((tokio::spawn(work), stop));
        Ok(())
    }

    /// Waits for the block that was started first, and writes what it holds.
    async fn end_block(&mut self) -> Result<(), RunError> {
        // Held until it has ended.
        let Some((block, _stop)) = self.blocks.pop_front() else {
            return Ok(());
        };
        let ended = match block.await {
            Ok(ended) => ended,
            Err(join) => {
                let why = format!("the item block of a pod with hooks ended abnormally: {join}");
                self.request
                    .log
                    .error(About::default(), "Error executing hook", why);
                return Ok(());
            }
        };
        for (id, prepared) in ended.items {
            self.settle(id, prepared).await?;
        }
        for (id, pod) in ended.pods {
            if ended.failed.contains(&id) {
                let why = "its pre-hook failed, and says onError: Fail";
                self.request
                    .log
                    .error(about("pods", &id), "Error backing up item", why);
            } else {
                self.item(id, pod).await?;
            }
        }
        Ok(())
    }

    fn start_claim(&mut self, id: ResourceIdentifier, item: Value) {
        let (request, snapshots) = (Arc::clone(&self.request), Arc::clone(&self.snapshots));
        let own_id = id.clone();
        let prepared = async move {
            // The semaphore is never closed.
            let _place = snapshots.acquire_owned().await;
            prepare(&request, &own_id, item).await
        };
        let work = tokio::spawn(prepared.in_current_span());
        self.claims.push_back((id, AbortOnDropHandle::new(work)));
    }

    async fn claims(&mut self) -> Result<(), RunError> {
        while let Some((id, work)) = self.claims.pop_front() {
            let prepared = match work.await {
                Ok(prepared) => prepared,
                Err(join) => Err(Failure::ended(&join)),
            };
            self.settle(id, prepared).await?;
        }
        Ok(())
    }

    /// Runs the actions of an item and writes it, after what it brings along.
    async fn item(&mut self, id: ResourceIdentifier, item: Value) -> Result<(), RunError> {
        let prepared = prepare(&self.request, &id, item).await;
        self.settle(id, prepared).await
    }

    async fn settle(
        &mut self,
        id: ResourceIdentifier,
        prepared: Result<Prepared, Failure>,
    ) -> Result<(), RunError> {
        let gr = id.group_resource();
        let mut prepared = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => {
                self.request
                    .log
                    .error(about(&gr, &id), "Error backing up item", failure);
                return Ok(());
            }
        };
        let mut needed = Vec::new();
        for additional in std::mem::take(&mut prepared.additional_items) {
            if snapshot_objects::is_needed(&additional.id) {
                needed.push(additional.id.clone());
            }
            Box::pin(self.additional(additional.id, additional.must_include)).await?;
        }
        if let Some(missing) = needed.iter().find(|id| !self.outcome.snapshots.has(id)) {
            let why = format!(
                "{missing} is not in the backup, so that nothing would lead to the snapshot of its data"
            );
            self.request
                .log
                .error(about(&gr, &id), "Error backing up item", why);
            return Ok(());
        }
        if is_claim(&id) {
            if text(&prepared.item, "/spec/volumeName").is_empty() {
                self.request.log.warn(
                    about(&gr, &id),
                    "PersistentVolumeClaim has no volume yet: the claim is backed up, and there is no data that could be",
                );
            }
            let info = volume_infos::of_claim(&self.request.backup, &prepared, &self.outcome);
            self.outcome.volume_infos.extend(info);
        } else if gr == "persistentvolumes" {
            self.pv_infos
                .insert(id.name.clone(), volume_infos::pv_info(&prepared.item));
        }
        self.outcome.operations.extend(prepared.operations);
        if prepared.skip {
            self.request
                .log
                .item(about(&gr, &id), "Item is left out, as an action asks");
            return Ok(());
        }
        // An action may have given the item another name; it is then in the backup under that one.
        let written_as = ResourceIdentifier::new(
            &id.group,
            &id.resource,
            namespace(&prepared.item),
            name(&prepared.item),
        );
        self.write(&written_as, &prepared.item)
    }

    /// An item that another one brings along: fetched, filtered, backed up.
    async fn additional(&mut self, id: ResourceIdentifier, must_include: bool) -> Result<(), RunError> {
        if !self.seen.insert(&id) {
            return Ok(());
        }
        let Some(item) = self.fetch(&id, must_include).await else {
            return Ok(());
        };
        self.add_to_total(1);
        if is_claim(&id) {
            self.start_claim(id, item);
            return Ok(());
        }
        self.item(id, item).await
    }

    /// An item that was not listed, if the filters let it pass.
    async fn fetch(&self, id: &ResourceIdentifier, must_include: bool) -> Option<Value> {
        let request = &self.request;
        let gr = id.group_resource();
        let Some(resource) = request.discovered.find(&id.group, &id.resource) else {
            request.log.warn(
                about(&gr, id),
                "Additional item is of a kind that the cluster does not have",
            );
            return None;
        };
        let in_namespaces = !resource.namespaced || request.selection.namespaces.includes(&id.namespace);
        let passes =
            must_include || (in_namespaces && request.selection.resources.follows(&gr, resource.namespaced));
        if !passes {
            request.log.item(
                about(&gr, id),
                "Excluding additional item because the filters leave it out",
            );
            return None;
        }
        let item = match cluster::get(&request.client, &resource.api, &id.namespace, &id.name).await {
            Ok(Some(item)) => item,
            Ok(None) => {
                request.log.warn(
                    about(&gr, id),
                    "Additional item was not found in Kubernetes API, can't back it up",
                );
                return None;
            }
            Err(error) => {
                request
                    .log
                    .error(about(&gr, id), "Error getting additional item", error);
                return None;
            }
        };
        let named_out = request.selection.kinds.keeps_out(&gr, &item);
        let why = collect::left_out(&item).or(named_out.then_some("a filter policy leaves its name out"));
        // Must-include is about filters: what is being deleted is not taken all the same.
        if let Some(why) = collect::being_deleted(&item).or(why.filter(|_| !must_include)) {
            request
                .log
                .item(about(&gr, id), format!("Excluding item because {why}"));
            return None;
        }
        Some(item)
    }

    /// Namespace objects: those selected themselves, and those of every item that was written.
    fn namespaces(&mut self) -> Result<(), RunError> {
        let request = Arc::clone(&self.request);
        if !request.selection.resources.collects("namespaces", false) {
            return Ok(());
        }
        let wanted = |object: &&Value| {
            request.selection.takes_namespace(object) || self.namespaces.contains(name(object))
        };
        let chosen: Vec<&Value> = request.namespaces.iter().filter(wanted).collect();
        for object in chosen {
            let id = ResourceIdentifier::new("", "namespaces", "", name(object));
            if let Some(why) = collect::namespace_left_out(object) {
                request.log.item(
                    about("namespaces", &id),
                    format!("Skip namespace {} because {why}.", id.name),
                );
            } else if self.seen.insert(&id) {
                self.add_to_total(1);
                self.write(&id, object)?;
            }
        }
        Ok(())
    }

    /// The CRD of every custom resource in the backup.
    async fn custom_resource_definitions(&mut self) -> Result<(), RunError> {
        let request = Arc::clone(&self.request);
        let group = "apiextensions.k8s.io";
        let Some(resource) = request.discovered.find(group, "customresourcedefinitions") else {
            return Ok(());
        };
        if !request.selection.resources.adds_crds() {
            return Ok(());
        }
        for gr in self.custom.clone() {
            let id = ResourceIdentifier::new(group, "customresourcedefinitions", "", &gr);
            if self.seen.contains(&id) {
                continue;
            }
            match cluster::get(&request.client, &resource.api, "", &gr).await {
                // A group of the API server itself, or an aggregated one.
                Ok(None) => {}
                Ok(Some(item)) => {
                    self.seen.insert(&id);
                    self.add_to_total(1);
                    self.item(id, item).await?;
                }
                Err(error) => request
                    .log
                    .error(about(&id.group_resource(), &id), "Error getting CRD", error),
            }
        }
        Ok(())
    }

    /// The copies in other versions of what was written; last, for then it is known what that is. Actions do not see them:
    /// those that are built in are about kinds of one version.
    async fn other_versions(&mut self) -> Result<(), RunError> {
        let request = Arc::clone(&self.request);
        if !request.all_versions {
            return Ok(());
        }
        for resource in request.discovered.other_versions() {
            let preferred = request.discovered.find(&resource.api.group, &resource.api.plural);
            let key = preferred.map(Resource::list_key).unwrap_or_default();
            if self.outcome.resource_list.contains_key(&key) {
                self.copies_in(resource).await?;
            }
        }
        Ok(())
    }

    /// The written objects of one kind, in a version that is not preferred.
    async fn copies_in(&mut self, resource: &Resource) -> Result<(), RunError> {
        let request = Arc::clone(&self.request);
        let gr = resource.group_resource();
        let namespaces = match request.selection.namespaces.to_list() {
            Some(namespaces) if resource.namespaced => namespaces,
            _ => vec![String::new()],
        };
        // A list that begins again brings some twice.
        let mut seen = IdentifierSet::default();
        for namespace in &namespaces {
            let mut taken = Ok(());
            let take = |item: Value| {
                let id = collect::identifier(resource, &item);
                if taken.is_ok() && self.written.contains(&id) && seen.insert(&id) {
                    self.add_to_total(1);
                    taken = self.put(resource, false, &id, &item);
                }
            };
            let listed = cluster::list(
                &request.client,
                &resource.api,
                namespace,
                None,
                request.page_size,
                take,
            );
            if let Err(error) = listed.await {
                let about = About {
                    resource: &gr,
                    namespace: Some(namespace),
                    name: "",
                };
                let version = &resource.api.version;
                request.log.error(
                    about,
                    "Error listing items",
                    format!("in version {version}: {error}"),
                );
            }
            taken?;
        }
        Ok(())
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

/// Claims, pods with hooks and what belongs with others, by name.
type Listed<'a> = BTreeMap<&'a ResourceIdentifier, &'a Collected>;

/// The blocks of the pods with hooks. Items that belong together without such a pod need no block: nothing is frozen.
fn blocks_of(items: &Items, related: &Related) -> Result<Vec<Members>, RunError> {
    let hooked = items.list.iter().filter(|item| item.hooked);
    let pods: io::Result<Vec<_>> = hooked
        .map(|item| {
            let (id, pod) = items.named(item)?;
            let mut with: Vec<ResourceIdentifier> = blocks::claims(&pod).collect();
            let others: Vec<ResourceIdentifier> = with
                .iter()
                .chain([&id])
                .flat_map(|one| related.of(one))
                .cloned()
                .collect();
            with.extend(others);
            Ok((id, with))
        })
        .collect();
    Ok(blocks::blocks(pods?))
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
