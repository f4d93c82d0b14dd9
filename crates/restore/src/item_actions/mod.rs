//! What the restore changes on items of some kinds before it creates them: Velero's built-in restore item actions
//! (velero-behaviour.md 8.5, 4.4). [`built_in`] lists them in the order in which they run.
//!
//! `velero.io/pvc` (forgetting the old volume) and the decision on volumes are part of the engine ([`crate::item`]),
//! because they need the whole backup.

pub mod claim;
pub mod data_upload;
pub mod init_hook;
pub mod mapping;
mod moved_claim;
pub mod pod;
mod pure;
mod secret;
pub mod service;
pub mod small;
pub mod snapshots;

use std::sync::Arc;

use caravel_api::v1::Backup;
use caravel_item_action::RestoreItemAction;
use kube::Client;

pub use moved_claim::{CLAIM_ACTION, MovedClaimAction};

/// All built-in actions. `velero_namespace`: where the ConfigMaps of the mappings are.
pub fn built_in(
    client: &Client,
    backup: &Arc<Backup>,
    velero_namespace: &str,
) -> Vec<Box<dyn RestoreItemAction>> {
    let mut actions: Vec<Box<dyn RestoreItemAction>> = pure::actions()
        .map(|action| Box::new(action) as Box<dyn RestoreItemAction>)
        .collect();
    actions.push(Box::new(init_hook::InitRestoreHook));
    actions.push(Box::new(mapping::ChangeStorageClass::new(
        client,
        velero_namespace,
    )));
    actions.push(Box::new(mapping::ChangeImageName::new(client, velero_namespace)));
    actions.push(Box::new(secret::SecretAction {
        client: client.clone(),
    }));
    actions.push(Box::new(moved_claim::DataUploadAction {
        client: client.clone(),
        backup: Arc::clone(backup),
    }));
    actions.push(Box::new(moved_claim::MovedClaimAction {
        client: client.clone(),
        backup: Arc::clone(backup),
    }));
    actions.push(Box::new(snapshots::VolumeSnapshotAction));
    actions.push(Box::new(snapshots::VolumeSnapshotContentAction {
        client: client.clone(),
    }));
    actions.push(Box::new(snapshots::VolumeSnapshotClassAction));
    actions
}
