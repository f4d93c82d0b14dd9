//! The one place where this controller writes a Restore: merge patches of single fields, with the resourceVersion of
//! the object that was decided on, so that a change in between is a conflict and not lost.

use caravel_api::phase::RestorePhase;
use caravel_api::v1::{HookStatus, Restore};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::decide::{FINALIZER, Start};
use crate::attempts;
use crate::context::Context;

/// A change of a Restore's fields.
#[derive(Clone, Debug)]
pub enum Change {
    /// Refused.
    FailedValidation(Vec<String>),
    /// It starts.
    Started(Box<Start>),
    /// It starts once more.
    StartedAgain { attempt: u32 },
    /// So far.
    Progress { restored: usize, total: usize },
    /// The run is over; operations or the finalizer go on.
    Ran {
        phase: RestorePhase,
        warnings: usize,
        errors: usize,
        operations: usize,
        restored: usize,
        total: usize,
        hooks: HookStatus,
    },
    /// It cannot go on.
    Failed { reason: String },
    /// Velero's finalizer goes.
    WithoutFinalizer,
}

/// Writes, and returns the Restore as it is then.
///
/// # Errors
/// kube's; 409 when the Restore was changed meanwhile.
pub async fn write(context: &Context, restore: &Restore, change: Change) -> Result<Restore, kube::Error> {
    let api: Api<Restore> = context.api();
    let mut patch = patch(context, restore, change);
    patch["metadata"]["resourceVersion"] = json!(restore.resource_version());
    api.patch(
        &restore.name_any(),
        &PatchParams::default(),
        &Patch::Merge(&patch),
    )
    .await
}

fn patch(context: &Context, restore: &Restore, change: Change) -> Value {
    let now = context.now();
    match change {
        Change::FailedValidation(reasons) => {
            json!({"status": {"phase": RestorePhase::FailedValidation, "validationErrors": reasons}})
        }
        Change::Started(start) => {
            let mut patch = json!({
                "spec": {"backupName": start.backup_name, "excludedResources": start.excluded_resources, "itemOperationTimeout": start.item_operation_timeout},
                "status": {"phase": RestorePhase::InProgress, "startTimestamp": now},
            });
            patch["metadata"] = attempts::patch(None)["metadata"].take();
            if let Some(schedule) = start.schedule_name {
                patch["metadata"]["labels"] = json!({caravel_api::labels::SCHEDULE_NAME: schedule});
            }
            patch
        }
        Change::StartedAgain { attempt } => {
            let mut patch = attempts::patch(Some(attempt));
            patch["status"] = json!({"progress": null});
            patch
        }
        Change::Progress { restored, total } => {
            json!({"status": {"progress": {"itemsRestored": restored, "totalItems": total}}})
        }
        Change::Ran {
            phase,
            warnings,
            errors,
            operations,
            restored,
            total,
            hooks,
        } => json!({"status": {
            "phase": phase,
            "hookStatus": hooks,
            "warnings": warnings,
            "errors": errors,
            "restoreItemOperationsAttempted": operations,
            "progress": {"itemsRestored": restored, "totalItems": total},
        }}),
        Change::Failed { reason } => json!({"status": {
            "phase": RestorePhase::Failed, "failureReason": reason, "completionTimestamp": now,
        }}),
        Change::WithoutFinalizer => {
            let left: Vec<&String> = restore
                .finalizers()
                .iter()
                .filter(|name| *name != FINALIZER)
                .collect();
            json!({"metadata": {"finalizers": left}})
        }
    }
}
