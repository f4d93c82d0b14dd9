//! How a maintenance Job ended, by its status and by the last word of its pod. Pure.
//!
//! The pod's termination message holds the reason behind [`ERROR_INDICATOR`], be it the file or the end of the log.
//! Source: Velero v1.18.3 `getResultFromJob`, `composeStatusFromJob` in `pkg/repository/maintenance/maintenance.go`.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};

/// Before the reason, in the last word of a pod of ours or Velero's: its `TerminationLogIndicator`.
pub const ERROR_INDICATOR: &str = "Repo maintenance error: ";
/// Of a text without that, so many last characters are repeated.
const TAIL: usize = 400;

/// Where a Job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    NotYet,
    Succeeded(Option<Timestamp>),
    /// When the Job controller gave it up, where that is known.
    Failed(Option<Timestamp>),
}

/// By its counts, as Velero does, or by its conditions: a Job that ran past a deadline has failed without a pod that has.
pub(super) fn ended(job: &Job) -> Ended {
    let Some(status) = &job.status else {
        return Ended::NotYet;
    };
    let condition = |kind: &str| {
        let mut all = status.conditions.iter().flatten();
        all.find(|condition| condition.type_ == kind && condition.status == "True")
    };
    let failed = condition("Failed");
    let since = |condition: Option<&JobCondition>| Some(condition?.last_transition_time.as_ref()?.0);
    if failed.is_some() || status.failed.unwrap_or(0) > 0 {
        return Ended::Failed(since(failed));
    }
    if condition("Complete").is_some() || status.succeeded.unwrap_or(0) > 0 {
        let at = status.completion_time.as_ref().map(|time| time.0);
        return Ended::Succeeded(at.or(since(condition("Complete"))));
    }
    Ended::NotYet
}

/// Why a Job failed, for people; and when its pod ended.
pub(super) fn reason(job: &Job, name: &str, pods: &[Pod]) -> (String, Option<Timestamp>) {
    let at = pods.iter().find_map(terminated);
    let at = at.and_then(|last| Some(last.finished_at.as_ref()?.0));
    let why = last_word(name, pods).unwrap_or_else(|why| {
        let mut text = format!("Repo maintenance failed but result is not retrievable, err: {why}");
        for said in said_by_kubernetes(job, pods) {
            text.push_str("; ");
            text.push_str(&said);
        }
        text
    });
    (why, at)
}

fn last_word(name: &str, pods: &[Pod]) -> Result<String, String> {
    let pod = pods
        .first()
        .ok_or_else(|| format!("no pod found for job {name}"))?;
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    if statuses.is_none_or(Vec::is_empty) {
        return Err(format!("no container statuses found for job {name}"));
    }
    let last = terminated(pod).ok_or_else(|| format!("container for job {name} is not terminated"))?;
    let message = last.message.as_deref().unwrap_or_default();
    // Killed by the machine, mostly for want of memory; Velero says nothing then.
    if message.is_empty() {
        let reason = last.reason.as_deref().filter(|reason| !reason.is_empty());
        return Ok(format!(
            "the maintenance pod ended with exit code {} ({}) and without a word",
            last.exit_code,
            reason.unwrap_or("no reason given")
        ));
    }
    match message.split_once(ERROR_INDICATOR) {
        Some((_, why)) if !why.trim().is_empty() => Ok(why.trim_end().to_owned()),
        Some(_) => Err("nothing after repo maintenance error indicator in termination message".into()),
        None => Err(format!(
            "error to locate repo maintenance error indicator from termination message: {}",
            tail(message)
        )),
    }
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.first()?.state.as_ref()?.terminated.as_ref()
}

/// What the Job's condition and the pod itself say (`DeadlineExceeded`, `Evicted`).
fn said_by_kubernetes(job: &Job, pods: &[Pod]) -> Vec<String> {
    let conditions = job
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let of_job = conditions
        .filter(|condition| condition.type_ == "Failed")
        .map(|condition| (condition.reason.clone(), condition.message.clone()));
    let of_pods = pods.iter().filter_map(|pod| pod.status.as_ref());
    let of_pods = of_pods.map(|status| (status.reason.clone(), status.message.clone()));
    let said = of_job.chain(of_pods).filter_map(|(reason, message)| {
        let parts: Vec<String> = [reason, message]
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty())
            .collect();
        (!parts.is_empty()).then(|| parts.join(": "))
    });
    said.collect()
}

/// What a pod that has not ended waits for, as Kubernetes says it (`Unschedulable: 0/3 nodes …`, `ImagePullBackOff: …`);
/// none: it runs.
pub fn pod_waits_for(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let said = |reason: Option<&String>, message: Option<&String>| {
        let parts: Vec<&str> = [reason, message]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        (!parts.is_empty()).then(|| parts.join(": "))
    };
    let containers = status.container_statuses.iter().flatten();
    let mut waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    let of_container = waiting.find_map(|it| said(it.reason.as_ref(), it.message.as_ref()));
    let conditions = status.conditions.iter().flatten();
    let mut unscheduled = conditions.filter(|it| it.type_ == "PodScheduled" && it.status == "False");
    let of_scheduler = unscheduled.find_map(|it| said(it.reason.as_ref(), it.message.as_ref()));
    of_container.or(of_scheduler)
}

fn tail(text: &str) -> String {
    let text = text.trim();
    let skip = text.chars().count().saturating_sub(TAIL);
    text.chars().skip(skip).collect()
}
