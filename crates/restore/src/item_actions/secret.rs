//! `velero.io/secret`: ServiceAccount tokens are never carried over. One that the control plane made by itself is left
//! out when its ServiceAccount exists; one that a user asked for comes back empty and is filled in by the control
//! plane. Source: Velero `pkg/restore/actions/secret_action.go`. Nothing of a Secret's content reaches a message.

use async_trait::async_trait;
use caravel_item_action::{
    ActionError, ResourceSelector, RestoreItemAction, RestoreItemInput as Input, RestoreItemOutput as Output,
};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};
use serde_json::Value;

use super::small;

/// The action; asks the cluster whether the ServiceAccount exists.
pub struct SecretAction {
    /// Of the target cluster.
    pub client: Client,
}

#[async_trait]
impl RestoreItemAction for SecretAction {
    fn name(&self) -> &str {
        "velero.io/secret"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&["secrets"])
    }

    async fn execute(&self, input: Input<'_>) -> Result<Output, ActionError> {
        let mut item = input.item;
        if !small::is_token_secret(&item) {
            return Ok(Output::item(item));
        }
        if let Some(account) = small::auto_created_for(&item) {
            let namespace = item
                .pointer("/metadata/namespace")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let target = input
                .restore
                .spec
                .namespace_mapping
                .get(namespace)
                .map_or(namespace, String::as_str);
            let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), target);
            let found = accounts.get_opt(&account).await.map_err(|error| {
                ActionError::because(
                    format_args!("looking for ServiceAccount {target}/{account}"),
                    error,
                )
            })?;
            if found.is_some() {
                return Ok(Output::skip());
            }
        }
        small::token_secret(&mut item);
        Ok(Output::item(item))
    }
}
