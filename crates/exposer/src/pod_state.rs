//! A data mover pod's status in the words a decision needs.
//!
//! Mirrors Velero's `pkg/util/kube/pod.go` (`IsPodUnrecoverable`, `GetPodTerminateMessage`, diagnostics), but keeps
//! the reason in every case.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// What a data mover pod is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum PodState {
    /// Not running yet; the reason is the scheduler's or the kubelet's.
    Pending { reason: String },
    /// It can never run.
    Broken { why: String },
    /// Its container runs on this node.
    Running { node: String },
    /// Its container has ended.
    Ended {
        /// Exit code 0.
        succeeded: bool,
        /// The termination message; empty when it left none.
        message: String,
        /// What the kubelet says about the end, when there is no message: `OOMKilled, exit code 137`.
        reason: String,
    },
}

/// Reasons of a waiting container that no time heals.
const HOPELESS: &[&str] = &[
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "ImagePullBackOff",
];

impl PodState {
    /// Reads the state out of a pod.
    pub fn of(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let container = status.container_statuses.as_ref().and_then(|all| all.first());
        let node = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_default();
        if let Some(ended) = container.and_then(ended) {
            return ended;
        }
        let phase = status.phase.as_deref().unwrap_or("Pending");
        match phase {
            "Succeeded" | "Failed" => Self::Ended {
                succeeded: phase == "Succeeded",
                message: String::new(),
                reason: sentence(
                    &[status.reason.as_deref(), status.message.as_deref()],
                    "the pod has failed",
                ),
            },
            // Nobody has heard of its node for long; nobody will say that it ended.
            "Unknown" => Self::Broken {
                why: sentence(
                    &[
                        Some("its state is Unknown"),
                        status.reason.as_deref(),
                        status.message.as_deref(),
                    ],
                    "",
                ),
            },
            "Running" if container.is_some_and(is_running) => Self::Running { node },
            _ => match container.and_then(waiting) {
                Some((reason, message)) if HOPELESS.contains(&reason.as_str()) => Self::Broken {
                    why: sentence(&[Some(&reason), Some(&message)], ""),
                },
                Some((reason, message)) => Self::Pending {
                    reason: sentence(&[Some(&reason), Some(&message)], "its container waits"),
                },
                None => Self::Pending {
                    reason: unscheduled(&status),
                },
            },
        }
    }
}

fn is_running(container: &ContainerStatus) -> bool {
    container
        .state
        .as_ref()
        .is_some_and(|state| state.running.is_some())
}

fn ended(container: &ContainerStatus) -> Option<PodState> {
    let ended = container.state.as_ref()?.terminated.as_ref()?;
    Some(PodState::Ended {
        succeeded: ended.exit_code == 0,
        message: ended.message.clone().unwrap_or_default(),
        reason: format!(
            "{}, exit code {}",
            ended.reason.as_deref().unwrap_or("ended"),
            ended.exit_code
        ),
    })
}

fn waiting(container: &ContainerStatus) -> Option<(String, String)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    Some((
        waiting.reason.clone().unwrap_or_default(),
        waiting.message.clone().unwrap_or_default(),
    ))
}

/// The condition that keeps the pod from starting: `Unschedulable: 0/1 nodes are available: …`.
fn unscheduled(status: &k8s_openapi::api::core::v1::PodStatus) -> String {
    status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .map(|condition| {
            sentence(
                &[condition.reason.as_deref(), condition.message.as_deref()],
                "it is not scheduled",
            )
        })
        .unwrap_or_else(|| "it is not scheduled yet, or its volume is not mounted yet".into())
}

/// `reason: message`, leaving out what is empty.
pub(crate) fn sentence(parts: &[Option<&str>], otherwise: &str) -> String {
    let said: Vec<_> = parts
        .iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .copied()
        .collect();
    if said.is_empty() {
        otherwise.into()
    } else {
        said.join(": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"spec": {"containers": [], "nodeName": "n1"}, "status": status}))
            .unwrap()
    }

    #[test]
    fn an_unschedulable_pod_tells_the_schedulers_reason() {
        let state = PodState::of(&pod(json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}]})));
        assert_eq!(
            state,
            PodState::Pending {
                reason: "Unschedulable: 0/1 nodes are available".into()
            }
        );
    }

    #[test]
    fn an_image_that_is_never_pulled_breaks_the_pod() {
        let state = PodState::of(&pod(
            json!({"phase": "Pending", "containerStatuses": [{"name": "x", "image": "", "imageID": "",
            "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "ErrImageNeverPull", "message": "not present"}}}]}),
        ));
        assert_eq!(
            state,
            PodState::Broken {
                why: "ErrImageNeverPull: not present".into()
            }
        );
    }

    #[test]
    fn an_ended_container_hands_over_its_termination_message_even_before_the_pods_phase_changes() {
        let state = PodState::of(&pod(
            json!({"phase": "Running", "containerStatuses": [{"name": "x", "image": "", "imageID": "",
            "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 1, "reason": "Error", "message": "no such bucket"}}}]}),
        ));
        assert_eq!(
            state,
            PodState::Ended {
                succeeded: false,
                message: "no such bucket".into(),
                reason: "Error, exit code 1".into()
            }
        );
    }

    #[test]
    fn a_pod_whose_state_nobody_knows_is_not_pending_for_ever() {
        let running = json!({"name": "x", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}});
        let state = PodState::of(&pod(
            json!({"phase": "Unknown", "reason": "NodeLost", "containerStatuses": [running]}),
        ));
        assert_eq!(
            state,
            PodState::Broken {
                why: "its state is Unknown: NodeLost".into()
            }
        );
    }

    #[test]
    fn an_evicted_pod_has_ended_with_the_kubelets_reason() {
        let state = PodState::of(&pod(
            json!({"phase": "Failed", "reason": "Evicted", "message": "low on disk"}),
        ));
        assert_eq!(
            state,
            PodState::Ended {
                succeeded: false,
                message: String::new(),
                reason: "Evicted: low on disk".into()
            }
        );
    }
}
