//! The backup item action.

use async_trait::async_trait;
use caravel_api::v1::Backup;
use serde_json::Value;

use crate::{ActionError, OperationProgress, ResourceIdentifier, ResourceSelector};

/// What an action made of an item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BackupItemOutput {
    /// The item as it shall be written; [`Value::Null`] means unchanged.
    pub item: Value,
    /// Items that belong with it; fetched and backed up before it, subject to the filters unless the item carries the
    /// annotation `backup.velero.io/must-include-additional-items`.
    pub additional_items: Vec<ResourceIdentifier>,
    /// Set when something goes on after the action returned.
    pub operation_id: Option<String>,
    /// Fetched again when the operation has ended, and written over what the tarball has.
    pub post_operation_items: Vec<ResourceIdentifier>,
    /// Why the item's volume is not saved, for the volume info. Only built-in actions say it.
    pub volume_left_out: Option<String>,
}

impl BackupItemOutput {
    /// The item, changed or not, and nothing else.
    pub fn item(item: Value) -> Self {
        Self {
            item,
            ..Self::default()
        }
    }
}

/// Called for each selected item before it is written. Version 2 of Velero's backup item action.
#[async_trait]
pub trait BackupItemAction: Send + Sync {
    /// `velero.io/csi-pvc-backupper`: as logged and as written to the item operations.
    fn name(&self) -> &str;

    fn applies_to(&self) -> ResourceSelector;

    /// Changes the item, asks for additional ones, may start an operation.
    ///
    /// # Errors
    /// The item is then not written, and the backup ends `PartiallyFailed` with this error.
    async fn execute(&self, item: Value, backup: &Backup) -> Result<BackupItemOutput, ActionError>;

    /// How far an operation of this action is.
    ///
    /// # Errors
    /// The operation cannot be found or asked; it counts as failed.
    async fn progress(&self, operation_id: &str, _backup: &Backup) -> Result<OperationProgress, ActionError> {
        Err(no_operations(self.name(), operation_id))
    }

    /// Asks an operation to stop; it may take a while to do so.
    ///
    /// # Errors
    /// The operation cannot be found or told.
    async fn cancel(&self, operation_id: &str, _backup: &Backup) -> Result<(), ActionError> {
        Err(no_operations(self.name(), operation_id))
    }
}

pub(crate) fn no_operations(action: &str, operation_id: &str) -> ActionError {
    ActionError::new(format!(
        "{action} has no asynchronous operations, so none with id {operation_id:?}"
    ))
}
