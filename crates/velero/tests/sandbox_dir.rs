//! `velero sandbox --dir`, with the built binary: what is there again after it was killed, and after an orderly end.

#![cfg(feature = "sandbox")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, ApiResource, AttachParams, DeleteParams, DynamicObject, LogParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

/// Nothing here takes this long with an unoptimised build, unless it never happens.
const SOON: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

fn velero() -> Command {
    let mut velero = Command::new(env!("CARGO_BIN_EXE_velero"));
    velero
        // The sandbox reads none of these; nothing listens at port 9.
        .env("KUBECONFIG", "/no/such/kubeconfig")
        .env("VELERO_NAMESPACE", "elsewhere")
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .env("ALL_PROXY", "http://127.0.0.1:9")
        .env("http_proxy", "http://127.0.0.1:9")
        .env("AWS_ACCESS_KEY_ID", "somebody")
        .env("AWS_SECRET_ACCESS_KEY", "else")
        .env("AWS_ROLE_ARN", "arn:aws:iam::1:role/other");
    velero
}

/// A sandbox that stays up; killed when it is dropped.
struct Standing {
    process: Child,
    kubeconfig: PathBuf,
}

impl Standing {
    /// Returns when it says that it is ready.
    fn start(dir: &Path) -> Self {
        let mut process = velero()
            .args(["sandbox", "--pages", "30", "--dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let said = BufReader::new(process.stdout.take().expect("it is piped"));
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            let lines: Vec<String> = said
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.starts_with("Ctrl-C"))
                .collect();
            let _ = ready.send(lines);
        });
        let lines = is_ready.recv_timeout(SOON).expect("it is ready in time");
        let kubeconfig = lines
            .iter()
            .find_map(|line| line.strip_prefix("export KUBECONFIG="));
        Self {
            process,
            kubeconfig: kubeconfig.expect("it says where its kubeconfig is").into(),
        }
    }

    fn kill(mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it has ended");
    }

    /// As Ctrl-C and `kill` do.
    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        assert!(self.process.wait().expect("it has ended").success());
    }

    async fn client(&self) -> Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let file = Kubeconfig::read_from(&self.kubeconfig).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        Client::try_from(config.expect("a server")).expect("a client")
    }

    fn velero(&self, line: &str) -> String {
        let output = velero()
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["--namespace", "velero"])
            .args(line.split(' '))
            .output()
            .expect("the binary starts");
        let told = told(&output);
        assert!(output.status.success(), "velero {line}: {told}");
        told
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        // One that has ended already is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Waits until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let so = async {
        while !is_so().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    assert!(tokio::time::timeout(SOON, so).await.is_ok(), "{what}: never");
}

/// A database of two pods, each with a volume of its own.
fn database() -> [Value; 2] {
    [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "shop"},
            "spec": {
                "replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
                "template": {
                    "metadata": {"labels": {"app": "db"}},
                    "spec": {
                        "terminationGracePeriodSeconds": 2,
                        "containers": [{
                            "name": "database", "image": "caravel/shop",
                            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                        }],
                    },
                },
                "volumeClaimTemplates": [{
                    "metadata": {"name": "data"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}},
                }],
            },
        }),
    ]
}

async fn create(client: &Client, object: Value) {
    let object: DynamicObject = serde_json::from_value(object).expect("an object");
    let types = object.types.clone().expect("its kind");
    let (group, version) = types
        .api_version
        .split_once('/')
        .unwrap_or(("", &types.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
    let api: Api<DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    api.create(&PostParams::default(), &object)
        .await
        .expect("it is created");
}

/// Waits until a database has said this.
async fn says(client: &Client, pod: &str, wanted: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "shop");
    until(&format!("pod {pod} says {wanted:?}"), async || {
        let log = pods.logs(pod, &LogParams::default()).await;
        log.is_ok_and(|log| log.contains(wanted))
    })
    .await;
}

async fn sell(client: &Client, pod: &str) -> String {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "shop");
    let how = AttachParams::default().stderr(false);
    let attached = pods.exec(pod, ["shop", "sell", "3"], &how).await;
    let mut attached = attached.expect("exec");
    let mut said = String::new();
    let mut out = attached.stdout().expect("its output");
    out.read_to_string(&mut said).await.expect("text");
    said
}

/// The phase of a backup that the file has.
fn saved_phase(dir: &Path, backup: &str) -> Option<String> {
    let state: Value =
        serde_json::from_slice(&std::fs::read(dir.join("cluster.json")).ok()?).expect("it is whole");
    let objects = state["cluster"]["objects"].as_array()?.clone();
    let found = objects
        .iter()
        .find(|it| it["plural"] == "backups" && it["object"]["metadata"]["name"] == backup)?;
    found["object"]["status"]["phase"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sandbox_comes_back_with_its_objects_volumes_and_backups() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("box");
    let first = Standing::start(&dir);
    let client = first.client().await;
    for object in database() {
        create(&client, object).await;
    }
    for pod in ["db-0", "db-1"] {
        says(&client, pod, "filled the volume").await;
    }
    let sold = sell(&client, "db-0").await;
    assert!(sold.contains("generation 2"), "{sold}");
    let backup = "backup create b1 --include-namespaces shop --snapshot-move-data --wait";
    let told = first.velero(backup);
    assert!(told.contains("status: Completed"), "{told}");
    until("the backup is in the file", async || {
        saved_phase(&dir, "b1").as_deref() == Some("Completed")
    })
    .await;
    // In the middle of another one.
    first.velero("backup create b2 --include-namespaces shop --snapshot-move-data");
    first.kill();

    let second = Standing::start(&dir);
    let client = second.client().await;
    says(&client, "db-0", "opened generation 2").await;
    says(&client, "db-1", "opened generation 1").await;
    let told = second.velero("backup get b1");
    assert!(told.contains("Completed"), "{told}");
    is_refused_while_it_runs(&dir);
    restore_what_is_lost(&second, &client).await;
    second.stop();

    let third = Standing::start(&dir);
    let client = third.client().await;
    says(&client, "db-0", "opened generation 2").await;
    let told = third.velero("restore get");
    assert!(told.contains("r1") && told.contains("Completed"), "{told}");
    third.stop();
}

/// The backup was made before the sandbox was killed.
async fn restore_what_is_lost(sandbox: &Standing, client: &Client) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .delete("shop", &DeleteParams::default())
        .await
        .expect("it is deleted");
    until("the namespace is gone", async || {
        matches!(namespaces.get_opt("shop").await, Ok(None))
    })
    .await;
    let told = sandbox.velero("restore create r1 --from-backup b1 --wait");
    assert!(told.contains("status: Completed"), "{told}");
    says(client, "db-0", "opened generation 2").await;
    says(client, "db-1", "opened generation 1").await;
}

fn is_refused_while_it_runs(dir: &Path) {
    let output = velero()
        .args(["sandbox", "--dir"])
        .arg(dir)
        .output()
        .expect("velero is started");
    assert_eq!(output.status.code(), Some(1));
    let told = told(&output);
    assert!(told.contains("another sandbox runs in"), "{told}");
}

#[test]
fn a_state_of_a_newer_version_is_refused_and_nothing_is_changed() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("box");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join(".velero-sandbox"), "").unwrap();
    let state = r#"{"form": 2, "cluster": {}}"#;
    std::fs::write(dir.join("cluster.json"), state).unwrap();
    let output = velero().args(["sandbox", "--dir"]).arg(&dir).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = told(&output);
    assert!(
        told.contains("a newer velero wrote it") && told.contains("nothing was changed"),
        "{told}"
    );
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2);
    assert_eq!(std::fs::read_to_string(dir.join("cluster.json")).unwrap(), state);
}
