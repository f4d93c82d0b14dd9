//! Maintenance of a repository: one Kubernetes Job at a time runs `velero repo-maintenance` in a pod of its own.
//! *What* maintenance does is `crates/repository/src/maintenance/`.
//!
//! ```text
//! decide.rs         when a Job is made, waited for, written down, deleted (pure: the specification)
//! job.rs            the Job, with Velero's names                configuration.rs  --repo-maintenance-job-configmap
//! result.rs         how a Job ended, and why                    history.rs        status.recentMaintenance
//! metrics.rs        velero_repo_maintenance_*                   turns.rs          how many at once, and whose turn it is
//! ```
//! A Job is known by its label alone, so one that Velero or a former server made is waited for and written down like our
//! own. Its end comes by a watch. What a user asks for is the annotation `velero.io/maintain-now` of the BackupRepository.
//! Source: velero-behaviour.md 6.1; Velero v1.18.3 `pkg/repository/maintenance/maintenance.go`,
//! `pkg/controller/backup_repository_controller.go`.

mod configuration;
mod decide;
mod history;
mod job;
#[cfg(test)]
mod looks;
mod metrics;
mod result;
#[cfg(test)]
mod tests;
mod turns;
#[cfg(test)]
mod velero_cases;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use caravel_api::labels::{MAINTAIN_NOW, MAINTENANCE_JOB, REPO_NAME, name_or_hash};
use caravel_api::phase::BackupRepositoryMaintenanceResult;
use caravel_api::v1::{BackupRepository, BackupRepositoryMaintenanceStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};

pub use metrics::{Counted, DURATION_BUCKETS, MaintenanceMetrics};
pub use result::{ERROR_INDICATOR, pod_waits_for};
pub(super) use turns::{AT_ONCE, Turns};

use self::configuration::{JobConfiguration, KEPT};
use self::decide::{JobState, MaintenanceJob, Mode, Observed, Record, Step, decide};
use self::job::NewJob;
use self::result::Ended;
use super::Settings;
use crate::context::Context;
use crate::reconcile::{Error, Key, Next, chain};

/// One that waits for its turn is looked at again after this, should no watch have woken it.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// A Job that is older keeps nobody else waiting.
const HANGS: SignedDuration = SignedDuration::from_hours(1);
/// How `status.message` begins while a Job takes long.
const TAKES_LONG: &str = "maintenance Job ";
/// The server's Deployment, as every installation calls it.
const SERVER: &str = "velero";

/// Looks after the maintenance of repositories that are Ready.
pub(super) struct Maintenance {
    context: Context,
    settings: Settings,
    /// Repository → the Job that is waited for, and how many times that was said.
    said: Mutex<BTreeMap<Key, (String, u32)>>,
    /// Repository → version of the ConfigMap that was last spoken of; none: there was no ConfigMap.
    read: Mutex<BTreeMap<String, Option<String>>>,
    turns: Arc<Turns>,
    /// Held from counting the Jobs at work to making another.
    starting: tokio::sync::Mutex<()>,
}

impl Maintenance {
    pub fn new(context: Context, settings: Settings) -> Self {
        Self {
            context,
            settings,
            said: Mutex::default(),
            read: Mutex::default(),
            turns: Arc::default(),
            starting: tokio::sync::Mutex::default(),
        }
    }

    /// Who waits, for the watch that wakes them.
    pub fn turns(&self) -> Arc<Turns> {
        Arc::clone(&self.turns)
    }

    /// The repository is not Ready.
    pub fn pause(&self, key: &Key) {
        self.turns.leave(key);
    }

    /// The repository is gone.
    pub fn forget(&self, key: &Key) {
        self.said.lock().remove(key);
        self.read.lock().remove(&key.name);
        self.turns.leave(key);
        self.context.maintenance.forget(&key.name);
    }

    /// One look at a repository that is Ready: everything that is to be done about its maintenance now.
    ///
    /// # Errors
    /// The API server; nothing of a look is lost, the next one finds the rest.
    pub async fn look(
        &self,
        key: &Key,
        repository: BackupRepository,
        read_only: bool,
    ) -> Result<Next, Error> {
        let configuration = self.configuration(&repository).await?;
        let observed = self.observe(&repository, &configuration, read_only).await?;
        let now = self.context.clock.now();
        let plan = decide(&observed, now);
        let repository = match &plan.record {
            Some(record) => self.record(&repository, record).await?,
            None => repository,
        };
        let next = self
            .take(key, &repository, &configuration, (plan.step, plan.due), now)
            .await?;
        self.remove(&plan.remove).await?;
        Ok(next)
    }

    async fn take(
        &self,
        key: &Key,
        repository: &BackupRepository,
        configuration: &JobConfiguration,
        (step, due): (Step, Timestamp),
        now: Timestamp,
    ) -> Result<Next, Error> {
        if !matches!(step, Step::Start(Mode::Due)) {
            self.turns.leave(key);
        }
        let quiet;
        let repository = if matches!(step, Step::WaitFor { .. }) {
            repository
        } else {
            self.said.lock().remove(key);
            quiet = self.takes_no_longer(repository).await?;
            &quiet
        };
        match step {
            Step::WaitFor {
                job,
                since,
                look_again,
                silences,
            } => {
                self.say(key, &job, since, silences);
                if silences > 0 {
                    self.takes_long(repository, &job, since).await?;
                }
                Ok(Next::After(span(now, look_again)))
            }
            Step::Start(Mode::Due) => {
                let _one_at_a_time = self.starting.lock().await;
                if !self.is_its_turn(key, due, now).await? {
                    return Ok(Next::After(LOOK_AGAIN));
                }
                self.start(repository, configuration, Mode::Due, now).await?;
                Ok(Next::Done)
            }
            Step::Start(mode) => {
                self.start(repository, configuration, mode, now).await?;
                Ok(Next::Done)
            }
            Step::Refuse(why) => {
                tracing::warn!(repository = %repository.name_any(), %why, "maintenance that was asked for is refused");
                self.failed(repository, &why, now).await?;
                Ok(Next::Done)
            }
            Step::Rest { until } => Ok(Next::After(span(now, until))),
            Step::Leave => Ok(Next::Done),
        }
    }

    /// Whether one that is due may begin beside the Jobs that are at work, and before others that are due.
    async fn is_its_turn(&self, key: &Key, due: Timestamp, now: Timestamp) -> Result<bool, Error> {
        let all = ListParams::default().labels(REPO_NAME);
        let jobs = self.context.list::<Job>(&all).await?;
        let running = jobs.iter().filter(|job| is_at_work(job, now));
        let free = AT_ONCE.saturating_sub(running.count());
        let is_new = self.turns.join(key, due, now);
        if self.turns.first(free, now).contains(key) {
            // Also when it cannot be made: then others are not kept waiting for it.
            self.turns.leave(key);
            return Ok(true);
        }
        if is_new {
            tracing::info!(repository = %key.name, at_once = AT_ONCE, "maintenance is due and waits for that of other repositories");
        }
        Ok(false)
    }

    /// Writes into the status what everybody can read: since when, and what the pod waits for.
    async fn takes_long(
        &self,
        repository: &BackupRepository,
        job: &str,
        since: Timestamp,
    ) -> Result<(), Error> {
        let of_job = ListParams::default().labels(&format!("job-name={job}"));
        let pods = self.context.list::<Pod>(&of_job).await?;
        let why = match pods.first() {
            None => "it has no pod".to_owned(),
            Some(pod) => pod_waits_for(pod).unwrap_or_else(|| "its pod runs".to_owned()),
        };
        let message = format!(
            "{TAKES_LONG}{job} is at work since {since:.0}: {why}; kubectl delete job {job} gives it up and has another one made"
        );
        let said = repository.status.as_ref().map(|status| status.message.as_str());
        if said != Some(message.as_str()) {
            self.write(repository, &json!({"status": {"message": message}}))
                .await?;
        }
        Ok(())
    }

    /// Takes that word away again.
    async fn takes_no_longer(&self, repository: &BackupRepository) -> Result<BackupRepository, Error> {
        let said = repository.status.as_ref().map(|status| status.message.as_str());
        if said.is_some_and(|said| said.starts_with(TAKES_LONG)) {
            Ok(self
                .write(repository, &json!({"status": {"message": null}}))
                .await?)
        } else {
            Ok(repository.clone())
        }
    }

    async fn observe(
        &self,
        repository: &BackupRepository,
        configuration: &JobConfiguration,
        read_only: bool,
    ) -> Result<Observed, Error> {
        let status = repository.status.clone().unwrap_or_default();
        let of_repository = format!("{REPO_NAME}={}", name_or_hash(&repository.name_any()));
        let all = ListParams::default().labels(&of_repository);
        let mut jobs = Vec::new();
        for job in self.context.list::<Job>(&all).await? {
            jobs.push(self.facts(&job, &status.recent_maintenance).await?);
        }
        jobs.sort_by(|one, other| (one.created, &one.name).cmp(&(other.created, &other.name)));
        Ok(Observed {
            jobs,
            recent: status.recent_maintenance,
            last: status.last_maintenance_time.map(|time| time.0),
            frequency: repository
                .spec
                .maintenance_frequency
                .or(self.settings.maintenance_frequency),
            asked: repository.annotations().get(MAINTAIN_NOW).cloned(),
            read_only,
            keep: configuration.keep.unwrap_or(KEPT),
        })
    }

    /// A Job, with the reason of its failure where nobody has written it down yet.
    async fn facts(
        &self,
        job: &Job,
        recent: &[BackupRepositoryMaintenanceStatus],
    ) -> Result<MaintenanceJob, Error> {
        let name = job.name_any();
        let created = job.creation_timestamp().map_or(Timestamp::MIN, |time| time.0);
        let state = match result::ended(job) {
            Ended::NotYet => JobState::Running,
            Ended::Succeeded(at) => JobState::Succeeded { at },
            Ended::Failed(at) if history::wants(recent, created) => {
                let of_job = ListParams::default().labels(&format!("job-name={name}"));
                let pods = self.context.list::<Pod>(&of_job).await?;
                let (message, ended) = result::reason(job, &name, &pods);
                JobState::Failed {
                    at: ended.or(at),
                    message,
                }
            }
            Ended::Failed(at) => JobState::Failed {
                at,
                message: String::new(),
            },
        };
        Ok(MaintenanceJob { name, created, state })
    }

    /// What the ConfigMap says about this repository's Jobs. What of it does not count is said once a version.
    async fn configuration(&self, repository: &BackupRepository) -> Result<JobConfiguration, Error> {
        let Some(name) = &self.settings.job_configmap else {
            return Ok(JobConfiguration::default());
        };
        let found = self.context.api::<ConfigMap>().get_opt(name).await?;
        let version = found.as_ref().and_then(ResourceExt::resource_version);
        let before = self.read.lock().insert(repository.name_any(), version.clone());
        let is_new = before != Some(version);
        let Some(found) = found else {
            if is_new {
                tracing::warn!(configmap = %name, "the ConfigMap of --repo-maintenance-job-configmap does not exist, defaults hold");
            }
            return Ok(JobConfiguration::default());
        };
        let spec = &repository.spec;
        let kind = spec.repository_type.as_ref();
        let key = caravel_backup_repository::name(
            &spec.volume_namespace,
            &spec.backup_storage_location,
            kind.map_or("kopia", |kind| kind.as_str()),
        );
        let (configuration, refused) = configuration::read(&found.data.unwrap_or_default(), &key);
        for refused in refused.iter().filter(|_| is_new) {
            tracing::error!(configmap = %name, key = %refused.key, value = %refused.value, why = %refused.why, "a setting of maintenance jobs is refused");
        }
        Ok(configuration)
    }

    /// Writes the history; the counters follow it, so that each run counts once.
    async fn record(
        &self,
        repository: &BackupRepository,
        record: &Record,
    ) -> Result<BackupRepository, Error> {
        let name = repository.name_any();
        let written = self.write(repository, &record_patch(repository, record)).await?;
        let before = repository.status.clone().unwrap_or_default().recent_maintenance;
        for run in history::new_in(&before, &record.recent) {
            self.context.maintenance.note(&name, run);
            if run.result == Some(BackupRepositoryMaintenanceResult::Failed) {
                tracing::warn!(repository = %name, error = %run.message, next_try = "in 5 minutes", "maintenance failed");
            } else {
                tracing::info!(repository = %name, "maintenance succeeded");
            }
        }
        Ok(written)
    }

    async fn start(
        &self,
        repository: &BackupRepository,
        configuration: &JobConfiguration,
        mode: Mode,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.context.leadership.confirm().await?;
        let name = repository.name_any();
        match self.make(repository, configuration, mode, now).await {
            Ok(job) => {
                tracing::info!(repository = %name, %job, ?mode, "maintenance job is made");
                if mode != Mode::Due {
                    let answered = json!({"metadata": {
                        "resourceVersion": repository.metadata.resource_version,
                        "annotations": {MAINTAIN_NOW: null, MAINTENANCE_JOB: job},
                    }});
                    self.write(repository, &answered).await?;
                }
                Ok(())
            }
            // Somebody made one of this name in this very millisecond: another repository whose name is too long.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                Err(kube::Error::Api(status).into())
            }
            Err(error) => {
                let why = format!("Failed to start maintenance job, err: {}", chain(&error));
                tracing::warn!(repository = %name, error = %why, next_try = "in 5 minutes", "maintenance cannot start");
                self.failed(repository, &why, now).await
            }
        }
    }

    async fn make(
        &self,
        repository: &BackupRepository,
        configuration: &JobConfiguration,
        mode: Mode,
        now: Timestamp,
    ) -> Result<String, kube::Error> {
        let server = self.context.api::<Deployment>().get(SERVER).await?;
        self.look_for_priority(&configuration.priority_class_name).await;
        let new = NewJob {
            repository,
            mode,
            configuration,
            log_level: &self.settings.log_level,
            log_format: &self.settings.log_format,
        };
        let jobs = self.context.api::<Job>();
        let made = jobs
            .create(&PostParams::default(), &new.build(&server, now))
            .await?;
        Ok(made.name_any())
    }

    /// A class that does not exist is said; the pod is refused then, and so says the Job's failure.
    async fn look_for_priority(&self, name: &str) {
        if name.is_empty() {
            return;
        }
        let classes: Api<PriorityClass> = Api::all(self.context.client.clone());
        match classes.get_opt(name).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                tracing::warn!(priority_class = %name, "the priority class of maintenance jobs does not exist; their pods cannot be made until it does");
            }
            Err(error) => {
                tracing::warn!(priority_class = %name, %error, "the priority class of maintenance jobs cannot be looked up");
            }
        }
    }

    /// Writes down that nothing was begun, and answers who asked for it.
    async fn failed(&self, repository: &BackupRepository, why: &str, now: Timestamp) -> Result<(), Error> {
        let run = history::entry(BackupRepositoryMaintenanceResult::Failed, now, None, why);
        let status = repository.status.clone().unwrap_or_default();
        let recent = history::with(&status.recent_maintenance, std::slice::from_ref(&run));
        let recent = recent.unwrap_or(status.recent_maintenance);
        let patch = json!({
            "metadata": {
                "resourceVersion": repository.metadata.resource_version,
                "annotations": {MAINTAIN_NOW: null},
            },
            "status": {"recentMaintenance": recent},
        });
        self.write(repository, &patch).await?;
        self.context.maintenance.note(&repository.name_any(), &run);
        Ok(())
    }

    async fn write(
        &self,
        repository: &BackupRepository,
        patch: &Value,
    ) -> Result<BackupRepository, kube::Error> {
        let api = self.context.api::<BackupRepository>();
        let name = repository.name_any();
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await
    }

    /// Deletes Jobs, and with each its pod.
    async fn remove(&self, names: &[String]) -> Result<(), Error> {
        let jobs = self.context.api::<Job>();
        for name in names {
            match jobs.delete(name, &DeleteParams::background()).await {
                Ok(_) => tracing::debug!(job = %name, "an old maintenance job is deleted"),
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Says once that a Job is waited for, and again whenever it has taken long.
    fn say(&self, key: &Key, job: &str, since: Timestamp, silences: u32) {
        let before = self.said.lock().insert(key.clone(), (job.to_owned(), silences));
        match before.filter(|(known, _)| known == job) {
            None => tracing::info!(repository = %key.name, %job, %since, "waits for a maintenance job"),
            Some((_, said)) if said < silences => {
                tracing::warn!(repository = %key.name, %job, %since, "a maintenance job takes long; status.message of the BackupRepository says what it waits for; delete the job to have a new one made");
            }
            Some(_) => {}
        }
    }
}

/// Whether a Job counts among those that others wait for. One that hangs (no node takes its pod) must not keep the
/// maintenance of all other repositories waiting.
fn is_at_work(job: &Job, now: Timestamp) -> bool {
    let created = job.metadata.creation_timestamp.as_ref();
    let age = created.map_or(SignedDuration::ZERO, |created| now.duration_since(created.0));
    result::ended(job) == Ended::NotYet && age < HANGS
}

/// The status that a [`Record`] is. A merge patch cannot shorten a list, it replaces it.
fn record_patch(repository: &BackupRepository, record: &Record) -> Value {
    let mut patch = json!({
        "metadata": {"resourceVersion": repository.metadata.resource_version},
        "status": {"recentMaintenance": record.recent},
    });
    if let Some(last) = record.last {
        patch["status"]["lastMaintenanceTime"] = json!(Time(last));
    }
    patch
}

/// From now until then, never negative.
fn span(now: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(now)).unwrap_or_default()
}
