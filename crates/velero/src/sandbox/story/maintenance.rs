//! Acts with a repository that is maintained: by itself, when somebody asks for it, and when it fails. As in `acts.rs`, each
//! looks at what came of it.

use caravel_api::labels::{MAINTAIN_NOW, MAINTENANCE_JOB, REPO_NAME};
use caravel_api::phase::BackupRepositoryMaintenanceResult;
use caravel_api::v1::{BackupRepository, BackupRepositoryMaintenanceStatus};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::super::world::{VELERO, World};
use super::mishaps::until;
use super::tale::Tale;
use crate::cli::failure::{Failure, Outcome, kubernetes};

/// The shop's repository.
const REPOSITORY: &str = "shop-default-kopia";
/// The blob with the times of its maintenance.
const SCHEDULE: &str = "kopia/shop/kopia.maintenance";
/// Jobs that are kept where nobody says how many.
const KEPT: usize = 3;

/// Asks for maintenance, and gives the Job that it is done by and what the history says of that one.
async fn ask(world: &World, mode: &str) -> Outcome<(Job, BackupRepositoryMaintenanceStatus)> {
    patch(world, &json!({"metadata": {"annotations": {MAINTAIN_NOW: mode}}})).await?;
    let jobs: Api<Job> = Api::namespaced(world.client(), VELERO);
    until("the maintenance that was asked for to end", async || {
        let now = repository(world).await?;
        let named = now.annotations().get(MAINTENANCE_JOB);
        let Some(name) = named.filter(|_| !now.annotations().contains_key(MAINTAIN_NOW)) else {
            return Ok(None);
        };
        let job = jobs.get(name).await;
        let job = job.map_err(|error| kubernetes(format!("getting job {name}"), &error))?;
        let status = now.status.clone().unwrap_or_default();
        let mut runs = status.recent_maintenance.into_iter();
        let run = runs.find(|run| job.creation_timestamp().is_some_and(|time| time.0 == start(run)));
        Ok(run.map(|run| (job, run)))
    })
    .await
}

/// Somebody wants it maintained now: a Job does it, with Velero's name and label.
pub async fn asked_for(world: &World, tale: &mut Tale, mode: &str) -> Outcome {
    tale.step(&format!("Ask for {mode} maintenance of the repository"))?;
    let (job, run) = ask(world, mode).await?;
    is(&run, &BackupRepositoryMaintenanceResult::Succeeded)?;
    let named = job.name_any();
    if !named.starts_with(&format!("{REPOSITORY}-maintain-job-")) || !job.labels().contains_key(REPO_NAME) {
        return Err(Failure::new(format!("Job {named} is not called as Velero's are")));
    }
    tale.fact(&format!("{mode} maintenance: Succeeded, by Job {named}"))?;
    tale.types("velero repo get", world).await
}

/// It is time: maintenance comes by itself.
pub async fn due(world: &World, tale: &mut Tale) -> Outcome {
    tale.step("Wait until maintenance is due by itself")?;
    let before = newest(&repository(world).await?).map(start);
    patch(world, &json!({"spec": {"maintenanceFrequency": "3s"}})).await?;
    let run = until("maintenance to come by itself", async || {
        let now = repository(world).await?;
        Ok(newest(&now).filter(|run| Some(start(run)) > before).cloned())
    })
    .await?;
    patch(world, &json!({"spec": {"maintenanceFrequency": "1h0m0s"}})).await?;
    is(&run, &BackupRepositoryMaintenanceResult::Succeeded)?;
    let last = repository(world)
        .await?
        .status
        .unwrap_or_default()
        .last_maintenance_time;
    if last.is_none_or(|last| last.0 < start(&run)) {
        return Err(Failure::new(
            "status.lastMaintenanceTime is older than the last maintenance",
        ));
    }
    tale.fact("maintenance that was due: Succeeded")
}

/// Somebody damages a blob: the history says why maintenance fails, and when it is mended maintenance goes on.
pub async fn fails(world: &World, tale: &mut Tale) -> Outcome {
    tale.step("Damage a blob of the repository, and ask again")?;
    let file = world.objects.file(SCHEDULE);
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", file.display()));
    let whole = std::fs::read(&file).map_err(failed)?;
    let mut damaged = whole.clone();
    if let Some(last) = damaged.last_mut() {
        *last ^= 1;
    }
    std::fs::write(&file, damaged).map_err(failed)?;
    let (_, run) = ask(world, "quick").await?;
    std::fs::write(&file, whole).map_err(failed)?;
    is(&run, &BackupRepositoryMaintenanceResult::Failed)?;
    if !run.message.contains("kopia.maintenance") {
        return Err(Failure::new(format!(
            "maintenance failed, and its reason does not name the blob: {:?}",
            run.message
        )));
    }
    tale.fact(&format!("quick maintenance: Failed: {}", run.message))
}

/// The last Jobs are kept and the older ones go, each with its pod.
pub async fn old_jobs_go(world: &World, tale: &mut Tale) -> Outcome {
    tale.step("Look which jobs are kept")?;
    let all = ListParams::default().labels(&format!("{REPO_NAME}={REPOSITORY}"));
    let jobs: Api<Job> = Api::namespaced(world.client(), VELERO);
    let pods: Api<Pod> = Api::namespaced(world.client(), VELERO);
    until("old maintenance jobs to go", async || {
        let jobs = jobs.list(&all).await;
        let jobs = jobs
            .map_err(|error| kubernetes("listing jobs", &error))?
            .items
            .len();
        let pods = pods.list(&all).await;
        let pods = pods
            .map_err(|error| kubernetes("listing pods", &error))?
            .items
            .len();
        Ok((jobs == KEPT && pods == KEPT).then_some(()))
    })
    .await?;
    let history = repository(world)
        .await?
        .status
        .unwrap_or_default()
        .recent_maintenance;
    tale.fact(&format!(
        "{KEPT} jobs and {KEPT} pods are kept; the history has {} runs",
        history.len()
    ))
}

async fn repository(world: &World) -> Outcome<BackupRepository> {
    let api: Api<BackupRepository> = Api::namespaced(world.client(), VELERO);
    let found = api.get(REPOSITORY).await;
    found.map_err(|error| kubernetes(format!("getting backup repository {REPOSITORY}"), &error))
}

async fn patch(world: &World, patch: &Value) -> Outcome {
    let api: Api<BackupRepository> = Api::namespaced(world.client(), VELERO);
    let patched = api
        .patch(REPOSITORY, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched
        .map(drop)
        .map_err(|error| kubernetes(format!("changing backup repository {REPOSITORY}"), &error))
}

fn newest(repository: &BackupRepository) -> Option<&BackupRepositoryMaintenanceStatus> {
    repository.status.as_ref()?.recent_maintenance.last()
}

fn start(run: &BackupRepositoryMaintenanceStatus) -> Timestamp {
    run.start_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0)
}

fn is(run: &BackupRepositoryMaintenanceStatus, wanted: &BackupRepositoryMaintenanceResult) -> Outcome {
    if run.result.as_ref() == Some(wanted) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "maintenance ended as {:?}, saying {:?}; {wanted} was expected",
        run.result, run.message
    )))
}
