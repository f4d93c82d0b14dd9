//! Velero's table of the claim's action (`pkg_backup_actions_csi/TestExecute`): a small cluster whose snapshot-controller
//! answers at once, or never.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_cases::api::{self, Asked};
use caravel_cases::{Case, each_async, same};
use caravel_item_action::BackupItemAction as _;
use kube::Client;
use serde_json::{Value, json};

use super::{fails, policies_of};
use crate::cluster::{name, namespace, text};
use crate::item_actions::pvc::CsiPvcAction;

const SNAPSHOTS: &str = "/apis/snapshot.storage.k8s.io/v1";

/// Objects by path.
struct Cluster {
    objects: Mutex<BTreeMap<String, Value>>,
    /// The storage refuses VolumeSnapshots.
    refuses: bool,
    /// No snapshot is ever cut.
    idle: bool,
}

impl Cluster {
    fn of(case: &Case) -> Arc<Self> {
        let mut objects = BTreeMap::new();
        let mut add = |path: &str, object: &Value| {
            if object.is_object() {
                objects.insert(format!("{path}/{}", name(object)), object.clone());
            }
        };
        add("/api/v1/persistentvolumes", case.input("pv"));
        let mut class = case.input("vsClass").clone();
        if class.is_object() {
            // Go's zero value, which the API refuses.
            class["deletionPolicy"] = json!("Delete");
        }
        add(&format!("{SNAPSHOTS}/volumesnapshotclasses"), &class);
        for object in case.input("extraObjects").as_array().into_iter().flatten() {
            if object["$type"] == "v1.DaemonSet" {
                let daemon_set =
                    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": object["metadata"]});
                let path = format!("/apis/apps/v1/namespaces/{}/daemonsets", namespace(object));
                add(&path, &daemon_set);
            }
        }
        Arc::new(Self {
            objects: Mutex::new(objects),
            refuses: case.input("failVSCreate") == true,
            idle: case.input("skipVSReadyUpdate") == true,
        })
    }

    fn client(self: &Arc<Self>) -> Client {
        let cluster = Arc::clone(self);
        api::slow_client(move |asked| {
            let cluster = Arc::clone(&cluster);
            async move {
                if asked.uri.query().unwrap_or_default().contains("watch=") {
                    // Nothing happens any more.
                    std::future::pending::<()>().await;
                }
                cluster.answer(&asked)
            }
        })
    }

    fn answer(&self, asked: &Asked) -> (u16, Value) {
        let path = asked.path();
        let mut objects = self.objects.lock().unwrap();
        match asked.method.as_str() {
            "GET" if objects.contains_key(path) => (200, objects[path].clone()),
            "GET" => {
                let listed = format!("{path}/");
                let query = asked.uri.query().unwrap_or_default();
                let is_wanted = |object: &Value| {
                    !query.contains("fieldSelector=")
                        || query.contains(&format!("metadata.name%3D{}", name(object)))
                };
                let found: Vec<Value> = objects
                    .iter()
                    .filter(|(path, object)| path.starts_with(&listed) && is_wanted(object))
                    .map(|(_, object)| object.clone())
                    .collect();
                if !found.is_empty() || query.contains("fieldSelector=") {
                    api::list(&found)
                } else {
                    api::failure(404, "NotFound")
                }
            }
            "POST" if self.refuses => api::failure(500, "InternalError"),
            "POST" => {
                let mut made = asked.body.clone();
                let prefix = text(&made, "/metadata/generateName").to_owned();
                made["metadata"]["name"] = json!(format!("{prefix}x"));
                if path.ends_with("/volumesnapshots") && !self.idle {
                    made["status"] = json!({"boundVolumeSnapshotContentName": "testVSC", "readyToUse": true});
                    let content = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
                        "metadata": {"name": "testVSC"}, "status": {"snapshotHandle": "testHandle"},
                        "spec": {"deletionPolicy": "Delete", "driver": "", "source": {}, "volumeSnapshotRef": {}}});
                    objects.insert(format!("{SNAPSHOTS}/volumesnapshotcontents/testVSC"), content);
                }
                objects.insert(format!("{path}/{prefix}x"), made.clone());
                (201, made)
            }
            "DELETE" => {
                objects.remove(path);
                (
                    200,
                    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}),
                )
            }
            other => panic!("{other} {path}"),
        }
    }

    /// What there is of a kind.
    fn all(&self, plural: &str) -> Vec<Value> {
        let objects = self.objects.lock().unwrap();
        let of_kind = objects
            .iter()
            .filter(|(path, _)| path.split('/').rev().nth(1) == Some(plural));
        of_kind.map(|(_, object)| object.clone()).collect()
    }
}

/// The DataUpload without what is made up, and without the driver: the case's content names none, and ours is the volume's.
fn comparable(upload: &Value) -> Value {
    let mut spec = upload["spec"].clone();
    if let Some(snapshot) = spec["csiSnapshot"].as_object_mut() {
        snapshot.retain(|field, _| field != "volumeSnapshot" && field != "driver");
    }
    let mut labelled = upload["metadata"]["labels"].clone();
    if let Some(labelled) = labelled.as_object_mut() {
        // Of the UIDs, which the case does not have.
        labelled.remove(labels::ASYNC_OPERATION_ID);
    }
    json!([
        labelled,
        upload["metadata"]["ownerReferences"],
        upload["metadata"]["generateName"],
        spec
    ])
}

#[test]
fn a_claim_becomes_a_snapshot_and_an_upload_as_in_velero() {
    each_async("pkg_backup_actions_csi/TestExecute.json", async |case| {
        let cluster = Cluster::of(case);
        let mut backup: Backup = serde_json::from_value(case.input("backup").clone()).unwrap();
        backup.metadata.uid.get_or_insert_default();
        let policies = match case.input("resourcePolicy") {
            Value::Null => None,
            map => Some(Arc::new(policies_of(text(map, "/data/policy"))?)),
        };
        let action = CsiPvcAction::new(cluster.client(), "velero", policies);
        let claim = case.input("pvc");
        let done = action.execute(claim.clone(), &backup).await;
        let should_fail = case.want("expectErr") == true || !case.want("expectedErr").is_null();
        fails(should_fail, &done)?;
        let Ok(output) = done else {
            // Nothing stays behind.
            return same(&cluster.all("volumesnapshots"), &Vec::new());
        };
        let wanted = case.want("expectedDataUpload");
        if wanted.is_object() {
            let ours: Vec<Value> = cluster.all("datauploads").iter().map(comparable).collect();
            same(&ours, &vec![comparable(wanted)])?;
        }
        let wanted = case.want("expectedPVC");
        if wanted.is_object() {
            same(&output.item["spec"], &wanted["spec"])?;
            same(&output.item["status"], &wanted["status"])?;
        }
        match text(case.want("expectedVSClassName"), "") {
            "" => Ok(()),
            class => {
                let taken = cluster.all("volumesnapshots");
                let classes: Vec<&str> = taken
                    .iter()
                    .map(|snapshot| text(snapshot, "/spec/volumeSnapshotClassName"))
                    .collect();
                same(&classes, &vec![class])
            }
        }
    });
}
