//! The item-block action.

use async_trait::async_trait;
use caravel_api::v1::Backup;
use serde_json::Value;

use crate::{ActionError, ResourceIdentifier, ResourceSelector};

/// Asked of each selected item before the first one is backed up: which others must be backed up at the same time. Items
/// that belong together are one item block: the pre-hooks of all its pods run before any of it is saved, the post-hooks of
/// all after all of it is. Version 1 of Velero's item-block action (`pkg/plugin/velero/itemblockaction/v1`).
///
/// Not asked of Namespaces and of CRDs that come along with their objects: those are no part of a block.
#[async_trait]
pub trait ItemBlockAction: Send + Sync {
    /// As logged.
    fn name(&self) -> &str;

    /// `resource.group` names, no short ones.
    fn applies_to(&self) -> ResourceSelector;

    /// The items that belong with this one. Those that the backup did not select are added to it, if its filters by
    /// namespace and kind let them pass; what is made while the backup runs must not be named here.
    ///
    /// # Errors
    /// The item is backed up without the others, and the backup ends `PartiallyFailed` with this error.
    async fn related_items(
        &self,
        item: &Value,
        backup: &Backup,
    ) -> Result<Vec<ResourceIdentifier>, ActionError>;
}
