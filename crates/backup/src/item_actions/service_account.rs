//! `velero.io/service-account`: a ServiceAccount brings the ClusterRoleBindings that name it, and their ClusterRoles
//! (upstream `pkg/backup/actions/service_account_action.go`).

use async_trait::async_trait;
use caravel_api::v1::Backup;
use caravel_item_action::{
    ActionError, BackupItemAction, BackupItemOutput, ResourceIdentifier, ResourceSelector,
};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::cluster::{name, namespace};

const RBAC: &str = "rbac.authorization.k8s.io";

pub struct ServiceAccountAction {
    client: Client,
    /// Listed once a backup: there are as many ServiceAccounts as namespaces, and more.
    bindings: OnceCell<Vec<ClusterRoleBinding>>,
}

impl ServiceAccountAction {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            bindings: OnceCell::new(),
        }
    }

    async fn bindings(&self) -> Result<&[ClusterRoleBinding], ActionError> {
        let list = || async {
            let api: Api<ClusterRoleBinding> = Api::all(self.client.clone());
            api.list(&Default::default()).await.map(|list| list.items)
        };
        let bindings = self.bindings.get_or_try_init(list).await;
        bindings
            .map(Vec::as_slice)
            .map_err(|error| ActionError::because("cannot list ClusterRoleBindings", error))
    }
}

#[async_trait]
impl BackupItemAction for ServiceAccountAction {
    fn name(&self) -> &str {
        "velero.io/service-account"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&["serviceaccounts"])
    }

    async fn execute(&self, item: Value, _backup: &Backup) -> Result<BackupItemOutput, ActionError> {
        let additional_items = companions(self.bindings().await?, namespace(&item), name(&item));
        Ok(BackupItemOutput {
            item,
            additional_items,
            ..BackupItemOutput::default()
        })
    }
}

/// The ClusterRoleBindings that name an account, each with its ClusterRole.
pub fn companions(bindings: &[ClusterRoleBinding], namespace: &str, name: &str) -> Vec<ResourceIdentifier> {
    let of_account = bindings.iter().filter(|binding| {
        binding.subjects.iter().flatten().any(|subject| {
            subject.kind == "ServiceAccount"
                && subject.name == name
                && subject.namespace.as_deref() == Some(namespace)
        })
    });
    of_account
        .flat_map(|binding| {
            [
                ResourceIdentifier::new(RBAC, "clusterrolebindings", "", binding.name_any()),
                ResourceIdentifier::new(RBAC, "clusterroles", "", &binding.role_ref.name),
            ]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_brings_the_bindings_that_name_it_and_their_roles() {
        let binding = |name: &str, account: &str| {
            serde_json::from_value(serde_json::json!({"metadata": {"name": name},
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": format!("{name}-role")},
                "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "shop"}]}))
            .unwrap()
        };
        let found = companions(&[binding("a", "web"), binding("b", "other")], "shop", "web");
        let names: Vec<&str> = found.iter().map(|id| id.name.as_str()).collect();
        assert_eq!(names, ["a", "a-role"]);
    }
}
