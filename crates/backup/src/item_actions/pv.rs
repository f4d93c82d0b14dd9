//! `velero.io/pv`: a PVC brings its PV along and loses what would tie the restored claim to the past
//! (upstream `pkg/backup/actions/pvc_action.go`).

use async_trait::async_trait;
use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_item_action::{
    ActionError, BackupItemAction, BackupItemOutput, ResourceIdentifier, ResourceSelector,
};
use kube::ResourceExt;
use serde_json::Value;

use crate::cluster::text;

pub struct PvAction;

/// Labels that an earlier restore left on the claim.
const STALE_LABELS: [&str; 3] = [
    labels::BACKUP_NAME,
    labels::RESTORE_NAME,
    labels::VOLUME_SNAPSHOT_NAME,
];

#[async_trait]
impl BackupItemAction for PvAction {
    fn name(&self) -> &str {
        "velero.io/pv"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&["persistentvolumeclaims"])
    }

    async fn execute(&self, mut item: Value, backup: &Backup) -> Result<BackupItemOutput, ActionError> {
        let has_class = !text(&item, "/spec/storageClassName").is_empty();
        if let Some(spec) = item.get_mut("spec").and_then(Value::as_object_mut) {
            spec.remove("dataSource");
            spec.remove("dataSourceRef");
            if has_class {
                spec.remove("selector");
            }
        }
        forget_stale_labels(&mut item, &backup.name_any());
        let volume = text(&item, "/spec/volumeName").to_owned();
        let bound = !volume.is_empty() && text(&item, "/status/phase") == "Bound";
        let additional_items = if bound {
            vec![ResourceIdentifier::new("", "persistentvolumes", "", volume)]
        } else {
            Vec::new()
        };
        Ok(BackupItemOutput {
            item,
            additional_items,
            ..BackupItemOutput::default()
        })
    }
}

/// Takes off what earlier backups and restores left: labels, and a selector's labels, by which a restored claim would
/// never be bound.
pub fn forget_stale_labels(claim: &mut Value, backup_name: &str) {
    if let Some(wanted) = claim
        .pointer_mut("/spec/selector/matchLabels")
        .and_then(Value::as_object_mut)
    {
        wanted.retain(|key, _| !key.starts_with("velero.io/"));
    }
    let labels = claim
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut);
    if let Some(labels) = labels {
        labels.retain(|key, value| {
            let of_this_backup = key == labels::BACKUP_NAME && value == backup_name;
            of_this_backup || !STALE_LABELS.contains(&&**key)
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_claim_brings_its_volume_and_loses_its_data_source() {
        let claim = json!({"metadata": {"name": "data", "labels": {"app": "x", "velero.io/restore-name": "r"}},
            "spec": {"volumeName": "pv1", "storageClassName": "fast", "dataSource": {"name": "s"}, "selector": {}},
            "status": {"phase": "Bound"}});
        let output = PvAction.execute(claim, &Backup::default()).await.unwrap();
        assert_eq!(
            output.additional_items,
            [ResourceIdentifier::new("", "persistentvolumes", "", "pv1")]
        );
        assert_eq!(
            output.item["spec"],
            json!({"volumeName": "pv1", "storageClassName": "fast"})
        );
        assert_eq!(output.item["metadata"]["labels"], json!({"app": "x"}));
    }
}
