//! Items that an action asks for beside its own: restored before it, and waited for where the action says so.

use std::time::Duration;

use caravel_item_action::{ResourceIdentifier, RestoreItemAction};

use super::ItemError;
use crate::group_resource::known;
use crate::item_name::ItemName;
use crate::log::Level;
use crate::run::Engine;

/// How often an action is asked whether its additional items are ready. Velero's.
const READY_INTERVAL: Duration = Duration::from_secs(1);

impl Engine {
    /// An item that another needs: restored first when the backup has it and the filters (or `must_include`) let it
    /// pass. One that the backup does not have is a warning. True when it was restored, now or before.
    pub(super) async fn restore_additional(&self, name: ItemName, must_include: bool) -> bool {
        let in_scope = if name.namespace.is_empty() {
            self.selection.cluster_resources != Some(false)
        } else {
            self.selection.namespaces.includes(&name.namespace)
        };
        let taken = in_scope
            && self
                .selection
                .resources
                .includes(&name.group_resource.to_string());
        let must_have = name.group_resource.is(known::DATA_UPLOADS);
        if !(taken || must_include || must_have) {
            self.log_item(
                Level::Info,
                "Not restoring additional item: it is excluded",
                &name,
                "",
            );
            return false;
        }
        if !self
            .run
            .contents
            .contains(&name.group_resource, &name.namespace, &name.name)
        {
            let target = self.selection.target_namespace(&name.namespace);
            let said = format!(
                "unable to restore additional item {}/{}: the backup does not have it",
                name.group_resource, name.name
            );
            self.warning(target, said);
            return false;
        }
        self.restore_item(name).await;
        true
    }

    /// Waits for what an action needs before its item can be created.
    pub(super) async fn wait_until_ready(
        &self,
        action: &dyn RestoreItemAction,
        items: &[ResourceIdentifier],
        timeout: Duration,
    ) -> Result<(), ItemError> {
        let ready = async {
            while !action
                .are_additional_items_ready(items, &self.run.restore)
                .await?
            {
                tokio::time::sleep(READY_INTERVAL).await;
            }
            Ok::<_, ItemError>(())
        };
        match tokio::time::timeout(timeout, ready).await {
            Ok(ended) => ended,
            Err(_) => Err(format!(
                "additional items of {} are not ready to use after {timeout:?}",
                action.name()
            )
            .into()),
        }
    }
}
