//! One pod: scheduled, started, read, ended.

use futures::{AsyncReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod, Secret, ServiceAccount};
use kube::ResourceExt;
use kube::api::{Api, AttachParams, DeleteParams, LogParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{World, container, phase, pod, waiting};

#[tokio::test]
async fn a_pod_runs_and_its_log_can_be_read() {
    let world = World::start().await;
    world
        .run("web", &["print hello", "print again", "sleep"], json!({}))
        .await;
    let pod = world.until_phase("web", "Running").await;
    let status = pod.status.clone().unwrap();
    assert_eq!(pod.spec.as_ref().unwrap().node_name.as_deref(), Some("sandbox-0"));
    assert!(status.pod_ip.is_some() && status.start_time.is_some());
    let ready = status
        .conditions
        .unwrap()
        .into_iter()
        .find(|it| it.type_ == "Ready")
        .unwrap();
    assert_eq!(ready.status, "True");
    assert!(container(&pod).ready && container(&pod).container_id.is_some());
    let pods = world.of::<Pod>();
    assert_eq!(
        pods.logs("web", &LogParams::default()).await.unwrap(),
        "hello\nagain\n"
    );
    let last = LogParams {
        tail_lines: Some(1),
        ..LogParams::default()
    };
    assert_eq!(pods.logs("web", &last).await.unwrap(), "again\n");
    let events = world.events("web").await;
    assert!(
        events.contains(&"Scheduled: Successfully assigned default/web to sandbox-0".to_owned()),
        "{events:?}"
    );
    assert!(
        events.contains(&"Started: Started container c".to_owned()),
        "{events:?}"
    );
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_log_can_be_followed_to_its_end() {
    let world = World::start().await;
    world
        .run("web", &["print hello", "sleep", "print bye"], json!({}))
        .await;
    world.until_phase("web", "Running").await;
    let pods = world.of::<Pod>();
    let follow = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let mut stream = pods.log_stream("web", &follow).await.unwrap();
    let mut begin = [0; 6];
    stream.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"hello\n");
    pods.delete("web", &DeleteParams::default()).await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "bye\n");
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn the_end_of_a_pod_says_its_code_and_its_last_words() {
    let world = World::start().await;
    world.run("good", &["last all well", "exit 0"], json!({})).await;
    world.run("bad", &["last too bad", "exit 3"], json!({})).await;
    let good = world.until_phase("good", "Succeeded").await;
    let ended = container(&good).state.unwrap().terminated.unwrap();
    assert_eq!((ended.exit_code, ended.message.as_deref()), (0, Some("all well")));
    assert_eq!(ended.reason.as_deref(), Some("Completed"));
    let bad = world.until_phase("bad", "Failed").await;
    let ended = container(&bad).state.unwrap().terminated.unwrap();
    assert_eq!((ended.exit_code, ended.message.as_deref()), (3, Some("too bad")));
    assert_eq!(ended.reason.as_deref(), Some("Error"));
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_program_that_panics_fails_its_container_only() {
    let world = World::start().await;
    world.run("bad", &["panic"], json!({})).await;
    let bad = world.until_phase("bad", "Failed").await;
    assert_eq!(container(&bad).state.unwrap().terminated.unwrap().exit_code, 134);
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn init_containers_run_one_after_the_other_before_the_containers() {
    let world = World::start().await;
    let spec = json!({
        "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [
            {"name": "one", "image": "shell", "command": ["write /v/file first"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            {"name": "two", "image": "shell", "command": ["read /v/file"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
        ],
        "containers": [{"name": "c", "image": "shell", "command": ["read /v/file"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
    });
    world.run("web", &[], spec).await;
    let pod = world.until_phase("web", "Succeeded").await;
    assert_eq!(pod.status.unwrap().init_container_statuses.unwrap().len(), 2);
    for name in ["two", "c"] {
        let of = LogParams {
            container: Some(name.to_owned()),
            ..LogParams::default()
        };
        assert_eq!(world.of::<Pod>().logs("web", &of).await.unwrap(), "first\n");
    }
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn variables_and_files_come_from_secrets_config_maps_and_the_pod_itself() {
    let world = World::start().await;
    world
        .create::<Secret>(json!({"metadata": {"name": "s"}, "stringData": {"key": "secret value"}}))
        .await;
    let secret: Value = json!({"metadata": {"name": "m"}, "data": {"key": "map value"}});
    world
        .create::<k8s_openapi::api::core::v1::ConfigMap>(secret)
        .await;
    let spec = json!({
        "volumes": [
            {"name": "s", "secret": {"secretName": "s", "items": [{"key": "key", "path": "file"}]}},
            {"name": "all", "projected": {"sources": [
                {"configMap": {"name": "m"}},
                {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
            ]}},
        ],
        "containers": [{"name": "c", "image": "shell",
            "command": ["env NODE", "env KEY", "env BOTH", "read /s/file", "read /all/key", "read /all/ns", "print $(NODE)"],
            "env": [
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
                {"name": "BOTH", "value": "$(NODE)/$(KEY)"},
            ],
            "volumeMounts": [{"name": "s", "mountPath": "/s"}, {"name": "all", "mountPath": "/all"}],
        }],
    });
    world.run("web", &[], spec).await;
    world.until_phase("web", "Succeeded").await;
    let log = world
        .of::<Pod>()
        .logs("web", &LogParams::default())
        .await
        .unwrap();
    let expected =
        "sandbox-0\nsecret value\nsandbox-0/secret value\nsecret value\nmap value\ndefault\nsandbox-0\n";
    assert_eq!(log, expected);
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_pod_whose_image_nobody_holds_backs_off() {
    let world = World::start().await;
    let containers = |policy: &str| json!({"containers": [{"name": "c", "image": "nothing:1", "imagePullPolicy": policy}]});
    world.run("pull", &[], containers("Always")).await;
    world.run("never", &[], containers("Never")).await;
    let pods = world.of::<Pod>();
    let pull = world
        .until(&pods, "pull", |pod| waiting(pod) == "ImagePullBackOff")
        .await;
    assert_eq!(phase(&pull), "Pending");
    world
        .until(&pods, "never", |pod| waiting(pod) == "ErrImageNeverPull")
        .await;
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_pod_that_fits_no_node_says_so_until_one_fits() {
    let world = World::start().await;
    world
        .run("far", &["sleep"], json!({"nodeSelector": {"zone": "far"}}))
        .await;
    let pods = world.of::<Pod>();
    let condition = |pod: &Pod| {
        let conditions = pod
            .status
            .clone()
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        conditions.into_iter().find(|it| it.type_ == "PodScheduled")
    };
    let far = world.until(&pods, "far", |pod| condition(pod).is_some()).await;
    let said = condition(&far).unwrap();
    assert_eq!(
        (said.status.as_str(), said.reason.as_deref()),
        ("False", Some("Unschedulable"))
    );
    assert!(
        said.message
            .unwrap()
            .starts_with("0/1 nodes are available: 1 node(s) didn't match Pod's node")
    );
    let label = json!({"metadata": {"labels": {"zone": "far"}}});
    let nodes: Api<Node> = Api::all(world.client.clone());
    nodes
        .patch("sandbox-0", &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    world.until_phase("far", "Running").await;
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_missing_secret_is_waited_for() {
    let world = World::start().await;
    let spec = json!({
        "volumes": [{"name": "v", "secret": {"secretName": "late"}}],
        "containers": [{"name": "c", "image": "shell", "command": ["sleep"]}],
    });
    world.run("web", &[], spec).await;
    let pods = world.of::<Pod>();
    world
        .until(&pods, "web", |pod| waiting(pod) == "ContainerCreating")
        .await;
    world
        .create::<Secret>(json!({"metadata": {"name": "late"}}))
        .await;
    world.until_phase("web", "Running").await;
    let events = world.events("web").await;
    let said =
        "FailedMount: MountVolume.SetUp failed for volume \"v\" : secret \"late\" not found".to_owned();
    assert!(events.contains(&said), "{events:?}");
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_deleted_pod_is_asked_to_stop_and_then_killed() {
    let world = World::start().await;
    let pods = world.of::<Pod>();
    world.run("polite", &["sleep"], json!({})).await;
    world
        .run("deaf", &["ignore"], json!({"terminationGracePeriodSeconds": 1}))
        .await;
    world.run("forced", &["ignore"], json!({})).await;
    for name in ["polite", "deaf", "forced"] {
        world.until_phase(name, "Running").await;
    }
    pods.delete("polite", &DeleteParams::default()).await.unwrap();
    pods.delete("deaf", &DeleteParams::default()).await.unwrap();
    pods.delete("forced", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    for name in ["polite", "deaf", "forced"] {
        world.until_gone(&pods, name).await;
    }
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_container_that_was_killed_is_started_again() {
    let world = World::start().await;
    world
        .run("web", &["print up", "sleep"], json!({"restartPolicy": "Always"}))
        .await;
    let pod = world.until_phase("web", "Running").await;
    assert!(world.sandbox.machines().kill("default", "web", "c"));
    let pods = world.of::<Pod>();
    let again = world
        .until(&pods, "web", |pod| {
            container(pod).restart_count == 1 && container(pod).ready
        })
        .await;
    let last = container(&again).last_state.unwrap().terminated.unwrap();
    assert_eq!(last.exit_code, 137);
    assert_eq!(again.uid(), pod.uid());
    let previous = LogParams {
        previous: true,
        ..LogParams::default()
    };
    assert_eq!(pods.logs("web", &previous).await.unwrap(), "up\n");
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_command_runs_beside_the_program() {
    let world = World::start().await;
    world.run("web", &["sleep"], json!({})).await;
    world.until_phase("web", "Running").await;
    let attach = AttachParams::default().stdout(true).stderr(false);
    let mut process = world.of::<Pod>().exec("web", ["ls", "/"], &attach).await.unwrap();
    let stdout = tokio_util::io::ReaderStream::new(process.stdout().unwrap());
    let parts: Vec<bytes::Bytes> = stdout.try_collect().await.unwrap();
    assert_eq!(parts.concat(), b"ls / in c");
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_pods_account_is_mounted_with_its_token() {
    let world = World::start().await;
    let accounts = world.of::<ServiceAccount>();
    world.until(&accounts, "default", |_| true).await;
    let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
    let (token, namespace) = (format!("read {folder}/token"), format!("read {folder}/namespace"));
    world.run("web", &[&namespace, &token], json!({})).await;
    world.until_phase("web", "Succeeded").await;
    let log = world
        .of::<Pod>()
        .logs("web", &LogParams::default())
        .await
        .unwrap();
    let (namespace, token) = log.split_once('\n').unwrap();
    assert_eq!((namespace, token.split('.').count()), ("default", 3));
    let unknown = serde_json::from_value(pod("lost", &[], json!({"serviceAccountName": "nobody"}))).unwrap();
    let refused = world
        .of::<Pod>()
        .create(&PostParams::default(), &unknown)
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("serviceaccount \"nobody\" not found"),
        "{refused}"
    );
    world.sandbox.shutdown().await;
}

#[tokio::test]
async fn lines_of_a_log_can_be_shown_with_their_times() {
    let world = World::start().await;
    world.run("web", &["print one", "print two"], json!({})).await;
    world.until_phase("web", "Succeeded").await;
    let dated = LogParams {
        timestamps: true,
        tail_lines: Some(1),
        ..LogParams::default()
    };
    let log = world.of::<Pod>().logs("web", &dated).await.unwrap();
    let (time, text) = log.split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{log}");
    assert_eq!(text, "two\n");
    world.sandbox.shutdown().await;
}
