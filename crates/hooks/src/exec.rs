//! One command in one container, ended at its timeout (upstream `pkg/podexec/pod_command_executor.go`). Over WebSocket:
//! the API server, not a node, is spoken to.

use std::time::Duration;

use async_trait::async_trait;
use caravel_api::v1::ExecHook;
use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use kube::{Api, Client};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{HookLog, Level, PodName, list, text};

/// Where a hook says nothing about it. Velero's.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Of standard output and of standard error, what is kept for the log. A hook may write without end.
const KEPT_OUTPUT: usize = 64 * 1024;

/// A hook did not do its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    #[error("the pod has no container; a hook needs one")]
    NoContainers,
    #[error("no such container: {0:?}; name one of the pod's")]
    NoSuchContainer(String),
    #[error("the hook has no command")]
    NoCommand,
    #[error("timed out after {}; it may go on in the container", caravel_api::Duration(*.0))]
    TimedOut(Duration),
    /// It could not be started, or ended with another code than 0.
    #[error("{0}")]
    Failed(String),
}

/// Runs hooks' commands; tests put their own in its place.
#[async_trait]
pub trait PodCommandExecutor: Send + Sync + 'static {
    /// Runs a hook in a pod, which is given as it is known to be. A pod that has ended is left alone, without an error.
    ///
    /// # Errors
    /// [`HookError`].
    async fn execute(
        &self,
        log: &dyn HookLog,
        pod: &Value,
        hook_name: &str,
        hook: &ExecHook,
    ) -> Result<(), HookError>;
}

/// Through the API server.
#[derive(Clone)]
pub struct KubeExecutor {
    client: Client,
}

impl KubeExecutor {
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl PodCommandExecutor for KubeExecutor {
    async fn execute(
        &self,
        log: &dyn HookLog,
        pod: &Value,
        hook_name: &str,
        hook: &ExecHook,
    ) -> Result<(), HookError> {
        let container = container_of(pod, &hook.container)?;
        if hook.command.is_empty() {
            return Err(HookError::NoCommand);
        }
        let name = PodName::of(pod);
        let phase = text(pod, "/status/phase");
        if matches!(phase, "Succeeded" | "Failed") {
            log.line(
                Level::Info,
                &name,
                &format!("hook {hook_name} is not run: the pod is {phase}"),
            );
            return Ok(());
        }
        let timeout = hook.timeout.unwrap_or_default().or(DEFAULT_TIMEOUT);
        log.line(
            Level::Info,
            &name,
            &format!(
                "running exec hook {hook_name} in container {container}: {:?}",
                hook.command
            ),
        );
        let ran = tokio::time::timeout(timeout, self.run(&name, container, &hook.command)).await;
        let output = ran.unwrap_or(Err(HookError::TimedOut(timeout)))?;
        log.line(Level::Info, &name, &format!("stdout: {}", output.stdout));
        log.line(Level::Info, &name, &format!("stderr: {}", output.stderr));
        output.ended
    }
}

struct Output {
    stdout: String,
    stderr: String,
    ended: Result<(), HookError>,
}

impl KubeExecutor {
    async fn run(&self, pod: &PodName, container: &str, command: &[String]) -> Result<Output, HookError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let params = AttachParams::default()
            .container(container)
            .stdin(false)
            .stdout(true)
            .stderr(true);
        let mut process = pods
            .exec(&pod.name, command, &params)
            .await
            .map_err(|error| HookError::Failed(format!("cannot start the command: {error}")))?;
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let status = process.take_status();
        let status = async {
            match status {
                Some(status) => status.await,
                None => None,
            }
        };
        let (stdout, stderr, status) = tokio::join!(drained(stdout), drained(stderr), status);
        let ended = match status {
            Some(status) if status.status.as_deref() == Some("Success") => Ok(()),
            Some(status) => Err(HookError::Failed(status.message.unwrap_or_default())),
            None => Err(HookError::Failed(
                "the connection ended before the command did; whether it did its work is not known"
                    .to_owned(),
            )),
        };
        Ok(Output {
            stdout,
            stderr,
            ended,
        })
    }
}

/// Reads to the end and keeps the beginning.
async fn drained(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else {
        return String::new();
    };
    let (mut kept, mut dropped) = (Vec::new(), 0_usize);
    let mut part = vec![0; 8 * 1024];
    while let Ok(count) = stream.read(&mut part).await {
        if count == 0 {
            break;
        }
        let space = KEPT_OUTPUT.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(part.get(..space).unwrap_or_default());
        dropped += count - space;
    }
    let text = String::from_utf8_lossy(&kept).into_owned();
    match dropped {
        0 => text,
        _ => format!("{text}… ({dropped} bytes more)"),
    }
}

/// The named container, or the first one. Init containers that stay (sidecars) count, too.
fn container_of<'a>(pod: &'a Value, wanted: &'a str) -> Result<&'a str, HookError> {
    let containers = list(pod, "/spec/containers");
    if wanted.is_empty() {
        let first = containers.first().ok_or(HookError::NoContainers)?;
        return Ok(text(first, "/name"));
    }
    let sidecars = list(pod, "/spec/initContainers")
        .iter()
        .filter(|container| text(container, "/restartPolicy") == "Always");
    let known = containers
        .iter()
        .chain(sidecars)
        .any(|container| text(container, "/name") == wanted);
    if known {
        Ok(wanted)
    } else {
        Err(HookError::NoSuchContainer(wanted.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hook_runs_in_the_named_container_in_a_sidecar_or_in_the_first() {
        let pod = json!({"spec": {
            "containers": [{"name": "db"}, {"name": "web"}],
            "initContainers": [{"name": "proxy", "restartPolicy": "Always"}, {"name": "setup"}],
        }});
        for (wanted, container) in [("", Ok("db")), ("web", Ok("web")), ("proxy", Ok("proxy"))] {
            assert_eq!(container_of(&pod, wanted), container);
        }
        let missing = HookError::NoSuchContainer("setup".to_owned());
        assert_eq!(container_of(&pod, "setup"), Err(missing));
        assert_eq!(container_of(&json!({}), ""), Err(HookError::NoContainers));
    }

    #[tokio::test]
    async fn of_an_endless_output_the_beginning_is_kept() {
        let long = vec![b'x'; KEPT_OUTPUT + 10];
        let text = drained(Some(&long[..])).await;
        assert!(
            text.starts_with("xxx") && text.ends_with("(10 bytes more)"),
            "{} bytes",
            text.len()
        );
    }
}
