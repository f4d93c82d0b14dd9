//! Job: pods that run to their end. `pkg/controller/job` of v1.34, without Indexed completions and failure policies.

use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use super::pods::{self, from_template};
use crate::machinery::{
    Answer, Change, Context, Controller, Key, Kinds, Outcome, Told, controller_of, settled,
};

const COMPONENT: &str = "job-controller";
/// The wait before a failed pod is followed by another, doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);

/// The Job controller.
pub struct Jobs(pub Context);

/// A Job and its pods.
struct Picture {
    active: Vec<Pod>,
    succeeded: usize,
    failed: usize,
    last_failure: Option<jiff::Timestamp>,
}

#[derive(Debug, PartialEq)]
enum Decision {
    Finished,
    Complete,
    Fail {
        reason: &'static str,
        message: &'static str,
    },
    Start(usize),
    WaitFor(Duration),
    Remove(usize),
    Nothing,
}

#[async_trait]
impl Controller for Jobs {
    type Key = Key;
    const NAME: &'static str = COMPONENT;

    fn touched_by(&self, change: &Change<'_>) -> Vec<Key> {
        if change.is("batch", "Job") {
            return vec![change.key()];
        }
        if change.is("", "Pod") {
            return change.controlled_by("Job").into_iter().collect();
        }
        Vec::new()
    }

    async fn reconcile(&self, key: &Key) -> Answer<Outcome> {
        let api = self.0.client.of::<Job>(&key.namespace);
        let Some(job) = api.get_opt(&key.name).await? else {
            return Ok(Outcome::Done);
        };
        if job.metadata.deletion_timestamp.is_some() {
            return Ok(Outcome::Done);
        }
        let spec = job.spec.clone().unwrap_or_default();
        let all = self
            .0
            .client
            .of::<Pod>(&key.namespace)
            .list(&ListParams::default())
            .await?;
        let uid = job.uid().unwrap_or_default();
        let is_mine = |pod: &Pod| controller_of(&pod.metadata).is_some_and(|owner| owner.uid == uid);
        let picture = Picture::of(all.items.into_iter().filter(is_mine).collect());
        let decision = decide(&job, &spec, &picture, self.0.clock.now());
        self.act(&job, &spec, &picture, decision).await
    }
}

impl Picture {
    fn of(pods: Vec<Pod>) -> Self {
        let ended = |phase: &str| pods.iter().filter(|pod| pods::phase(pod) == phase).count();
        let (succeeded, failed) = (ended("Succeeded"), ended("Failed"));
        let failures = pods.iter().filter(|pod| pods::phase(pod) == "Failed");
        let last_failure = failures.filter_map(end_of).max();
        Self {
            active: pods.into_iter().filter(pods::is_active).collect(),
            succeeded,
            failed,
            last_failure,
        }
    }
}

fn end_of(pod: &Pod) -> Option<jiff::Timestamp> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let ended = |status: &k8s_openapi::api::core::v1::ContainerStatus| {
        Some(
            status
                .state
                .as_ref()?
                .terminated
                .as_ref()?
                .finished_at
                .as_ref()?
                .0,
        )
    };
    statuses.iter().filter_map(ended).max()
}

fn is_finished(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_end = |kind: &str| matches!(kind, "Complete" | "Failed");
    conditions
        .into_iter()
        .flatten()
        .any(|it| is_end(&it.type_) && it.status == "True")
}

fn decide(job: &Job, spec: &JobSpec, picture: &Picture, now: jiff::Timestamp) -> Decision {
    if is_finished(job) {
        return Decision::Finished;
    }
    let parallelism = usize::try_from(spec.parallelism.unwrap_or(1)).unwrap_or(0);
    let completions = spec.completions.map(|count| usize::try_from(count).unwrap_or(0));
    let limit = usize::try_from(spec.backoff_limit.unwrap_or(6)).unwrap_or(0);
    let started = job.status.as_ref().and_then(|status| status.start_time.as_ref());
    let age = started.map_or(0, |since| now.as_second() - since.0.as_second());
    if picture.failed > limit {
        return Decision::Fail {
            reason: "BackoffLimitExceeded",
            message: "Job has reached the specified backoff limit",
        };
    }
    if spec
        .active_deadline_seconds
        .is_some_and(|deadline| age >= deadline)
    {
        return Decision::Fail {
            reason: "DeadlineExceeded",
            message: "Job was active longer than specified deadline",
        };
    }
    let active = picture.active.len();
    let is_done = match completions {
        Some(count) => picture.succeeded >= count,
        None => picture.succeeded > 0 && active == 0,
    };
    if is_done {
        return Decision::Complete;
    }
    let wanted = match (spec.suspend == Some(true), completions) {
        (true, _) => 0,
        (false, Some(count)) => parallelism.min(count - picture.succeeded),
        (false, None) if picture.succeeded > 0 => active,
        (false, None) => parallelism,
    };
    match active.cmp(&wanted) {
        std::cmp::Ordering::Greater => Decision::Remove(active - wanted),
        std::cmp::Ordering::Equal => Decision::Nothing,
        std::cmp::Ordering::Less => {
            let wait = backoff(picture, now);
            if wait.is_zero() {
                Decision::Start(wanted - active)
            } else {
                Decision::WaitFor(wait)
            }
        }
    }
}

fn backoff(picture: &Picture, now: jiff::Timestamp) -> Duration {
    let Some(last) = picture.last_failure else {
        return Duration::ZERO;
    };
    let doublings = u32::try_from(picture.failed.saturating_sub(1))
        .unwrap_or(6)
        .min(6);
    let whole = (FIRST_BACKOFF * (1 << doublings)).min(LONGEST_BACKOFF);
    let passed = Duration::from_secs(u64::try_from(now.as_second() - last.as_second()).unwrap_or(0));
    whole.saturating_sub(passed)
}

impl Jobs {
    async fn act(&self, job: &Job, spec: &JobSpec, picture: &Picture, decision: Decision) -> Answer<Outcome> {
        let mut outcome = Outcome::Done;
        let mut end = None;
        match decision {
            Decision::Finished => return self.expire(job, spec).await,
            Decision::Complete => {
                for pod in &picture.active {
                    pods::delete(&self.0, job, COMPONENT, pod).await?;
                }
                let message = "Reached expected number of succeeded pods";
                end = Some(("SuccessCriteriaMet", "Complete", "CompletionsReached", message));
            }
            Decision::Fail { reason, message } => {
                for pod in &picture.active {
                    pods::delete(&self.0, job, COMPONENT, pod).await?;
                }
                end = Some(("FailureTarget", "Failed", reason, message));
            }
            Decision::Start(count) => {
                for _ in 0..count {
                    pods::create(&self.0, job, COMPONENT, &pod_of(job, spec)).await?;
                }
            }
            Decision::WaitFor(wait) => outcome = Outcome::Again(wait),
            Decision::Remove(count) => {
                let mut active = picture.active.clone();
                pods::deletion_order(&mut active);
                for pod in &active[..count] {
                    pods::delete(&self.0, job, COMPONENT, pod).await?;
                }
            }
            Decision::Nothing => {
                if let Some(deadline) = spec.active_deadline_seconds {
                    let wait = u64::try_from(deadline).unwrap_or(0).max(1);
                    outcome = Outcome::Again(Duration::from_secs(wait));
                }
            }
        }
        self.write_status(job, picture, end).await?;
        Ok(outcome)
    }

    async fn write_status(
        &self,
        job: &Job,
        picture: &Picture,
        end: Option<(&str, &str, &str, &str)>,
    ) -> Answer<()> {
        let now = self.0.now();
        let before = job.status.clone().unwrap_or_default();
        let ready = picture
            .active
            .iter()
            .filter(|pod| pods::ready_since(pod).is_some())
            .count();
        let counted = |count: usize| if count == 0 { Value::Null } else { json!(count) };
        let mut status = json!({
            "startTime": before.start_time.unwrap_or_else(|| now.clone()),
            "active": if end.is_some() { Value::Null } else { counted(picture.active.len()) },
            "ready": if end.is_some() { 0 } else { ready },
            "succeeded": counted(picture.succeeded), "failed": counted(picture.failed),
            "terminating": 0, "uncountedTerminatedPods": {},
        });
        if let Some((first, last, reason, message)) = end {
            let condition = |kind: &str| {
                json!({"type": kind, "status": "True", "reason": reason, "message": message,
                    "lastProbeTime": now, "lastTransitionTime": now})
            };
            status["conditions"] = json!([condition(first), condition(last)]);
            let told = if last == "Complete" {
                status["completionTime"] = json!(now);
                Told::normal(COMPONENT, "Completed", "Job completed")
            } else {
                Told::warning(COMPONENT, reason, message)
            };
            self.0.recorder.tell(job, told).await;
        }
        let api = self.0.client.of::<Job>(&job.namespace().unwrap_or_default());
        pods::write_status(&api, job, status).await
    }

    /// `ttlSecondsAfterFinished`.
    async fn expire(&self, job: &Job, spec: &JobSpec) -> Answer<Outcome> {
        let Some(ttl) = spec.ttl_seconds_after_finished else {
            return Ok(Outcome::Done);
        };
        let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ended = conditions
            .into_iter()
            .flatten()
            .filter_map(|it| it.last_transition_time.as_ref())
            .max();
        let passed = ended.map_or(0, |at| self.0.clock.now().as_second() - at.0.as_second());
        let left = u64::try_from(i64::from(ttl) - passed).unwrap_or(0);
        if left > 0 {
            return Ok(Outcome::Again(Duration::from_secs(left)));
        }
        let api = self.0.client.of::<Job>(&job.namespace().unwrap_or_default());
        settled(api.delete(&job.name_any(), &DeleteParams::background()).await)?;
        Ok(Outcome::Done)
    }
}

fn pod_of(job: &Job, spec: &JobSpec) -> Pod {
    let (name, uid) = (job.name_any(), job.uid().unwrap_or_default());
    let labels = [
        ("batch.kubernetes.io/controller-uid", uid.clone()),
        ("batch.kubernetes.io/job-name", name.clone()),
        ("controller-uid", uid),
        ("job-name", name.clone()),
    ];
    from_template(
        &spec.template,
        pods::controller_reference(job),
        &format!("{name}-"),
        &labels,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(active: usize, succeeded: usize, failed: usize) -> Picture {
        Picture {
            active: vec![Pod::default(); active],
            succeeded,
            failed,
            last_failure: None,
        }
    }

    fn decide_for(spec: Value, picture: &Picture) -> Decision {
        let mut whole = json!({"template": {"spec": {"containers": []}}});
        json_patch::merge(&mut whole, &spec);
        let spec: JobSpec = serde_json::from_value(whole).unwrap();
        decide(&Job::default(), &spec, picture, jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_job_starts_as_many_pods_as_it_may_and_still_needs() {
        let spec = json!({"completions": 3, "parallelism": 2});
        assert_eq!(decide_for(spec.clone(), &picture(0, 0, 0)), Decision::Start(2));
        assert_eq!(decide_for(spec.clone(), &picture(0, 2, 0)), Decision::Start(1));
        assert_eq!(decide_for(spec.clone(), &picture(1, 2, 0)), Decision::Nothing);
        assert_eq!(decide_for(spec, &picture(0, 3, 0)), Decision::Complete);
    }

    #[test]
    fn a_job_fails_after_its_backoff_limit() {
        let spec = json!({"completions": 1, "backoffLimit": 0});
        let decision = decide_for(spec, &picture(0, 0, 1));
        assert!(
            matches!(
                decision,
                Decision::Fail {
                    reason: "BackoffLimitExceeded",
                    ..
                }
            ),
            "{decision:?}"
        );
    }

    #[test]
    fn a_failed_pod_is_followed_by_another_after_a_wait() {
        let failed = Picture {
            last_failure: Some(jiff::Timestamp::UNIX_EPOCH),
            ..picture(0, 0, 1)
        };
        let decision = decide_for(json!({"completions": 1}), &failed);
        assert_eq!(decision, Decision::WaitFor(Duration::from_secs(10)));
    }

    #[test]
    fn a_suspended_job_has_no_pods() {
        let decision = decide_for(json!({"completions": 1, "suspend": true}), &picture(1, 0, 0));
        assert_eq!(decision, Decision::Remove(1));
    }
}
