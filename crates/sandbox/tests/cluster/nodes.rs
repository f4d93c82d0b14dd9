//! A node whose plug is pulled, and what the cluster makes of it. All on tokio's paused clock.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, LogParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::workloads::template;
use crate::world::{World, container, phase, pod};

fn condition(node: &Node, kind: &str) -> (String, String) {
    let conditions = node
        .status
        .clone()
        .unwrap_or_default()
        .conditions
        .unwrap_or_default();
    let found = conditions.into_iter().find(|it| it.type_ == kind).unwrap();
    (found.status, found.reason.unwrap_or_default())
}

fn taints(node: &Node) -> Vec<String> {
    let taints = node.spec.clone().unwrap_or_default().taints.unwrap_or_default();
    let told = |taint: &k8s_openapi::api::core::v1::Taint| format!("{}:{}", taint.key, taint.effect);
    taints.iter().map(told).collect()
}

fn nodes(world: &World) -> Api<Node> {
    Api::all(world.client.clone())
}

fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").0 == "True"
}

fn node_of(pod: &Pod) -> String {
    pod.spec.clone().unwrap().node_name.unwrap_or_default()
}

fn on(node: &str, more: Value) -> Value {
    let mut spec = json!({"nodeSelector": {"kubernetes.io/hostname": node}});
    json_patch::merge(&mut spec, &more);
    spec
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_off_is_unknown_after_50_s_and_its_pods_go_elsewhere_after_300_more() {
    let world = World::still(2).await;
    let deployment = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template("web", &["sleep"]),
    }});
    world.create::<Deployment>(deployment).await;
    let is_available = |it: &Deployment| {
        it.status
            .as_ref()
            .is_some_and(|status| status.available_replicas == Some(1))
    };
    world.until(&world.of::<Deployment>(), "web", is_available).await;
    let first = world
        .of::<Pod>()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .remove(0);
    let (node, name) = (node_of(&first), first.name_any());
    let begun = Instant::now();
    assert!(world.sandbox.machines().fail_node(&node));
    assert!(!world.sandbox.machines().fail_node(&node), "it is off already");
    let silent = world.until(&nodes(&world), &node, |it| !is_ready(it)).await;
    assert!(
        (40..=60).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        let unknown = ("Unknown".to_owned(), "NodeStatusUnknown".to_owned());
        assert_eq!(condition(&silent, kind), unknown, "{kind}");
    }
    let is_evicted = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    let tainted = world
        .until(&nodes(&world), &node, |it| taints(it).len() == 2)
        .await;
    assert_eq!(
        taints(&tainted),
        [
            "node.kubernetes.io/unreachable:NoSchedule",
            "node.kubernetes.io/unreachable:NoExecute"
        ]
    );
    let evicted = world.until(&world.of::<Pod>(), &name, is_evicted).await;
    assert!(
        (340..=370).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
    let why = evicted.status.unwrap().conditions.unwrap();
    let why = why.iter().find(|it| it.type_ == "DisruptionTarget").unwrap();
    assert_eq!(why.reason.as_deref(), Some("DeletionByTaintManager"));
    world.until(&world.of::<Deployment>(), "web", is_available).await;
    let other = world.of::<Pod>().list(&ListParams::default()).await.unwrap();
    assert!(
        other
            .iter()
            .any(|pod| node_of(pod) != node && phase(pod) == "Running")
    );

    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(
        world.of::<Pod>().get_opt(&name).await.unwrap().is_some(),
        "nobody knows whether it still runs"
    );
    assert!(world.sandbox.machines().recover_node(&node).await.unwrap());
    world.until_gone(&world.of::<Pod>(), &name).await;
    let back = |it: &Node| is_ready(it) && taints(it).is_empty();
    world.until(&nodes(&world), &node, back).await;
}

#[tokio::test(start_paused = true)]
async fn the_only_node_is_not_emptied() {
    let world = World::still(1).await;
    world.run("web", &["sleep"], json!({})).await;
    world.until_phase("web", "Running").await;
    world.sandbox.machines().fail_node("sandbox-0");
    let silent = |it: &Node| !taints(it).is_empty();
    let node = world.until(&nodes(&world), "sandbox-0", silent).await;
    assert_eq!(taints(&node), ["node.kubernetes.io/unreachable:NoSchedule"]);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let pod = world.of::<Pod>().get("web").await.unwrap();
    assert!(pod.metadata.deletion_timestamp.is_none());
    let conditions = pod.status.unwrap().conditions.unwrap();
    assert!(
        conditions
            .iter()
            .any(|it| it.type_ == "Ready" && it.status == "False")
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_never_restarted_has_failed_when_its_node_is_back() {
    let world = World::still(2).await;
    world.run("once", &["sleep"], on("sandbox-1", json!({}))).await;
    world
        .run(
            "always",
            &["sleep"],
            on("sandbox-1", json!({"restartPolicy": "Always"})),
        )
        .await;
    world.until_phase("once", "Running").await;
    world.until_phase("always", "Running").await;
    world.sandbox.machines().fail_node("sandbox-1");
    let refused = world
        .of::<Pod>()
        .logs("once", &LogParams::default())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("no route to host"), "{refused}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.sandbox.machines().recover_node("sandbox-1").await.unwrap();
    let once = world.until_phase("once", "Failed").await;
    let ended = container(&once).state.unwrap().terminated.unwrap();
    assert_eq!(
        (ended.exit_code, ended.reason.as_deref()),
        (137, Some("ContainerStatusUnknown"))
    );
    let restarted = |pod: &Pod| phase(pod) == "Running" && container(pod).restart_count == 1;
    world.until(&world.of::<Pod>(), "always", restarted).await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_stays_with_a_node_that_is_off_until_six_minutes_after_its_pod_or_it_is_out_of_service() {
    for is_said in [false, true] {
        let world = World::still(2).await;
        let claim = json!({"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "sandbox-csi", "resources": {"requests": {"storage": "1Mi"}},
        }});
        world.create::<PersistentVolumeClaim>(claim).await;
        let using = |node: &str| {
            let containers = json!([{"name": "c", "image": "shell", "command": ["sleep"],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]);
            let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
            on(node, json!({"containers": containers, "volumes": volumes}))
        };
        world.run("first", &[], using("sandbox-1")).await;
        world.until_phase("first", "Running").await;
        world.sandbox.machines().fail_node("sandbox-1");
        world.until(&nodes(&world), "sandbox-1", |it| !is_ready(it)).await;
        world.run("second", &[], using("sandbox-0")).await;
        if is_said {
            let taint = json!({"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"});
            let patch = Patch::Merge(json!({"spec": {"taints": [taint]}}));
            nodes(&world)
                .patch("sandbox-1", &PatchParams::default(), &patch)
                .await
                .unwrap();
            world.until_gone(&world.of::<Pod>(), "first").await;
        } else {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let said = world.events("second").await;
            assert!(
                said.iter().any(|it| it.contains("Multi-Attach error")),
                "{said:?}"
            );
            let force = DeleteParams::default().grace_period(0);
            world.of::<Pod>().delete("first", &force).await.unwrap();
        }
        let begun = Instant::now();
        world.until_phase("second", "Running").await;
        let waited = begun.elapsed().as_secs();
        // Besides, the kubelet tries again at most every 122 s.
        let expected = if is_said { 0..=132 } else { 360..=492 };
        assert!(expected.contains(&waited), "{is_said}: {waited} s");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_program_leaves_behind_cannot_reach_the_api_server() {
    let world = World::still(1).await;
    world
        .create::<Pod>(pod("haunted", &["haunt", "sleep"], json!({})))
        .await;
    world.until_phase("haunted", "Running").await;
    let written = || async {
        let ghost = world
            .of::<k8s_openapi::api::core::v1::ConfigMap>()
            .get_opt("ghost")
            .await
            .unwrap();
        ghost.map(|it| it.metadata.resource_version)
    };
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = written().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(
        before.is_some() && written().await != before,
        "it writes every second"
    );
    assert!(world.sandbox.machines().kill("default", "haunted", "c"));
    let last = written().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(written().await, last);
    world.until_phase("haunted", "Failed").await;
}
