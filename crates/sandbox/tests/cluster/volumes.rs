//! Pods with volumes of the sandbox's CSI driver.

use std::sync::Arc;

use caravel_api_server::faults::Rule;
use caravel_sandbox::Sandbox;
use caravel_sandbox::storage::{CsiFault, CsiRules};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, LogParams, PostParams};
use serde_json::{Value, json};
use tonic::Code;

use crate::workloads::template;
use crate::world::{World, phase};

fn claim(class: &str) -> Value {
    json!({"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Mi"}}})
}

fn using(claim: &str, command: &[&str]) -> Value {
    json!({
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}],
        "containers": [{"name": "c", "image": "shell", "command": command, "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
    })
}

#[tokio::test]
async fn what_one_pod_writes_to_its_volume_the_next_one_reads() {
    let world = World::start().await;
    world
        .create::<PersistentVolumeClaim>(json!({"metadata": {"name": "data"}, "spec": claim("sandbox-csi")}))
        .await;
    world
        .run("writer", &[], using("data", &["write /v/file kept"]))
        .await;
    world.until_phase("writer", "Succeeded").await;
    world.run("reader", &[], using("data", &["read /v/file"])).await;
    world.until_phase("reader", "Succeeded").await;
    assert_eq!(
        world
            .of::<Pod>()
            .logs("reader", &LogParams::default())
            .await
            .unwrap(),
        "kept\n"
    );
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_volume_of_a_waiting_class_is_made_for_the_pods_node() {
    let world = World::with_nodes(2).await;
    let class = json!({
        "metadata": {"name": "waiting"}, "provisioner": "csi.sandbox.caravel.dev", "volumeBindingMode": "WaitForFirstConsumer",
    });
    let classes: Api<StorageClass> = Api::all(world.client.clone());
    classes
        .create(&PostParams::default(), &serde_json::from_value(class).unwrap())
        .await
        .unwrap();
    world
        .create::<PersistentVolumeClaim>(json!({"metadata": {"name": "data"}, "spec": claim("waiting")}))
        .await;
    let mut spec = using("data", &["sleep"]);
    spec["nodeSelector"] = json!({"kubernetes.io/hostname": "sandbox-1"});
    world.run("web", &[], spec).await;
    let pod = world.until_phase("web", "Running").await;
    assert_eq!(pod.spec.unwrap().node_name.as_deref(), Some("sandbox-1"));
    let claim = world.of::<PersistentVolumeClaim>().get("data").await.unwrap();
    assert_eq!(
        claim.annotations()["volume.kubernetes.io/selected-node"],
        "sandbox-1"
    );
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_pod_without_its_claim_is_not_scheduled() {
    let world = World::start().await;
    world.run("web", &[], using("missing", &["sleep"])).await;
    let message = |pod: &Pod| {
        let conditions = pod
            .status
            .clone()
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        conditions
            .into_iter()
            .find_map(|it| it.message)
            .unwrap_or_default()
    };
    let pod = world
        .until(&world.of::<Pod>(), "web", |pod| !message(pod).is_empty())
        .await;
    assert_eq!(
        message(&pod),
        "0/1 nodes are available: persistentvolumeclaim \"missing\" not found. not found"
    );
    world
        .create::<PersistentVolumeClaim>(
            json!({"metadata": {"name": "missing"}, "spec": claim("sandbox-csi")}),
        )
        .await;
    world.until_phase("web", "Running").await;
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_stateful_set_gives_each_pod_a_volume_that_stays_with_its_name() {
    let world = World::start().await;
    let mut pods_template = template("db", &["read /data/file", "write /data/file mine", "sleep"]);
    pods_template["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    world
        .create::<StatefulSet>(json!({"metadata": {"name": "db"}, "spec": {
            "replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": pods_template,
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim("sandbox-csi")}],
        }}))
        .await;
    let sets = world.of::<StatefulSet>();
    let ready = |set: &StatefulSet| {
        set.status
            .as_ref()
            .and_then(|status| status.ready_replicas)
            .unwrap_or(0)
    };
    world.until(&sets, "db", |set| ready(set) == 2).await;
    assert_eq!(world.names::<Pod>("app=db").await, ["db-0", "db-1"]);
    assert_eq!(
        world.names::<PersistentVolumeClaim>("app=db").await,
        ["data-db-0", "data-db-1"]
    );
    let pods = world.of::<Pod>();
    let before = pods.get("db-1").await.unwrap();
    pods.delete("db-1", &DeleteParams::default()).await.unwrap();
    let is_next = |pod: &Pod| pod.uid() != before.uid() && phase(pod) == "Running";
    world.until(&pods, "db-1", is_next).await;
    assert_eq!(pods.logs("db-1", &LogParams::default()).await.unwrap(), "mine\n");
    world.sandbox.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_the_driver_does_not_take_back_at_once_is_given_back_later_and_can_be_deleted() {
    let faults = Arc::new(CsiRules::new(1));
    let world = World::of_still(Sandbox::builder().seed(1).csi_faults(faults.clone())).await;
    world
        .create::<PersistentVolumeClaim>(json!({"metadata": {"name": "data"}, "spec": claim("sandbox-csi")}))
        .await;
    world
        .run("writer", &[], using("data", &["write /v/file kept"]))
        .await;
    let refused = CsiFault::Fail(Code::Internal, "the array is on fire".to_owned());
    faults.add(Rule::always(refused).on("NodeUnpublishVolume").first(3));
    world.until_phase("writer", "Succeeded").await;
    let volume = world.of::<PersistentVolumeClaim>().get("data").await.unwrap();
    let volume = volume.spec.unwrap().volume_name.unwrap();
    for gone in [
        world
            .of::<Pod>()
            .delete("writer", &DeleteParams::default())
            .await
            .map(drop),
        world
            .of::<PersistentVolumeClaim>()
            .delete("data", &DeleteParams::default())
            .await
            .map(drop),
    ] {
        gone.unwrap();
    }
    world
        .until_gone(&Api::<PersistentVolume>::all(world.client.clone()), &volume)
        .await;
    assert_eq!(faults.injected(), 3);
}
