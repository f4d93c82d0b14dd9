//! A whole run against a small API server: plain functions under `kube::Client`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use caravel_api::labels;
use caravel_backup_store::tarball::Reader;
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
            (
                "/apis/apps/v1/namespaces/velero/daemonsets/node-agent".to_owned(),
                json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "node-agent", "namespace": "velero"}}),
            ),
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

    pub(super) fn answer(&self, method: &str, path: &str) -> (u16, Value) {
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

pub(super) fn client(api: &Arc<Api>) -> Client {
    let api = Arc::clone(api);
    caravel_cases::api::client(move |asked| api.answer(asked.method.as_str(), asked.path()))
}

/// `with_snapshots`: the cluster has them.
pub(super) fn discovered(with_snapshots: bool) -> Resources {
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
pub(super) struct Noted {
    pub(super) api: Arc<Api>,
    pub(super) may_owe: bool,
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
    let discovered = discovered(!moves);
    run_to_its_end(|folder, log| request(client(api), discovered, moves, noted, folder, log)).await
}

/// A backup of namespace `shop`.
pub(super) fn request(
    client: Client,
    discovered: Resources,
    moves: bool,
    noted: Arc<Noted>,
    folder: &std::path::Path,
    log: &Arc<BackupLog>,
) -> Request {
    let mut backup = Backup::new("b1", Default::default());
    backup.metadata.uid = Some("backup-uid".into());
    backup.spec.snapshot_move_data = Some(moves);
    backup.spec.included_namespaces = vec!["shop".into()];
    // As the server's defaults do.
    backup.spec.excluded_resources = crate::filter::SNAPSHOT_RESOURCES.map(str::to_owned).to_vec();
    let (namespaces, namespace_notes) =
        NamespaceFilter::new(&backup.spec.included_namespaces, &[], &["shop".to_owned()].into()).unwrap();
    Request {
        selection: Selection::new(&backup.spec, namespaces, &discovered, None).unwrap(),
        backup,
        discovered,
        namespace_notes,
        namespaces: vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})],
        actions: item_actions::built_in(&client, "velero", true, None),
        item_block_actions: Vec::new(),
        client,
        hooks: Hooks {
            spec: Vec::new(),
            executor: Arc::clone(&noted) as _,
            owed: noted,
            tracker: Arc::default(),
        },
        folder: folder.to_owned(),
        contents: folder.join("contents"),
        page_size: 500,
        all_versions: false,
        log: Arc::clone(log),
        progress: Arc::default(),
    }
}

pub(super) async fn run_to_its_end(
    request: impl FnOnce(&std::path::Path, &Arc<BackupLog>) -> Request,
) -> (Outcome, Vec<String>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(BackupLog::create(&folder.path().join("log"), "velero/b1").unwrap());
    let outcome = run(request(folder.path(), &log)).await.unwrap();
    let mut entries = Vec::new();
    Reader::open(folder.path().join("contents").as_path())
        .unwrap()
        .for_each(|entry| {
            entries.push(entry.path().to_owned());
            Ok(())
        })
        .unwrap();
    (outcome, entries, log.errors())
}

/// Widgets that the cluster serves as v2, which it prefers, and as v1.
fn widgets() -> (Client, Resources) {
    let version = |name: &str| {
        json!({"version": name, "resources": [{"resource": "widgets", "scope": "Namespaced",
            "responseKind": {"group": "example.com", "version": name, "kind": "Widget"},
            "verbs": ["create", "delete", "get", "list"]}]})
    };
    let group = json!({"metadata": {"name": "example.com"}, "versions": [version("v2"), version("v1")]});
    let widget = |name: &str, labels: Value| json!({"metadata": {"name": name, "namespace": "shop", "labels": labels}});
    let all = [
        widget("a", json!({})),
        widget("hidden", json!({"velero.io/exclude-from-backup": "true"})),
    ];
    let client = caravel_cases::api::client(move |asked| match asked.path() {
        "/apis/example.com/v2/namespaces/shop/widgets" | "/apis/example.com/v1/namespaces/shop/widgets" => {
            caravel_cases::api::list(&all)
        }
        _ => caravel_cases::api::failure(404, "NotFound"),
    });
    (
        client,
        Resources::from_groups([serde_json::from_value(group).unwrap()]),
    )
}

#[tokio::test]
async fn what_is_backed_up_is_saved_in_every_version_only_when_the_server_is_told_so() {
    for all_versions in [false, true] {
        let (client, discovered) = widgets();
        let noted = Arc::new(Noted {
            api: Arc::new(Api::shop()),
            may_owe: true,
        });
        let (outcome, entries, errors) = run_to_its_end(|folder, log| Request {
            all_versions,
            ..request(client, discovered, true, noted, folder, log)
        })
        .await;
        let below = "resources/widgets.example.com";
        let preferred = [
            format!("{below}/namespaces/shop/a.json"),
            format!("{below}/v2-preferredversion/namespaces/shop/a.json"),
        ];
        assert!(preferred.iter().all(|path| entries.contains(path)), "{entries:?}");
        let of_v1: Vec<&String> = entries
            .iter()
            .filter(|path| path.starts_with(&format!("{below}/v1/")))
            .collect();
        let wanted = format!("{below}/v1/namespaces/shop/a.json");
        assert_eq!(of_v1 == [&wanted], all_versions, "{entries:?}");
        assert!(!entries.iter().any(|path| path.contains("hidden")), "{entries:?}");
        let listed = outcome.resource_list.get("example.com/v1/Widget");
        assert_eq!(listed.is_some(), all_versions);
        assert_eq!(errors, 0);
    }
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
pub(super) fn frozen_shop() -> Api {
    let mut api = Api::shop();
    let pods = api.objects.get_mut("/api/v1/namespaces/shop/pods").unwrap();
    pods["items"][0]["metadata"]["annotations"] = json!({
        "pre.hook.backup.velero.io/command": "freeze", "post.hook.backup.velero.io/command": "thaw",
    });
    api
}

#[tokio::test]
async fn guarantee_7_a_pod_is_written_down_before_it_is_frozen_and_thawed_once_its_snapshot_is_cut() {
    let api = Arc::new(frozen_shop());
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
    let api = Arc::new(frozen_shop());
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
