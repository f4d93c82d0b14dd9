//! `velero.io/pod`: a pod brings its PVCs and its PriorityClass along (upstream `pkg/backup/actions/backup_pod_action.go`).

use async_trait::async_trait;
use caravel_api::v1::Backup;
use caravel_item_action::{
    ActionError, BackupItemAction, BackupItemOutput, ResourceIdentifier, ResourceSelector,
};
use serde_json::Value;

use crate::cluster::{namespace, text};
use crate::preflight::claims_of_pod;

pub struct PodAction;

#[async_trait]
impl BackupItemAction for PodAction {
    fn name(&self) -> &str {
        "velero.io/pod"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&["pods"])
    }

    async fn execute(&self, item: Value, _backup: &Backup) -> Result<BackupItemOutput, ActionError> {
        let claims = claims_of_pod(&item).into_iter();
        let mut additional_items: Vec<ResourceIdentifier> = claims
            .map(|claim| ResourceIdentifier::new("", "persistentvolumeclaims", namespace(&item), claim))
            .collect();
        let priority_class = text(&item, "/spec/priorityClassName");
        if !priority_class.is_empty() {
            additional_items.push(ResourceIdentifier::new(
                "scheduling.k8s.io",
                "priorityclasses",
                "",
                priority_class,
            ));
        }
        Ok(BackupItemOutput {
            item,
            additional_items,
            ..BackupItemOutput::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_pod_brings_its_claims_and_its_priority_class() {
        let pod = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"priorityClassName": "high", "volumes": [
            {"name": "a", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "b", "emptyDir": {}},
            {"name": "c", "ephemeral": {"volumeClaimTemplate": {}}}]}});
        let output = PodAction.execute(pod, &Backup::default()).await.unwrap();
        let names: Vec<String> = output.additional_items.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "persistentvolumeclaims shop/data",
                "persistentvolumeclaims shop/web-c",
                "priorityclasses.scheduling.k8s.io high"
            ]
        );
    }
}
