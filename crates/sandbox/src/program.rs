//! What a container runs: a program of this process instead of a file in an image.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
pub use caravel_api_server::Executed;
use caravel_api_server::{Clock, SystemClock};
use jiff::Timestamp;
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
    /// Set when the process is dead: it has ended, was killed, or its node was. Tasks and threads that it leaves behind are
    /// to end then; what they still ask of `client` fails.
    pub dead: CancellationToken,
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

    /// Runs a command in the running container.
    async fn exec(&self, container: &Container, request: ExecRequest) -> Executed {
        let _ = container;
        let said = format!(
            "exec: {:?}: this image of the sandbox holds no such command\n",
            request.command.first().map_or("", String::as_str)
        );
        Executed::failure(127, said)
    }
}

/// What a container wrote so far; cheap to clone.
#[derive(Clone)]
pub struct Log {
    written: Arc<Mutex<Written>>,
    grown: Arc<tokio::sync::Notify>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    /// Where each write began, and when it was.
    times: Vec<(usize, Timestamp)>,
}

impl Default for Log {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl Log {
    /// An empty log whose lines are dated by this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            written: Arc::default(),
            grown: Arc::default(),
            clock,
        }
    }

    /// Adds bytes, usually whole lines.
    pub fn write(&self, bytes: &[u8]) {
        let now = self.clock.now();
        let mut written = self.written.lock();
        let begin = written.bytes.len();
        written.times.push((begin, now));
        written.bytes.extend_from_slice(bytes);
        drop(written);
        self.grown.notify_waiters();
    }

    /// Everything from this offset on.
    pub fn since(&self, offset: usize) -> Bytes {
        self.written
            .lock()
            .bytes
            .get(offset..)
            .map_or_else(Bytes::new, Bytes::copy_from_slice)
    }

    /// The offset of what was written at this time or later.
    pub fn offset_at(&self, time: Timestamp) -> usize {
        let written = self.written.lock();
        let later = written.times.iter().find(|(_, at)| *at >= time);
        later.map_or(written.bytes.len(), |(offset, _)| *offset)
    }

    /// When what is at this offset was written.
    pub fn time_at(&self, offset: usize) -> Timestamp {
        let written = self.written.lock();
        let after = written.times.partition_point(|(begin, _)| *begin <= offset);
        let write = after.checked_sub(1).and_then(|last| written.times.get(last));
        write.map_or(Timestamp::UNIX_EPOCH, |(_, at)| *at)
    }

    /// Returns when something was written after this call began.
    pub fn grown(&self) -> impl Future<Output = ()> + Send + '_ {
        // Made here, not at the first poll: nothing written in between is missed.
        self.grown.notified()
    }
}
