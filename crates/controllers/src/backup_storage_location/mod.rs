//! The `backup-storage-location` controller: can this bucket be reached, and does it hold what it should?
//!
//! Mirrors Velero's `pkg/controller/backup_storage_location_controller.go`. The reason of an `Unavailable` location is
//! written for the person who has to mend it, and is what `velero backup create` repeats when it refuses.

pub mod decide;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api::phase::BackupStorageLocationPhase;
use caravel_api::v1::BackupStorageLocation;
use caravel_backup_repository::PASSWORD_SECRET;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::decide::{Decision, Observed, decide, surplus_defaults, verdict};
use crate::backup_repository::is_default_password;
use crate::context::Context;
use crate::reconcile::{Error, Key, Next, Reconciler, Source, chain, run};

/// A store that does not answer within this time is unavailable, not slow.
const CHECK_DEADLINE: Duration = Duration::from_secs(30);

/// What the server's flags say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--store-validation-frequency`: for locations that say nothing themselves.
    pub validation_frequency: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            validation_frequency: Duration::from_secs(60),
        }
    }
}

/// Starts the controller.
pub fn spawn(context: Context, settings: Settings, shutdown: CancellationToken) -> JoinHandle<()> {
    let source = Source::own(&context, |location: &BackupStorageLocation| {
        vec![Key::of(location)]
    });
    let controller = Locations {
        context,
        settings,
        checked: Mutex::default(),
    };
    tokio::spawn(run(controller, vec![source], 2, shutdown))
}

struct Locations {
    context: Context,
    settings: Settings,
    /// The spec of each location as it was when this process last checked it.
    checked: Mutex<BTreeMap<String, String>>,
}

#[async_trait]
impl Reconciler for Locations {
    fn name(&self) -> &'static str {
        "backup-storage-location"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let api: Api<BackupStorageLocation> = self.context.api();
        let Some(location) = api.get_opt(&key.name).await? else {
            self.checked.lock().remove(&key.name);
            return Ok(Next::Done);
        };
        let observed = self.observe(&location)?;
        match decide(
            &observed,
            self.settings.validation_frequency,
            self.context.clock.now(),
        ) {
            Decision::Never => Ok(Next::Done),
            Decision::Wait(left) => Ok(Next::After(left)),
            Decision::Check => {
                let checked = self.check(&location).await;
                let verdict = verdict(checked, self.password_is_well_known().await);
                self.write(&api, &location, verdict).await?;
                self.checked.lock().insert(key.name.clone(), observed.spec);
                self.keep_one_default(&api, &location).await?;
                Ok(Next::After(
                    observed.frequency.unwrap_or(self.settings.validation_frequency),
                ))
            }
        }
    }
}

impl Locations {
    fn observe(&self, location: &BackupStorageLocation) -> Result<Observed, Error> {
        let status = location.status.clone().unwrap_or_default();
        Ok(Observed {
            spec: serde_json::to_string(&location.spec)?,
            frequency: location.spec.validation_frequency.as_deref().copied(),
            last_validation: status.last_validation_time.map(|time| time.0),
            phase: status.phase,
            checked_spec: self.checked.lock().get(&location.name_any()).cloned(),
        })
    }

    /// Reaches for the bucket; an error is the sentence for `status.message`.
    async fn check(&self, location: &BackupStorageLocation) -> Result<(), String> {
        let store = self
            .context
            .locations
            .backup_store(location)
            .await
            .map_err(|error| chain(&error))?;
        match tokio::time::timeout(CHECK_DEADLINE, store.check()).await {
            Ok(result) => result.map_err(|error| chain(&error)),
            Err(_) => Err(format!(
                "BackupStorageLocation {}: the object store did not answer within {} s; check its address and the network",
                location.name_any(),
                CHECK_DEADLINE.as_secs()
            )),
        }
    }

    /// Whether the repositories are encrypted with Velero's constant. Looked at with each check, so that the warning
    /// goes within a minute of the password.
    async fn password_is_well_known(&self) -> bool {
        match self.context.api::<Secret>().get_opt(PASSWORD_SECRET).await {
            Ok(secret) => secret.is_some_and(|secret| is_default_password(&secret)),
            Err(error) => {
                tracing::debug!(%error, secret = PASSWORD_SECRET, "cannot tell which password the repositories have");
                false
            }
        }
    }

    /// The one place that writes a location's status.
    async fn write(
        &self,
        api: &Api<BackupStorageLocation>,
        location: &BackupStorageLocation,
        (phase, message): (BackupStorageLocationPhase, String),
    ) -> Result<(), Error> {
        let name = location.name_any();
        let before = location.status.as_ref().and_then(|status| status.phase.clone());
        if before.as_ref() != Some(&phase) {
            tracing::info!(location = %name, %phase, reason = %message, "backup storage location changes");
        }
        let patch = json!({
            "metadata": { "resourceVersion": location.resource_version() },
            "status": { "phase": phase, "message": message, "lastValidationTime": self.context.now() },
        });
        api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(())
    }

    async fn keep_one_default(
        &self,
        api: &Api<BackupStorageLocation>,
        location: &BackupStorageLocation,
    ) -> Result<(), Error> {
        if !location.spec.default {
            return Ok(());
        }
        let all = self
            .context
            .list::<BackupStorageLocation>(&Default::default())
            .await?;
        let claiming = all
            .into_iter()
            .filter(|location| location.spec.default)
            .map(|location| {
                (
                    location.creation_timestamp().map(|time| time.0),
                    location.name_any(),
                )
            })
            .collect();
        for name in surplus_defaults(claiming) {
            tracing::warn!(location = %name, "a newer location is the default now");
            let patch = json!({ "spec": { "default": false } });
            api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                .await?;
        }
        Ok(())
    }
}
