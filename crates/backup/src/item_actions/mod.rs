//! The built-in backup item actions, in the order in which they run (upstream `pkg/cmd/server/plugin/plugin.go`).

pub mod pod;
pub mod pv;
pub mod pvc;
pub mod service_account;
pub mod snapshots;

use std::sync::Arc;

use caravel_item_action::{BackupItemAction, ItemBlockAction};
use kube::Client;

use crate::resource_policies::Policies;

/// All built-in actions. `enable_csi`: the server's `--features=EnableCSI`, without which `velero.io/csi-…` stay off.
/// `policies`: of the one backup that the actions are for.
pub fn built_in(
    client: &Client,
    velero_namespace: &str,
    enable_csi: bool,
    policies: Option<Arc<Policies>>,
) -> Vec<Arc<dyn BackupItemAction>> {
    let mut actions: Vec<Arc<dyn BackupItemAction>> = vec![
        Arc::new(pv::PvAction),
        Arc::new(pod::PodAction),
        Arc::new(service_account::ServiceAccountAction::new(client.clone())),
    ];
    if enable_csi {
        actions.push(Arc::new(pvc::CsiPvcAction::new(
            client.clone(),
            velero_namespace,
            policies,
        )));
        actions.push(Arc::new(snapshots::VolumeSnapshotAction {
            client: client.clone(),
        }));
        actions.push(Arc::new(snapshots::VolumeSnapshotContentAction));
        actions.push(Arc::new(snapshots::VolumeSnapshotClassAction));
    }
    actions
}

/// The item-block actions. Velero's own are no actions here: that pods and their claims belong together is seen from the pods
/// with hooks alone (`run/blocks.rs`), and what else an item brings along comes after it by its backup item action.
pub fn item_blocks() -> Vec<Arc<dyn ItemBlockAction>> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(enable_csi: bool) -> Vec<String> {
        let client = caravel_cases::api::client(|asked| panic!("nobody asks yet: {asked:?}"));
        let actions = built_in(&client, "velero", enable_csi, None);
        actions.iter().map(|action| action.name().to_owned()).collect()
    }

    #[tokio::test]
    async fn without_the_feature_flag_no_action_takes_a_snapshot() {
        let without = names(false);
        assert!(without.iter().all(|name| !name.contains("csi")), "{without:?}");
        let further: Vec<_> = names(true)
            .into_iter()
            .filter(|name| !without.contains(name))
            .collect();
        assert_eq!(further.len(), 4, "{further:?}");
        assert!(further.iter().all(|name| name.contains("csi")), "{further:?}");
    }
}
