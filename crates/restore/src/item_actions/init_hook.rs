//! `velero.io/init-restore-hook`: the init containers that hooks put into a pod. Source: Velero
//! `pkg/restore/actions/init_restorehook_pod_action.go`.

use async_trait::async_trait;
use caravel_hooks::restore_exec::{ResourceRestoreHook, from_spec};
use caravel_hooks::restore_init::add_init_containers;
use caravel_item_action::{
    ActionError, ResourceSelector, RestoreItemAction, RestoreItemInput as Input, RestoreItemOutput as Output,
};
use kube::ResourceExt;
use serde_json::Value;

use crate::group_resource::known;

/// The action.
pub struct InitRestoreHook;

#[async_trait]
impl RestoreItemAction for InitRestoreHook {
    fn name(&self) -> &str {
        "velero.io/init-restore-hook"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&[known::PODS])
    }

    async fn execute(&self, input: Input<'_>) -> Result<Output, ActionError> {
        let restore = input.restore;
        let hooks: Vec<ResourceRestoreHook> = from_spec(restore.spec.hooks.as_ref())
            .map_err(|error| ActionError::because("cannot use the restore's hooks", error))?;
        let mut item = input.item;
        let own = item
            .pointer("/metadata/namespace")
            .and_then(Value::as_str)
            .unwrap_or_default();
        // Hooks select the namespaces in which pods end.
        let target = restore
            .spec
            .namespace_mapping
            .get(own)
            .map_or(own, String::as_str)
            .to_owned();
        add_init_containers(&mut item, &hooks, &target, &restore.uid().unwrap_or_default())
            .map_err(|error| ActionError::because("cannot use the restore's hooks", error))?;
        Ok(Output::item(item))
    }
}
