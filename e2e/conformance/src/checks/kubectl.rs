//! The real kubectl, as people use it: `get`, `describe`, `apply`, `create -f`, `edit`, `patch`, `label`, `delete`, `logs`,
//! `exec`, `wait`, `rollout`, `scale`, `diff`, `api-resources` and `explain`.
//!
//! Left out are those that send Protobuf (`create configmap`, `auth can-i`), a format that the sandbox does not read: it
//! answers them with 415, as Kubernetes does for custom kinds.

use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{STAY, config_map, deployment, pod, topic};
use crate::World;
use crate::ask::patch;
use crate::expect::{equal, eventually, holds};
use crate::widgets::widget;

topic![
    [Kubectl] get_prints_tables_and_what_is_asked_for,
    [Kubectl] get_says_what_it_does_not_find,
    [Kubectl] apply_creates_then_configures_then_leaves_alone,
    [Kubectl] apply_on_the_server_tells_conflicts,
    [Kubectl] apply_refuses_unknown_fields,
    [Kubectl] create_says_what_exists_and_what_is_invalid,
    [Kubectl] describe_tells_all_of_an_object_and_its_events,
    [Kubectl] edit_writes_what_the_editor_left,
    [Kubectl] patch_label_and_annotate_change_an_object,
    [Kubectl] delete_waits_for_the_end,
    [Kubectl] wait_ends_with_the_condition_or_the_deletion,
    [Kubectl] api_resources_lists_every_kind,
    [Kubectl] explain_describes_fields,
    [Kubectl] diff_shows_what_would_change,
    [Kubectl] get_watches_rows,
    [Kubectl, Nodes] logs_and_exec_reach_a_pod,
    [Kubectl, Nodes] rollout_and_scale_follow_a_deployment,
    [Kubectl, Nodes] get_all_lists_what_is_of_that_category,
];

/// What kubectl said, and whether it succeeded.
struct Said {
    ok: bool,
    out: String,
    errors: String,
}

impl Said {
    fn ok(self) -> Result<String> {
        ensure!(self.ok, "kubectl failed: {}{}", self.out, self.errors);
        Ok(self.out)
    }

    fn failed(self) -> Result<String> {
        ensure!(!self.ok, "kubectl should have failed, said: {}", self.out);
        Ok(self.errors)
    }
}

/// Runs kubectl in the check's namespace, with this on its standard input.
async fn kubectl_reading(world: &World, arguments: &[&str], input: &str) -> Result<Said> {
    let home = tempfile::tempdir()?;
    let mut child = Command::new("kubectl")
        .args(["--namespace", &world.namespace])
        .args(arguments)
        .env("KUBECONFIG", world.kubeconfig.clone().unwrap_or_default())
        .env("HOME", home.path())
        // An editor for `edit`: replaces one word.
        .env("EDITOR", "sed -i s/before/after/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run kubectl")?;
    let mut stdin = child.stdin.take().context("kubectl has no input")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said {
        ok: output.status.success(),
        out: text(&output.stdout),
        errors: text(&output.stderr),
    })
}

async fn kubectl(world: &World, arguments: &[&str]) -> Result<Said> {
    kubectl_reading(world, arguments, "").await
}

/// A table's line as words.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn has(text: &str, pieces: &[&str]) -> Result<()> {
    for piece in pieces {
        ensure!(
            text.contains(piece),
            "{piece:?} is not in what kubectl said:\n{text}"
        );
    }
    Ok(())
}

async fn get_prints_tables_and_what_is_asked_for(world: World) -> Result<()> {
    world
        .made(
            &world.widgets(""),
            &widget("w", json!({"size": 3, "replicas": 4})),
        )
        .await?;
    let table = eventually("the widgets", || async {
        let said = kubectl(&world, &["get", "wid"]).await?;
        Ok(if said.ok { Ok(said.out) } else { Err(said.errors) })
    })
    .await?;
    let lines: Vec<&str> = table.lines().collect();
    equal(words(lines[0]), vec!["NAME", "SIZE", "PHASE", "AGE"])?;
    equal(&words(lines[1])[..2], &["w", "3"])?;
    let wide = kubectl(&world, &["get", "widgets/w", "-o", "wide", "--show-labels"])
        .await?
        .ok()?;
    has(&wide, &["COLOR", "red", "LABELS", "<none>"])?;
    let replicas = kubectl(&world, &["get", "widget", "w", "-o", "jsonpath={.spec.replicas}"])
        .await?
        .ok()?;
    equal(replicas.as_str(), "4")?;
    let names = kubectl(&world, &["get", "wid,sa", "-o", "name"]).await?.ok()?;
    equal(
        names.as_str(),
        "widget.conformance.caravel.dev/w\nserviceaccount/default\n",
    )?;
    let yaml = kubectl(
        &world,
        &[
            "get",
            "widgets.v1beta1.conformance.caravel.dev",
            "w",
            "-o",
            "yaml",
        ],
    )
    .await?
    .ok()?;
    has(
        &yaml,
        &["apiVersion: conformance.caravel.dev/v1beta1\n", "  size: 3\n"],
    )?;
    let columns = kubectl(
        &world,
        &[
            "get",
            "wid",
            "-A",
            "--field-selector",
            &format!("metadata.namespace={}", world.namespace),
            "-o",
            "custom-columns=N:.metadata.name,S:.spec.size",
            "--no-headers",
        ],
    )
    .await?
    .ok()?;
    equal(words(&columns), vec!["w", "3"])
}

async fn get_says_what_it_does_not_find(world: World) -> Result<()> {
    let said = kubectl(&world, &["get", "configmap", "nothing"])
        .await?
        .failed()?;
    equal(
        said.as_str(),
        "Error from server (NotFound): configmaps \"nothing\" not found\n",
    )?;
    let said = kubectl(&world, &["get", "nonsense"]).await?.failed()?;
    equal(
        said.as_str(),
        "error: the server doesn't have a resource type \"nonsense\"\n",
    )?;
    let said = kubectl(&world, &["get", "secrets"]).await?;
    equal(
        said.errors.as_str(),
        &format!("No resources found in {} namespace.\n", world.namespace),
    )
}

async fn apply_creates_then_configures_then_leaves_alone(world: World) -> Result<()> {
    let apply = |object: serde_json::Value| {
        let world = world.clone();
        async move {
            kubectl_reading(&world, &["apply", "-f", "-"], &object.to_string())
                .await?
                .ok()
        }
    };
    let mut object = deployment("d", 0, "one", &STAY);
    equal(
        apply(object.clone()).await?.as_str(),
        "deployment.apps/d created\n",
    )?;
    equal(
        apply(object.clone()).await?.as_str(),
        "deployment.apps/d unchanged\n",
    )?;
    object["spec"]["template"]["spec"]["containers"][0]["image"] = "two".into();
    equal(apply(object).await?.as_str(), "deployment.apps/d configured\n")?;
    holds(
        &world.read(&world.path("apps/v1", "deployments/d")).await?,
        &json!({"spec": {"template": {"spec": {"containers": [{"image": "two", "name": "main"}]}}}}),
    )?;
    let apply_widget = |spec| apply(widget("w", spec));
    equal(
        apply_widget(json!({"size": 1, "code": "a"})).await?.as_str(),
        "widget.conformance.caravel.dev/w created\n",
    )?;
    equal(
        apply_widget(json!({"size": 2})).await?.as_str(),
        "widget.conformance.caravel.dev/w configured\n",
    )?;
    holds(
        &world.read(&world.widgets("/w")).await?,
        &json!({"spec": {"size": 2, "code": null}}),
    )
}

async fn apply_on_the_server_tells_conflicts(world: World) -> Result<()> {
    let object = |value: &str| config_map("a", json!({"k": value})).to_string();
    let flags = ["apply", "--server-side", "-f", "-"];
    let said = kubectl_reading(&world, &flags, &object("v")).await?.ok()?;
    equal(said.as_str(), "configmap/a serverside-applied\n")?;
    let other = [&flags[..], &["--field-manager", "other"]].concat();
    let said = kubectl_reading(&world, &other, &object("w")).await?.failed()?;
    has(
        &said,
        &[
            "Apply failed with 1 conflict: conflict with \"kubectl\": .data.k",
            "--force-conflicts",
        ],
    )?;
    let forced = [&other[..], &["--force-conflicts"]].concat();
    kubectl_reading(&world, &forced, &object("w")).await?.ok()?;
    holds(
        &world.read(&world.path("v1", "configmaps/a")).await?,
        &json!({"data": {"k": "w"}}),
    )
}

async fn apply_refuses_unknown_fields(world: World) -> Result<()> {
    let mut object = deployment("d", 0, "one", &STAY);
    object["spec"]["template"]["spec"]["contaners"] = json!([]);
    let said = kubectl_reading(&world, &["apply", "-f", "-"], &object.to_string())
        .await?
        .failed()?;
    has(
        &said,
        &["strict decoding error: unknown field \"spec.template.spec.contaners\""],
    )?;
    let said = kubectl_reading(
        &world,
        &["apply", "-f", "-"],
        &widget("w", json!({"size": 1, "sise": 2})).to_string(),
    )
    .await?
    .failed()?;
    has(&said, &["strict decoding error: unknown field \"spec.sise\""])
}

async fn create_says_what_exists_and_what_is_invalid(world: World) -> Result<()> {
    let object = config_map("a", json!({"k": "v"})).to_string();
    let create = ["create", "-f", "-"];
    equal(
        kubectl_reading(&world, &create, &object).await?.ok()?.as_str(),
        "configmap/a created\n",
    )?;
    let said = kubectl_reading(&world, &create, &object).await?.failed()?;
    equal(
        said.as_str(),
        "Error from server (AlreadyExists): error when creating \"STDIN\": configmaps \"a\" already exists\n",
    )?;
    let said = kubectl_reading(
        &world,
        &["create", "-f", "-"],
        &widget("w", json!({"size": 99})).to_string(),
    )
    .await?
    .failed()?;
    equal(
        said.as_str(),
        "The Widget \"w\" is invalid: spec.size: Invalid value: 99: spec.size in body should be less than or equal to 10\n",
    )
}

async fn describe_tells_all_of_an_object_and_its_events(world: World) -> Result<()> {
    let path = world.path("v1", "pods");
    let mut object = pod("p", "image", &STAY);
    object["spec"]["nodeSelector"] = json!({"caravel.dev/no": "such-node"});
    let made = world.made(&path, &object).await?;
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "p.1"}, "type": "Warning", "reason": "Tried",
        "message": "It was tried", "count": 1, "source": {"component": "conformance"},
        "firstTimestamp": made["metadata"]["creationTimestamp"], "lastTimestamp": made["metadata"]["creationTimestamp"],
        "involvedObject": {"kind": "Pod", "apiVersion": "v1", "name": "p", "namespace": world.namespace, "uid": made["metadata"]["uid"]},
    });
    world.made(&world.path("v1", "events"), &event).await?;
    let said = kubectl(&world, &["describe", "pod", "p"]).await?.ok()?;
    has(
        &said,
        &[
            "Name:             p\n",
            "Node-Selectors:",
            "caravel.dev/no=such-node",
            "Image:",
            "Tried",
            "It was tried",
        ],
    )?;
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 3})))
        .await?;
    let said = kubectl(&world, &["describe", "widgets", "w"]).await?.ok()?;
    has(
        &said,
        &[
            "API Version:  conformance.caravel.dev/v1\n",
            "Kind:         Widget\n",
            "  Size:      3\n",
            "Events:",
        ],
    )?;
    let claim = super::volumes::claim("c", "none");
    world
        .made(&world.path("v1", "persistentvolumeclaims"), &claim)
        .await?;
    let said = kubectl(&world, &["describe", "pvc", "c"]).await?.ok()?;
    has(
        &said,
        &["StorageClass:  none\n", "Status:        Pending\n", "Used By:"],
    )
}

async fn edit_writes_what_the_editor_left(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world
        .made(&path, &config_map("a", json!({"k": "before"})))
        .await?;
    let said = kubectl(&world, &["edit", "configmap", "a"]).await?.ok()?;
    equal(said.as_str(), "configmap/a edited\n")?;
    holds(
        &world.read(&format!("{path}/a")).await?,
        &json!({"data": {"k": "after"}}),
    )?;
    let said = kubectl(&world, &["edit", "configmap", "a"]).await?;
    has(
        &format!("{}{}", said.out, said.errors),
        &["Edit cancelled, no changes made."],
    )?;
    world
        .made(
            &world.widgets(""),
            &widget("w", json!({"size": 3, "code": "x", "steps": ["before"]})),
        )
        .await?;
    let said = kubectl(&world, &["edit", "widget", "w"]).await?.ok()?;
    equal(said.as_str(), "widget.conformance.caravel.dev/w edited\n")?;
    holds(
        &world.read(&world.widgets("/w")).await?,
        &json!({"spec": {"steps": ["after"], "size": 3}}),
    )
}

async fn patch_label_and_annotate_change_an_object(world: World) -> Result<()> {
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 3})))
        .await?;
    let said = kubectl(
        &world,
        &[
            "patch",
            "widget",
            "w",
            "--type=merge",
            "-p",
            r#"{"spec":{"size":4}}"#,
        ],
    )
    .await?
    .ok()?;
    equal(said.as_str(), "widget.conformance.caravel.dev/w patched\n")?;
    kubectl(
        &world,
        &[
            "patch",
            "widget",
            "w",
            "--type=json",
            "-p",
            r#"[{"op":"add","path":"/spec/code","value":"x"}]"#,
        ],
    )
    .await?
    .ok()?;
    let said = kubectl(
        &world,
        &[
            "patch",
            "widget",
            "w",
            "--type=merge",
            "--subresource=status",
            "-p",
            r#"{"status":{"phase":"Done"}}"#,
        ],
    )
    .await?
    .ok()?;
    equal(said.as_str(), "widget.conformance.caravel.dev/w patched\n")?;
    kubectl(&world, &["label", "widget", "w", "a=b"]).await?.ok()?;
    kubectl(&world, &["annotate", "widget", "w", "c=d"]).await?.ok()?;
    holds(
        &world.read(&world.widgets("/w")).await?,
        &json!({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": {"size": 4, "code": "x"}, "status": {"phase": "Done"}}),
    )?;
    let said = kubectl(&world, &["label", "widget", "w", "a=c"])
        .await?
        .failed()?;
    has(&said, &["'a' already has a value (b), and --overwrite is false"])?;
    kubectl(&world, &["label", "widget", "w", "a-"]).await?.ok()?;
    holds(
        &world.read(&world.widgets("/w")).await?,
        &json!({"metadata": {"labels": null}}),
    )
}

async fn delete_waits_for_the_end(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    let mut object = config_map("a", json!({}));
    object["metadata"]["finalizers"] = json!(["caravel.dev/hold"]);
    world.made(&path, &object).await?;
    let said = kubectl(&world, &["delete", "configmap", "a", "--wait=false"])
        .await?
        .ok()?;
    has(&said, &["configmap \"a\" deleted"])?;
    let releasing = async {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let change = json!({"metadata": {"finalizers": null}});
        world
            .patch(patch::MERGE, &format!("{path}/a"), &change)
            .await?
            .ok()
    };
    let (said, released) = tokio::join!(
        kubectl(&world, &["delete", "configmap/a", "--timeout=30s"]),
        releasing
    );
    released?;
    has(&said?.ok()?, &["configmap \"a\" deleted"])?;
    equal(world.get(&format!("{path}/a")).await?.code, 404)?;
    for name in ["b", "c"] {
        let mut object = config_map(name, json!({}));
        object["metadata"]["labels"] = json!({"app": "x"});
        world.made(&path, &object).await?;
    }
    let said = kubectl(&world, &["delete", "configmaps", "-l", "app=x"])
        .await?
        .ok()?;
    equal(said.lines().count(), 2)?;
    let said = kubectl(&world, &["delete", "configmap", "b"]).await?.failed()?;
    equal(
        said.as_str(),
        "Error from server (NotFound): configmaps \"b\" not found\n",
    )
}

async fn wait_ends_with_the_condition_or_the_deletion(world: World) -> Result<()> {
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 3})))
        .await?;
    let later = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let change =
            json!({"status": {"phase": "Done", "conditions": [{"type": "Ready", "status": "True"}]}});
        world
            .patch(patch::MERGE, &world.widgets("/w/status"), &change)
            .await?
            .ok()
    };
    let wait = ["wait", "widget/w", "--for=condition=Ready", "--timeout=30s"];
    let (said, changed) = tokio::join!(kubectl(&world, &wait), later);
    changed?;
    equal(
        said?.ok()?.as_str(),
        "widget.conformance.caravel.dev/w condition met\n",
    )?;
    kubectl(
        &world,
        &[
            "wait",
            "widget/w",
            "--for=jsonpath={.status.phase}=Done",
            "--timeout=30s",
        ],
    )
    .await?
    .ok()?;
    let later = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        world.delete(&world.widgets("/w")).await?.ok()
    };
    let wait = ["wait", "widget/w", "--for=delete", "--timeout=30s"];
    let (said, deleted) = tokio::join!(kubectl(&world, &wait), later);
    deleted?;
    said?.ok()?;
    world
        .made(&world.widgets(""), &widget("v", json!({"size": 3})))
        .await?;
    let said = kubectl(
        &world,
        &["wait", "widget/v", "--for=condition=Ready", "--timeout=1s"],
    )
    .await?
    .failed()?;
    equal(
        said.as_str(),
        "error: timed out waiting for the condition on widgets/v\n",
    )
}

async fn api_resources_lists_every_kind(world: World) -> Result<()> {
    let table = eventually("widgets among the resources", || async {
        let table = kubectl(&world, &["api-resources", "-o", "wide"]).await?.ok()?;
        Ok(if table.contains("conformance.caravel.dev") {
            Ok(table)
        } else {
            Err(table)
        })
    })
    .await?;
    let row = |name: &str| {
        table
            .lines()
            .map(words)
            .find(|row| row.first() == Some(&name))
            .unwrap_or_default()
    };
    equal(
        &row("configmaps")[..5],
        &["configmaps", "cm", "v1", "true", "ConfigMap"],
    )?;
    equal(
        &row("persistentvolumeclaims")[..2],
        &["persistentvolumeclaims", "pvc"],
    )?;
    equal(
        row("widgets"),
        vec![
            "widgets",
            "wid",
            "conformance.caravel.dev/v1",
            "true",
            "Widget",
            "delete,deletecollection,get,list,patch,create,update,watch",
            "conformance",
        ],
    )?;
    let names = kubectl(&world, &["api-resources", "--api-group=apps", "-o", "name"])
        .await?
        .ok()?;
    has(
        &names,
        &[
            "deployments.apps\n",
            "statefulsets.apps\n",
            "daemonsets.apps\n",
            "replicasets.apps\n",
        ],
    )?;
    let versions = kubectl(&world, &["api-versions"]).await?.ok()?;
    has(
        &versions,
        &["apps/v1\n", "conformance.caravel.dev/v1beta1\n", "\nv1\n"],
    )
}

async fn explain_describes_fields(world: World) -> Result<()> {
    let said = eventually("the description of widgets", || async {
        let said = kubectl(&world, &["explain", "widget.spec"]).await?;
        Ok(if said.ok { Ok(said.out) } else { Err(said.errors) })
    })
    .await?;
    has(
        &said,
        &[
            "KIND:       Widget\n",
            "VERSION:    v1\n",
            "size\t<integer> -required-\n",
            "How large the widget is.",
        ],
    )?;
    let said = kubectl(&world, &["explain", "widget.spec.color"]).await?.ok()?;
    has(&said, &["FIELD: color <string>", "ENUM:", "red", "green"])?;
    let said = kubectl(
        &world,
        &["explain", "deployment.spec.template.spec.containers.image"],
    )
    .await?
    .ok()?;
    has(
        &said,
        &[
            "GROUP:      apps\n",
            "KIND:       Deployment\n",
            "FIELD: image <string>",
            "Container image name",
        ],
    )?;
    let said = kubectl(&world, &["explain", "pod.spec.nonsense"])
        .await?
        .failed()?;
    equal(said.as_str(), "error: field \"nonsense\" does not exist\n")
}

async fn diff_shows_what_would_change(world: World) -> Result<()> {
    let path = world.path("v1", "configmaps");
    world.made(&path, &config_map("a", json!({"k": "v"}))).await?;
    let said = kubectl_reading(
        &world,
        &["diff", "-f", "-"],
        &config_map("a", json!({"k": "w"})).to_string(),
    )
    .await?;
    ensure!(!said.ok, "diff ends with 1 when there is a difference");
    has(&said.out, &["-  k: v\n", "+  k: w\n"])?;
    holds(
        &world.read(&format!("{path}/a")).await?,
        &json!({"data": {"k": "v"}}),
    )
}

async fn get_watches_rows(world: World) -> Result<()> {
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 3})))
        .await?;
    let later = async {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let change = json!({"status": {"phase": "Done"}});
        world
            .patch(patch::MERGE, &world.widgets("/w/status"), &change)
            .await?
            .ok()?;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        world.delete(&world.widgets("/w")).await?.ok()
    };
    let watch = [
        "get",
        "widgets",
        "-w",
        "--output-watch-events",
        "--request-timeout=5s",
    ];
    let (said, changed) = tokio::join!(kubectl(&world, &watch), later);
    changed?;
    let out = said?.out;
    let rows: Vec<Vec<&str>> = out.lines().map(words).collect();
    let Some(rest) = rows.get(1..4) else {
        bail!("too few rows:\n{out}");
    };
    equal(&rows[0][..3], &["EVENT", "NAME", "SIZE"])?;
    equal(&rest[0][..3], &["ADDED", "w", "3"])?;
    equal(&rest[1][..4], &["MODIFIED", "w", "3", "Done"])?;
    equal(&rest[2][..2], &["DELETED", "w"])
}

async fn logs_and_exec_reach_a_pod(world: World) -> Result<()> {
    let object = pod("p", &world.image, &["/bin/sh", "-c", "echo hello; sleep 3600"]);
    world.made(&world.path("v1", "pods"), &object).await?;
    kubectl(
        &world,
        &["wait", "pod/p", "--for=condition=Ready", "--timeout=60s"],
    )
    .await?
    .ok()?;
    equal(kubectl(&world, &["logs", "p"]).await?.ok()?.as_str(), "hello\n")?;
    equal(
        kubectl(&world, &["logs", "pod/p", "-c", "main", "--tail=1"])
            .await?
            .ok()?
            .as_str(),
        "hello\n",
    )?;
    let said = kubectl(&world, &["exec", "p", "--", "/bin/sh", "-c", "echo inside"])
        .await?
        .ok()?;
    equal(said.as_str(), "inside\n")?;
    let said = kubectl_reading(&world, &["exec", "-i", "p", "--", "cat"], "through\n")
        .await?
        .ok()?;
    equal(said.as_str(), "through\n")?;
    let said = kubectl(&world, &["exec", "p", "--", "/bin/sh", "-c", "exit 7"])
        .await?
        .failed()?;
    has(&said, &["command terminated with exit code 7"])?;
    let said = kubectl(&world, &["logs", "p", "-c", "other"]).await?.failed()?;
    equal(said.as_str(), "error: container other is not valid for pod p\n")?;
    let table = kubectl(&world, &["get", "pod", "p"]).await?.ok()?;
    let row: Vec<&str> = table.lines().nth(1).map(words).unwrap_or_default();
    equal(&row[..4], &["p", "1/1", "Running", "0"])?;
    let said = kubectl(&world, &["describe", "pod", "p"]).await?.ok()?;
    has(&said, &["Status:", "Running", "Scheduled", "Started"])?;
    kubectl(&world, &["delete", "pod", "p", "--timeout=60s"])
        .await?
        .ok()?;
    Ok(())
}

async fn rollout_and_scale_follow_a_deployment(world: World) -> Result<()> {
    let object = deployment("d", 1, &world.image, &STAY);
    kubectl_reading(&world, &["apply", "-f", "-"], &object.to_string())
        .await?
        .ok()?;
    let said = kubectl(&world, &["rollout", "status", "deployment/d", "--timeout=60s"])
        .await?
        .ok()?;
    has(&said, &["deployment \"d\" successfully rolled out"])?;
    let said = kubectl(&world, &["scale", "deployment/d", "--replicas=2"])
        .await?
        .ok()?;
    equal(said.as_str(), "deployment.apps/d scaled\n")?;
    kubectl(&world, &["rollout", "status", "deployment/d", "--timeout=60s"])
        .await?
        .ok()?;
    kubectl(&world, &["rollout", "restart", "deployment/d"])
        .await?
        .ok()?;
    kubectl(&world, &["rollout", "status", "deployment/d", "--timeout=60s"])
        .await?
        .ok()?;
    let table = kubectl(&world, &["get", "deploy", "d", "--no-headers"])
        .await?
        .ok()?;
    equal(&words(&table)[..4], &["d", "2/2", "2", "2"])?;
    let said = kubectl(&world, &["logs", "deployment/d", "--tail=1"]).await?;
    ensure!(said.ok, "{}", said.errors);
    Ok(())
}

async fn get_all_lists_what_is_of_that_category(world: World) -> Result<()> {
    let path = world.path("apps/v1", "deployments");
    world
        .made(&path, &deployment("d", 1, &world.image, &STAY))
        .await?;
    kubectl(
        &world,
        &[
            "wait",
            "deployment/d",
            "--for=condition=Available",
            "--timeout=60s",
        ],
    )
    .await?
    .ok()?;
    let names = kubectl(&world, &["get", "all", "-o", "name"]).await?.ok()?;
    has(&names, &["pod/d-", "deployment.apps/d\n", "replicaset.apps/d-"])?;
    world
        .made(&world.widgets(""), &widget("w", json!({"size": 3})))
        .await?;
    let names = kubectl(&world, &["get", "conformance", "-o", "name"])
        .await?
        .ok()?;
    equal(names.as_str(), "widget.conformance.caravel.dev/w\n")
}
