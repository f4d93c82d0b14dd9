//! The actions of one item, in order; what comes out is what is written.

use std::fmt;

use caravel_api::labels;
use caravel_backup_store::item_operations::{
    self, BackupOperation, BackupOperationSpec, OperationPhase, OperationStatus,
};
use caravel_item_action::{ActionError, ResourceIdentifier};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde_json::Value;

use super::Request;
use crate::cluster::metadata_entry;

/// An item after its actions.
pub(super) struct Prepared {
    pub(super) item: Value,
    pub(super) additional_items: Vec<Additional>,
    pub(super) operations: Vec<BackupOperation>,
    /// Why the item's volume is not saved, if an action says so.
    pub(super) volume_left_out: Option<String>,
    /// An action asks to leave the item out.
    pub(super) skip: bool,
    pub(super) started: Timestamp,
}

pub(super) struct Additional {
    pub(super) id: ResourceIdentifier,
    /// Passes the filters.
    pub(super) must_include: bool,
}

/// Why an item is not in the backup.
pub(super) struct Failure(String);

impl Failure {
    pub(super) fn ended(join: &tokio::task::JoinError) -> Self {
        Self(format!("its actions ended abnormally: {join}"))
    }

    /// Its task panicked.
    pub(super) fn lost() -> Self {
        Self("its actions ended abnormally".to_owned())
    }

    fn action(action: &str, id: &ResourceIdentifier, error: &ActionError) -> Self {
        Self(format!(
            "error executing custom action {action} (groupResource={}, namespace={}, name={}): {error}",
            id.group_resource(),
            id.namespace,
            id.name
        ))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) async fn prepare(
    request: &Request,
    id: &ResourceIdentifier,
    item: Value,
) -> Result<Prepared, Failure> {
    let mut prepared = Prepared {
        item,
        additional_items: Vec::new(),
        operations: Vec::new(),
        volume_left_out: None,
        skip: false,
        started: Timestamp::now(),
    };
    for action in &request.actions {
        if !action.applies_to().matches(id, &prepared.item) {
            continue;
        }
        let output = action
            .execute(prepared.item.clone(), &request.backup)
            .await
            .map_err(|error| Failure::action(action.name(), id, &error))?;
        if !output.item.is_null() {
            prepared.item = output.item;
        }
        prepared.volume_left_out = output.volume_left_out.or(prepared.volume_left_out);
        let must_include = take_annotation(&mut prepared.item, labels::MUST_INCLUDE_ADDITIONAL_ITEMS);
        let additional = output
            .additional_items
            .into_iter()
            .map(|id| Additional { id, must_include });
        prepared.additional_items.extend(additional);
        if metadata_entry(&prepared.item, "annotations", labels::SKIP_FROM_BACKUP) == Some("true") {
            prepared.skip = true;
            break;
        }
        if let Some(operation_id) = output.operation_id {
            let operation = operation(
                request,
                action.name(),
                id,
                operation_id,
                output.post_operation_items,
            );
            prepared.operations.push(operation);
        }
    }
    Ok(prepared)
}

/// Removes an annotation by which an action talks to us; true when it said `true`.
fn take_annotation(item: &mut Value, key: &str) -> bool {
    let annotations = item
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut);
    annotations
        .and_then(|annotations| annotations.remove(key))
        .is_some_and(|value| value == "true")
}

fn operation(
    request: &Request,
    action: &str,
    id: &ResourceIdentifier,
    operation_id: String,
    post_operation_items: Vec<ResourceIdentifier>,
) -> BackupOperation {
    BackupOperation {
        spec: BackupOperationSpec {
            backup_name: request.backup.name_any(),
            backup_uid: request.backup.uid().unwrap_or_default(),
            backup_item_action: action.to_owned(),
            resource_identifier: stored(id),
            operation_id,
            post_operation_items: post_operation_items.iter().map(stored).collect(),
        },
        status: OperationStatus {
            phase: OperationPhase::New,
            created: Some(Time(Timestamp::now())),
            ..OperationStatus::default()
        },
    }
}

fn stored(id: &ResourceIdentifier) -> item_operations::ResourceIdentifier {
    item_operations::ResourceIdentifier {
        group: id.group.clone(),
        resource: id.resource.clone(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
    }
}
