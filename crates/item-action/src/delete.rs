//! The delete item action.

use async_trait::async_trait;
use caravel_api::v1::Backup;
use serde_json::Value;

use crate::{ActionError, ResourceSelector};

/// Called for each item of a backup that is being deleted, before anything of it is. Version 1 of Velero's delete item
/// action (`pkg/plugin/velero/delete_item_action.go`).
#[async_trait]
pub trait DeleteItemAction: Send + Sync {
    /// As logged.
    fn name(&self) -> &str;

    /// `resource.group` names, no short ones.
    fn applies_to(&self) -> ResourceSelector;

    /// Deletes what the item stands for outside the backup. `item` is as the tarball has it. May be called again for the
    /// same item: a deletion that failed, or whose server died, begins again.
    ///
    /// # Errors
    /// The backup stays, with this error in its DeleteBackupRequest, so that nobody loses sight of what is left.
    async fn execute(&self, item: &Value, backup: &Backup) -> Result<(), ActionError>;
}
