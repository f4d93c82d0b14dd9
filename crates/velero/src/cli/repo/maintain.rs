//! `velero repo maintain NAME`: maintenance now, and not when it is due. Not a verb of Velero's.
//!
//! The server does it: the annotation `velero.io/maintain-now` asks, a Job of the server's answers
//! (`caravel_controllers::backup_repository`, `maintenance/`), and its end stands in `status.recentMaintenance`.

use std::time::Duration;

use caravel_api::labels::{MAINTAIN_NOW, MAINTENANCE_JOB};
use caravel_api::phase::{BackupRepositoryMaintenanceResult, BackupRepositoryPhase};
use caravel_api::v1::{BackupRepository, BackupRepositoryMaintenanceStatus};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::super::connection::Global;
use super::super::describe::{repo::line, words};
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::flags;
use super::super::follow::{Look, until_finished};

/// Maintain a backup repository now.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the repository, as `velero repo get` shows it.
    name: String,
    /// Everything that gives space back, and not only what keeps the index small.
    #[arg(long)]
    full: bool,
    /// Wait until it has ended [default: true].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flags::boolean)]
    wait: Option<bool>,
    /// How long to wait at most; 0 for no limit. The maintenance goes on all the same.
    #[arg(long, default_value = "1h0m0s")]
    timeout: caravel_api::Duration,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let client = global.client().await?;
    let api: Api<BackupRepository> = Api::namespaced(client.clone(), &namespace);
    let before = words::one(&api, &namespace, "repo", &args.name).await?;
    may_be_maintained(&before)?;
    let mode = if args.full { "full" } else { "quick" };
    let asks = json!({"metadata": {"annotations": {MAINTAIN_NOW: mode}}});
    api.patch(&args.name, &PatchParams::default(), &Patch::Merge(&asks))
        .await
        .map_err(|error| {
            kubernetes(
                format!("writing BackupRepository {namespace}/{}", args.name),
                &error,
            )
        })?;
    if !args.wait.unwrap_or(true) {
        println!(
            "The {mode} maintenance of {} is asked for; see: velero repo describe {0}",
            args.name
        );
        return Ok(());
    }
    let jobs: Api<Job> = Api::namespaced(client, &namespace);
    let wait = wait(&api, &jobs, &before, &namespace);
    match limited(*args.timeout, wait).await {
        Some(ended) => {
            println!("{}", line(&ended?));
            Ok(())
        }
        None => Err(Failure::new(format!(
            "the {mode} maintenance of {} has not ended after {} s; it goes on, or the server does not run",
            args.name,
            args.timeout.as_secs()
        ))
        .next(format!("velero repo describe {}", args.name))),
    }
}

fn may_be_maintained(repository: &BackupRepository) -> Outcome {
    let name = repository.name_any();
    let phase = repository.phase();
    if phase != BackupRepositoryPhase::Ready {
        let why = repository.status.clone().unwrap_or_default().message;
        let why = if why.is_empty() {
            "no reason is given".to_owned()
        } else {
            why
        };
        return Err(Failure::new(format!(
            "repository {name} is {phase}, so it is not maintained: {why}"
        ))
        .next(format!("velero repo describe {name}")));
    }
    match repository.annotations().get(MAINTAIN_NOW) {
        None => Ok(()),
        Some(asked) => Err(Failure::new(format!(
            "the {asked} maintenance of {name} is asked for already, and the server has not begun it"
        ))
        .next("velero version    (does the server answer?)")),
    }
}

/// None: the time is over.
async fn limited<T>(timeout: Duration, work: impl Future<Output = T>) -> Option<T> {
    if timeout.is_zero() {
        return Some(work.await);
    }
    tokio::time::timeout(timeout, work).await.ok()
}

/// Follows the request to the entry of its Job.
async fn wait(
    api: &Api<BackupRepository>,
    jobs: &Api<Job>,
    before: &BackupRepository,
    namespace: &str,
) -> Outcome<BackupRepositoryMaintenanceStatus> {
    let name = before.name_any();
    let answered = until_finished(api.clone(), &name, namespace, |now: &BackupRepository| Look {
        phase: "Asked".to_owned(),
        doing: "the server makes the Job, after one that runs already".to_owned(),
        finished: !now.annotations().contains_key(MAINTAIN_NOW),
    })
    .await?;
    let Some(job) = new_job(before, &answered) else {
        return Err(refusal(before, &answered));
    };
    let begun = match jobs.get_opt(&job).await {
        Ok(found) => found.and_then(|found| found.metadata.creation_timestamp),
        Err(error) => {
            return Err(kubernetes(format!("reading Job {namespace}/{job}"), &error)
                .next(format!("velero repo describe {name}")));
        }
    };
    let of_job = |now: &BackupRepository| entry(before, now, begun.as_ref());
    let ended = until_finished(api.clone(), &name, namespace, |now: &BackupRepository| Look {
        phase: "Running".to_owned(),
        doing: format!("Job {job}"),
        finished: of_job(now).is_some(),
    })
    .await?;
    match of_job(&ended) {
        Some(entry) if entry.result == Some(BackupRepositoryMaintenanceResult::Failed) => Err(Failure::new(
            format!("the maintenance of {name} failed: {}", entry.message),
        )
        .next(format!("kubectl -n {namespace} logs job/{job}"))),
        Some(entry) => Ok(entry),
        None => Err(Failure::new(format!("the end of Job {job} is not written down"))
            .next(format!("velero repo describe {name}"))),
    }
}

/// The Job that was made for this request; none: it was refused.
fn new_job(before: &BackupRepository, now: &BackupRepository) -> Option<String> {
    let job = |repository: &BackupRepository| repository.annotations().get(MAINTENANCE_JOB).cloned();
    job(now).filter(|made| job(before).as_ref() != Some(made))
}

fn newest(repository: &BackupRepository) -> Option<BackupRepositoryMaintenanceStatus> {
    let status = repository.status.clone().unwrap_or_default();
    let newest = status.recent_maintenance.into_iter();
    newest.max_by_key(|run| run.start_timestamp.as_ref().map(|time| time.0))
}

/// What is written down of the Job that was made at `begun`. Where the Job is gone already, what is new since `before`.
fn entry(
    before: &BackupRepository,
    now: &BackupRepository,
    begun: Option<&Time>,
) -> Option<BackupRepositoryMaintenanceStatus> {
    match begun {
        Some(begun) => {
            let status = now.status.clone().unwrap_or_default();
            let mut runs = status.recent_maintenance.into_iter();
            runs.find(|run| run.start_timestamp.as_ref() == Some(begun))
        }
        None => newest(now).filter(|run| newest(before).as_ref() != Some(run)),
    }
}

fn refusal(before: &BackupRepository, now: &BackupRepository) -> Failure {
    let name = before.name_any();
    let said = entry(before, now, None).map(|run| run.message);
    let why = said.unwrap_or_else(|| "no reason is written down".to_owned());
    Failure::new(format!("the maintenance of {name} was refused: {why}"))
        .next(format!("velero repo describe {name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn repository(annotations: Value, runs: Value) -> BackupRepository {
        serde_json::from_value(
            json!({"metadata": {"name": "shop-default-kopia", "annotations": annotations}, "spec": {},
            "status": {"phase": "Ready", "recentMaintenance": runs}}),
        )
        .unwrap()
    }

    fn run(start: &str, result: &str, message: &str) -> Value {
        json!({"startTimestamp": start, "completeTimestamp": start, "result": result, "message": message})
    }

    const EARLIER: &str = "2026-11-22T00:00:00Z";
    const OURS: &str = "2026-11-22T01:00:00Z";

    fn before() -> BackupRepository {
        repository(
            json!({MAINTENANCE_JOB: "job-1"}),
            json!([run(EARLIER, "Succeeded", "")]),
        )
    }

    #[test]
    fn the_end_of_the_job_that_was_made_for_the_request_counts_and_no_other() {
        let other = run("2026-11-22T00:59:00Z", "Failed", "one that ran already");
        let now = |runs: Value| repository(json!({MAINTENANCE_JOB: "job-2"}), runs);
        let running = now(json!([run(EARLIER, "Succeeded", ""), other]));
        assert_eq!(new_job(&before(), &running).as_deref(), Some("job-2"));
        let begun: Time = serde_json::from_value(json!(OURS)).unwrap();
        assert!(entry(&before(), &running, Some(&begun)).is_none());
        let ended = now(json!([other, run(OURS, "Succeeded", "")]));
        let ours = entry(&before(), &ended, Some(&begun)).unwrap();
        assert_eq!(ours.start_timestamp, Some(begun));
    }

    #[test]
    fn a_request_without_a_new_job_was_refused_for_the_reason_that_is_new() {
        let runs = json!([
            run(EARLIER, "Succeeded", ""),
            run(OURS, "Failed", "the location is read-only")
        ]);
        let now = repository(json!({MAINTENANCE_JOB: "job-1"}), runs);
        assert_eq!(new_job(&before(), &now), None);
        let why = refusal(&before(), &now).to_string();
        assert!(why.contains("the location is read-only"), "{why}");
        let silent = refusal(&before(), &before()).to_string();
        assert!(silent.contains("no reason is written down"), "{silent}");
    }

    #[test]
    fn one_that_is_not_ready_or_asked_already_is_not_asked_again() {
        let mut not_ready = before();
        not_ready.status.as_mut().unwrap().phase = Some(BackupRepositoryPhase::NotReady);
        not_ready.status.as_mut().unwrap().message = "the password is wrong".into();
        let why = may_be_maintained(&not_ready).unwrap_err().to_string();
        assert!(
            why.contains("NotReady") && why.contains("the password is wrong"),
            "{why}"
        );
        let asked = repository(json!({MAINTAIN_NOW: "full"}), json!([]));
        let why = may_be_maintained(&asked).unwrap_err().to_string();
        assert!(why.contains("the full maintenance"), "{why}");
        assert!(may_be_maintained(&before()).is_ok());
    }
}
