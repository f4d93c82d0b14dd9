//! The life of one pod on its node.
//!
//! ```text
//! volumes ──► init containers, one by one ──► containers, each restarted as restartPolicy says ──► over
//!    └───────────────── deletionTimestamp at any moment: stopping.rs ─────────────────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};
use kube::ResourceExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::container::{Plan, Started};
use super::environment::{Addresses, variables};
use super::kubelet::NodeParts;
use super::status::{Ended, PodRecord, State};
use super::volumes::{Mounter, pod_folder};
use crate::Program;
use crate::machinery::{Kinds, Told, is_conflict, is_not_found, merge_status};

/// First and longest wait before a container that ends again and again is started again (a kubelet's own).
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// A container that ran for so long has a clean slate.
const CLEAN_SLATE: Duration = Duration::from_secs(600);
/// Volumes are tried again after this, doubled each time.
const FIRST_MOUNT_WAIT: Duration = Duration::from_millis(500);
const LONGEST_MOUNT_WAIT: Duration = Duration::from_secs(122);
/// A Secret or ConfigMap that is missing is looked for again after this.
const CONFIG_WAIT: Duration = Duration::from_secs(5);
const COMPONENT: &str = "kubelet";

/// A pod on this node.
pub struct Worker {
    pub node: Arc<NodeParts>,
    /// The pod as the API server has it; `None` when it is gone.
    pub changes: watch::Receiver<Option<Pod>>,
    /// The pod as it was when it came here.
    pub pod: Pod,
    pub record: Mutex<PodRecord>,
    /// By name: the newest start of each container.
    pub started: Mutex<BTreeMap<String, Started>>,
    /// The start before that, for `kubectl logs --previous`.
    pub previous: Mutex<BTreeMap<String, Started>>,
    pub mounted: Mutex<BTreeMap<String, PathBuf>>,
    /// Handles of volumes that were asked for.
    pub asked: Mutex<BTreeSet<String>>,
    /// What the API server was told last.
    reported: tokio::sync::Mutex<Value>,
}

impl Worker {
    /// A pod that has just come to the node; `asked`: volumes that it has there from before the machine was off.
    pub fn new(
        node: Arc<NodeParts>,
        pod: Pod,
        changes: watch::Receiver<Option<Pod>>,
        asked: BTreeSet<String>,
    ) -> Self {
        let record = PodRecord::new(&pod, &node.host_ip, node.context.now());
        Self {
            node,
            changes,
            pod,
            record: Mutex::new(record),
            started: Mutex::default(),
            previous: Mutex::default(),
            mounted: Mutex::default(),
            asked: Mutex::new(asked),
            reported: tokio::sync::Mutex::new(Value::Null),
        }
    }

    /// From the first look until the pod is gone.
    pub async fn run(self: Arc<Self>) {
        let shutdown = self.node.context.shutdown.clone();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return self.stop_quickly().await,
            () = self.doomed() => {}
            () = self.live() => {}
        }
        if shutdown.run_until_cancelled(Box::pin(self.end())).await.is_none() {
            self.stop_quickly().await;
        }
    }

    /// Returns when the pod is being deleted, or is gone.
    async fn doomed(&self) {
        let mut changes = self.changes.clone();
        let is_doomed = |pod: &Option<Pod>| {
            pod.as_ref()
                .is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
        };
        // A sender that is gone means that the kubelet is: nothing more to wait for.
        let _ = changes.wait_for(is_doomed).await;
    }

    /// Never returns.
    async fn live(&self) {
        let phase = self
            .pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        let was_over = self.record.lock().is_over;
        if matches!(phase, Some("Succeeded" | "Failed")) {
            // All is said.
        } else if was_over {
            // It ran when the machine went down, and is not to run again.
            self.report().await;
            self.unmount().await;
        } else {
            self.report().await;
            self.mount().await;
            self.report().await;
            if self.initialise().await {
                let containers = self.pod.spec.iter().flat_map(|spec| &spec.containers);
                join_all(containers.map(|spec| Box::pin(self.keep(spec)))).await;
            }
            self.record.lock().is_over = true;
            self.unmount().await;
            self.report().await;
        }
        std::future::pending::<()>().await;
    }

    async fn mount(&self) {
        let addresses = self.addresses();
        let mut wait = FIRST_MOUNT_WAIT;
        loop {
            let mounter = Mounter {
                client: &self.node.context.client,
                volumes: &*self.node.volumes,
                node: &self.node.name,
                root: &self.node.root,
                pod: &self.pod,
                addresses: &addresses,
                asked: &self.asked,
            };
            match mounter.mount_all().await {
                Ok(mounted) => {
                    *self.mounted.lock() = mounted;
                    self.record.lock().pod_ip = Some(addresses.pod_ip);
                    return;
                }
                Err(why) => {
                    self.tell(Told::warning(COMPONENT, why.reason, why.message), None)
                        .await
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_MOUNT_WAIT);
        }
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            host_ip: self.node.host_ip.clone(),
            pod_ip: self.node.next_pod_ip(),
        }
    }

    /// Runs the init containers; false when one has failed for good.
    async fn initialise(&self) -> bool {
        let init = self
            .pod
            .spec
            .iter()
            .flat_map(|spec| spec.init_containers.iter().flatten());
        for spec in init {
            // An init container that has succeeded is not run again.
            let policy = if self.restart_policy() == "Never" {
                "Never"
            } else {
                "OnFailure"
            };
            if self.keep_as(spec, policy).await != 0 {
                return false;
            }
        }
        true
    }

    async fn keep(&self, spec: &ContainerSpec) {
        self.keep_as(spec, &self.restart_policy()).await;
    }

    fn restart_policy(&self) -> String {
        let policy = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.restart_policy.clone());
        policy.unwrap_or_else(|| "Always".to_owned())
    }

    /// Runs a container, again and again as the policy says; its last exit code.
    async fn keep_as(&self, spec: &ContainerSpec, policy: &str) -> i32 {
        let mut backoff: Option<Duration> = None;
        loop {
            let program = self.image(spec).await;
            let start = self.start(spec, program).await;
            self.report().await;
            let begun = Instant::now();
            let code = start.ended().await;
            self.note_end(spec, &start, code);
            let again = policy == "Always" || (policy == "OnFailure" && code != 0);
            if !again {
                self.report().await;
                return code;
            }
            if begun.elapsed() > CLEAN_SLATE {
                backoff = None;
            }
            self.report().await;
            // The first restart comes at once.
            backoff = match backoff {
                None => Some(Duration::ZERO),
                Some(Duration::ZERO) => Some(FIRST_BACKOFF),
                Some(last) => Some((last * 2).min(LONGEST_BACKOFF)),
            };
            self.wait_to_restart(spec, backoff.unwrap_or_default()).await;
        }
    }

    async fn wait_to_restart(&self, spec: &ContainerSpec, wait: Duration) {
        if !wait.is_zero() {
            let (namespace, name) = (self.pod.namespace().unwrap_or_default(), self.pod.name_any());
            let whom = format!("{name}_{namespace}({})", self.pod.uid().unwrap_or_default());
            let whole = format!(
                "back-off {} restarting failed container={} pod={whom}",
                go_duration(wait),
                spec.name
            );
            self.set_waiting(spec, "CrashLoopBackOff", whole);
            self.report().await;
            let told = format!("Back-off restarting failed container {} in pod {whom}", spec.name);
            self.tell(Told::warning(COMPONENT, "BackOff", told), Some(spec))
                .await;
            tokio::time::sleep(wait).await;
        }
        if let Some(record) = self.record.lock().container(&spec.name) {
            record.restarts += 1;
        }
    }

    /// The image's program; waits while there is none.
    async fn image(&self, spec: &ContainerSpec) -> Arc<dyn Program> {
        let image = spec.image.clone().unwrap_or_default();
        let mut wait = FIRST_BACKOFF;
        loop {
            if let Some(program) = self.node.images.find(&image) {
                let told = format!("Container image \"{image}\" already present on machine");
                self.tell(Told::normal(COMPONENT, "Pulled", told), Some(spec))
                    .await;
                return program;
            }
            if spec.image_pull_policy.as_deref() == Some("Never") {
                let why = format!("Container image \"{image}\" is not present with pull policy of Never");
                self.tell(
                    Told::warning(COMPONENT, "ErrImageNeverPull", why.as_str()),
                    Some(spec),
                )
                .await;
                self.tell(
                    Told::warning(COMPONENT, "Failed", "Error: ErrImageNeverPull"),
                    Some(spec),
                )
                .await;
                self.set_waiting(spec, "ErrImageNeverPull", why);
                self.report().await;
            } else {
                self.fail_to_pull(spec, &image).await;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_BACKOFF);
        }
    }

    async fn fail_to_pull(&self, spec: &ContainerSpec, image: &str) {
        let why = format!(
            "failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": the sandbox holds no such image"
        );
        let pulling = format!("Pulling image \"{image}\"");
        self.tell(Told::normal(COMPONENT, "Pulling", pulling), Some(spec))
            .await;
        self.set_waiting(spec, "ErrImagePull", why.clone());
        self.report().await;
        let failed = format!("Failed to pull image \"{image}\": {why}");
        self.tell(Told::warning(COMPONENT, "Failed", failed), Some(spec))
            .await;
        self.tell(
            Told::warning(COMPONENT, "Failed", "Error: ErrImagePull"),
            Some(spec),
        )
        .await;
        let backing_off = format!("Back-off pulling image \"{image}\"");
        self.set_waiting(
            spec,
            "ImagePullBackOff",
            format!("{backing_off}: ErrImagePull: {why}"),
        );
        self.report().await;
        self.tell(Told::normal(COMPONENT, "BackOff", backing_off), Some(spec))
            .await;
        self.tell(
            Told::warning(COMPONENT, "Failed", "Error: ImagePullBackOff"),
            Some(spec),
        )
        .await;
    }

    /// Starts the container; waits while its environment cannot be made.
    async fn start(&self, spec: &ContainerSpec, program: Arc<dyn Program>) -> Started {
        loop {
            match self.try_start(spec, program.clone()).await {
                Ok(started) => {
                    let name = &spec.name;
                    self.note_start(spec, &started);
                    self.tell(
                        Told::normal(COMPONENT, "Created", format!("Created container: {name}")),
                        Some(spec),
                    )
                    .await;
                    self.tell(
                        Told::normal(COMPONENT, "Started", format!("Started container {name}")),
                        Some(spec),
                    )
                    .await;
                    return started;
                }
                Err(why) => {
                    self.set_waiting(spec, "CreateContainerConfigError", why.clone());
                    self.report().await;
                    self.tell(
                        Told::warning(COMPONENT, "Failed", format!("Error: {why}")),
                        Some(spec),
                    )
                    .await;
                }
            }
            tokio::time::sleep(CONFIG_WAIT).await;
        }
    }

    async fn try_start(&self, spec: &ContainerSpec, program: Arc<dyn Program>) -> Result<Started, String> {
        let addresses = Addresses {
            host_ip: self.node.host_ip.clone(),
            pod_ip: self.record.lock().pod_ip.clone().unwrap_or_default(),
        };
        let variables = variables(&self.node.context.client, &self.pod, spec, &addresses).await?;
        let volumes = self.mounted.lock().clone();
        let id = self.node.next_container_id();
        let namespace = self.pod.namespace().unwrap_or_default();
        let account = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.clone());
        let dead = self.node.power().child_token();
        let plan = Plan {
            pod: &self.pod,
            spec,
            program,
            variables,
            volumes: &volumes,
            folder: &pod_folder(&self.node.root, &self.pod)
                .join("containers")
                .join(&spec.name),
            client: (self.node.client_for)(&namespace, account.as_deref().unwrap_or("default"), dead.clone()),
            dead,
            clock: self.node.context.clock.clone(),
            stop: CancellationToken::new(),
            id: format!("sandbox://{id}"),
        };
        plan.start(&self.node.context.tasks)
    }

    fn note_start(&self, spec: &ContainerSpec, started: &Started) {
        let earlier = self.started.lock().insert(spec.name.clone(), started.clone());
        if let Some(earlier) = earlier {
            self.previous.lock().insert(spec.name.clone(), earlier);
        }
        if let Some(record) = self.record.lock().container(&spec.name) {
            if let State::Ended(ended) = &record.state {
                record.last = Some(ended.clone());
            }
            record.state = State::Running {
                since: self.node.context.now(),
                id: started.id.clone(),
            };
        }
    }

    /// Writes down how a container ended.
    pub fn note_end(&self, spec: &ContainerSpec, started: &Started, code: i32) {
        let now = self.node.context.now();
        if let Some(record) = self.record.lock().container(&spec.name) {
            let since = match &record.state {
                State::Running { since, .. } => since.clone(),
                _ => now.clone(),
            };
            let ended = Ended {
                code,
                message: started.last_words(spec.termination_message_policy.as_deref(), code),
                started: since,
                finished: now,
                id: started.id.clone(),
                reason: None,
            };
            record.state = State::Ended(ended);
        }
    }

    fn set_waiting(&self, spec: &ContainerSpec, reason: &str, message: String) {
        if let Some(record) = self.record.lock().container(&spec.name) {
            if let State::Ended(ended) = &record.state {
                record.last = Some(ended.clone());
            }
            record.state = State::waiting(reason, message);
        }
    }

    /// Tells the API server what has changed since it was told last.
    pub async fn report(&self) {
        let mut reported = self.reported.lock().await;
        let latest = self.changes.borrow().clone();
        let Some(latest) = latest else { return };
        let status = self.record.lock().status(&latest, &self.node.context.now());
        if *reported == status {
            return;
        }
        let patch = json!({"metadata": {"uid": self.pod.uid()}, "status": status});
        let api = self
            .node
            .context
            .client
            .of::<Pod>(&self.pod.namespace().unwrap_or_default());
        let mut wait = Duration::from_millis(10);
        for _ in 0..8 {
            match merge_status(&api, &self.pod.name_any(), &patch).await {
                Ok(()) => break,
                Err(error) if is_not_found(&error) || is_conflict(&error) => return,
                Err(error) => {
                    tracing::debug!(%error, pod = %self.pod.name_any(), "status will be told again")
                }
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        *reported = status;
    }

    /// Writes an event about the pod, or about one of its containers.
    async fn tell(&self, mut told: Told, about: Option<&ContainerSpec>) {
        told.host.clone_from(&self.node.name);
        if let Some(spec) = about {
            let is_init = self
                .record
                .lock()
                .init
                .iter()
                .any(|record| record.spec.name == spec.name);
            let list = if is_init { "initContainers" } else { "containers" };
            told.field_path = format!("spec.{list}{{{}}}", spec.name);
        }
        self.node.context.recorder.tell(&self.pod, told).await;
    }
}

/// `10s`, `2m40s`, `5m0s`, as Go writes durations.
fn go_duration(wait: Duration) -> String {
    let seconds = wait.as_secs();
    match seconds / 60 {
        0 => format!("{seconds}s"),
        minutes => format!("{minutes}m{}s", seconds % 60),
    }
}
