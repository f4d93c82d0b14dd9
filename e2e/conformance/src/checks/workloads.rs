//! Deployments, StatefulSets, DaemonSets and Jobs: from their specification to their status.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{STAY, deployment, template, topic};
use crate::World;
use crate::ask::patch;
use crate::expect::{condition, equal, eventually, holds, names};

topic![
    [Nodes] a_deployment_becomes_available,
    [Nodes] a_deployment_replaces_a_pod_that_is_deleted,
    [Nodes] a_new_template_is_rolled_out_by_a_new_replica_set,
    [Nodes] a_deployment_is_scaled_by_its_subresource,
    [Nodes] a_deployment_takes_its_pods_along,
    [Nodes] a_stateful_set_starts_its_pods_in_order,
    [Nodes] a_daemon_set_runs_on_every_node,
    [Nodes] a_job_completes,
    [Nodes] a_job_that_fails_too_often_has_failed,
    [Nodes] a_service_leads_to_ready_pods,
    [Nodes] an_evicted_pod_goes,
];

async fn pods(world: &World, app: &str) -> Result<Vec<Value>> {
    let list = world
        .read(&world.path("v1", &format!("pods?labelSelector=app%3D{app}")))
        .await?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// Creates a Deployment of that many pods and waits until all are ready; its path.
async fn deployed(world: &World, replicas: u32) -> Result<String> {
    let path = world.path("apps/v1", "deployments");
    world
        .made(&path, &deployment("d", replicas, &world.image, &STAY))
        .await?;
    let one = format!("{path}/d");
    world
        .until(
            &one,
            &json!({"status": {"readyReplicas": replicas, "updatedReplicas": replicas}}),
        )
        .await?;
    Ok(one)
}

async fn a_deployment_becomes_available(world: World) -> Result<()> {
    let path = deployed(&world, 2).await?;
    let (available, ()) = world
        .until_it(&path, |deployment| {
            let progressing = condition(deployment, "Progressing");
            if progressing["reason"] == "NewReplicaSetAvailable" {
                Ok(())
            } else {
                Err(progressing.to_string())
            }
        })
        .await?;
    holds(
        &available,
        &json!({"metadata": {"generation": 1, "annotations": {"deployment.kubernetes.io/revision": "1"}},
                "status": {"observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "availableReplicas": 2,
                           "updatedReplicas": 2, "unavailableReplicas": null}}),
    )?;
    holds(
        condition(&available, "Available"),
        &json!({"status": "True", "reason": "MinimumReplicasAvailable", "message": "Deployment has minimum availability."}),
    )?;
    let sets = world.read(&world.path("apps/v1", "replicasets")).await?;
    let set = &sets["items"][0];
    let hash = set["metadata"]["labels"]["pod-template-hash"]
        .as_str()
        .context("no pod-template-hash")?;
    equal(
        set["metadata"]["name"].as_str(),
        Some(format!("d-{hash}").as_str()),
    )?;
    holds(
        &set["metadata"]["ownerReferences"][0],
        &json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "controller": true, "blockOwnerDeletion": true,
                "uid": available["metadata"]["uid"]}),
    )?;
    for pod in pods(&world, "d").await? {
        holds(
            &pod["metadata"],
            &json!({"generateName": format!("d-{hash}-"), "labels": {"pod-template-hash": hash},
                    "ownerReferences": [{"kind": "ReplicaSet", "controller": true, "uid": set["metadata"]["uid"]}]}),
        )?;
    }
    Ok(())
}

async fn a_deployment_replaces_a_pod_that_is_deleted(world: World) -> Result<()> {
    let path = deployed(&world, 1).await?;
    let first = pods(&world, "d").await?.remove(0);
    let name = first["metadata"]["name"].as_str().unwrap_or_default();
    world
        .delete(&world.path("v1", &format!("pods/{name}")))
        .await?
        .ok()?;
    world
        .until_gone(&world.path("v1", &format!("pods/{name}")))
        .await?;
    eventually("another pod", || async {
        let pods = pods(&world, "d").await?;
        let other = pods.iter().any(|pod| condition(pod, "Ready")["status"] == "True");
        Ok(if other {
            Ok(())
        } else {
            Err(format!("{} pods", pods.len()))
        })
    })
    .await?;
    world
        .until(&path, &json!({"status": {"readyReplicas": 1}}))
        .await?;
    Ok(())
}

async fn a_new_template_is_rolled_out_by_a_new_replica_set(world: World) -> Result<()> {
    let path = deployed(&world, 1).await?;
    let change = json!({"spec": {"template": {"metadata": {"annotations": {"again": "yes"}}}}});
    world.patch(patch::STRATEGIC, &path, &change).await?.ok()?;
    let (after, ()) = world
        .until_it(&path, |deployment| {
            let done = json!({"status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}});
            holds(deployment, &done).map_err(|error| error.to_string())
        })
        .await?;
    holds(
        &after,
        &json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}}),
    )?;
    let sets = world.read(&world.path("apps/v1", "replicasets")).await?;
    let mut replicas: Vec<Option<i64>> = sets["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|set| set["spec"]["replicas"].as_i64())
        .collect();
    replicas.sort_unstable();
    equal(replicas, vec![Some(0), Some(1)])
}

async fn a_deployment_is_scaled_by_its_subresource(world: World) -> Result<()> {
    let path = deployed(&world, 1).await?;
    let scale = world.read(&format!("{path}/scale")).await?;
    holds(
        &scale,
        &json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {"replicas": 1},
                "status": {"replicas": 1, "selector": "app=d"}}),
    )?;
    for replicas in [2, 0] {
        let change = json!({"spec": {"replicas": replicas}});
        world
            .patch(patch::MERGE, &format!("{path}/scale"), &change)
            .await?
            .ok()?;
        eventually("as many pods", || async {
            let pods = pods(&world, "d").await?;
            let running = pods
                .iter()
                .filter(|pod| pod["status"]["phase"] == "Running")
                .count();
            let right = pods.len() == replicas && running == replicas;
            Ok(if right {
                Ok(())
            } else {
                Err(format!("{running} of {} pods run", pods.len()))
            })
        })
        .await?;
    }
    holds(
        &world
            .until(&path, &json!({"status": {"readyReplicas": null}}))
            .await?,
        &json!({"spec": {"replicas": 0}}),
    )
}

async fn a_deployment_takes_its_pods_along(world: World) -> Result<()> {
    let path = deployed(&world, 1).await?;
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"});
    world.delete_with(&path, &options).await?.ok()?;
    world.until_gone(&path).await?;
    equal(pods(&world, "d").await?.len(), 0)?;
    equal(
        names(&world.read(&world.path("apps/v1", "replicasets")).await?).len(),
        0,
    )
}

async fn a_stateful_set_starts_its_pods_in_order(world: World) -> Result<()> {
    let path = world.path("apps/v1", "statefulsets");
    let object = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"},
        "spec": {"replicas": 2, "serviceName": "s", "selector": {"matchLabels": {"app": "s"}},
                 "template": template("s", &world.image, &STAY)}});
    world.made(&path, &object).await?;
    let set = world
        .until(&format!("{path}/s"), &json!({"status": {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2, "availableReplicas": 2}}))
        .await?;
    ensure!(
        set["status"]["currentRevision"]
            .as_str()
            .is_some_and(|name| name.starts_with("s-")),
        "{}",
        set["status"]
    );
    let pods = pods(&world, "s").await?;
    equal(
        pods.iter()
            .map(|pod| pod["metadata"]["name"].as_str())
            .collect::<Vec<_>>(),
        vec![Some("s-0"), Some("s-1")],
    )?;
    let created = |pod: &Value| {
        pod["metadata"]["creationTimestamp"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    ensure!(created(&pods[0]) <= created(&pods[1]), "s-1 is older than s-0");
    holds(
        &pods[1],
        &json!({"metadata": {"labels": {"statefulset.kubernetes.io/pod-name": "s-1", "apps.kubernetes.io/pod-index": "1"}},
                "spec": {"hostname": "s-1", "subdomain": "s"}}),
    )
}

async fn a_daemon_set_runs_on_every_node(world: World) -> Result<()> {
    let path = world.path("apps/v1", "daemonsets");
    let object = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "ds"},
        "spec": {"selector": {"matchLabels": {"app": "ds"}}, "template": template("ds", &world.image, &STAY)}});
    world.made(&path, &object).await?;
    let nodes = names(&world.read("/api/v1/nodes").await?).len();
    let set = world
        .until(
            &format!("{path}/ds"),
            &json!({"status": {"desiredNumberScheduled": nodes, "numberReady": nodes, "numberAvailable": nodes,
                    "updatedNumberScheduled": nodes, "observedGeneration": 1}}),
        )
        .await?;
    holds(
        &set,
        &json!({"status": {"currentNumberScheduled": nodes, "numberMisscheduled": 0}}),
    )?;
    let pods = pods(&world, "ds").await?;
    equal(pods.len(), nodes)?;
    holds(
        &pods[0]["metadata"],
        &json!({"generateName": "ds-", "ownerReferences": [{"kind": "DaemonSet", "controller": true}]}),
    )
}

fn job(name: &str, world: &World, line: &str) -> Value {
    let mut template = template(name, &world.image, &["/bin/sh", "-c", line]);
    template["spec"]["restartPolicy"] = "Never".into();
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": template}})
}

async fn a_job_completes(world: World) -> Result<()> {
    let path = world.path("batch/v1", "jobs");
    world.made(&path, &job("j", &world, "echo done")).await?;
    let (done, ()) = world
        .until_it(&format!("{path}/j"), |job| {
            let complete = condition(job, "Complete");
            if complete["status"] == "True" {
                Ok(())
            } else {
                Err(complete.to_string())
            }
        })
        .await?;
    holds(
        &done,
        &json!({"status": {"succeeded": 1, "failed": null, "active": null}}),
    )?;
    ensure!(
        done["status"]["completionTime"].is_string() && done["status"]["startTime"].is_string(),
        "{}",
        done["status"]
    );
    let list = world
        .read(&world.path("v1", "pods?labelSelector=job-name%3Dj"))
        .await?;
    holds(
        &list["items"][0]["metadata"],
        &json!({"generateName": "j-", "labels": {"batch.kubernetes.io/job-name": "j"},
                "ownerReferences": [{"kind": "Job", "name": "j", "controller": true}]}),
    )
}

async fn a_job_that_fails_too_often_has_failed(world: World) -> Result<()> {
    let path = world.path("batch/v1", "jobs");
    world.made(&path, &job("j", &world, "exit 1")).await?;
    let (failed, ()) = world
        .until_it(&format!("{path}/j"), |job| {
            let failed = condition(job, "Failed");
            if failed["status"] == "True" {
                Ok(())
            } else {
                Err(failed.to_string())
            }
        })
        .await?;
    holds(
        condition(&failed, "Failed"),
        &json!({"reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}),
    )?;
    holds(&failed, &json!({"status": {"failed": 1}}))
}

async fn a_service_leads_to_ready_pods(world: World) -> Result<()> {
    deployed(&world, 1).await?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"selector": {"app": "d"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    world.made(&world.path("v1", "services"), &service).await?;
    let pod = pods(&world, "d").await?.remove(0);
    world
        .until(
            &world.path("v1", "endpoints/s"),
            &json!({"subsets": [{"addresses": [{"ip": pod["status"]["podIP"],
                    "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"]}}], "ports": [{"port": 8080, "protocol": "TCP"}]}]}),
        )
        .await?;
    Ok(())
}

async fn an_evicted_pod_goes(world: World) -> Result<()> {
    let path = world.path("v1", "pods");
    world.made(&path, &super::pod("p", &world.image, &STAY)).await?;
    world
        .until(&format!("{path}/p"), &json!({"status": {"phase": "Running"}}))
        .await?;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let answer = world.made(&format!("{path}/p/eviction"), &eviction).await?;
    holds(&answer, &json!({"kind": "Status", "status": "Success"}))?;
    world.until_gone(&format!("{path}/p")).await
}
