//! What the storage controllers know of the cluster: objects as the watches and their own writes last showed them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use caravel_csi::{VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Resource;
use kube::api::ObjectMeta;
use kube::runtime::watcher;

use super::queue::Key;
use super::{claim, snapshot};

/// All caches.
#[derive(Default)]
pub(super) struct Cluster {
    pub claims: Cache<PersistentVolumeClaim>,
    pub volumes: Cache<PersistentVolume>,
    pub classes: Cache<StorageClass>,
    pub pods: Cache<Pod>,
    pub snapshots: Cache<VolumeSnapshot>,
    pub contents: Cache<VolumeSnapshotContent>,
    pub snapshot_classes: Cache<VolumeSnapshotClass>,
}

impl Cluster {
    /// Whether everything was seen once that decisions about this object rest on.
    pub fn knows(&self, key: &Key) -> bool {
        let volumes = self.claims.synced && self.volumes.synced && self.classes.synced && self.pods.synced;
        let snapshots = self.snapshots.synced && self.contents.synced && self.snapshot_classes.synced;
        match key {
            Key::Claim(..) | Key::Volume(_) => volumes,
            Key::Snapshot(..) | Key::Content(_) => volumes && snapshots,
        }
    }
}

/// Objects of one kind by `namespace/name`.
pub(super) struct Cache<K> {
    objects: BTreeMap<String, Arc<K>>,
    /// What a list under way has shown.
    listed: BTreeSet<String>,
    pub synced: bool,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            listed: BTreeSet::new(),
            synced: false,
        }
    }
}

impl<K: Resource<DynamicType = ()>> Cache<K> {
    /// The object; the namespace of one without is empty.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.objects.get(&key(namespace, name))
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values()
    }

    pub fn of(&self, namespace: &str) -> impl Iterator<Item = &Arc<K>> {
        self.all()
            .filter(move |object| object.meta().namespace.as_deref() == Some(namespace))
    }

    /// Notes what the server answered or showed; `None` when that is known already.
    pub fn put(&mut self, object: K) -> Option<Arc<K>> {
        let key = key_of(object.meta());
        if let Some(known) = self.objects.get(&key)
            && version(known.meta()) >= version(object.meta())
            && known.meta().uid == object.meta().uid
        {
            return None;
        }
        let object = Arc::new(object);
        self.objects.insert(key, object.clone());
        Some(object)
    }

    /// Notes an event; gives the objects that it changed, deleted ones as they were.
    pub fn see(&mut self, event: watcher::Event<K>) -> Vec<Arc<K>> {
        match event {
            watcher::Event::Apply(object) => self.put(object).into_iter().collect(),
            watcher::Event::Delete(object) => {
                let object = Arc::new(object);
                self.objects.remove(&key_of(object.meta()));
                vec![object]
            }
            watcher::Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            watcher::Event::InitApply(object) => {
                self.listed.insert(key_of(object.meta()));
                self.put(object).into_iter().collect()
            }
            watcher::Event::InitDone => {
                self.synced = true;
                let listed = std::mem::take(&mut self.listed);
                let gone: Vec<String> = self
                    .objects
                    .keys()
                    .filter(|key| !listed.contains(*key))
                    .cloned()
                    .collect();
                gone.iter().filter_map(|key| self.objects.remove(key)).collect()
            }
        }
    }
}

fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

fn key_of(meta: &ObjectMeta) -> String {
    key(
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

/// The sandbox's server counts, so that versions can be compared.
fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

/// A kind that is watched: its cache, and whom a change of an object concerns.
pub(super) trait Watched: Resource<DynamicType = ()> + Sized {
    fn cache(cluster: &mut Cluster) -> &mut Cache<Self>;
    fn concerns(&self, cluster: &Cluster) -> Vec<Key>;
}

pub(super) fn names(meta: &ObjectMeta) -> (String, String) {
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

fn claim_key(claim: &PersistentVolumeClaim) -> Key {
    let (namespace, name) = names(&claim.metadata);
    Key::Claim(namespace, name)
}

fn snapshot_key(snapshot: &VolumeSnapshot) -> Key {
    let (namespace, name) = names(&snapshot.metadata);
    Key::Snapshot(namespace, name)
}

fn waiting_claims(cluster: &Cluster) -> impl Iterator<Item = Key> {
    cluster
        .claims
        .all()
        .filter(|claim| !claim::is_bound(claim))
        .map(|claim| claim_key(claim))
}

impl Watched for PersistentVolumeClaim {
    fn cache(cluster: &mut Cluster) -> &mut Cache<Self> {
        &mut cluster.claims
    }

    fn concerns(&self, cluster: &Cluster) -> Vec<Key> {
        let (namespace, name) = names(&self.metadata);
        let mut keys = vec![claim_key(self)];
        keys.extend(claim::volume_name(self).map(|volume| Key::Volume(volume.to_owned())));
        // A volume that names this claim, whether or not the claim knows.
        keys.extend(
            cluster
                .volumes
                .all()
                .filter(|volume| {
                    super::volume::claim_ref(volume).is_some_and(|claim| {
                        claim.name.as_deref() == Some(&name) && claim.namespace.as_deref() == Some(&namespace)
                    })
                })
                .map(|volume| Key::Volume(volume.metadata.name.clone().unwrap_or_default())),
        );
        keys.extend(
            cluster
                .snapshots
                .of(&namespace)
                .filter(|snapshot| snapshot::source_claim(snapshot) == Some(&name))
                .map(|snapshot| snapshot_key(snapshot)),
        );
        keys.extend(claims_from(cluster, &namespace, "PersistentVolumeClaim", &name));
        if let Some(source) = claim::source(self)
            && source.kind == "VolumeSnapshot"
        {
            // Its deletion waits for claims that are made from it.
            keys.push(Key::Snapshot(namespace, source.name));
        }
        keys
    }
}

fn claims_from<'a>(
    cluster: &'a Cluster,
    namespace: &'a str,
    kind: &'static str,
    name: &'a str,
) -> impl Iterator<Item = Key> + 'a {
    cluster
        .claims
        .of(namespace)
        .filter(move |claim| {
            !claim::is_bound(claim)
                && claim::source(claim).is_some_and(|source| source.kind == kind && source.name == name)
        })
        .map(|claim| claim_key(claim))
}

impl Watched for PersistentVolume {
    fn cache(cluster: &mut Cluster) -> &mut Cache<Self> {
        &mut cluster.volumes
    }

    fn concerns(&self, cluster: &Cluster) -> Vec<Key> {
        let name = self.metadata.name.clone().unwrap_or_default();
        let mut keys = vec![Key::Volume(name.clone())];
        keys.extend(
            super::volume::claim_ref(self).and_then(|claim| Some(Key::Claim(claim.namespace?, claim.name?))),
        );
        let named = |claim: &&Arc<PersistentVolumeClaim>| claim::volume_name(claim) == Some(&name);
        keys.extend(cluster.claims.all().filter(named).map(|claim| claim_key(claim)));
        keys.extend(waiting_claims(cluster));
        keys
    }
}

impl Watched for StorageClass {
    fn cache(cluster: &mut Cluster) -> &mut Cache<Self> {
        &mut cluster.classes
    }

    fn concerns(&self, cluster: &Cluster) -> Vec<Key> {
        waiting_claims(cluster).collect()
    }
}

impl Watched for Pod {
    fn cache(cluster: &mut Cluster) -> &mut Cache<Self> {
        &mut cluster.pods
    }

    fn concerns(&self, _: &Cluster) -> Vec<Key> {
        let namespace = self.metadata.namespace.clone().unwrap_or_default();
        super::protection::claims_of(self)
            .map(|name| Key::Claim(namespace.clone(), name.to_owned()))
            .collect()
    }
}

impl Watched for VolumeSnapshot {
    fn cache(cluster: &mut Cluster) -> &mut Cache<Self> {
        &mut cluster.snapshots
    }

    fn concerns(&self, cluster: &Cluster) -> Vec<Key> {
        let (namespace, name) = names(&self.metadata);
        let mut keys = vec![snapshot_key(self)];
        keys.extend(
            snapshot::source_claim(self).map(|claim| Key::Claim(namespace.clone(), claim.to_owned())),
        );
        keys.extend(snapshot::content_name(self).map(Key::Content));
        keys.extend(claims_from(cluster, &namespace, "VolumeSnapshot", &name));
        keys
    }
}

impl Watched for VolumeSnapshotContent {
    fn cache(cluster: &mut Cluster) -> &mut Cache<Self> {
        &mut cluster.contents
    }

    fn concerns(&self, cluster: &Cluster) -> Vec<Key> {
        let name = self.metadata.name.clone().unwrap_or_default();
        let mut keys = vec![Key::Content(name.clone())];
        let of = &self.spec.volume_snapshot_ref;
        if let (Some(namespace), Some(name)) = (&of.namespace, &of.name) {
            keys.push(Key::Snapshot(namespace.clone(), name.clone()));
        }
        let named = |snapshot: &&Arc<VolumeSnapshot>| {
            snapshot::content_name(snapshot).as_deref() == Some(name.as_str())
        };
        keys.extend(
            cluster
                .snapshots
                .all()
                .filter(named)
                .map(|snapshot| snapshot_key(snapshot)),
        );
        keys
    }
}

impl Watched for VolumeSnapshotClass {
    fn cache(cluster: &mut Cluster) -> &mut Cache<Self> {
        &mut cluster.snapshot_classes
    }

    fn concerns(&self, cluster: &Cluster) -> Vec<Key> {
        let waiting = cluster
            .snapshots
            .all()
            .filter(|snapshot| !snapshot::is_ready(snapshot));
        waiting.map(|snapshot| snapshot_key(snapshot)).collect()
    }
}
