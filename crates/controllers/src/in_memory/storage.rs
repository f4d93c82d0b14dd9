//! A storage with snapshots that several clusters reach, and what snapshot-controller and csi-snapshotter do over it in each:
//! as much as contents and their deletion need. Both are as the sandbox's (`crates/sandbox/src/storage/content.rs`), which this
//! crate cannot use.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use caravel_csi::{DeletionPolicy, VolumeSnapshot, VolumeSnapshotContent, snapshot};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::Cluster;

/// Its driver.
pub(crate) const DRIVER: &str = "disk.example.com";
const BOUND: &str = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection";
const BEING_DELETED: &str = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted";
/// Between two looks of the controllers.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The snapshots of a storage; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Storage {
    handles: Arc<Mutex<BTreeSet<String>>>,
    /// Handles that the driver was told to delete, each time.
    deletions: Arc<Mutex<Vec<String>>>,
}

/// The controllers of one cluster; they end with it.
pub(crate) struct Controllers {
    _task: AbortOnDropHandle<()>,
}

impl Storage {
    /// Cuts a snapshot.
    pub fn add(&self, handle: &str) {
        self.handles.lock().insert(handle.to_owned());
    }

    /// Somebody deletes one.
    pub fn remove(&self, handle: &str) {
        self.handles.lock().remove(handle);
    }

    /// What is there.
    pub fn handles(&self) -> Vec<String> {
        self.handles.lock().iter().cloned().collect()
    }

    /// What its driver was told to delete.
    pub fn deletions(&self) -> Vec<String> {
        self.deletions.lock().clone()
    }

    /// Gives a cluster the snapshot API, the namespace `shop` and the controllers, but no VolumeSnapshotClass.
    pub async fn serve(&self, cluster: &Cluster) -> Controllers {
        let client = cluster.context.client.clone();
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        for (kind, plural, scope) in [
            ("VolumeSnapshot", "volumesnapshots", "Namespaced"),
            ("VolumeSnapshotContent", "volumesnapshotcontents", "Cluster"),
            ("VolumeSnapshotClass", "volumesnapshotclasses", "Cluster"),
        ] {
            create(&definitions, definition(kind, plural, scope)).await;
        }
        create(
            &Api::<Namespace>::all(client.clone()),
            json!({"metadata": {"name": "shop"}}),
        )
        .await;
        let storage = self.clone();
        let controllers = async move {
            loop {
                storage.look(&client).await;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        Controllers {
            _task: AbortOnDropHandle::new(tokio::spawn(controllers)),
        }
    }

    async fn look(&self, client: &Client) {
        let snapshots: Api<VolumeSnapshot> = Api::all(client.clone());
        let contents: Api<VolumeSnapshotContent> = Api::all(client.clone());
        let all = ListParams::default();
        // In this order: a content is never older than its snapshot.
        let found = contents.list(&all).await.unwrap();
        let taken = snapshots.list(&all).await.unwrap().items;
        for content in found {
            self.look_at(&contents, &taken, &content).await;
        }
        for one in taken
            .iter()
            .filter(|one| one.metadata.deletion_timestamp.is_some())
        {
            let content = match snapshot::bound_content(one) {
                Some(name) => contents.get_opt(name).await.unwrap(),
                None => None,
            };
            let waits = content.is_some_and(|content| content.spec.deletion_policy == DeletionPolicy::Delete);
            if !waits {
                let own: Api<VolumeSnapshot> =
                    Api::namespaced(client.clone(), &one.namespace().unwrap_or_default());
                patch(&own, &one.name_any(), json!({"metadata": {"finalizers": null}})).await;
            }
        }
    }

    async fn look_at(
        &self,
        contents: &Api<VolumeSnapshotContent>,
        snapshots: &[VolumeSnapshot],
        content: &VolumeSnapshotContent,
    ) {
        let name = content.name_any();
        let of = content.spec.volume_snapshot_ref.uid.as_ref();
        let is_unbound = of.is_none();
        let is_marked = content.annotations().contains_key(BEING_DELETED);
        let has_snapshot = snapshots
            .iter()
            .any(|one| one.uid().as_ref() == of && one.metadata.deletion_timestamp.is_none());
        if !is_unbound && !has_snapshot && !is_marked {
            let mark = json!({"metadata": {"annotations": {BEING_DELETED: "yes"}}});
            return patch(contents, &name, mark).await;
        }
        if content.metadata.deletion_timestamp.is_none() {
            // The snapshot-controller deletes the content of a deleted snapshot, where the policy says so.
            if is_marked && content.spec.deletion_policy == DeletionPolicy::Delete {
                let _ = contents.delete(&name, &Default::default()).await;
            } else if !content.finalizers().iter().any(|it| it == BOUND) {
                patch(contents, &name, json!({"metadata": {"finalizers": [BOUND]}})).await;
            } else if content.status.is_none() {
                self.find(contents, content).await;
            }
            return;
        }
        if !is_unbound && !is_marked {
            return;
        }
        let in_status = content.status.as_ref().and_then(|it| it.snapshot_handle.clone());
        if let Some(handle) = in_status.filter(|_| content.spec.deletion_policy == DeletionPolicy::Delete) {
            // What is gone already is "deleted", as CSI wants it.
            self.handles.lock().remove(&handle);
            self.deletions.lock().push(handle);
        }
        patch(contents, &name, json!({"metadata": {"finalizers": null}})).await;
    }

    async fn find(&self, contents: &Api<VolumeSnapshotContent>, content: &VolumeSnapshotContent) {
        let Some(handle) = &content.spec.source.snapshot_handle else {
            return;
        };
        let is_there = self.handles.lock().contains(handle);
        let status = if is_there {
            json!({"status": {"snapshotHandle": handle, "readyToUse": true}})
        } else {
            json!({"status": {"error": {"message": "no such snapshot"}, "readyToUse": false}})
        };
        let params = PatchParams::default();
        let _ = contents
            .patch_status(&content.name_any(), &params, &Patch::Merge(&status))
            .await;
    }
}

/// A VolumeSnapshotClass of the driver.
pub(crate) async fn add_class(cluster: &Cluster) {
    let classes = Api::<caravel_csi::VolumeSnapshotClass>::all(cluster.context.client.clone());
    let class = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
        "metadata": {"name": "ours"}, "driver": DRIVER, "deletionPolicy": "Delete"});
    create(&classes, class).await;
}

/// The VolumeSnapshot `velero-data-x` of namespace shop and its content `content-x`, of this snapshot, as a backup's finalizer
/// finds them; gives the content. `labels`: of both.
pub(crate) async fn add_objects(cluster: &Cluster, handle: &str, labels: Value) -> VolumeSnapshotContent {
    let client = &cluster.context.client;
    let taken = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": {"name": "velero-data-x", "namespace": "shop", "labels": labels, "finalizers": ["snapshot.io/bound"]},
        "spec": {"source": {"persistentVolumeClaimName": "data"}, "volumeSnapshotClassName": "ours"}});
    let snapshots: Api<VolumeSnapshot> = Api::namespaced(client.clone(), "shop");
    let taken = create(&snapshots, taken).await;
    let content = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
        "metadata": {"name": "content-x", "labels": labels, "finalizers": [BOUND]},
        "spec": {"driver": DRIVER, "deletionPolicy": "Delete", "source": {"volumeHandle": "volume-1"},
            "volumeSnapshotClassName": "ours",
            "volumeSnapshotRef": {"namespace": "shop", "name": "velero-data-x", "uid": taken.uid()}}});
    let contents: Api<VolumeSnapshotContent> = Api::all(client.clone());
    create(&contents, content).await;
    let params = PatchParams::default();
    let bound = json!({"status": {"boundVolumeSnapshotContentName": "content-x", "readyToUse": true}});
    snapshots
        .patch_status("velero-data-x", &params, &Patch::Merge(&bound))
        .await
        .unwrap();
    let cut = json!({"status": {"snapshotHandle": handle, "readyToUse": true}});
    contents
        .patch_status("content-x", &params, &Patch::Merge(&cut))
        .await
        .unwrap()
}

/// The contents of a cluster, by name.
pub(crate) async fn contents(cluster: &Cluster) -> Vec<VolumeSnapshotContent> {
    let contents: Api<VolumeSnapshotContent> = Api::all(cluster.context.client.clone());
    contents.list(&ListParams::default()).await.unwrap().items
}

/// The VolumeSnapshots of a cluster, by name.
pub(crate) async fn snapshot_names(cluster: &Cluster) -> Vec<String> {
    let snapshots: Api<VolumeSnapshot> = Api::all(cluster.context.client.clone());
    let found = snapshots.list(&ListParams::default()).await.unwrap();
    found.iter().map(ResourceExt::name_any).collect()
}

/// Waits until something is as it must be; a controller's finalizer takes its moment.
pub(crate) async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    for _ in 0..2000 {
        if look().await {
            return;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    panic!("never: {what}");
}

fn definition(kind: &str, plural: &str, scope: &str) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.snapshot.storage.k8s.io"),
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-csi/external-snapshotter/pull/814"}},
        "spec": {"group": "snapshot.storage.k8s.io", "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: kube::Resource + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap()
}

/// What is gone meanwhile needs nothing.
async fn patch<K>(api: &Api<K>, name: &str, patch: Value)
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let _ = api
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await;
}
