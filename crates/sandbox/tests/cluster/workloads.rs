//! Deployments, StatefulSets, DaemonSets and Jobs.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::world::World;

pub fn template(app: &str, command: &[&str]) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "image": "shell", "command": command}]},
    })
}

fn deployment(replicas: i32, command: &[&str], strategy: &str) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template("web", command),
        "strategy": {"type": strategy},
    }})
}

fn is_rolled_out(deployment: &Deployment) -> bool {
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation == deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) == wanted
            && status.available_replicas.unwrap_or(0) == wanted
            && status.replicas.unwrap_or(0) == wanted
    })
}

#[tokio::test]
async fn a_deployment_keeps_its_pods() {
    let world = World::start().await;
    world
        .create::<Deployment>(deployment(2, &["sleep"], "RollingUpdate"))
        .await;
    let deployments = world.of::<Deployment>();
    let web = world.until(&deployments, "web", is_rolled_out).await;
    assert_eq!(web.annotations()["deployment.kubernetes.io/revision"], "1");
    let before = world.names::<Pod>("app=web").await;
    assert_eq!(before.len(), 2);
    let pods = world.of::<Pod>();
    pods.delete(&before[0], &DeleteParams::default()).await.unwrap();
    world.until_gone(&pods, &before[0]).await;
    world.until(&deployments, "web", is_rolled_out).await;
    let after = world.names::<Pod>("app=web").await;
    assert_eq!(after.len(), 2);
    assert!(after.contains(&before[1]));
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_changed_template_replaces_the_pods() {
    for strategy in ["RollingUpdate", "Recreate"] {
        let world = World::start().await;
        world
            .create::<Deployment>(deployment(2, &["sleep"], strategy))
            .await;
        let deployments = world.of::<Deployment>();
        world.until(&deployments, "web", is_rolled_out).await;
        let before = world.names::<Pod>("app=web").await;
        let change = json!({"spec": {"template": {"metadata": {"annotations": {"changed": "yes"}}}}});
        deployments
            .patch("web", &PatchParams::default(), &Patch::Merge(change))
            .await
            .unwrap();
        let is_second = |it: &Deployment| {
            let revision = it.annotations().get("deployment.kubernetes.io/revision");
            is_rolled_out(it) && revision.is_some_and(|revision| revision == "2")
        };
        world.until(&deployments, "web", is_second).await;
        let pods = world.of::<Pod>();
        for name in &before {
            world.until_gone(&pods, name).await;
        }
        assert_eq!(world.names::<Pod>("app=web").await.len(), 2, "{strategy}");
        assert_eq!(world.names::<ReplicaSet>("app=web").await.len(), 2, "{strategy}");
        world.sandbox.shutdown().await;
    }
}

#[tokio::test]
async fn pods_and_replica_sets_without_an_owner_are_adopted() {
    let world = World::start().await;
    world
        .create::<Deployment>(deployment(1, &["sleep"], "Recreate"))
        .await;
    let deployments = world.of::<Deployment>();
    let web = world.until(&deployments, "web", is_rolled_out).await;
    let before = world.names::<Pod>("app=web").await;
    deployments.delete("web", &DeleteParams::orphan()).await.unwrap();
    world.until_gone(&deployments, "web").await;
    let sets = world.of::<ReplicaSet>();
    let set = world.names::<ReplicaSet>("app=web").await.remove(0);
    world
        .until(&sets, &set, |set| set.owner_references().is_empty())
        .await;
    world
        .create::<Deployment>(deployment(1, &["sleep"], "Recreate"))
        .await;
    let again = world.until(&deployments, "web", is_rolled_out).await;
    assert_ne!(web.uid(), again.uid());
    let set = sets.get(&set).await.unwrap();
    assert_eq!(set.owner_references()[0].uid, again.uid().unwrap());
    assert_eq!(world.names::<Pod>("app=web").await, before);
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_daemon_set_has_one_pod_on_each_node() {
    let world = World::with_nodes(3).await;
    let nodes: Api<Node> = Api::all(world.client.clone());
    let taint = json!({"spec": {"taints": [{"key": "only", "value": "others", "effect": "NoSchedule"}]}});
    nodes
        .patch("sandbox-2", &PatchParams::default(), &Patch::Merge(taint))
        .await
        .unwrap();
    world
        .create::<DaemonSet>(json!({"metadata": {"name": "agent"}, "spec": {
            "selector": {"matchLabels": {"app": "agent"}}, "template": template("agent", &["sleep"]),
        }}))
        .await;
    let sets = world.of::<DaemonSet>();
    let available = |set: &DaemonSet| {
        set.status
            .as_ref()
            .and_then(|status| status.number_available)
            .unwrap_or(0)
    };
    world.until(&sets, "agent", |set| available(set) == 2).await;
    let none: Value = json!({"spec": {"taints": null}});
    nodes
        .patch("sandbox-2", &PatchParams::default(), &Patch::Merge(none))
        .await
        .unwrap();
    world.until(&sets, "agent", |set| available(set) == 3).await;
    let pods = world
        .of::<Pod>()
        .list(&ListParams::default().labels("app=agent"))
        .await
        .unwrap();
    let mut on: Vec<_> = pods
        .items
        .iter()
        .filter_map(|pod| pod.spec.as_ref()?.node_name.clone())
        .collect();
    on.sort();
    assert_eq!(on, ["sandbox-0", "sandbox-1", "sandbox-2"]);
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_job_runs_to_its_end() {
    let world = World::start().await;
    let job = |name: &str, command: &[&str]| {
        let mut template = template(name, command);
        template["spec"]["restartPolicy"] = "Never".into();
        json!({"metadata": {"name": name}, "spec": {"template": template, "backoffLimit": 0}})
    };
    world.create::<Job>(job("good", &["exit 0"])).await;
    world.create::<Job>(job("bad", &["exit 1"])).await;
    let jobs = world.of::<Job>();
    let has = |kind: &'static str| {
        move |job: &Job| {
            let conditions = job.status.as_ref().and_then(|status| status.conditions.clone());
            conditions
                .unwrap_or_default()
                .iter()
                .any(|it| it.type_ == kind && it.status == "True")
        }
    };
    let good = world.until(&jobs, "good", has("Complete")).await;
    assert_eq!(good.status.unwrap().succeeded, Some(1));
    world.until(&jobs, "bad", has("Failed")).await;
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn every_namespace_has_an_account_and_a_root_certificate() {
    let world = World::start().await;
    world
        .until(&world.of::<ServiceAccount>(), "default", |_| true)
        .await;
    let map = world
        .until(&world.of::<ConfigMap>(), "kube-root-ca.crt", |_| true)
        .await;
    assert!(map.data.unwrap()["ca.crt"].starts_with("-----BEGIN CERTIFICATE-----"));
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_service_has_an_address_and_knows_its_pods() {
    let world = World::start().await;
    world
        .create::<Service>(json!({"metadata": {"name": "web"}, "spec": {
            "selector": {"app": "web"}, "ports": [{"port": 80}],
        }}))
        .await;
    let services = world.of::<Service>();
    let has_address = |it: &Service| it.spec.as_ref().is_some_and(|spec| spec.cluster_ip.is_some());
    world.until(&services, "web", has_address).await;
    world.run("web", &["sleep"], json!({})).await;
    let slices = world.of::<EndpointSlice>();
    world.until_phase("web", "Running").await;
    let name = world
        .names::<EndpointSlice>("kubernetes.io/service-name=web")
        .await
        .remove(0);
    world
        .until(&slices, &name, |slice| slice.endpoints.len() == 1)
        .await;
    let endpoints = world.of::<Endpoints>();
    let has_one = |it: &Endpoints| it.subsets.as_ref().is_some_and(|subsets| subsets.len() == 1);
    world.until(&endpoints, "web", has_one).await;
    world.sandbox.shutdown().await;
}
