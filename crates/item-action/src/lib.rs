//! Backup and restore item actions on JSON values, so that a plug-in host fits later.
//!
//! The traits have the semantics of Velero's version 2 plug-ins (velero-behaviour.md 12.1, upstream
//! `pkg/plugin/velero/backupitemaction/v2` and `restoreitemaction/v2`): an action changes an item, asks for additional
//! items, and may start an asynchronous operation that is followed by id. Items are plain JSON and never our types:
//! an action sees exactly what goes into the tarball, and unknown fields survive. [`ItemBlockAction`] says which items
//! belong together, [`DeleteItemAction`] takes away what an item of a deleted backup stands for.

mod backup;
mod delete;
mod identifier_set;
mod item_block;
mod operation;
mod restore;
mod selector;

pub use backup::{BackupItemAction, BackupItemOutput};
pub use delete::DeleteItemAction;
pub use identifier_set::IdentifierSet;
pub use item_block::ItemBlockAction;
pub use operation::{OperationProgress, UNITS_BYTES};
pub use restore::{RestoreItemAction, RestoreItemInput, RestoreItemOutput};
pub use selector::{ResourceIdentifier, ResourceSelector};

/// Why an action failed, in words for the backup's or restore's log; names the item and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ActionError {
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ActionError {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: None,
        }
    }

    /// `what` failed because of `source`, whose words become part of the message.
    pub fn because(
        what: impl std::fmt::Display,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            message: format!("{what}: {source}"),
            source: Some(Box::new(source)),
        }
    }
}
