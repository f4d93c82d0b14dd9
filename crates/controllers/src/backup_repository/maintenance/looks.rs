//! Looks at repositories in an API server: Jobs that are made, adopted, written down and deleted.

use std::sync::Arc;

use caravel_api::labels::{MAINTAIN_NOW, MAINTENANCE_JOB};
use caravel_api::phase::BackupRepositoryMaintenanceResult as Outcome;
use caravel_api::v1::{BackupRepository, BackupRepositoryMaintenanceStatus};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::*;
use crate::context::{Clock, SystemClock};
use crate::in_memory::{Bucket, Cluster, NAMESPACE};

const NAME: &str = "shop-default-kopia";

/// Long after the API server made anything.
struct Later;

impl Clock for Later {
    fn now(&self) -> Timestamp {
        "2100-01-01T00:00:00Z".parse().unwrap()
    }
}

/// A cluster with a server's Deployment and a repository that is Ready and due.
struct World {
    cluster: Cluster,
    maintenance: Maintenance,
}

impl World {
    async fn new() -> Self {
        let world = Self::without_server().await;
        let server = json!({"metadata": {"name": "velero"}, "spec": {"selector": {"matchLabels": {"deploy": "velero"}},
            "template": {"metadata": {"labels": {"deploy": "velero"}},
                "spec": {"containers": [{"name": "velero", "image": "velero/velero:v1"}]}}}});
        world.cluster.create::<Deployment>(server).await;
        world
    }

    async fn without_server() -> Self {
        let mut cluster = Cluster::new(&Bucket::default()).await;
        cluster.context.clock = Arc::new(Later);
        let repository = json!({"metadata": {"name": NAME}, "status": {"phase": "Ready"},
            "spec": {"volumeNamespace": "shop", "backupStorageLocation": "default", "repositoryType": "kopia",
                "maintenanceFrequency": "1h0m0s"}});
        cluster.create::<BackupRepository>(repository).await;
        let maintenance = Maintenance::new(cluster.context.clone(), Settings::default());
        Self { cluster, maintenance }
    }

    async fn repository(&self) -> BackupRepository {
        self.cluster.get::<BackupRepository>(NAME).await.unwrap()
    }

    async fn history(&self) -> Vec<BackupRepositoryMaintenanceStatus> {
        let status = self.repository().await.status.unwrap_or_default();
        status.recent_maintenance
    }

    /// One look of the controller.
    async fn look(&self) -> Next {
        let repository = self.repository().await;
        let key = Key::new(NAMESPACE, NAME);
        self.maintenance.look(&key, repository, false).await.unwrap()
    }

    async fn jobs(&self) -> Vec<Job> {
        let api = self.cluster.context.api::<Job>();
        api.list(&ListParams::default()).await.unwrap().items
    }

    async fn ask(&self, mode: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {MAINTAIN_NOW: mode}}}));
        let api = self.cluster.context.api::<BackupRepository>();
        api.patch(NAME, &PatchParams::default(), &patch).await.unwrap();
    }

    /// A Job that some other server made.
    async fn job(&self, name: &str, status: Value) {
        let job = json!({"metadata": {"name": name, "labels": {"velero.io/repo-name": NAME}},
            "spec": {"template": {"spec": {"restartPolicy": "Never",
                "containers": [{"name": "velero-repo-maintenance-container", "image": "velero/velero:v1"}]}}}});
        self.cluster.create::<Job>(job).await;
        self.ends(name, status).await;
    }

    /// Kubernetes' Job controller writes this status.
    async fn ends(&self, name: &str, status: Value) {
        let api = self.cluster.context.api::<Job>();
        let patch = Patch::Merge(json!({ "status": status }));
        api.patch_status(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_due_repository_gets_one_job_and_its_end_is_written_down_and_counted() {
    let world = World::new().await;
    world.look().await;
    let [job]: [Job; 1] = world.jobs().await.try_into().expect("one Job");
    assert!(job.name_any().starts_with("shop-default-kopia-maintain-job-"));
    assert!(matches!(world.look().await, Next::After(_)), "it is waited for");
    assert_eq!(world.jobs().await.len(), 1, "and no other one is made");
    let ended = json!({"succeeded": 1, "completionTime": "2099-12-31T23:59:00Z"});
    world.ends(&job.name_any(), ended).await;
    world.look().await;
    let [run]: [BackupRepositoryMaintenanceStatus; 1] = world.history().await.try_into().expect("one run");
    assert_eq!(run.result, Some(Outcome::Succeeded));
    assert_eq!(run.start_timestamp, job.metadata.creation_timestamp);
    let status = world.repository().await.status.unwrap();
    assert_eq!(
        status.last_maintenance_time.unwrap().0.to_string(),
        "2099-12-31T23:59:00Z"
    );
    let version = world.repository().await.resource_version();
    world.look().await;
    assert_eq!(
        world.repository().await.resource_version(),
        version,
        "nothing is written twice"
    );
    assert_eq!(world.cluster.context.maintenance.all()[NAME].success, 1);
    assert_eq!(world.jobs().await.len(), 1);
}

#[tokio::test]
async fn a_job_of_another_server_is_waited_for_and_its_failure_is_written_down_with_the_pods_words() {
    let world = World::new().await;
    world.job("velero-began-it", json!({"active": 1})).await;
    assert!(matches!(world.look().await, Next::After(_)));
    assert_eq!(world.jobs().await.len(), 1);
    let pod = json!({"metadata": {"name": "p", "labels": {"job-name": "velero-began-it"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    world.cluster.create::<Pod>(pod).await;
    let last = json!({"status": {"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"terminated": {"exitCode": 1, "finishedAt": "2099-12-31T23:59:00Z",
            "message": "Repo maintenance error: the bucket is full"}}}]}});
    let pods = world.cluster.context.api::<Pod>();
    pods.patch_status("p", &PatchParams::default(), &Patch::Merge(last))
        .await
        .unwrap();
    world
        .ends("velero-began-it", json!({"active": null, "failed": 1}))
        .await;
    assert!(
        matches!(world.look().await, Next::After(_)),
        "it rests after a failure"
    );
    let [run]: [BackupRepositoryMaintenanceStatus; 1] = world.history().await.try_into().expect("one run");
    assert_eq!(
        (run.result, run.message.as_str()),
        (Some(Outcome::Failed), "the bucket is full")
    );
    assert_eq!(world.cluster.context.maintenance.all()[NAME].failure, 1);
    assert_eq!(world.jobs().await.len(), 1);
}

#[tokio::test]
async fn what_was_asked_for_is_answered_with_the_name_of_its_job() {
    let world = World::new().await;
    world.ask("full").await;
    world.look().await;
    let [job]: [Job; 1] = world.jobs().await.try_into().expect("one Job");
    let pod = job.spec.clone().unwrap().template.spec.unwrap();
    let args = pod.containers[0].args.clone().unwrap();
    assert_eq!(args.last().unwrap(), "--mode=full");
    let repository = world.repository().await;
    assert!(!repository.annotations().contains_key(MAINTAIN_NOW));
    assert_eq!(repository.annotations()[MAINTENANCE_JOB], job.name_any());
}

#[tokio::test]
async fn maintenance_that_cannot_begin_is_a_failure_with_its_reason_and_nobody_waits_for_it() {
    let world = World::without_server().await;
    world.ask("quick").await;
    world.look().await;
    let [run]: [BackupRepositoryMaintenanceStatus; 1] = world.history().await.try_into().expect("one run");
    assert_eq!(run.result, Some(Outcome::Failed));
    assert!(
        run.message.starts_with("Failed to start maintenance job, err: ") && run.message.contains("velero"),
        "{}",
        run.message
    );
    assert!(!world.repository().await.annotations().contains_key(MAINTAIN_NOW));
    assert!(world.jobs().await.is_empty());
    assert!(
        matches!(world.look().await, Next::After(rest) if rest.as_secs() <= 300),
        "it is tried again in five minutes"
    );
}

#[tokio::test]
async fn a_word_that_nobody_knows_is_refused_in_the_history() {
    let world = World::new().await;
    world.ask("at once").await;
    world.look().await;
    let [run]: [BackupRepositoryMaintenanceStatus; 1] = world.history().await.try_into().expect("one run");
    assert!(run.message.contains("\"at once\""), "{}", run.message);
    assert!(world.jobs().await.is_empty());
    assert!(!world.repository().await.annotations().contains_key(MAINTAIN_NOW));
}

#[tokio::test]
async fn only_the_latest_three_jobs_stay() {
    let world = World::new().await;
    for number in 1..=5 {
        let ended = json!({"succeeded": 1, "completionTime": "2099-12-31T23:59:00Z"});
        world.job(&format!("job-{number}"), ended).await;
    }
    world.look().await;
    let mut names: Vec<_> = world.jobs().await.iter().map(|job| job.name_any()).collect();
    names.sort();
    assert_eq!(names, ["job-3", "job-4", "job-5"]);
}

#[tokio::test]
async fn of_many_that_are_due_two_are_maintained_at_once_and_each_has_its_turn() {
    let world = World::new().await;
    let names = ["a-default-kopia", "b-default-kopia", "c-default-kopia"];
    for name in names {
        let repository = json!({"metadata": {"name": name}, "status": {"phase": "Ready"},
            "spec": {"volumeNamespace": "x", "backupStorageLocation": "default", "repositoryType": "kopia",
                "maintenanceFrequency": "1h0m0s"}});
        world.cluster.create::<BackupRepository>(repository).await;
    }
    let mut context = world.cluster.context.clone();
    context.clock = Arc::new(SystemClock);
    let maintenance = Maintenance::new(context, Settings::default());
    let look = async |maintenance: &Maintenance, name: &str| {
        let repository = world.cluster.get::<BackupRepository>(name).await.unwrap();
        let key = Key::new(NAMESPACE, name);
        maintenance.look(&key, repository, false).await.unwrap()
    };
    for name in names {
        look(&maintenance, name).await;
    }
    assert_eq!(world.jobs().await.len(), 2, "the third one waits");
    assert!(matches!(look(&maintenance, names[2]).await, Next::After(_)));
    assert_eq!(world.jobs().await.len(), 2);
    let turns = maintenance.turns();
    assert_eq!(
        turns.first(AT_ONCE, Timestamp::now()),
        [Key::new(NAMESPACE, names[2])]
    );
    // Somebody asks for another one: that does not wait.
    world.ask("quick").await;
    look(&maintenance, NAME).await;
    assert_eq!(world.jobs().await.len(), 3);
    for job in world.jobs().await {
        let ended = json!({"succeeded": 1, "completionTime": "2099-12-31T23:59:00Z"});
        world.ends(&job.name_any(), ended).await;
    }
    look(&maintenance, names[2]).await;
    assert_eq!(world.jobs().await.len(), 4);
    assert!(turns.first(AT_ONCE, Timestamp::now()).is_empty());
}

#[tokio::test]
async fn jobs_that_hang_do_not_keep_other_repositories_waiting() {
    let world = World::new().await;
    for name in ["one", "two"] {
        let job = json!({"metadata": {"name": name, "labels": {"velero.io/repo-name": name}},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
        world.cluster.create::<Job>(job).await;
    }
    // By its clock they are years old.
    world.look().await;
    assert_eq!(world.jobs().await.len(), 3);
}

#[tokio::test]
async fn a_job_that_never_starts_is_said_in_the_status_until_somebody_deletes_it() {
    let world = World::new().await;
    world.job("stuck", json!({"active": 1})).await;
    let pod = json!({"metadata": {"name": "p", "labels": {"job-name": "stuck"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    world.cluster.create::<Pod>(pod).await;
    let last = json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": "no node has pool=a"}]}});
    let pods = world.cluster.context.api::<Pod>();
    pods.patch_status("p", &PatchParams::default(), &Patch::Merge(last))
        .await
        .unwrap();
    world.look().await;
    let said = async || world.repository().await.status.unwrap_or_default().message;
    let message = said().await;
    for words in ["Unschedulable: no node has pool=a", "kubectl delete job stuck"] {
        assert!(message.contains(words), "{message}");
    }
    let jobs = world.cluster.context.api::<Job>();
    jobs.delete("stuck", &DeleteParams::background()).await.unwrap();
    world.look().await;
    assert_eq!(said().await, "");
    assert_eq!(world.jobs().await.len(), 1, "another one is made");
}
