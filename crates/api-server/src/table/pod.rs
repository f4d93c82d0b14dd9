//! A Pod's row: above all the one word that says how its containers are.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Cells, age, list, number, text, text_or};

pub(super) fn pod(object: &Value, now: Timestamp) -> Cells {
    let state = state(object);
    let sidecars = list(object, "/spec/initContainers")
        .iter()
        .filter(|container| is_sidecar(container))
        .count();
    let total = list(object, "/spec/containers").len() + sidecars;
    let restarts = match state.last_restart {
        Some(then) if state.restarts > 0 => format!("{} ({} ago)", state.restarts, age::between(then, now)),
        _ => state.restarts.to_string(),
    };
    vec![
        json!(text(object, "/metadata/name")),
        json!(format!("{}/{total}", state.ready)),
        json!(state.reason),
        json!(restarts),
        age::of(object, now),
        json!(text_or(object, "/status/podIPs/0/ip", "<none>")),
        json!(text_or(object, "/spec/nodeName", "<none>")),
        json!(text_or(object, "/status/nominatedNodeName", "<none>")),
        json!(readiness_gates(object)),
    ]
}

#[derive(Default)]
struct State {
    reason: String,
    ready: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl State {
    fn count_restarts(&mut self, status: &Value) {
        self.restarts += number(status, "/restartCount");
        let finished = text(status, "/lastState/terminated/finishedAt").parse().ok();
        self.last_restart = self.last_restart.max(finished);
    }
}

fn state(object: &Value) -> State {
    let mut state = State {
        reason: text_or(object, "/status/reason", text(object, "/status/phase")).to_owned(),
        ..State::default()
    };
    if condition(object, "PodScheduled").is_some_and(|scheduled| scheduled["reason"] == "SchedulingGated") {
        state.reason = "SchedulingGated".into();
    }
    let mut sidecars = State::default();
    let initializing = init_containers(object, &mut state, &mut sidecars);
    if !initializing || is_true(object, "Initialized") {
        // Restarts of init containers that are done no longer count.
        state.restarts = sidecars.restarts;
        state.last_restart = sidecars.last_restart;
        containers(object, &mut state);
    }
    let deleted = object.pointer("/metadata/deletionTimestamp").is_some();
    let ended = matches!(text(object, "/status/phase"), "Succeeded" | "Failed");
    if deleted && text(object, "/status/reason") == "NodeLost" {
        state.reason = "Unknown".into();
    } else if deleted && !ended {
        state.reason = "Terminating".into();
    }
    state
}

/// Whether the pod is still at its init containers; `state.reason` then says at which.
fn init_containers(object: &Value, state: &mut State, sidecars: &mut State) -> bool {
    let specs = list(object, "/spec/initContainers");
    for (place, status) in list(object, "/status/initContainerStatuses").iter().enumerate() {
        state.count_restarts(status);
        let sidecar = specs
            .iter()
            .any(|spec| spec["name"] == status["name"] && is_sidecar(spec));
        if sidecar {
            sidecars.count_restarts(status);
        }
        let terminated = status.pointer("/state/terminated");
        let waiting = text(status, "/state/waiting/reason");
        if terminated.is_some_and(|ended| number(ended, "/exitCode") == 0) {
            continue;
        }
        if sidecar && status["started"] == true {
            state.ready += usize::from(status["ready"] == true);
            continue;
        }
        state.reason = match terminated {
            Some(ended) => format!("Init:{}", ending(ended)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            None => format!("Init:{place}/{}", specs.len()),
        };
        return true;
    }
    false
}

fn containers(object: &Value, state: &mut State) {
    let mut has_running = false;
    for status in list(object, "/status/containerStatuses").iter().rev() {
        state.count_restarts(status);
        let waiting = text(status, "/state/waiting/reason");
        if !waiting.is_empty() {
            state.reason = waiting.to_owned();
        } else if let Some(ended) = status.pointer("/state/terminated") {
            state.reason = ending(ended);
        } else if status["ready"] == true && status.pointer("/state/running").is_some() {
            has_running = true;
            state.ready += 1;
        }
    }
    if state.reason == "Completed" && has_running {
        state.reason = if is_true(object, "Ready") {
            "Running"
        } else {
            "NotReady"
        }
        .into();
    }
}

/// `Completed`, `Error`, `Signal:9`, `ExitCode:3`.
fn ending(terminated: &Value) -> String {
    match (text(terminated, "/reason"), number(terminated, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(terminated, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions")
        .iter()
        .find(|condition| condition["type"] == kind)
}

fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

fn readiness_gates(object: &Value) -> String {
    let gates = list(object, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let open = gates
        .iter()
        .filter(|gate| is_true(object, text(gate, "/conditionType")))
        .count();
    format!("{open}/{}", gates.len())
}
