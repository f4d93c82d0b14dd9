//! The loop that all storage controllers share: watches fill the caches and name the objects concerned; these are
//! looked at one after the other, and calls of the driver run beside.
//!
//! One loop, not one a controller: nothing is decided on two different views of the cluster, and what happens in which
//! order depends only on the order of events.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use caravel_csi::{VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent};
use caravel_csi_driver::csi::{Snapshot, Volume};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered, SelectAll};
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Error};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::machinery::{Ownerless, Steady, endless};

use super::Settings;
use super::cluster::{Cluster, Watched, names};
use super::csi::{CallError, Csi};
use super::events::Events;
use super::queue::{Key, Queue};

/// What a call of the driver came to.
pub(super) enum Done {
    Provisioned(
        Arc<PersistentVolumeClaim>,
        Arc<StorageClass>,
        Box<Result<Volume, CallError>>,
    ),
    Expanded(Result<i64, CallError>),
    StorageDeleted(Result<(), CallError>),
    /// With the reason of the event if it failed, and what that says.
    Snapshot(&'static str, Result<Snapshot, (CallError, String)>),
    SnapshotDeleted(Result<(), CallError>),
}

/// A change that a watch has shown, to be applied to the caches.
type Change = Box<dyn FnOnce(&mut Controller) + Send>;

pub(super) struct Controller {
    pub client: Client,
    pub csi: Csi,
    pub settings: Settings,
    pub cluster: Cluster,
    pub events: Events,
    queue: Queue,
    /// The driver is at work for these; they are not looked at meanwhile.
    busy: BTreeSet<Key>,
    operations: FuturesUnordered<BoxFuture<'static, (Key, Done)>>,
}

/// A kind that the storage controllers write.
pub(super) trait Written: Watched + Clone + Debug + Serialize + DeserializeOwned {
    fn api(client: Client, namespace: &str) -> Api<Self>;
}

impl Written for PersistentVolumeClaim {
    fn api(client: Client, namespace: &str) -> Api<Self> {
        Api::namespaced(client, namespace)
    }
}

impl Written for PersistentVolume {
    fn api(client: Client, _: &str) -> Api<Self> {
        Api::all(client)
    }
}

impl Written for VolumeSnapshot {
    fn api(client: Client, namespace: &str) -> Api<Self> {
        Api::namespaced(client, namespace)
    }
}

impl Written for VolumeSnapshotContent {
    fn api(client: Client, _: &str) -> Api<Self> {
        Api::all(client)
    }
}

impl Controller {
    pub fn new(client: Client, csi: Csi, settings: Settings) -> Self {
        Self {
            events: Events::new(client.clone(), settings.clock.clone()),
            client,
            csi,
            settings,
            cluster: Cluster::default(),
            queue: Queue::default(),
            busy: BTreeSet::new(),
            operations: FuturesUnordered::new(),
        }
    }

    /// Works until `shutdown`. Calls of the driver under way are dropped; repeated after a start, they find their work.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut changes: SelectAll<BoxStream<'static, Change>> = futures::stream::select_all([
            watch::<StorageClass>(&self.client),
            watch::<PersistentVolume>(&self.client),
            watch::<PersistentVolumeClaim>(&self.client),
            watch::<Pod>(&self.client),
            watch::<VolumeSnapshotClass>(&self.client),
            watch::<VolumeSnapshotContent>(&self.client),
            watch::<VolumeSnapshot>(&self.client),
        ]);
        loop {
            let has_work = self.queue.has(|key| self.may_look_at(key));
            let due = self.queue.due().unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(change) = changes.next() => change(&mut self),
                Some((key, done)) = self.operations.next(), if !self.operations.is_empty() => {
                    self.finish(key, done).await;
                }
                () = tokio::time::sleep_until(due), if self.queue.due().is_some() => {
                    self.queue.wake(Instant::now());
                }
                () = futures::future::ready(()), if has_work => self.look().await,
            }
        }
    }

    fn may_look_at(&self, key: &Key) -> bool {
        self.cluster.knows(key) && !self.busy.contains(key)
    }

    async fn look(&mut self) {
        let (cluster, busy) = (&self.cluster, &self.busy);
        let Some(key) = self.queue.take(|key| cluster.knows(key) && !busy.contains(key)) else {
            return;
        };
        let result = match &key {
            Key::Claim(namespace, name) => self.claim(namespace, name).await,
            Key::Volume(name) => self.volume(name).await,
            Key::Snapshot(namespace, name) => self.snapshot(namespace, name).await,
            Key::Content(name) => self.content(name).await,
        };
        match result {
            // The driver's own failures are counted until it succeeds.
            Ok(()) => {}
            Err(cause) => self.failed(key, &cause),
        }
    }

    async fn finish(&mut self, key: Key, done: Done) {
        self.busy.remove(&key);
        let result = match (&key, done) {
            (_, Done::Provisioned(claim, class, result)) => self.provisioned(&claim, &class, *result).await,
            (Key::Claim(namespace, name), Done::Expanded(result)) => {
                self.expanded(namespace, name, result).await
            }
            (Key::Volume(name), Done::StorageDeleted(result)) => self.storage_deleted(name, result).await,
            (Key::Content(name), Done::Snapshot(reason, result)) => {
                self.snapshot_known(name, reason, result).await
            }
            (Key::Content(name), Done::SnapshotDeleted(result)) => self.snapshot_deleted(name, result).await,
            // Each operation is started under a key of its own kind.
            _ => Ok(true),
        };
        match result {
            Ok(true) => {
                self.queue.forget(&key);
                self.queue.add(key);
            }
            Ok(false) => self.queue.retry(key),
            Err(cause) => self.failed(key, &cause),
        }
    }

    fn failed(&mut self, key: Key, cause: &Error) {
        // A conflict is nobody's fault: the watch brings the newer object within moments.
        let wait = match cause {
            Error::Api(status) if status.code == 409 || status.code == 404 => Duration::from_millis(10),
            _ => Duration::from_secs(1),
        };
        tracing::debug!(%key, %cause, "A write failed; it is tried again");
        self.queue.wait(key, wait);
    }

    /// Runs a call of the driver beside the loop, unless its last failure is too recent.
    pub fn start(&mut self, key: Key, operation: impl Future<Output = Done> + Send + 'static) {
        if self.is_backing_off(&key) || !self.busy.insert(key.clone()) {
            return;
        }
        self.operations
            .push(operation.map(move |done| (key, done)).boxed());
    }

    pub fn is_backing_off(&self, key: &Key) -> bool {
        self.queue.is_later(key)
    }

    /// Looks again when the watches have had time to catch up.
    pub fn look_later(&mut self, key: Key) {
        self.queue.wait(key, Duration::from_millis(10));
    }

    pub fn look_again(&mut self, key: Key) {
        self.queue.add(key);
    }

    /// Keeps what the server answered, as if a watch had shown it: the next decision must not be on an older view.
    fn note<K: Watched>(&mut self, object: K) {
        if let Some(object) = K::cache(&mut self.cluster).put(object) {
            self.concern(&*object);
        }
    }

    fn concern<K: Watched>(&mut self, object: &K) {
        for key in object.concerns(&self.cluster) {
            self.queue.add(key);
        }
    }

    /// Merges into the object as it was seen; a change in between is a conflict.
    pub async fn patch<K: Written>(&mut self, object: &K, mut patch: Value) -> Result<(), Error> {
        patch["metadata"]["resourceVersion"] = json!(object.meta().resource_version);
        let (namespace, name) = names(object.meta());
        let api = K::api(self.client.clone(), &namespace);
        let answer = api
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        self.note(answer);
        Ok(())
    }

    /// As [`Self::patch`], into `status`.
    pub async fn patch_status<K: Written>(&mut self, object: &K, status: Value) -> Result<(), Error> {
        let patch = json!({
            "metadata": {"resourceVersion": object.meta().resource_version},
            "status": status,
        });
        let (namespace, name) = names(object.meta());
        let api = K::api(self.client.clone(), &namespace);
        let answer = api
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        self.note(answer);
        Ok(())
    }

    /// Creates an object whose name says what it is for; one that exists already is fine.
    pub async fn create<K: Written>(&mut self, object: &K) -> Result<(), Error> {
        let (namespace, name) = names(object.meta());
        let api = K::api(self.client.clone(), &namespace);
        let answer = match api.create(&PostParams::default(), object).await {
            Err(Error::Api(status)) if status.reason == "AlreadyExists" => api.get(&name).await?,
            other => other?,
        };
        self.note(answer);
        Ok(())
    }

    /// Whether the server has the object with this UID, whatever the watches have shown: asked before something is
    /// concluded from an absence, since the watches of two kinds need not be equally far.
    pub async fn exists<K: Written>(
        &mut self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<bool, Error> {
        let found = K::api(self.client.clone(), namespace)
            .get_metadata_opt(name)
            .await?;
        Ok(found.is_some_and(|found| found.metadata.uid.as_deref() == uid))
    }

    /// Deletes exactly this object; one that is gone is fine.
    pub async fn delete<K: Written>(&mut self, object: &K) -> Result<(), Error> {
        if object.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        let (namespace, name) = names(object.meta());
        let only_this = Preconditions {
            uid: object.meta().uid.clone(),
            resource_version: None,
        };
        let parameters = DeleteParams::default().preconditions(only_this);
        let api = K::api(self.client.clone(), &namespace);
        match api.delete(&name, &parameters).await {
            Ok(answer) => {
                if let Some(object) = answer.left() {
                    self.note(object);
                }
                Ok(())
            }
            Err(Error::Api(status)) if status.code == 404 => Ok(()),
            Err(cause) => Err(cause),
        }
    }
}

fn watch<K>(client: &Client) -> BoxStream<'static, Change>
where
    K: Watched + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    watcher(Api::<Ownerless<K>>::all(client.clone()), endless())
        .backoff(Steady::default())
        .filter_map(|event| async move {
            match event.map(typed) {
                Ok(event) => Some(Box::new(move |controller: &mut Controller| {
                    let gone = match &event {
                        watcher::Event::Delete(object) => object.meta().uid.clone(),
                        _ => None,
                    };
                    for object in K::cache(&mut controller.cluster).see(event) {
                        controller.concern(&*object);
                    }
                    if let Some(uid) = gone {
                        controller.events.forget(&uid);
                    }
                }) as Change),
                Err(cause) => {
                    tracing::debug!(kind = %K::kind(&()), %cause, "A watch broke; it is started again");
                    None
                }
            }
        })
        .boxed()
}

/// The event with the object itself.
fn typed<K>(event: watcher::Event<Ownerless<K>>) -> watcher::Event<K> {
    match event {
        watcher::Event::Apply(Ownerless(object)) => watcher::Event::Apply(object),
        watcher::Event::Delete(Ownerless(object)) => watcher::Event::Delete(object),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitApply(Ownerless(object)) => watcher::Event::InitApply(object),
        watcher::Event::InitDone => watcher::Event::InitDone,
    }
}
