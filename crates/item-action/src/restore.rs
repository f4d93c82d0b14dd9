//! The restore item action.

use std::time::Duration;

use async_trait::async_trait;
use caravel_api::v1::Restore;
use serde_json::Value;

use crate::backup::no_operations;
use crate::{ActionError, OperationProgress, ResourceIdentifier, ResourceSelector};

/// What an action is given.
#[derive(Clone, Debug)]
pub struct RestoreItemInput<'a> {
    /// The item as earlier actions left it; still in its original namespace.
    pub item: Value,
    /// The item exactly as the tarball has it.
    pub item_from_backup: &'a Value,
    pub restore: &'a Restore,
}

/// What an action made of an item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RestoreItemOutput {
    /// The item as it shall be created; [`Value::Null`] means unchanged.
    pub item: Value,
    /// Items of the backup that are restored before it.
    pub additional_items: Vec<ResourceIdentifier>,
    /// True: do not restore the item.
    pub skip_restore: bool,
    /// Set when something goes on after the action returned.
    pub operation_id: Option<String>,
    /// True: the item is created only when [`RestoreItemAction::are_additional_items_ready`] says so.
    pub wait_for_additional_items: bool,
    /// How long at most; `None`: the server's resource timeout.
    pub additional_items_ready_timeout: Option<Duration>,
}

impl RestoreItemOutput {
    /// The item, changed or not, and nothing else.
    pub fn item(item: Value) -> Self {
        Self {
            item,
            ..Self::default()
        }
    }

    /// Leaves the item out.
    pub fn skip() -> Self {
        Self {
            skip_restore: true,
            ..Self::default()
        }
    }
}

/// Called for each selected item before it is created. Version 2 of Velero's restore item action.
#[async_trait]
pub trait RestoreItemAction: Send + Sync {
    /// `velero.io/csi-pvc-restorer`: as logged and as written to the item operations.
    fn name(&self) -> &str;

    fn applies_to(&self) -> ResourceSelector;

    /// Changes the item, asks for additional ones, may start an operation.
    ///
    /// # Errors
    /// The item is then not restored, and the restore ends `PartiallyFailed` with this error.
    async fn execute(&self, input: RestoreItemInput<'_>) -> Result<RestoreItemOutput, ActionError>;

    /// How far an operation of this action is.
    ///
    /// # Errors
    /// The operation cannot be found or asked; it counts as failed.
    async fn progress(
        &self,
        operation_id: &str,
        _restore: &Restore,
    ) -> Result<OperationProgress, ActionError> {
        Err(no_operations(self.name(), operation_id))
    }

    /// Asks an operation to stop; it may take a while to do so.
    ///
    /// # Errors
    /// The operation cannot be found or told.
    async fn cancel(&self, operation_id: &str, _restore: &Restore) -> Result<(), ActionError> {
        Err(no_operations(self.name(), operation_id))
    }

    /// Whether the additional items are so far that the item itself can be created.
    ///
    /// # Errors
    /// They cannot be looked at.
    async fn are_additional_items_ready(
        &self,
        _items: &[ResourceIdentifier],
        _restore: &Restore,
    ) -> Result<bool, ActionError> {
        Ok(true)
    }
}
