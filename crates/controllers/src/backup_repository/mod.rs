//! BackupRepository: connects or creates the Kopia repository that the object stands for, and says whether it is Ready.
//!
//! Runs in the server. Node agents create the object when a movement needs it (`data_movement/act.rs`) and wait for its
//! phase. Prepared again every five minutes while NotReady, and at once when its location, the location's credential
//! or the password changes. A repository that cannot be opened is never created over (guarantee 4, in
//! `crates/backup-repository`). One that is Ready is maintained by Jobs: `maintenance/`.
//! Source: velero-behaviour.md 6, Velero `pkg/controller/backup_repository_controller.go`.

mod configuration;
mod decide;
mod maintenance;
mod outcome;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api::RepositoryConfig;
use caravel_api::labels::{self, REPO_NAME, name_or_hash};
use caravel_api::phase::{BackupRepositoryPhase, BackupStorageLocationAccessMode, UploaderType};
use caravel_api::v1::{BackupRepository, BackupStorageLocation};
use caravel_backup_repository::{DEFAULT_PASSWORD, PASSWORD_KEY, PASSWORD_SECRET, Passwords, Prepare};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::data_movement::Interests;
use crate::reconcile::{self, Error, Key, Next, Reconciler, Source, chain};
pub use configuration::{Reading, read as read_configuration};
use decide::{Decision, LastTry, decide};
use maintenance::{AT_ONCE, Maintenance};
pub use maintenance::{Counted, DURATION_BUCKETS, ERROR_INDICATOR, MaintenanceMetrics, pod_waits_for};
use outcome::outcome_patch;

/// What the server's flags say about repositories.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often a repository that does not say it is maintained (`--default-repo-maintain-frequency`); not zero.
    pub maintenance_frequency: Duration,
    /// `--backup-repository-configmap`.
    pub configmap: Option<String>,
    /// `--repo-maintenance-job-configmap`.
    pub job_configmap: Option<String>,
    /// How the maintenance pods log: as the server does.
    pub log_level: String,
    /// See [`Settings::log_level`].
    pub log_format: String,
}

/// Velero's, for repositories of Kopia (`pkg/repository/provider/unified_repo.go`).
pub const DEFAULT_MAINTENANCE_FREQUENCY: Duration = Duration::from_secs(3600);

impl Default for Settings {
    fn default() -> Self {
        Self {
            maintenance_frequency: DEFAULT_MAINTENANCE_FREQUENCY,
            configmap: None,
            job_configmap: None,
            log_level: "info".into(),
            log_format: "text".into(),
        }
    }
}

/// Repositories prepared side by side: each costs a key derivation of 64 MiB.
const WORKERS: usize = 2;

/// Starts the controller in the server.
pub fn spawn(context: Context, settings: Settings, shutdown: CancellationToken) -> JoinHandle<()> {
    let controller = Controller {
        context: context.clone(),
        interests: std::sync::Arc::default(),
        tries: Mutex::default(),
        maintenance_frequency: settings.maintenance_frequency,
        configmap: settings.configmap.clone(),
        maintenance: Maintenance::new(context.clone(), settings),
    };
    let by_job = std::sync::Arc::clone(&controller.interests);
    let (turns, clock) = (controller.maintenance.turns(), context.clock.clone());
    let by_location = std::sync::Arc::clone(&controller.interests);
    let by_secret = std::sync::Arc::clone(&controller.interests);
    let sources = vec![
        Source::own(&context, |repository: &BackupRepository| {
            vec![Key::of(repository)]
        }),
        Source::watch(
            context.api::<BackupStorageLocation>(),
            watcher::Config::default(),
            move |location| by_location.keys("BackupStorageLocation", &Key::of(location)),
        ),
        Source::watch(
            context.api::<Secret>(),
            watcher::Config::default(),
            move |secret| by_secret.keys("Secret", &Key::of(secret)),
        ),
        Source::watch(
            context.api::<Job>(),
            watcher::Config::default().labels(REPO_NAME),
            move |job: &Job| {
                let repository = job.labels().get(REPO_NAME).cloned().unwrap_or_default();
                let namespace = job.namespace().unwrap_or_default();
                let mut keys = by_job.keys("Job", &Key::new(namespace, repository));
                // Its end may be the turn of others.
                keys.extend(turns.first(AT_ONCE, clock.now()));
                keys
            },
        ),
    ];
    tokio::spawn(reconcile::run(controller, sources, WORKERS, shutdown))
}

struct Controller {
    context: Context,
    interests: std::sync::Arc<Interests>,
    tries: Mutex<BTreeMap<Key, LastTry>>,
    maintenance_frequency: Duration,
    configmap: Option<String>,
    maintenance: Maintenance,
}

/// What a repository rests on, read once.
struct Inputs {
    location: Option<BackupStorageLocation>,
    /// Changes when anything does that could make another try end differently.
    fingerprint: String,
}

#[async_trait]
impl Reconciler for Controller {
    fn name(&self) -> &'static str {
        "backup-repository"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(repository) = self.context.api::<BackupRepository>().get_opt(&key.name).await? else {
            self.interests.forget(key);
            self.tries.lock().remove(key);
            self.maintenance.forget(key);
            return Ok(Next::Done);
        };
        let inputs = self.inputs(key, &repository).await?;
        let now = self.context.clock.now();
        let last_try = self.tries.lock().get(key).cloned();
        match decide(&repository.phase(), last_try.as_ref(), &inputs.fingerprint, now) {
            Decision::Prepare => {
                let config = configuration::of(&self.context, self.configmap.as_deref(), &repository).await?;
                let prepared = self.prepare(&repository, &config, &inputs).await;
                self.remember(key, &inputs, now);
                let written = self.write(&repository, &config, prepared).await?;
                self.maintain(key, written, &inputs).await
            }
            Decision::Remember => {
                self.remember(key, &inputs, now);
                self.maintain(key, repository, &inputs).await
            }
            Decision::Wait { until } => Ok(Next::After(
                std::time::Duration::try_from(until.duration_since(now)).unwrap_or_default(),
            )),
            Decision::Leave => self.maintain(key, repository, &inputs).await,
        }
    }
}

impl Controller {
    /// Looks after the maintenance of one that is Ready.
    async fn maintain(
        &self,
        key: &Key,
        repository: BackupRepository,
        inputs: &Inputs,
    ) -> Result<Next, Error> {
        match &inputs.location {
            Some(location) if repository.phase() == BackupRepositoryPhase::Ready => {
                let read_only = is_read_only(location);
                self.maintenance.look(key, repository, read_only).await
            }
            _ => {
                self.maintenance.pause(key);
                Ok(Next::Done)
            }
        }
    }

    fn remember(&self, key: &Key, inputs: &Inputs, at: Timestamp) {
        self.tries.lock().insert(
            key.clone(),
            LastTry {
                fingerprint: inputs.fingerprint.clone(),
                at,
            },
        );
    }

    async fn inputs(&self, key: &Key, repository: &BackupRepository) -> Result<Inputs, Error> {
        let namespace = &self.context.namespace;
        let secrets = self.context.api::<Secret>();
        let name = &repository.spec.backup_storage_location;
        self.interests.register(
            "BackupStorageLocation",
            Key::new(namespace.clone(), name.clone()),
            key,
        );
        self.interests
            .register("Secret", Key::new(namespace.clone(), PASSWORD_SECRET), key);
        self.interests
            .register("Job", Key::new(namespace.clone(), name_or_hash(&key.name)), key);
        let location = match name.as_str() {
            "" => None,
            name => self.context.api::<BackupStorageLocation>().get_opt(name).await?,
        };
        let password = secrets.get_opt(PASSWORD_SECRET).await?;
        let version = |secret: &Option<Secret>| {
            secret
                .as_ref()
                .and_then(|secret| secret.resource_version())
                .unwrap_or_default()
        };
        // Not its version: how far a change of the password is stands on the Secret too, and says nothing new.
        let data = password.as_ref().and_then(|secret| secret.data.as_ref());
        let digest = labels::name_digest(&serde_json::to_string(&data)?);
        let mut fingerprint = format!("password {digest}");
        if let Some(location) = &location {
            fingerprint.push_str(&serde_json::to_string(&location.spec)?);
            if let Some(credential) = &location.spec.credential {
                self.interests.register(
                    "Secret",
                    Key::new(namespace.clone(), credential.name.clone()),
                    key,
                );
                fingerprint.push_str(&version(&secrets.get_opt(&credential.name).await?));
            }
        }
        Ok(Inputs {
            location,
            fingerprint,
        })
    }

    /// Connects, or creates where the prefix is empty. The text of an error is the user's.
    async fn prepare(
        &self,
        repository: &BackupRepository,
        config: &BTreeMap<String, String>,
        inputs: &Inputs,
    ) -> Result<(), String> {
        let spec = &repository.spec;
        if matches!(
            spec.repository_type,
            Some(UploaderType::Restic | UploaderType::Other(_))
        ) {
            return Err("only repositoryType kopia can be opened".into());
        }
        // The CRD requires both of a spec, and no spec at all of the object.
        if spec.backup_storage_location.is_empty() || spec.volume_namespace.is_empty() {
            return Err(
                "spec.backupStorageLocation and spec.volumeNamespace say which repository it is: set both"
                    .into(),
            );
        }
        let Some(location) = &inputs.location else {
            return Err(format!(
                "BackupStorageLocation {} does not exist",
                spec.backup_storage_location
            ));
        };
        let _preparing = self.context.preparing.read().await;
        let secret = self.context.api::<Secret>().get_opt(PASSWORD_SECRET).await;
        let secret =
            secret.map_err(|error| format!("cannot read Secret {PASSWORD_SECRET}: {}", chain(&error)))?;
        let password = password(secret.as_ref())?;
        let resolved = self
            .context
            .locations
            .resolve(location)
            .await
            .map_err(|error| chain(&error))?;
        let storage = resolved
            .repository_storage(&spec.volume_namespace)
            .map_err(|error| chain(&error))?;
        let mode = if is_read_only(location) {
            Prepare::ConnectOnly
        } else {
            Prepare::ConnectOrCreate
        };
        let full_maintenance = RepositoryConfig::of(config).full_maintenance_interval;
        let environment = self.context.environment.clone();
        caravel_backup_repository::prepare_with(storage, &password, mode, full_maintenance, environment)
            .await
            .map(drop)
            .map_err(|error| chain(&error))
    }

    async fn write(
        &self,
        repository: &BackupRepository,
        config: &BTreeMap<String, String>,
        prepared: Result<(), String>,
    ) -> Result<BackupRepository, Error> {
        let name = repository.name_any();
        match &prepared {
            Ok(()) => tracing::info!(repository = %name, "backup repository is ready"),
            Err(why) => {
                tracing::warn!(repository = %name, error = %why, next_try = "in 5 minutes or on change", "backup repository is not ready")
            }
        }
        let now = self.context.now();
        let patch = outcome_patch(repository, &prepared, self.maintenance_frequency, config, &now);
        let written = self
            .context
            .api::<BackupRepository>()
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(written)
    }
}

fn is_read_only(location: &BackupStorageLocation) -> bool {
    location.spec.access_mode == Some(BackupStorageLocationAccessMode::ReadOnly)
}

/// Whether this Secret holds Velero's constant, which everybody knows.
pub fn is_default_password(secret: &Secret) -> bool {
    password(Some(secret)).is_ok_and(|password| password.current().expose_secret() == DEFAULT_PASSWORD)
}

/// The repositories' password; two of them while it is being changed.
///
/// # Errors
/// It is missing or no text; the sentence says what to do.
pub fn password(secret: Option<&Secret>) -> Result<Passwords, String> {
    let data = secret.and_then(|secret| secret.data.as_ref());
    let held = |key: &str| data?.get(key).map(|value| value.0.as_slice());
    if held(PASSWORD_KEY).is_none() {
        return Err(format!(
            "Secret {PASSWORD_SECRET} with key {PASSWORD_KEY} is missing: it holds the password of every backup repository; create it, or restart the server, which creates it with Velero's default"
        ));
    }
    Passwords::recorded(held)
        .ok_or_else(|| format!("Secret {PASSWORD_SECRET}: {PASSWORD_KEY} is empty or not text"))
}
