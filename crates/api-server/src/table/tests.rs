use super::*;
use crate::builtin::samples::kind;

fn now() -> Timestamp {
    "2026-11-21T08:45:00Z".parse().expect("a timestamp")
}

fn cells(group: &str, name: &str, object: Value) -> Value {
    let mut object = object;
    object["metadata"]["name"] = "x".into();
    object["metadata"]["creationTimestamp"] = "2026-11-21T08:44:40Z".into();
    let table = render(&kind(group, name), &[object], now(), Include::None);
    let row = table["rows"][0]["cells"].clone();
    let columns = table["columnDefinitions"].as_array().map(Vec::len);
    assert_eq!(row.as_array().map(Vec::len), columns, "a cell for each column");
    row
}

fn pod(spec: Value, status: Value) -> Value {
    cells("", "Pod", json!({"metadata": {}, "spec": spec, "status": status}))
}

#[test]
fn a_running_pod_shows_what_is_ready() {
    let spec = json!({"nodeName": "n", "containers": [{"name": "a"}, {"name": "b"}]});
    let status = json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "containerStatuses": [
        {"name": "a", "ready": true, "state": {"running": {}}},
        {"name": "b", "ready": false, "state": {"running": {}}, "restartCount": 2,
         "lastState": {"terminated": {"finishedAt": "2026-11-21T08:44:55Z"}}},
    ]});
    assert_eq!(
        pod(spec, status),
        json!([
            "x",
            "1/2",
            "Running",
            "2 (5s ago)",
            "20s",
            "10.0.0.1",
            "n",
            "<none>",
            "<none>"
        ])
    );
}

#[test]
fn the_status_of_a_pod_is_the_word_that_matters_most() {
    let one = json!({"containers": [{"name": "a"}]});
    let status_of = |status: Value| pod(one.clone(), status)[2].clone();
    let container =
        |state: Value| json!({"phase": "Pending", "containerStatuses": [{"name": "a", "state": state}]});
    assert_eq!(status_of(json!({"phase": "Pending"})), "Pending");
    let waiting = json!({"waiting": {"reason": "ImagePullBackOff"}});
    assert_eq!(status_of(container(waiting)), "ImagePullBackOff");
    let ended = json!({"terminated": {"exitCode": 3, "reason": "Error"}});
    assert_eq!(status_of(container(ended)), "Error");
    assert_eq!(
        status_of(container(json!({"terminated": {"exitCode": 3}}))),
        "ExitCode:3"
    );
    assert_eq!(
        status_of(json!({"phase": "Failed", "reason": "Evicted"})),
        "Evicted"
    );
}

#[test]
fn init_containers_show_how_far_they_are() {
    let spec = json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]});
    let status = json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "i", "state": {"terminated": {"exitCode": 0}}},
        {"name": "j", "state": {"running": {}}},
    ], "containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "PodInitializing"}}}]});
    assert_eq!(pod(spec, status)[2], "Init:1/2");
}

#[test]
fn a_deleted_pod_is_terminating_until_it_ended() {
    let deleted = |phase: &str| {
        let metadata = json!({"deletionTimestamp": "2026-11-21T08:44:59Z"});
        let object = json!({"metadata": metadata, "spec": {"containers": []}, "status": {"phase": phase}});
        cells("", "Pod", object)[2].clone()
    };
    assert_eq!(deleted("Running"), "Terminating");
    assert_eq!(deleted("Succeeded"), "Succeeded");
}

#[test]
fn a_claim_shows_its_size_once_bound() {
    let claim = |volume: &str| {
        json!({"spec": {"volumeName": volume, "storageClassName": "c", "volumeMode": "Filesystem"},
               "status": {"phase": "Bound", "capacity": {"storage": "64Mi"}, "accessModes": ["ReadWriteOnce"]}})
    };
    assert_eq!(
        cells("", "PersistentVolumeClaim", claim("pv-1")),
        json!([
            "x",
            "Bound",
            "pv-1",
            "64Mi",
            "RWO",
            "c",
            "<unset>",
            "20s",
            "Filesystem"
        ])
    );
    assert_eq!(cells("", "PersistentVolumeClaim", claim(""))[3], "");
}

#[test]
fn workloads_count_their_pods() {
    let deployment = json!({
        "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}},
                 "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j"}]}}},
        "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1},
    });
    assert_eq!(
        cells("apps", "Deployment", deployment),
        json!(["x", "2/3", 3, 1, "20s", "c,d", "i:1,j", "a=b"])
    );
    let job =
        json!({"spec": {"completions": 2}, "status": {"succeeded": 1, "startTime": "2026-11-21T08:44:50Z"}});
    assert_eq!(
        cells("batch", "Job", job),
        json!(["x", "Running", "1/2", "10s", "20s", "", "", "<none>"])
    );
}

#[test]
fn kinds_without_a_printer_show_when_they_were_created() {
    assert_eq!(
        cells("rbac.authorization.k8s.io", "ClusterRole", json!({})),
        json!(["x", "2026-11-21T08:44:40Z"])
    );
}

#[test]
fn a_service_shows_addresses_and_ports() {
    let spec = json!({"type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
                      "ports": [{"port": 443, "protocol": "TCP"}, {"port": 80, "nodePort": 30080, "protocol": "TCP"}]});
    assert_eq!(
        cells("", "Service", json!({"spec": spec})),
        json!([
            "x",
            "ClusterIP",
            "10.96.0.1",
            "<none>",
            "443/TCP,80:30080/TCP",
            "20s",
            "<none>"
        ])
    );
}

#[test]
fn an_event_shows_when_it_was_last_seen() {
    let event = json!({"type": "Normal", "reason": "Started", "message": "Started container \n", "count": 4,
                       "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "kubelet", "host": "n"},
                       "firstTimestamp": "2026-11-21T08:40:00Z", "lastTimestamp": "2026-11-21T08:44:57Z"});
    assert_eq!(
        cells("", "Event", event),
        json!([
            "3s",
            "Normal",
            "Started",
            "pod/p",
            "",
            "kubelet, n",
            "Started container",
            "5m",
            4,
            "x"
        ])
    );
}

#[test]
fn rows_carry_what_was_asked_for() {
    let object = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    let beside = |include| {
        render(
            &kind("", "ConfigMap"),
            std::slice::from_ref(&object),
            now(),
            include,
        )["rows"][0]["object"]
            .clone()
    };
    assert_eq!(beside(Include::None), Value::Null);
    assert_eq!(
        beside(Include::Metadata),
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}})
    );
    assert_eq!(beside(Include::Object), object);
}

#[test]
fn custom_columns_show_values_of_their_type() {
    let column = |kind: &str, json_path: &str| Column {
        name: "C".into(),
        kind: kind.into(),
        format: String::new(),
        description: String::new(),
        priority: 0,
        json_path: json_path.into(),
    };
    let object =
        json!({"status": {"phase": "New", "at": "2026-11-21T08:43:00Z", "n": 3, "ok": true, "o": {"a": 1}}});
    let cell = |kind: &str, path: &str| custom_cell(&column(kind, path), &object, now());
    assert_eq!(cell("string", ".status.phase"), "New");
    assert_eq!(cell("string", ".status.n"), "3");
    assert_eq!(cell("string", ".status.o"), "{\"a\":1}");
    assert_eq!(cell("date", ".status.at"), "2m");
    assert_eq!(cell("date", ".status.phase"), "<invalid>");
    assert_eq!(cell("integer", ".status.n"), 3);
    assert_eq!(cell("integer", ".status.phase"), Value::Null);
    assert_eq!(cell("boolean", ".status.ok"), true);
    assert_eq!(cell("string", ".status.none"), Value::Null);
}
