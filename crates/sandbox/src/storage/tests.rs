//! The decisions as tables: objects in, next step out.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::claim::{self, ClaimStep};
use super::cluster::Cluster;
use super::content::{self, ContentStep};
use super::snapshot::{self, SnapshotStep};
use super::volume::{self, VolumeStep};

const DRIVER: &str = super::DRIVER;

/// A cluster with one claim `shop/data` (UID `c1`), as far as it is protected already.
struct Given {
    cluster: Cluster,
}

fn given() -> Given {
    let cluster = Cluster::default();
    Given { cluster }.class("late", "WaitForFirstConsumer")
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn claim(spec: Value, annotations: Value) -> PersistentVolumeClaim {
    let mut claim = json!({
        "metadata": {
            "namespace": "shop", "name": "data", "uid": "c1", "annotations": annotations,
            "finalizers": ["kubernetes.io/pvc-protection"],
        },
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    merge(&mut claim["spec"], spec);
    object(claim)
}

fn volume(name: &str, more: Value) -> PersistentVolume {
    let mut volume = json!({
        "metadata": {"name": name, "finalizers": ["kubernetes.io/pv-protection"]},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "late",
            "persistentVolumeReclaimPolicy": "Retain", "csi": {"driver": DRIVER, "volumeHandle": name},
        },
        "status": {"phase": "Available"},
    });
    for part in ["metadata", "spec", "status"] {
        merge(&mut volume[part], more[part].clone());
    }
    object(volume)
}

fn claimed_by(uid: &str) -> Value {
    json!({"claimRef": {"namespace": "shop", "name": "data", "uid": uid}})
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

impl Given {
    fn class(mut self, name: &str, mode: &str) -> Self {
        let class = json!({"metadata": {"name": name}, "provisioner": DRIVER, "volumeBindingMode": mode});
        self.cluster.classes.see(Event::Apply(object(class)));
        self
    }

    fn volume(mut self, volume: PersistentVolume) -> Self {
        self.cluster.volumes.see(Event::Apply(volume));
        self
    }

    fn claim(mut self, claim: PersistentVolumeClaim) -> Self {
        self.cluster.claims.see(Event::Apply(claim));
        self
    }

    fn snapshot(mut self, snapshot: Value) -> Self {
        self.cluster.snapshots.see(Event::Apply(object(snapshot)));
        self
    }

    fn content(mut self, content: Value) -> Self {
        self.cluster.contents.see(Event::Apply(object(content)));
        self
    }

    fn next_of(&self, claim: &PersistentVolumeClaim) -> ClaimStep {
        claim::decide(&self.cluster, claim, DRIVER)
    }

    fn next_of_volume(&self, name: &str) -> VolumeStep {
        volume::decide(&self.cluster, self.cluster.volumes.get("", name).unwrap(), DRIVER)
    }
}

fn reason(step: ClaimStep) -> &'static str {
    match step {
        ClaimStep::Wait(note) | ClaimStep::Lose(note) => note.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_delayed_claim_binds_only_to_a_volume_that_names_it_until_a_node_is_chosen() {
    let pending = claim(json!({"storageClassName": "late"}), json!({}));
    let free = given().volume(volume("free", json!({})));
    assert_eq!(reason(free.next_of(&pending)), "WaitForFirstConsumer");
    let named = given().volume(volume("named", json!({"spec": claimed_by("")})));
    assert_eq!(named.next_of(&pending), ClaimStep::Bind("named".into()));
    let placed = claim(
        json!({"storageClassName": "late"}),
        json!({"volume.kubernetes.io/selected-node": "n"}),
    );
    assert_eq!(free.next_of(&placed), ClaimStep::Bind("free".into()));
    assert_eq!(given().next_of(&placed), ClaimStep::HandTo(DRIVER.into()));
}

#[test]
fn a_claim_that_names_a_volume_waits_for_it_and_never_takes_that_of_another() {
    let pending = claim(json!({"storageClassName": "late", "volumeName": "v"}), json!({}));
    assert_eq!(reason(given().next_of(&pending)), "");
    let theirs = given().volume(volume("v", json!({"spec": claimed_by("other")})));
    assert_eq!(reason(theirs.next_of(&pending)), "FailedBinding");
    let small = given().volume(volume("v", json!({"spec": {"capacity": {"storage": "1Mi"}}})));
    assert_eq!(reason(small.next_of(&pending)), "VolumeMismatch");
    let fits = given().volume(volume("v", json!({})));
    assert_eq!(fits.next_of(&pending), ClaimStep::Bind("v".into()));
}

#[test]
fn a_bound_claim_whose_volume_belongs_to_another_is_misbound() {
    let bound = claim(
        json!({"storageClassName": "late", "volumeName": "v"}),
        json!({"pv.kubernetes.io/bind-completed": "yes"}),
    );
    assert_eq!(reason(given().next_of(&bound)), "ClaimLost");
    let theirs = given().volume(volume("v", json!({"spec": claimed_by("other")})));
    assert_eq!(reason(theirs.next_of(&bound)), "ClaimMisbound");
}

#[test]
fn a_volume_follows_the_claim_that_its_claim_ref_names() {
    let bound = claim(json!({"volumeName": "v"}), json!({}));
    let elsewhere = claim(json!({"volumeName": "w"}), json!({}));
    let with = |claim: Option<PersistentVolumeClaim>, more: Value| {
        let given = given().volume(volume("v", more));
        match claim {
            Some(claim) => given.claim(claim).next_of_volume("v"),
            None => given.next_of_volume("v"),
        }
    };
    let claimed = || json!({"spec": claimed_by("c1"), "status": {"phase": "Bound"}});
    let was_bound = json!({
        "spec": claimed_by("c1"), "metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
    });
    assert_eq!(with(Some(bound), claimed()), VolumeStep::Rest);
    assert_eq!(with(None, claimed()), VolumeStep::SetPhase("Released"));
    assert_eq!(with(None, json!({"spec": claimed_by("")})), VolumeStep::Rest);
    assert_eq!(
        with(Some(elsewhere.clone()), was_bound),
        VolumeStep::Unbind { keep_name: false }
    );
    assert_eq!(
        with(Some(elsewhere), claimed()),
        VolumeStep::Unbind { keep_name: true }
    );
}

#[test]
fn only_a_volume_that_we_made_and_that_is_given_up_is_deleted_in_the_storage() {
    let ours = |policy: &str, phase: &str, finalizers: &[&str]| {
        let more = json!({
            "metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": DRIVER}, "finalizers": finalizers},
            "spec": {
                "persistentVolumeReclaimPolicy": policy,
                "claimRef": {"namespace": "shop", "name": "data", "uid": "gone"},
            },
            "status": {"phase": phase},
        });
        given().volume(volume("v", more)).next_of_volume("v")
    };
    let (kept, made) = ("kubernetes.io/pv-protection", super::protection::PROVISIONED);
    assert_eq!(
        ours("Delete", "Released", &[kept, made]),
        VolumeStep::DeleteStorage
    );
    assert_eq!(
        ours("Delete", "Bound", &[kept, made]),
        VolumeStep::SetPhase("Released")
    );
    assert_eq!(ours("Delete", "Released", &[kept]), VolumeStep::Protect(made));
    assert_eq!(
        ours("Retain", "Released", &[kept, made]),
        VolumeStep::Unprotect(made)
    );
    assert_eq!(ours("Retain", "Released", &[kept]), VolumeStep::Rest);
    let theirs = json!({
        "spec": {
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {"namespace": "shop", "name": "data", "uid": "gone"},
        },
        "status": {"phase": "Released"},
    });
    assert_eq!(
        given().volume(volume("v", theirs)).next_of_volume("v"),
        VolumeStep::Rest
    );
}

fn content_of(uid: &str, policy: &str, more: Value) -> Value {
    let mut content = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
        "metadata": {"name": "snapcontent-s1", "finalizers": [content::BOUND]},
        "spec": {
            "deletionPolicy": policy, "driver": DRIVER, "source": {"volumeHandle": "vol-1"},
            "volumeSnapshotRef": {"namespace": "shop", "name": "s", "uid": uid},
        },
    });
    for part in ["metadata", "status"] {
        if more[part].is_object() && content[part].is_null() {
            content[part] = json!({});
        }
        merge(&mut content[part], more[part].clone());
    }
    content
}

fn snapshot_of(more: Value) -> Value {
    let mut snapshot = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": {
            "namespace": "shop", "name": "s", "uid": "s1",
            "finalizers": ["snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection"],
        },
        "spec": {"source": {"persistentVolumeClaimName": "data"}},
    });
    merge(&mut snapshot["metadata"], more);
    snapshot
}

#[test]
fn a_content_that_is_deleted_first_waits_for_its_snapshot_and_keeps_what_is_retained() {
    let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    let marked = json!({
        "deletionTimestamp": "2026-01-01T00:00:00Z", "annotations": {content::BEING_DELETED: "yes"},
    });
    let next = |snapshot: bool, content: Value| {
        let mut given = given().content(content);
        if snapshot {
            given = given.snapshot(snapshot_of(json!({})));
        }
        let content = given.cluster.contents.get("", "snapcontent-s1").unwrap();
        content::decide(&given.cluster, content, DRIVER)
    };
    let cut = json!({"snapshotHandle": "snap-1", "readyToUse": true});
    let with = |metadata: &Value| json!({"metadata": metadata, "status": cut});
    assert_eq!(
        next(true, content_of("s1", "Delete", with(&deleted))),
        ContentStep::Rest
    );
    assert_eq!(
        next(false, content_of("s1", "Delete", with(&deleted))),
        ContentStep::Mark
    );
    assert_eq!(
        next(false, content_of("s1", "Delete", with(&marked))),
        ContentStep::DeleteStorage("snap-1".into())
    );
    assert_eq!(
        next(false, content_of("s1", "Retain", with(&marked))),
        ContentStep::Finalizers(vec![])
    );
    assert_eq!(
        next(true, content_of("s1", "Delete", json!({}))),
        ContentStep::Cut("vol-1".into())
    );
}

#[test]
fn a_deleted_snapshot_marks_its_content_then_deletes_it_and_goes_last() {
    let deleted = || snapshot_of(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
    let next = |content: Option<Value>| {
        let mut given = given().snapshot(deleted());
        if let Some(content) = content {
            given = given.content(content);
        }
        let snapshot = given.cluster.snapshots.get("shop", "s").unwrap();
        snapshot::decide(&given.cluster, snapshot)
    };
    let name = "snapcontent-s1".to_owned();
    let marked = json!({"metadata": {"annotations": {content::BEING_DELETED: "yes"}}});
    assert_eq!(
        next(Some(content_of("s1", "Delete", json!({})))),
        SnapshotStep::MarkContent(name.clone())
    );
    assert_eq!(
        next(Some(content_of("s1", "Delete", marked.clone()))),
        SnapshotStep::DeleteContent(name)
    );
    assert_eq!(
        next(Some(content_of("s1", "Retain", marked))),
        SnapshotStep::Finalizers(vec![])
    );
    // Another snapshot's content of that name is not ours to touch.
    assert_eq!(
        next(Some(content_of("s2", "Delete", json!({})))),
        SnapshotStep::Finalizers(vec![])
    );
    assert_eq!(next(None), SnapshotStep::Finalizers(vec![]));
}
