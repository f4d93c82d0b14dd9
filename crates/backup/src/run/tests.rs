//! A whole run against a small API server: plain functions under `kube::Client`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use caravel_api::labels;
use caravel_backup_store::tarball::Reader;
use kube::client::Body;
use serde_json::json;

use super::*;
use crate::filter::NamespaceFilter;
use crate::item_actions;

/// Objects by path; POSTs are answered by `create`.
pub(super) struct Api {
    pub(super) objects: BTreeMap<String, Value>,
    /// Status and answer of a POST to a DataUpload.
    upload_fails: bool,
    pub(super) requests: Mutex<Vec<String>>,
}

pub(super) const SNAPSHOT_API: &str = "/apis/snapshot.storage.k8s.io/v1";

impl Api {
    pub(super) fn shop() -> Self {
        let pod = json!({"metadata": {"name": "web", "namespace": "shop"},
            "spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}});
        let claim = json!({"metadata": {"name": "data", "namespace": "shop", "uid": "claim-uid"},
            "spec": {"volumeName": "pv1", "storageClassName": "fast"}, "status": {"phase": "Bound"}});
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv1"},
            "spec": {"csi": {"driver": "disk.example.com", "volumeHandle": "h"}, "persistentVolumeReclaimPolicy": "Delete"}});
        let class =
            json!({"metadata": {"name": "snap"}, "driver": "disk.example.com", "deletionPolicy": "Delete"});
        let hidden = json!({"metadata": {"name": "hidden", "namespace": "shop", "labels": {"velero.io/exclude-from-backup": "true"}}});
        let snapshot = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
            "metadata": {"name": "velero-data-x", "namespace": "shop", "resourceVersion": "1"},
            "spec": {"source": {"persistentVolumeClaimName": "data"}}, "status": {"boundVolumeSnapshotContentName": "content"}});
        let content = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
            "metadata": {"name": "content", "resourceVersion": "1"},
            "spec": {"volumeSnapshotRef": {}, "deletionPolicy": "Delete", "driver": "disk.example.com", "source": {}},
            "status": {"snapshotHandle": "handle"}});
        let list = |items: &[&Value]| json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items});
        let objects = [
            ("/api/v1/namespaces/shop/pods".to_owned(), list(&[&pod])),
            (
                "/api/v1/namespaces/shop/persistentvolumeclaims".to_owned(),
                list(&[&claim]),
            ),
            ("/api/v1/namespaces/shop/secrets".to_owned(), list(&[&hidden])),
            ("/api/v1/persistentvolumes/pv1".to_owned(), volume),
            (format!("{SNAPSHOT_API}/volumesnapshotclasses"), list(&[&class])),
            (
                format!("{SNAPSHOT_API}/namespaces/shop/volumesnapshots"),
                list(&[&snapshot]),
            ),
            (
                format!("{SNAPSHOT_API}/namespaces/shop/volumesnapshots/velero-data-x"),
                snapshot,
            ),
            (
                format!("{SNAPSHOT_API}/volumesnapshotcontents"),
                list(&[&content]),
            ),
            (format!("{SNAPSHOT_API}/volumesnapshotcontents/content"), content),
        ];
        Self {
            objects: objects.into(),
            upload_fails: false,
            requests: Mutex::default(),
        }
    }

    fn answer(&self, method: &str, path: &str) -> (u16, Value) {
        self.requests.lock().unwrap().push(format!("{method} {path}"));
        let failure = |code: u16, reason: &str| {
            (
                code,
                json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason}),
            )
        };
        match method {
            "POST" if path.ends_with("datauploads") && self.upload_fails => failure(403, "Forbidden"),
            "POST" if path.ends_with("datauploads") => (
                201,
                json!({"apiVersion": "velero.io/v2alpha1", "kind": "DataUpload",
                    "metadata": {"name": "b1-x", "namespace": "velero"}, "spec": {}}),
            ),
            "POST" => (
                201,
                self.objects[&format!("{SNAPSHOT_API}/namespaces/shop/volumesnapshots/velero-data-x")]
                    .clone(),
            ),
            "GET" => self
                .objects
                .get(path)
                .map_or_else(|| failure(404, "NotFound"), |object| (200, object.clone())),
            "DELETE" => (
                200,
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}),
            ),
            _ => self
                .objects
                .get(path)
                .map_or_else(|| failure(404, "NotFound"), |object| (200, object.clone())),
        }
    }

    pub(super) fn asked_for(&self, request: &str) -> bool {
        self.requests.lock().unwrap().iter().any(|asked| asked == request)
    }
}

fn client(api: &Arc<Api>) -> Client {
    let api = Arc::clone(api);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (code, answer) = api.answer(request.method().as_str(), request.uri().path());
        let body = Body::from(serde_json::to_vec(&answer).unwrap());
        let response = http::Response::builder()
            .status(code)
            .header("content-type", "application/json")
            .body(body);
        async move { Ok::<_, std::convert::Infallible>(response.unwrap()) }
    });
    Client::new(service, "velero")
}

/// `with_snapshots`: the cluster has them.
fn discovered(with_snapshots: bool) -> Resources {
    let resource = |group: &str, plural: &str, kind: &str, scope: &str| {
        json!({"resource": plural, "scope": scope, "responseKind": {"group": group, "version": "v1", "kind": kind},
            "verbs": ["create", "delete", "get", "list"]})
    };
    let core = json!({"metadata": {"name": ""}, "versions": [{"version": "v1", "resources": [
        resource("", "namespaces", "Namespace", "Cluster"),
        resource("", "persistentvolumeclaims", "PersistentVolumeClaim", "Namespaced"),
        resource("", "persistentvolumes", "PersistentVolume", "Cluster"), resource("", "pods", "Pod", "Namespaced"),
        resource("", "secrets", "Secret", "Namespaced")]}]});
    let group = "snapshot.storage.k8s.io";
    let snapshots = json!({"metadata": {"name": group}, "versions": [{"version": "v1", "resources": [
        resource(group, "volumesnapshots", "VolumeSnapshot", "Namespaced"),
        resource(group, "volumesnapshotcontents", "VolumeSnapshotContent", "Cluster"),
        resource(group, "volumesnapshotclasses", "VolumeSnapshotClass", "Cluster")]}]});
    let groups = [Some(core), with_snapshots.then_some(snapshots)];
    Resources::from_groups(
        groups
            .into_iter()
            .flatten()
            .map(|group| serde_json::from_value(group).unwrap()),
    )
}

/// Runs a backup of namespace `shop`; gives the outcome, the tarball's entries, and the log's error count.
async fn backed_up(api: &Arc<Api>) -> (Outcome, Vec<String>, usize) {
    backed_up_with(api, true).await
}

/// Notes among the requests when a hook runs and when it is owed.
struct Noted {
    api: Arc<Api>,
    may_owe: bool,
}

impl Noted {
    fn note(&self, what: String) {
        self.api.requests.lock().unwrap().push(what);
    }
}

#[async_trait::async_trait]
impl caravel_hooks::exec::PodCommandExecutor for Noted {
    async fn execute(
        &self,
        _: &dyn caravel_hooks::HookLog,
        _: &Value,
        _: &str,
        hook: &caravel_api::v1::ExecHook,
    ) -> Result<(), caravel_hooks::exec::HookError> {
        self.note(format!("EXEC {}", hook.command.join(" ")));
        Ok(())
    }
}

#[async_trait::async_trait]
impl crate::hooks::OwedPostHooks for Noted {
    async fn begin(&self, pods: &[caravel_hooks::PodName]) -> Result<(), String> {
        self.note(format!("OWED {}", pods[0]));
        if self.may_owe {
            Ok(())
        } else {
            Err("the API server is away".to_owned())
        }
    }

    async fn end(&self, pods: &[caravel_hooks::PodName]) {
        self.note(format!("PAID {}", pods[0]));
    }
}

async fn backed_up_with(api: &Arc<Api>, may_owe: bool) -> (Outcome, Vec<String>, usize) {
    backed_up_as(api, may_owe, true).await
}

/// `moves`: whether the data is moved, or its snapshot stays in the storage.
pub(super) async fn backed_up_as(
    api: &Arc<Api>,
    may_owe: bool,
    moves: bool,
) -> (Outcome, Vec<String>, usize) {
    let noted = Arc::new(Noted {
        api: Arc::clone(api),
        may_owe,
    });
    let folder = tempfile::tempdir().unwrap();
    let mut backup = Backup::new("b1", Default::default());
    backup.metadata.uid = Some("backup-uid".into());
    backup.spec.snapshot_move_data = Some(moves);
    backup.spec.included_namespaces = vec!["shop".into()];
    // As the server's defaults do.
    backup.spec.excluded_resources = crate::filter::SNAPSHOT_RESOURCES.map(str::to_owned).to_vec();
    let (namespaces, namespace_notes) =
        NamespaceFilter::new(&backup.spec.included_namespaces, &[], &["shop".to_owned()].into()).unwrap();
    let log = Arc::new(BackupLog::create(&folder.path().join("log"), "velero/b1").unwrap());
    let contents = folder.path().join("contents");
    let outcome = run(Request {
        client: client(api),
        selection: Selection::new(&backup.spec, namespaces, &discovered(!moves), None).unwrap(),
        backup,
        discovered: discovered(!moves),
        namespace_notes,
        namespaces: vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})],
        actions: item_actions::built_in(&client(api), "velero", true, None),
        hooks: Hooks {
            spec: Vec::new(),
            executor: Arc::clone(&noted) as _,
            owed: noted,
            tracker: Arc::default(),
        },
        folder: folder.path().to_owned(),
        contents: contents.clone(),
        page_size: 500,
        log: Arc::clone(&log),
        progress: Arc::default(),
    })
    .await
    .unwrap();
    let mut entries = Vec::new();
    Reader::open(&contents)
        .unwrap()
        .for_each(|entry| {
            entries.push(entry.path().to_owned());
            Ok(())
        })
        .unwrap();
    (outcome, entries, log.errors())
}

#[tokio::test]
async fn a_namespace_with_a_volume_becomes_a_tarball_and_a_data_upload() {
    let api = Arc::new(Api::shop());
    let (outcome, entries, errors) = backed_up(&api).await;
    assert_eq!((errors, outcome.total_items), (0, 4), "{entries:?}");
    let operation = &outcome.operations[0].spec;
    assert_eq!(operation.operation_id, "du-backup-uid.claim-uid");
    assert_eq!(operation.post_operation_items[0].name, "b1-x");
    assert_eq!(outcome.resource_list["v1/PersistentVolumeClaim"], ["shop/data"]);
    assert!(
        entries.contains(&"resources/persistentvolumes/cluster/pv1.json".to_owned()),
        "the PV comes along: {entries:?}"
    );
    assert!(entries.contains(&"resources/namespaces/v1-preferredversion/cluster/shop.json".to_owned()));
    assert!(
        !entries.iter().any(|entry| entry.contains("hidden")),
        "{} is respected",
        labels::EXCLUDE_FROM_BACKUP
    );
    let info = &outcome.volume_infos[0];
    assert!(
        info.snapshot_data_moved
            && info
                .pv_info
                .as_ref()
                .is_some_and(|pv| pv.reclaim_policy == "Delete")
    );
}

#[tokio::test]
async fn guarantee_5_a_data_upload_that_cannot_be_created_is_an_error_and_its_snapshot_goes() {
    let api = Arc::new(Api {
        upload_fails: true,
        ..Api::shop()
    });
    let (outcome, entries, errors) = backed_up(&api).await;
    assert_eq!((errors, outcome.operations.len()), (1, 0));
    assert!(
        !entries
            .iter()
            .any(|entry| entry.contains("persistentvolumeclaims")),
        "an unsaved claim is not written"
    );
    assert!(api.asked_for(&format!(
        "DELETE {SNAPSHOT_API}/namespaces/shop/volumesnapshots/velero-data-x"
    )));
}

/// The shop with a pod that asks to be frozen.
fn frozen_shop() -> Arc<Api> {
    let mut api = Api::shop();
    let pods = api.objects.get_mut("/api/v1/namespaces/shop/pods").unwrap();
    pods["items"][0]["metadata"]["annotations"] = json!({
        "pre.hook.backup.velero.io/command": "freeze", "post.hook.backup.velero.io/command": "thaw",
    });
    Arc::new(api)
}

#[tokio::test]
async fn guarantee_7_a_pod_is_written_down_before_it_is_frozen_and_thawed_once_its_snapshot_is_cut() {
    let api = frozen_shop();
    let (outcome, entries, errors) = backed_up(&api).await;
    assert_eq!(
        (errors, outcome.hooks.hooks_attempted, outcome.hooks.hooks_failed),
        (0, 2, 0)
    );
    assert!(entries.contains(&"resources/pods/namespaces/shop/web.json".to_owned()));
    let snapshot = format!("POST {SNAPSHOT_API}/namespaces/shop/volumesnapshots");
    let upload = "POST /apis/velero.io/v2alpha1/namespaces/velero/datauploads";
    let requests = api.requests.lock().unwrap().clone();
    let at = |wanted: &str| {
        requests
            .iter()
            .position(|request| request == wanted)
            .unwrap_or_else(|| panic!("{wanted}: {requests:?}"))
    };
    let order = [
        "OWED shop/web",
        "EXEC freeze",
        &snapshot,
        upload,
        "EXEC thaw",
        "PAID shop/web",
    ]
    .map(at);
    assert!(order.is_sorted(), "{requests:?}");
}

#[tokio::test]
async fn guarantee_7_a_pod_that_cannot_be_written_down_is_not_frozen_and_not_saved() {
    let api = frozen_shop();
    let (_, entries, errors) = backed_up_with(&api, false).await;
    assert!(
        !api.requests
            .lock()
            .unwrap()
            .iter()
            .any(|request| request.starts_with("EXEC"))
    );
    assert!(
        errors > 0 && !entries.iter().any(|entry| entry.contains("pods")),
        "{entries:?}"
    );
}
