//! What a container runs: a program of this process instead of a file in an image.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// One started container.
#[derive(Clone)]
pub struct Container {
    /// The pod, as it was when the container was started.
    pub pod: Pod,
    /// `spec.containers[].name`.
    pub name: String,
    /// `command` then `args`, with `$(VAR)` expanded.
    pub command: Vec<String>,
    /// `env`, with references to Secrets, ConfigMaps and the pod's own fields resolved. Nothing is inherited from the
    /// sandbox's own process.
    pub env: BTreeMap<String, String>,
    /// Mount path in the container → folder or device of the machine: volumes, Secrets and ConfigMaps.
    pub mounts: BTreeMap<PathBuf, PathBuf>,
    /// Speaks to the API server as the pod's ServiceAccount.
    pub client: Client,
    /// Set when the pod is to end; a program that goes on is dropped after the grace period.
    pub stop: CancellationToken,
    /// Standard output and error: what `kubectl logs` shows.
    pub log: Log,
    /// A file of the machine; its content becomes the container's termination message.
    pub termination_message: PathBuf,
}

impl Container {
    /// A path of the container as a path of the machine, by the longest mount that holds it. `None`: not in a mount.
    pub fn on_machine(&self, path: &std::path::Path) -> Option<PathBuf> {
        self.mounts
            .iter()
            .filter_map(|(mount, folder)| {
                let rest = path.strip_prefix(mount).ok()?;
                let whole = if rest.as_os_str().is_empty() {
                    folder.clone()
                } else {
                    folder.join(rest)
                };
                Some((mount.as_os_str().len(), whole))
            })
            .max_by_key(|(length, _)| *length)
            .map(|(_, whole)| whole)
    }
}

/// A command that `kubectl exec` runs beside a program.
#[derive(Debug, Clone)]
pub struct ExecRequest {
    pub command: Vec<String>,
    pub stdin: Bytes,
}

/// What an image holds.
#[async_trait]
pub trait Program: Send + Sync + 'static {
    /// Runs until the program ends by itself or `container.stop` is set; the exit code.
    async fn run(&self, container: Container) -> i32;

    /// Runs a command in the running container: standard output and exit code.
    async fn exec(&self, container: &Container, request: ExecRequest) -> (Bytes, i32) {
        let _ = container;
        let said = format!(
            "exec: {:?}: this image of the sandbox holds no such command\n",
            request.command.first().map_or("", String::as_str)
        );
        (Bytes::from(said), 127)
    }
}

/// What a container wrote so far; cheap to clone.
#[derive(Clone, Default)]
pub struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
    written: Arc<tokio::sync::Notify>,
}

impl Log {
    /// Adds bytes, usually whole lines.
    pub fn write(&self, bytes: &[u8]) {
        self.lines.lock().extend_from_slice(bytes);
        self.written.notify_waiters();
    }

    /// Everything from this offset on.
    pub fn since(&self, offset: usize) -> Bytes {
        self.lines
            .lock()
            .get(offset..)
            .map_or_else(Bytes::new, Bytes::copy_from_slice)
    }

    /// Returns when something was written after this call began.
    pub fn grown(&self) -> impl Future<Output = ()> + Send + '_ {
        // Made here, not at the first poll: nothing written in between is missed.
        self.written.notified()
    }
}
