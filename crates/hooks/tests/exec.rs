//! Commands through an API server's WebSocket, as in a cluster.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use caravel_api::v1::ExecHook;
use caravel_api_server::{ApiError, ApiServer, ExecOptions, Executed, LogOptions, Nodes};
use caravel_hooks::exec::{HookError, KubeExecutor, PodCommandExecutor};
use caravel_hooks::{HookLog, Level, PodName};
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// `exit CODE` ends with it; `sleep` does not end.
struct Shell;

#[async_trait]
impl Nodes for Shell {
    async fn logs(&self, _: &Value, _: LogOptions) -> Result<BoxStream<'static, Bytes>, ApiError> {
        Ok(futures::stream::empty().boxed())
    }

    async fn exec(&self, _: &Value, options: ExecOptions) -> Result<Executed, ApiError> {
        let words: Vec<&str> = options.command.iter().map(String::as_str).collect();
        let code = match words[..] {
            ["exit", code] => code.parse().unwrap_or(1),
            _ => std::future::pending().await,
        };
        Ok(Executed {
            code,
            ..Executed::success(format!("said in {}", options.container))
        })
    }
}

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl HookLog for Lines {
    fn line(&self, _: Level, pod: &PodName, message: &str) {
        self.0.lock().push(format!("{pod}: {message}"));
    }
}

async fn cluster() -> (Client, Value) {
    let server = ApiServer::builder().seed(1).build();
    server.attach(Arc::new(Shell));
    let client = server.client();
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "db"},
        "spec": {"nodeName": "one", "containers": [{"name": "first", "image": "i"}, {"name": "second", "image": "i"}]}});
    let pod = pods
        .create(
            &PostParams::default(),
            &serde_json::from_value(pod).expect("it is a pod"),
        )
        .await
        .expect("the pod is created");
    (client, serde_json::to_value(pod).expect("pods are JSON"))
}

async fn execute(
    container: &str,
    command: &[&str],
    timeout: Duration,
) -> (Result<(), HookError>, Vec<String>) {
    let (client, pod) = cluster().await;
    let lines = Lines::default();
    let hook = ExecHook {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        container: container.to_owned(),
        timeout: Some(timeout.into()),
        ..ExecHook::default()
    };
    let ran = KubeExecutor::new(client).execute(&lines, &pod, "h", &hook).await;
    (ran, lines.0.into_inner())
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_command_runs_in_its_container_and_what_it_says_is_in_the_log() {
    let (ran, lines) = execute("second", &["exit", "0"], LONG).await;
    assert_eq!(ran, Ok(()));
    assert!(
        lines.contains(&"default/db: stdout: said in second".to_owned()),
        "{lines:?}"
    );
}

#[tokio::test]
async fn without_a_container_the_first_is_taken() {
    let (_, lines) = execute("", &["exit", "0"], LONG).await;
    assert!(
        lines.contains(&"default/db: stdout: said in first".to_owned()),
        "{lines:?}"
    );
}

#[tokio::test]
async fn another_code_than_0_is_an_error_that_names_it_and_the_output_is_kept() {
    let (ran, lines) = execute("first", &["exit", "7"], LONG).await;
    let error = ran.unwrap_err().to_string();
    assert!(error.contains("exit status 7"), "{error}");
    assert!(
        lines.iter().any(|line| line.contains("said in first")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_command_that_never_returns_is_ended_at_its_timeout() {
    let timeout = Duration::from_millis(100);
    let (ran, _) = execute("first", &["sleep"], timeout).await;
    assert_eq!(ran, Err(HookError::TimedOut(timeout)));
}

#[tokio::test]
async fn a_pod_that_is_gone_is_an_error() {
    let (client, mut pod) = cluster().await;
    pod["metadata"]["name"] = json!("other");
    let hook = ExecHook {
        command: vec!["exit".into(), "0".into()],
        ..ExecHook::default()
    };
    let ran = KubeExecutor::new(client)
        .execute(&Lines::default(), &pod, "h", &hook)
        .await;
    assert!(
        matches!(&ran, Err(HookError::Failed(why)) if why.contains("cannot start")),
        "{ran:?}"
    );
}
