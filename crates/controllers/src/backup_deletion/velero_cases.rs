//! Velero's table of the deletion of snapshots in the storage (`caravel-cases`): the case's content against a cluster whose
//! driver answers at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use caravel_api::v1::Backup;
use caravel_cases::api::{self, Asked};
use caravel_cases::{Case, each_async, same};
use caravel_csi::VolumeSnapshotContent;
use kube::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::snapshots::tests::deleted;

const CONTENTS: &str = "/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents";

/// VolumeSnapshotContents, and a driver that sees and deletes each at once.
#[derive(Default)]
struct Cluster {
    contents: Mutex<BTreeMap<String, Value>>,
    /// As they were when they were deleted.
    deleted: Mutex<Vec<Value>>,
}

impl Cluster {
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
        let mut contents = self.contents.lock();
        let missing = api::failure(404, "NotFound");
        let Some(rest) = asked.path().strip_prefix(CONTENTS) else {
            return missing;
        };
        let name = rest.trim_start_matches('/').to_owned();
        match asked.method.as_str() {
            "GET" if name.is_empty() => {
                let query = asked.uri.query().unwrap_or_default();
                let wanted = |name: &str| query.contains(&format!("metadata.name%3D{name}"));
                let found = contents.iter().filter(|(name, _)| wanted(name));
                let found: Vec<Value> = found.map(|(_, content)| content.clone()).collect();
                api::list(&found)
            }
            "GET" => contents
                .get(&name)
                .map_or(missing, |content| (200, content.clone())),
            "POST" => {
                let mut content = asked.body.clone();
                content["status"] = json!({"snapshotHandle": content["spec"]["source"]["snapshotHandle"]});
                let name = content["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                contents.insert(name, content.clone());
                (201, content)
            }
            "DELETE" => {
                self.deleted.lock().extend(contents.remove(&name));
                (
                    200,
                    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}),
                )
            }
            other => panic!("{other} {}", asked.path()),
        }
    }
}

/// A content of a case as an API server would have it: the cases have Go's zero values.
fn content(given: &Value) -> VolumeSnapshotContent {
    let mut content = given.clone();
    if !content["spec"].is_object() {
        content["spec"] = json!({});
    }
    content["spec"]["deletionPolicy"] = json!("Retain");
    serde_json::from_value(content).unwrap()
}

fn of(case: &Case) -> VolumeSnapshotContent {
    let own = Some(case.input("vsc")).filter(|content| content.is_object());
    content(own.unwrap_or_else(|| case.input("item")))
}

#[test]
fn a_snapshot_of_the_backup_is_deleted_in_the_storage_and_no_other() {
    each_async("internal_delete_actions_csi/TestVSCExecute.json", async |case| {
        let cluster = Arc::new(Cluster::default());
        let existing = Some(case.input("preExistingVSC")).filter(|content| content.is_object());
        if let Some(existing) = existing {
            let existing = serde_json::to_value(content(existing)).unwrap();
            let name = existing["metadata"]["name"].as_str().unwrap().to_owned();
            cluster.contents.lock().insert(name, existing);
        }
        let before = cluster.contents.lock().clone();
        let backup: Backup = serde_json::from_value(case.input("backup").clone()).unwrap();
        let content = of(case);
        let is_its = content.metadata.labels.is_some();
        let handle = content.handle().map(str::to_owned);
        let errors = deleted(&cluster.client(), &backup, content).await;
        same(&!errors.is_empty(), &(case.want("expectErr") == true))?;
        // Somebody else's content, or another under the same name, is left alone; nothing temporary stays.
        same(&*cluster.contents.lock(), &before)?;
        let gone: Vec<Value> = cluster
            .deleted
            .lock()
            .iter()
            .map(|content| {
                json!([
                    content["spec"]["source"]["snapshotHandle"],
                    content["spec"]["deletionPolicy"]
                ])
            })
            .collect();
        let wanted: Vec<Value> = if is_its {
            vec![json!([handle, "Delete"])]
        } else {
            Vec::new()
        };
        same(&gone, &wanted)
    });
}
