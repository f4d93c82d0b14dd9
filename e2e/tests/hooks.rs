//! Hooks in real containers: the API server hands the commands to the kubelet, the kubelet to the container.
//!
//! Two pods with a volume each, one with hooks by annotation, one by the Backup's and the Restore's spec. The pre-hook writes
//! `frozen` into the volume, the post-hook `thawed`; that the restored volume says `frozen` shows that the snapshot was cut
//! between the two. Then hooks that fail, and one that never returns.

use std::time::Duration;

use anyhow::{Result, ensure};
use caravel_e2e::scenario::side::{json_object, messages};
use caravel_e2e::scenario::{Cluster, Installation, Kind, NAMESPACE, step, until};
use serde_json::{Value, json};

const SHOP: &str = "hooked";
const COPY: &str = "hooked-copy";
const PODS: [&str; 2] = ["annotated", "specified"];
const LATER: Duration = Duration::from_secs(180);
const ENDS: &[&str] = &["Completed", "PartiallyFailed", "Failed", "FailedValidation"];

#[test]
fn hooks_run_around_the_snapshot_and_after_the_restore() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "hooks")?;
    step("make the pods", || {
        cluster.delete(Kind::NAMESPACE, "", COPY)?;
        cluster.delete(Kind::NAMESPACE, "", SHOP)?;
        cluster.apply(&objects(&cluster).to_string())?;
        running(&cluster, SHOP, &PODS)
    })?;

    step("back up with hooks", || {
        start(
            &cluster,
            "Backup",
            "b1",
            &backup_spec(true, "echo frozen > /data/state; echo pre >> /data/log", "30s"),
        )?;
        let status = ended(&cluster, Kind::BACKUP, "b1")?;
        ensure!(status["phase"] == "Completed", "the backup ended {status}");
        counts(&status, 4, 0)
    })?;
    step("every application is thawed", || {
        for pod in PODS {
            says(
                &cluster,
                SHOP,
                pod,
                "cat /data/state /data/log",
                "thawed\npre\npost",
            )?;
        }
        Ok(())
    })?;

    step("lose the namespace", || cluster.delete(Kind::NAMESPACE, "", SHOP))?;
    step("restore with hooks", || {
        start(&cluster, "Restore", "r1", &restore_spec(&cluster, "b1"))?;
        let status = ended(&cluster, Kind::RESTORE, "r1")?;
        ensure!(status["phase"] == "Completed", "the restore ended {status}");
        counts(&status, 2, 0)?;
        running(&cluster, SHOP, &PODS)
    })?;
    step(
        "the snapshots were cut between the hooks, and each command ran once",
        || {
            for pod in PODS {
                says(
                    &cluster,
                    SHOP,
                    pod,
                    "cat /data/state /data/log",
                    "frozen\npre\nrestored",
                )?;
            }
            // The init container of the spec has the volume; that of an annotation cannot name one.
            says(&cluster, SHOP, "specified", "cat /data/seen-by-init", "frozen")?;
            init_container_ended(&cluster, "annotated", "by-annotation")?;
            init_container_ended(&cluster, "specified", "by-spec")
        },
    )?;

    step("hooks that fail, and one that never returns", || {
        failing_backup(&cluster, &installation)
    })?;
    step("a restore hook that fails", || {
        failing_restore(&cluster, &installation)
    })?;
    cluster.delete(Kind::NAMESPACE, "", COPY)?;
    cluster.delete(Kind::NAMESPACE, "", SHOP)?;
    step("nothing temporary is left", || {
        installation.nothing_temporary_is_left(&cluster)
    })
}

/// The annotated pod's pre-hook fails and is passed over; the specified pod's never returns, which keeps it out of the backup.
/// Both get their post-hooks.
fn failing_backup(cluster: &Cluster, installation: &Installation) -> Result<()> {
    cluster.merge(
        Kind::POD,
        SHOP,
        "annotated",
        &json!({"metadata": {"annotations": {
            "pre.hook.backup.velero.io/command": shell("exit 3"),
            "pre.hook.backup.velero.io/on-error": "Continue",
            "post.hook.restore.velero.io/command": shell("exit 5"),
        }}}),
    )?;
    start(cluster, "Backup", "b2", &backup_spec(false, "sleep 600", "3s"))?;
    let status = ended(cluster, Kind::BACKUP, "b2")?;
    ensure!(status["phase"] == "PartiallyFailed", "the backup ended {status}");
    counts(&status, 4, 2)?;
    for pod in PODS {
        says(
            cluster,
            SHOP,
            pod,
            "cat /data/state; tail -n 1 /data/log",
            "thawed\npost",
        )?;
    }
    let results = json_object(installation.bucket(), "backups/b2/b2-results.gz")?;
    let errors = messages(&results, "errors", &[]).join("\n");
    for words in ["annotated", "specified"] {
        ensure!(
            errors.contains(words),
            "no error names the hook of {words}: {errors}"
        );
    }
    let list = json_object(installation.bucket(), "backups/b2/b2-resource-list.json.gz")?;
    let pods = list["v1/Pod"].to_string();
    ensure!(
        pods.contains("hooked/annotated") && !pods.contains("hooked/specified"),
        "the backup holds the pods {pods}"
    );
    Ok(())
}

/// The command ends with 5: the pod is there all the same, and the restore says so.
fn failing_restore(cluster: &Cluster, installation: &Installation) -> Result<()> {
    let spec = json!({"backupName": "b2", "namespaceMapping": {SHOP: COPY}});
    start(cluster, "Restore", "r2", &spec)?;
    let status = ended(cluster, Kind::RESTORE, "r2")?;
    ensure!(status["phase"] == "PartiallyFailed", "the restore ended {status}");
    counts(&status, 1, 1)?;
    let results = json_object(installation.bucket(), "restores/r2/restore-r2-results.gz")?;
    let errors = messages(&results, "errors", &[]).join("\n");
    // In Velero's words, which name the container and not the pod.
    ensure!(
        errors.contains("exit code 5"),
        "no error says how the command ended: {errors}"
    );
    running(cluster, COPY, &["annotated"])
}

fn start(cluster: &Cluster, kind: &str, name: &str, spec: &Value) -> Result<()> {
    let metadata = json!({"name": name, "namespace": NAMESPACE});
    let object = json!({"apiVersion": "velero.io/v1", "kind": kind, "metadata": metadata, "spec": spec});
    cluster.apply(&object.to_string())
}

fn ended(cluster: &Cluster, kind: Kind, name: &str) -> Result<Value> {
    let object = cluster.wait_for_phase(kind, NAMESPACE, name, ENDS, LATER)?;
    Ok(object["status"].clone())
}

fn counts(status: &Value, attempted: u64, failed: u64) -> Result<()> {
    let count = |field: &str| status["hookStatus"][field].as_u64().unwrap_or_default();
    ensure!(
        (count("hooksAttempted"), count("hooksFailed")) == (attempted, failed),
        "{} instead of {attempted} hooks attempted and {failed} failed",
        status["hookStatus"]
    );
    Ok(())
}

/// Waits until these pods are ready.
fn running(cluster: &Cluster, namespace: &str, pods: &[&str]) -> Result<()> {
    for pod in pods {
        cluster.wait_for(Kind::POD, namespace, pod, LATER, |object| {
            let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
            let ready = conditions
                .filter(|one| one["type"] == "Ready" && one["status"] == "True")
                .count()
                == 1;
            if ready {
                Ok(())
            } else {
                Err("not ready".to_owned())
            }
        })?;
    }
    Ok(())
}

fn says(cluster: &Cluster, namespace: &str, pod: &str, line: &str, expected: &str) -> Result<()> {
    until(
        &format!("{pod} to say {expected:?}"),
        Duration::from_secs(20),
        || {
            let said = cluster.exec(namespace, pod, line)?;
            Ok(if said.trim() == expected {
                Ok(())
            } else {
                Err(format!("`{line}` says {:?}", said.trim()))
            })
        },
    )
}

fn init_container_ended(cluster: &Cluster, pod: &str, container: &str) -> Result<()> {
    let object = cluster.must_get(Kind::POD, SHOP, pod)?;
    let statuses = object["status"]["initContainerStatuses"]
        .as_array()
        .into_iter()
        .flatten();
    let ended = statuses.filter(|status| {
        status["name"] == container && status["state"]["terminated"]["reason"] == "Completed"
    });
    ensure!(
        ended.count() == 1,
        "the init container {container} of {pod} did not run: {}",
        object["status"]["initContainerStatuses"]
    );
    Ok(())
}

fn shell(line: &str) -> String {
    json!(["/bin/sh", "-c", line]).to_string()
}

/// Hooks for the pods with the label `hooks: specified`, in their second container.
fn backup_spec(move_data: bool, pre: &str, timeout: &str) -> Value {
    let exec = |line: &str, timeout: &str| json!([{"exec": {"container": "side", "command": ["/bin/sh", "-c", line], "onError": "Fail", "timeout": timeout}}]);
    json!({
        "includedNamespaces": [SHOP], "snapshotMoveData": move_data, "snapshotVolumes": move_data,
        "storageLocation": "default", "ttl": "1h0m0s",
        "hooks": {"resources": [{
            "name": "ledger", "includedNamespaces": [SHOP], "labelSelector": {"matchLabels": {"hooks": "specified"}},
            "pre": exec(pre, timeout),
            "post": exec("echo thawed > /data/state; echo post >> /data/log", "30s"),
        }]},
    })
}

fn restore_spec(cluster: &Cluster, backup: &str) -> Value {
    let init = json!({
        "name": "by-spec", "image": cluster.facts().application_image, "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", "cp /data/state /data/seen-by-init"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    });
    let exec = json!({
        "container": "side", "command": ["/bin/sh", "-c", "echo restored >> /data/log"], "onError": "Fail",
        "waitForReady": true, "waitTimeout": "2m0s", "execTimeout": "30s",
    });
    json!({
        "backupName": backup,
        "hooks": {"resources": [{
            "name": "ledger", "includedNamespaces": [SHOP], "labelSelector": {"matchLabels": {"hooks": "specified"}},
            "postHooks": [{"init": {"initContainers": [init]}}, {"exec": exec}],
        }]},
    })
}

fn objects(cluster: &Cluster) -> Value {
    let facts = cluster.facts();
    let claim = |name: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": SHOP},
               "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": facts.storage_class,
                        "resources": {"requests": {"storage": "64Mi"}}}})
    };
    let container = |name: &str| {
        json!({"name": name, "image": facts.application_image, "imagePullPolicy": "IfNotPresent",
               "command": ["/bin/sh", "-c", "sleep 2147483647"],
               "volumeMounts": [{"name": "data", "mountPath": "/data"}]})
    };
    let pod = |name: &str, containers: Value, annotations: Value| {
        json!({"apiVersion": "v1", "kind": "Pod",
               "metadata": {"name": name, "namespace": SHOP, "labels": {"hooks": name}, "annotations": annotations},
               "spec": {"terminationGracePeriodSeconds": 0, "containers": containers,
                        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": name}}]}})
    };
    let annotations = json!({
        "pre.hook.backup.velero.io/container": "main",
        "pre.hook.backup.velero.io/command": shell("echo frozen > /data/state; echo pre >> /data/log"),
        "post.hook.backup.velero.io/command": shell("echo thawed > /data/state; echo post >> /data/log"),
        "init.hook.restore.velero.io/container-name": "by-annotation",
        "init.hook.restore.velero.io/container-image": facts.application_image,
        "init.hook.restore.velero.io/command": shell("true"),
        "post.hook.restore.velero.io/container": "main",
        "post.hook.restore.velero.io/command": shell("echo restored >> /data/log"),
        "post.hook.restore.velero.io/wait-for-ready": "true",
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}},
        claim("annotated"),
        claim("specified"),
        pod("annotated", json!([container("main")]), annotations),
        pod("specified", json!([container("main"), container("side")]), json!({})),
    ]})
}
