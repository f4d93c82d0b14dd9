//! What is written about a repository that was prepared. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use caravel_api::phase::BackupRepositoryPhase;
use caravel_api::v1::BackupRepository;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

/// Phase, message and, on a repository that nobody has filled in yet, maintenance frequency and configuration. One that
/// is Ready for the first time counts as maintained, as Velero's does: it was made or connected just now.
pub(super) fn outcome_patch(
    repository: &BackupRepository,
    prepared: &Result<(), String>,
    frequency: Duration,
    config: &BTreeMap<String, String>,
    now: &Time,
) -> Value {
    let mut status = match prepared {
        Ok(()) => json!({"phase": "Ready", "message": null}),
        Err(why) => json!({"phase": "NotReady", "message": why}),
    };
    if prepared.is_ok() && repository.phase() == BackupRepositoryPhase::New {
        status["lastMaintenanceTime"] = json!(now);
    }
    let mut patch =
        json!({"metadata": {"resourceVersion": repository.metadata.resource_version}, "status": status});
    if repository.spec.maintenance_frequency.is_zero() {
        patch["spec"]["maintenanceFrequency"] = json!(caravel_api::Duration(frequency));
    }
    if repository.spec.repository_config != *config {
        patch["spec"]["repositoryConfig"] = json!(config);
    }
    patch
}
