//! What a kubelet says of a pod: phase, conditions, container statuses.
//!
//! Shapes, reasons and messages as a kubelet of v1.34.4 writes them (`pkg/kubelet/kubelet_pods.go`, `pkg/kubelet/status`).

use k8s_openapi::api::core::v1::{Container as ContainerSpec, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::container::KILLED;

/// What became of a container that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    pub code: i32,
    /// The termination message; empty: none.
    pub message: String,
    pub started: Time,
    pub finished: Time,
    pub id: String,
    /// `reason` where it is not told by the code.
    pub reason: Option<&'static str>,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    Waiting { reason: String, message: String },
    Running { since: Time, id: String },
    Ended(Ended),
}

/// One container of the pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub spec: ContainerSpec,
    pub state: State,
    pub last: Option<Ended>,
    pub restarts: i32,
}

/// All that the kubelet knows of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodRecord {
    pub init: Vec<Record>,
    pub containers: Vec<Record>,
    pub started: Time,
    pub host_ip: String,
    /// Set when its volumes are there.
    pub pod_ip: Option<String>,
    /// No container will be started any more.
    pub is_over: bool,
}

impl Record {
    fn new(spec: &ContainerSpec, reason: &str, restarts: i32) -> Self {
        Self {
            spec: spec.clone(),
            state: State::waiting(reason, ""),
            last: None,
            restarts,
        }
    }

    /// Why it waits: `ContainerCreating`; empty when it does not.
    pub fn waits_for(&mut self) -> String {
        match &self.state {
            State::Waiting { reason, .. } => reason.clone(),
            _ => String::new(),
        }
    }

    fn is_ready(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    fn has_succeeded(&self) -> bool {
        matches!(&self.state, State::Ended(ended) if ended.code == 0)
    }

    /// What became of it when the machine went down: what it had come to by itself, or an end of which nobody
    /// knows more.
    fn end_with_the_machine(&mut self, before: Option<&ContainerStatus>, now: &Time) {
        let Some(before) = before else { return };
        let id = before.container_id.clone().unwrap_or_default();
        let state = before.state.clone().unwrap_or_default();
        let started = state.running.and_then(|running| running.started_at);
        let ended = match state.terminated {
            Some(ended) => Ended {
                code: ended.exit_code,
                message: ended.message.unwrap_or_default(),
                started: ended.started_at.unwrap_or_else(|| now.clone()),
                finished: ended.finished_at.unwrap_or_else(|| now.clone()),
                id,
                reason: None,
            },
            None => Ended::lost(id, started, now.clone()),
        };
        self.restarts = before.restart_count;
        self.state = State::Ended(ended);
    }

    /// Has run at least once.
    fn was_started(&self) -> bool {
        self.last.is_some() || !matches!(self.state, State::Waiting { .. })
    }

    fn status(&self, is_init: bool) -> Value {
        let (id, state) = match &self.state {
            State::Waiting { reason, message } => (None, json!({"waiting": waiting(reason, message)})),
            State::Running { since, id } => (Some(id), json!({"running": {"startedAt": since}})),
            State::Ended(ended) => (Some(&ended.id), json!({"terminated": ended.status()})),
        };
        let last = self
            .last
            .as_ref()
            .map_or_else(|| json!({}), |ended| json!({"terminated": ended.status()}));
        let mounts: Vec<Value> = self.spec.volume_mounts.iter().flatten().map(mount).collect();
        let image = self.spec.image.clone().unwrap_or_default();
        let mut status = json!({
            "name": self.spec.name, "image": image, "imageID": if id.is_some() { format!("sandbox://{image}") } else { String::new() },
            "state": state, "lastState": last, "restartCount": self.restarts,
            "ready": if is_init { self.has_succeeded() } else { self.is_ready() },
            "started": self.is_ready(),
        });
        if let Some(id) = id {
            status["containerID"] = id.as_str().into();
        }
        if !mounts.is_empty() {
            status["volumeMounts"] = mounts.into();
        }
        status
    }
}

impl State {
    /// Waits for this reason.
    pub fn waiting(reason: &str, message: impl Into<String>) -> Self {
        Self::Waiting {
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

impl Ended {
    /// Of a container that was running and is not there any more: `convertToAPIContainerStatuses` of v1.34.
    pub fn lost(id: String, started: Option<Time>, now: Time) -> Self {
        Self {
            code: KILLED,
            message: "The container could not be located when the pod was terminated".to_owned(),
            started: started.unwrap_or_else(|| now.clone()),
            finished: now,
            id,
            reason: Some("ContainerStatusUnknown"),
        }
    }

    fn status(&self) -> Value {
        let usual = if self.code == 0 { "Completed" } else { "Error" };
        let reason = self.reason.unwrap_or(usual);
        let mut status = json!({
            "exitCode": self.code, "reason": reason, "startedAt": self.started, "finishedAt": self.finished,
            "containerID": self.id,
        });
        if !self.message.is_empty() {
            status["message"] = self.message.as_str().into();
        }
        status
    }
}

fn waiting(reason: &str, message: &str) -> Value {
    if message.is_empty() {
        json!({"reason": reason})
    } else {
        json!({"reason": reason, "message": message})
    }
}

fn mount(mount: &k8s_openapi::api::core::v1::VolumeMount) -> Value {
    let mut said = json!({"name": mount.name, "mountPath": mount.mount_path});
    if mount.read_only == Some(true) {
        said["readOnly"] = true.into();
        said["recursiveReadOnly"] = "Disabled".into();
    }
    said
}

impl PodRecord {
    /// A pod that the kubelet has just met. Containers that ran under an earlier kubelet count as restarted; those of a
    /// pod that restarts none have ended, as after a reboot of the machine.
    pub fn new(pod: &Pod, host_ip: &str, now: Time) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        let init = spec.init_containers.unwrap_or_default();
        let reason = if init.is_empty() {
            "ContainerCreating"
        } else {
            "PodInitializing"
        };
        let before = status.container_statuses.unwrap_or_default();
        let restarts = |name: &str| {
            let of = before.iter().find(|status| status.name == name);
            of.map_or(0, |status| {
                status.restart_count + i32::from(status.container_id.is_some())
            })
        };
        let new = |spec: &ContainerSpec| Record::new(spec, reason, restarts(&spec.name));
        let mut init: Vec<Record> = init.iter().map(new).collect();
        let mut containers: Vec<Record> = spec.containers.iter().map(new).collect();
        let first = status.init_container_statuses.unwrap_or_default();
        let was_started = first
            .iter()
            .chain(&before)
            .any(|status| status.container_id.is_some());
        let is_over = spec.restart_policy.as_deref() == Some("Never") && was_started;
        if is_over {
            for record in init.iter_mut().chain(&mut containers) {
                let mut statuses = first.iter().chain(&before);
                let status = statuses.find(|status| status.name == record.spec.name);
                record.end_with_the_machine(status, &now);
            }
        }
        Self {
            init,
            containers,
            started: status.start_time.unwrap_or(now),
            host_ip: host_ip.to_owned(),
            pod_ip: None,
            is_over,
        }
    }

    /// The container of this name.
    pub fn container(&mut self, name: &str) -> Option<&mut Record> {
        self.init
            .iter_mut()
            .chain(&mut self.containers)
            .find(|record| record.spec.name == name)
    }

    fn phase(&self) -> &'static str {
        let is_initialised = self.init.iter().all(Record::has_succeeded);
        if self.is_over {
            let all_succeeded = is_initialised && self.containers.iter().all(Record::has_succeeded);
            return if all_succeeded { "Succeeded" } else { "Failed" };
        }
        if is_initialised && self.containers.iter().all(Record::was_started) {
            "Running"
        } else {
            "Pending"
        }
    }

    /// `status`, for a merge patch. Conditions that others wrote stay.
    pub fn status(&self, pod: &Pod, now: &Time) -> Value {
        let phase = self.phase();
        let statuses = |records: &[Record], is_init: bool| -> Value {
            records
                .iter()
                .map(|record| record.status(is_init))
                .collect::<Vec<_>>()
                .into()
        };
        let mut status = json!({
            "phase": phase, "conditions": self.conditions(pod, phase, now), "hostIP": self.host_ip,
            "hostIPs": [{"ip": self.host_ip}], "startTime": self.started, "qosClass": qos_class(pod),
            "observedGeneration": pod.metadata.generation,
            "containerStatuses": statuses(&self.containers, false),
        });
        if !self.init.is_empty() {
            status["initContainerStatuses"] = statuses(&self.init, true);
        }
        if let Some(ip) = &self.pod_ip {
            status["podIP"] = ip.as_str().into();
            status["podIPs"] = json!([{"ip": ip}]);
        }
        status
    }

    fn conditions(&self, pod: &Pod, phase: &str, now: &Time) -> Vec<Value> {
        let names = |records: &[Record], is_good: fn(&Record) -> bool| -> String {
            let bad = records.iter().filter(|record| !is_good(record));
            bad.map(|record| record.spec.name.as_str())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let incomplete = names(&self.init, Record::has_succeeded);
        let unready = names(&self.containers, Record::is_ready);
        let initialised = match phase {
            "Succeeded" => ("True", "PodCompleted", String::new()),
            _ if incomplete.is_empty() => ("True", "", String::new()),
            _ => {
                let said = format!("containers with incomplete status: [{incomplete}]");
                ("False", "ContainersNotInitialized", said)
            }
        };
        let ready = match phase {
            "Succeeded" => ("False", "PodCompleted", String::new()),
            "Failed" => ("False", "PodFailed", String::new()),
            _ if unready.is_empty() => ("True", "", String::new()),
            _ => {
                let said = format!("containers with unready status: [{unready}]");
                ("False", "ContainersNotReady", said)
            }
        };
        let can_start = if self.pod_ip.is_some() && !self.is_over {
            "True"
        } else {
            "False"
        };
        let mut all = own_conditions(pod);
        for (kind, (status, reason, message)) in [
            ("PodReadyToStartContainers", (can_start, "", String::new())),
            ("Initialized", initialised),
            ("Ready", ready.clone()),
            ("ContainersReady", ready),
            ("PodScheduled", ("True", "", String::new())),
        ] {
            let mut condition = json!({
                "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": now,
                "observedGeneration": pod.metadata.generation,
            });
            for (field, said) in [("reason", reason), ("message", message.as_str())] {
                if !said.is_empty() {
                    condition[field] = said.into();
                }
            }
            put(&mut all, condition);
        }
        all
    }
}

fn own_conditions(pod: &Pod) -> Vec<Value> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let value = |condition| serde_json::to_value(condition).ok();
    conditions.into_iter().flatten().filter_map(value).collect()
}

/// Replaces the condition of this type; the time of the last transition stays when the status does.
fn put(all: &mut Vec<Value>, mut condition: Value) {
    match all.iter_mut().find(|old| old["type"] == condition["type"]) {
        Some(old) => {
            if old["status"] == condition["status"] && !old["lastTransitionTime"].is_null() {
                condition["lastTransitionTime"] = old["lastTransitionTime"].take();
            }
            *old = condition;
        }
        None => all.push(condition),
    }
}

/// The pod's conditions with this one; `None` when it says what is there already.
pub fn replace_condition(pod: &Pod, condition: Value) -> Option<Vec<Value>> {
    let mut all = own_conditions(pod);
    let same = |old: &Value| {
        ["type", "status", "reason", "message"]
            .iter()
            .all(|field| old[field] == condition[field])
    };
    if all.iter().any(same) {
        return None;
    }
    put(&mut all, condition);
    Some(all)
}

/// `BestEffort` without requests and limits, `Guaranteed` when each container's limits of cpu and memory are its requests.
fn qos_class(pod: &Pod) -> &'static str {
    let containers = pod
        .spec
        .as_ref()
        .map(|spec| spec.containers.as_slice())
        .unwrap_or_default();
    let resources: Vec<_> = containers
        .iter()
        .map(|it| it.resources.clone().unwrap_or_default())
        .collect();
    let is_empty = |it: &k8s_openapi::api::core::v1::ResourceRequirements| {
        it.limits.as_ref().is_none_or(|limits| limits.is_empty())
            && it.requests.as_ref().is_none_or(|requests| requests.is_empty())
    };
    let is_guaranteed = |it: &k8s_openapi::api::core::v1::ResourceRequirements| {
        let limits = it.limits.clone().unwrap_or_default();
        let has_both = limits.contains_key("cpu") && limits.contains_key("memory");
        has_both && it.requests.as_ref().is_none_or(|requests| *requests == limits)
    };
    if resources.iter().all(is_empty) {
        "BestEffort"
    } else if resources.iter().all(is_guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests;
