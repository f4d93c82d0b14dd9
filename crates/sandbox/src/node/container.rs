//! One start of one container: its program as a task.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use caravel_api_server::Clock;
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};
use kube::Client;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::environment::expand;
use crate::{Container, Log, Program};

/// Exit code of a container that was killed, as Linux gives it.
pub const KILLED: i32 = 137;
/// Exit code of a program that panicked, as a program that aborts has it.
const PANICKED: i32 = 134;
/// Where a container leaves its last words when the pod does not say.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// The most that is read of them.
const LONGEST_MESSAGE: usize = 4096;

/// A container that was started; it may have ended.
#[derive(Clone)]
pub struct Started {
    pub id: String,
    pub container: Container,
    pub program: Arc<dyn Program>,
    exit: Exit,
    task: AbortHandle,
}

/// How a task ended, and that it did. Not a `tokio::sync::watch`, which wakes its receivers in random order.
#[derive(Clone, Default)]
struct Exit {
    code: Arc<OnceLock<i32>>,
    ended: CancellationToken,
}

/// What a start needs.
pub struct Plan<'a> {
    pub pod: &'a Pod,
    pub spec: &'a ContainerSpec,
    pub program: Arc<dyn Program>,
    pub variables: BTreeMap<String, String>,
    pub volumes: &'a BTreeMap<String, PathBuf>,
    /// This container's own folder.
    pub folder: &'a Path,
    /// Dead from when `dead` is set.
    pub client: Client,
    pub dead: CancellationToken,
    /// Dates the log's lines.
    pub clock: Arc<dyn Clock>,
    pub stop: CancellationToken,
    pub id: String,
}

impl Plan<'_> {
    /// Starts the program.
    pub fn start(self, tasks: &TaskTracker) -> Result<Started, String> {
        let whole = |error: std::io::Error| format!("failed to create the container's folder: {error}");
        std::fs::create_dir_all(self.folder).map_err(whole)?;
        let termination_message = self.folder.join("termination-log");
        std::fs::write(&termination_message, b"").map_err(whole)?;
        let words = self
            .spec
            .command
            .iter()
            .flatten()
            .chain(self.spec.args.iter().flatten());
        let container = Container {
            pod: self.pod.clone(),
            name: self.spec.name.clone(),
            command: words.map(|word| expand(word, &self.variables)).collect(),
            mounts: self.mounts(&termination_message)?,
            env: self.variables,
            client: self.client,
            stop: self.stop,
            dead: self.dead,
            log: Log::new(self.clock),
            termination_message,
        };
        let exit = Exit::default();
        let (code_of, ended) = (exit.code.clone(), exit.ended.clone().drop_guard());
        let (program, running) = (self.program.clone(), container.clone());
        let task = tasks.spawn(async move {
            // Also when the task is dropped.
            let _ended = ended;
            // However this task ends: what the program leaves behind does so with its process.
            let _dead = running.dead.clone().drop_guard();
            let log = running.log.clone();
            let code = match AssertUnwindSafe(program.run(running)).catch_unwind().await {
                Ok(code) => code,
                Err(_) => {
                    log.write(b"the program panicked\n");
                    PANICKED
                }
            };
            // It ends once.
            let _ = code_of.set(code);
        });
        Ok(Started {
            id: self.id,
            container,
            program: self.program,
            exit,
            task: task.abort_handle(),
        })
    }

    fn mounts(&self, termination_message: &Path) -> Result<BTreeMap<PathBuf, PathBuf>, String> {
        let mut mounts = BTreeMap::new();
        for mount in self.spec.volume_mounts.iter().flatten() {
            let Some(volume) = self.volumes.get(&mount.name) else {
                continue;
            };
            let below = mount.sub_path.clone().or_else(|| {
                let expression = mount.sub_path_expr.as_ref()?;
                Some(expand(expression, &self.variables))
            });
            let path = match below.filter(|below| !below.is_empty()) {
                None => volume.clone(),
                Some(below) => sub_path(volume, &below)?,
            };
            mounts.insert(PathBuf::from(&mount.mount_path), path);
        }
        for device in self.spec.volume_devices.iter().flatten() {
            if let Some(volume) = self.volumes.get(&device.name) {
                mounts.insert(PathBuf::from(&device.device_path), volume.clone());
            }
        }
        let last_words = self
            .spec
            .termination_message_path
            .as_deref()
            .unwrap_or(TERMINATION_LOG);
        mounts.insert(PathBuf::from(last_words), termination_message.to_owned());
        Ok(mounts)
    }
}

/// A path in the volume, made when it is not there.
fn sub_path(volume: &Path, below: &str) -> Result<PathBuf, String> {
    let is_inside = |part| {
        matches!(
            part,
            std::path::Component::Normal(_) | std::path::Component::CurDir
        )
    };
    if !Path::new(below).components().all(is_inside) {
        return Err(format!(
            "failed to prepare subPath {below:?}: it leaves the volume"
        ));
    }
    let failed = |error: std::io::Error| format!("failed to prepare subPath {below:?}: {error}");
    let path = volume.join(below);
    if !path.exists() {
        std::fs::create_dir_all(&path).map_err(failed)?;
    }
    // A link in the volume could lead anywhere on the machine.
    let (whole, real) = (std::fs::canonicalize(&path), std::fs::canonicalize(volume));
    let (whole, real) = (whole.map_err(failed)?, real.map_err(failed)?);
    if whole.starts_with(real) {
        Ok(whole)
    } else {
        Err(format!(
            "failed to prepare subPath {below:?}: it leaves the volume"
        ))
    }
}

impl Started {
    /// The exit code, when it has ended.
    pub async fn ended(&self) -> i32 {
        self.exit.ended.cancelled().await;
        // Without a code its task was dropped.
        self.exit.code.get().copied().unwrap_or(KILLED)
    }

    /// Whether its task still runs.
    pub fn is_running(&self) -> bool {
        !self.exit.ended.is_cancelled()
    }

    /// Asks it to end.
    pub fn ask_to_stop(&self) {
        self.container.stop.cancel();
    }

    /// Drops its task. Whatever the program has started beside it can reach the API server no more; and it hears that it
    /// should stop.
    pub fn kill(&self) {
        // First: a program that hears of it before its task is dropped may end with a code of its own.
        let _ = self.exit.code.set(KILLED);
        self.container.dead.cancel();
        self.container.stop.cancel();
        self.task.abort();
    }

    /// Its termination message: of the file, or else the end of its log where the pod wishes so.
    pub fn last_words(&self, policy: Option<&str>, code: i32) -> String {
        let message = std::fs::read(&self.container.termination_message).unwrap_or_default();
        let message = if message.is_empty() && policy == Some("FallbackToLogsOnError") && code != 0 {
            self.container.log.since(0).to_vec()
        } else {
            message
        };
        let start = message.len().saturating_sub(LONGEST_MESSAGE);
        String::from_utf8_lossy(&message[start..]).into_owned()
    }
}
