//! `velero repo check NAME`: whether everything that a backup repository promises is there. Not a verb of Velero's.
//!
//! A Job reads the repository in the cluster (`velero repo-check`), with the server's own rights: this terminal need not
//! reach the bucket. The command follows the Job, prints what it found, and takes it away.

mod job;

use std::time::Duration;

use caravel_api::v1::BackupRepository;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};

use super::super::connection::Global;
use super::super::describe::words;
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::follow::{Look, until_finished};

/// The server's Deployment, as every installation calls it.
const SERVER: &str = "velero";

/// Check whether everything that a backup repository promises is there.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the repository, as `velero repo get` shows it.
    name: String,
    /// Read so many of a hundred pieces of data whole, chosen by chance; 100 reads everything. Indexes, manifests and
    /// directories are read in any case, and whether every pack is there and long enough.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    read_percent: f64,
    /// How long to wait at most; 0 for no limit. Then the Job is taken away.
    #[arg(long, default_value = "0s")]
    timeout: caravel_api::Duration,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    if !(0.0..=100.0).contains(&args.read_percent) {
        return Err(Failure::usage("--read-percent is a number from 0 to 100"));
    }
    let namespace = global.namespace();
    let client = global.client().await?;
    let repositories: Api<BackupRepository> = Api::namespaced(client.clone(), &namespace);
    let repository = words::one(&repositories, &namespace, "repo", &args.name).await?;
    let servers: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let server = servers
        .get(SERVER)
        .await
        .map_err(|error| kubernetes(format!("reading Deployment {namespace}/{SERVER}"), &error))?;
    let job = job::build(&repository, &server, args.read_percent, Timestamp::now());
    let name = job.name_any();
    let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
    jobs.create(&PostParams::default(), &job)
        .await
        .map_err(|error| kubernetes(format!("creating Job {namespace}/{name}"), &error))?;
    let ended = within(
        *args.timeout,
        // Large: it has the states of its watches.
        Box::pin(until_finished(jobs.clone(), &name, &namespace, look)),
    )
    .await;
    let found = match ended {
        Some(Ok(job)) => verdict(&client, &namespace, &args.name, &job).await,
        Some(Err(failure)) => Err(failure),
        None => Err(Failure::new(format!(
            "the check of {} has not ended after {} s, and was stopped",
            args.name,
            args.timeout.as_secs()
        ))
        .next("the same command with a longer --timeout, or a smaller --read-percent")),
    };
    // One that cannot be taken away goes by itself after an hour.
    let _ = jobs.delete(&name, &DeleteParams::background()).await;
    println!("{}", found?);
    Ok(())
}

/// None: the time is over.
async fn within<T>(timeout: Duration, work: impl Future<Output = T>) -> Option<T> {
    if timeout.is_zero() {
        return Some(work.await);
    }
    tokio::time::timeout(timeout, work).await.ok()
}

fn look(job: &Job) -> Look {
    Look {
        phase: "Checking".to_owned(),
        doing: format!("Job {}", job.name_any()),
        finished: ended_well(job).is_some(),
    }
}

/// None: it has not ended.
fn ended_well(job: &Job) -> Option<bool> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let is_true = |kind: &str| {
        let mut of_kind = conditions.iter().filter(|condition| condition.type_ == kind);
        of_kind.any(|condition| condition.status == "True")
    };
    if is_true("Complete") {
        Some(true)
    } else {
        is_true("Failed").then_some(false)
    }
}

/// What the pod said last.
async fn verdict(client: &Client, namespace: &str, repository: &str, job: &Job) -> Outcome<String> {
    let name = job.name_any();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let of_job = ListParams::default().labels(&format!("{}={name}", job::LABEL));
    let pods = pods
        .list(&of_job)
        .await
        .map_err(|error| kubernetes(format!("listing the pods of Job {namespace}/{name}"), &error))?;
    let said = pods.items.iter().find_map(last_word);
    match (ended_well(job), said) {
        (Some(true), Some(said)) => Ok(said),
        (Some(true), None) => Err(Failure::new(format!(
            "the check of {repository} has ended, and what it found is not known: its pod is gone"
        ))
        .next(format!("velero repo check {repository}"))),
        (_, said) => {
            let why = said.unwrap_or_else(|| "its pod left no word".to_owned());
            Err(Failure::new(format!("backup repository {repository}: {why}")))
        }
    }
}

fn last_word(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let ended = statuses.first()?.state.as_ref()?.terminated.as_ref()?;
    let said = ended.message.as_deref().unwrap_or_default().trim();
    let reason = ended.reason.as_deref().unwrap_or_default();
    if said.is_empty() {
        (ended.exit_code != 0).then(|| format!("its pod ended with code {} ({reason})", ended.exit_code))
    } else {
        Some(said.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(conditions: Value) -> Job {
        serde_json::from_value(json!({"metadata": {"name": "j"}, "status": {"conditions": conditions}}))
            .unwrap()
    }

    fn pod(ended: Value) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [
            {"name": "velero-repo-check", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": ended}}]}}),
        )
        .unwrap()
    }

    #[test]
    fn a_job_has_ended_when_a_condition_says_so() {
        assert_eq!(ended_well(&Job::default()), None);
        assert_eq!(
            ended_well(&job(json!([{"type": "Complete", "status": "False"}]))),
            None
        );
        assert_eq!(
            ended_well(&job(json!([{"type": "Complete", "status": "True"}]))),
            Some(true)
        );
        assert_eq!(
            ended_well(&job(json!([{"type": "Failed", "status": "True"}]))),
            Some(false)
        );
    }

    #[test]
    fn the_last_word_of_the_pod_counts_and_one_that_was_killed_says_how() {
        let found = pod(json!({"exitCode": 0, "message": "no problem found: 3 snapshots\n"}));
        assert_eq!(
            last_word(&found).as_deref(),
            Some("no problem found: 3 snapshots")
        );
        let killed = pod(json!({"exitCode": 137, "reason": "OOMKilled"}));
        let word = last_word(&killed).unwrap();
        assert!(word.contains("137") && word.contains("OOMKilled"), "{word}");
        assert_eq!(last_word(&Pod::default()), None);
    }
}
