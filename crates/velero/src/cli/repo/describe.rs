//! `velero repo describe [NAMES]`; the text is made in `cli/describe/repo.rs`. Not a verb of Velero's.

use caravel_api::labels::{REPO_NAME, name_or_hash};
use caravel_api::v1::{BackupRepository, BackupStorageLocation};
use caravel_controllers::backup_repository::pod_waits_for;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::super::connection::Global;
use super::super::describe::repo::text;
use super::super::describe::words::time;
use super::super::failure::{Outcome, kubernetes};
use super::super::listing::Which;
use super::super::output::emit;

/// Describe backup repositories.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let client = global.client().await?;
    let api: Api<BackupRepository> = Api::namespaced(client.clone(), &namespace);
    let mut repositories = args.which.fetch(&api, &namespace, "repo").await?;
    repositories.sort_by_key(ResourceExt::name_any);
    if repositories.is_empty() {
        return emit("No backup repositories found\n");
    }
    let of_maintenance = ListParams::default().labels(REPO_NAME);
    let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
    let jobs = jobs
        .list(&of_maintenance)
        .await
        .map_err(|error| kubernetes("listing maintenance jobs", &error))?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let pods = pods
        .list(&of_maintenance)
        .await
        .map_err(|error| kubernetes("listing maintenance pods", &error))?;
    let locations: Api<BackupStorageLocation> = Api::namespaced(client, &namespace);
    let locations = locations
        .list(&ListParams::default())
        .await
        .map_err(|error| kubernetes("listing backup storage locations", &error))?;
    let texts: Vec<String> = repositories
        .iter()
        .map(|repository| {
            let name = &repository.spec.backup_storage_location;
            let location = locations.iter().find(|location| location.name_any() == *name);
            let mut text = text(repository, location, global.colours());
            text.push_str(&at_work(repository, &jobs.items, &pods.items));
            text
        })
        .collect();
    emit(&texts.join("\n\n"))
}

/// The maintenance Jobs that have not ended, and what their pods wait for; nothing where there is none.
fn at_work(repository: &BackupRepository, jobs: &[Job], pods: &[Pod]) -> String {
    let label = name_or_hash(&repository.name_any());
    let is_of = |job: &&Job| job.labels().get(REPO_NAME) == Some(&label);
    let has_ended = |job: &Job| {
        let status = job.status.clone().unwrap_or_default();
        status.succeeded.unwrap_or(0) > 0 || status.failed.unwrap_or(0) > 0
    };
    let lines = jobs
        .iter()
        .filter(is_of)
        .filter(|job| !has_ended(job))
        .map(|job| {
            let name = job.name_any();
            let pod = pods
                .iter()
                .find(|pod| pod.labels().get("job-name") == Some(&name));
            let why = match pod {
                None => "it has no pod".to_owned(),
                Some(pod) => pod_waits_for(pod).unwrap_or_else(|| "its pod runs".to_owned()),
            };
            let since = time(job.metadata.creation_timestamp.as_ref());
            format!("\n  {since}  Job {name}: {why}")
        });
    let lines: String = lines.collect();
    if lines.is_empty() {
        lines
    } else {
        format!("\nRunning Maintenance:{lines}\n")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_that_is_at_work_is_told_with_what_its_pod_waits_for() {
        let repository: BackupRepository =
            serde_json::from_value(json!({"metadata": {"name": "shop-default-kopia"}, "spec": {}})).unwrap();
        let job = |name: &str, status: serde_json::Value| -> Job {
            serde_json::from_value(
                json!({"metadata": {"name": name, "creationTimestamp": "2026-11-22T01:00:00Z",
                "labels": {"velero.io/repo-name": "shop-default-kopia"}}, "status": status}),
            )
            .unwrap()
        };
        let pod: Pod = serde_json::from_value(json!({"metadata": {"labels": {"job-name": "stuck"}},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}}))
        .unwrap();
        let jobs = [
            job("ended", json!({"succeeded": 1})),
            job("stuck", json!({"active": 1})),
        ];
        let told = at_work(&repository, &jobs, &[pod]);
        assert_eq!(
            told,
            "\nRunning Maintenance:\n  2026-11-22 01:00:00 +0000 UTC  Job stuck: Unschedulable\n"
        );
        assert_eq!(at_work(&repository, &jobs[..1], &[]), "");
    }
}
