//! The claim as it goes into the backup: what leads a restore to its data, and nothing of a former backup.

use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_api::v2alpha1::DataUpload;
use caravel_csi::snapshot::TakenSnapshot;
use caravel_item_action::{BackupItemOutput, ResourceIdentifier};
use kube::ResourceExt;
use serde_json::Value;

use super::super::snapshots;
use crate::cluster::{namespace, set_metadata_entry, text};
use crate::resource_policies::quantity;

/// The claim as it goes into the backup, with the snapshot that stays in the storage.
pub(super) fn stays(mut item: Value, taken: &TakenSnapshot, backup: &Backup) -> BackupItemOutput {
    let snapshot_name = taken.snapshot.name_any();
    let size = taken
        .content
        .status
        .as_ref()
        .and_then(|status| status.restore_size);
    if let Some(bytes) = size {
        fit_request(&mut item, bytes);
    }
    mark_snapshot(&mut item, &snapshot_name, backup);
    let key = labels::MUST_INCLUDE_ADDITIONAL_ITEMS;
    set_metadata_entry(&mut item, "annotations", key, "true");
    let snapshot = ResourceIdentifier::new(
        snapshots::GROUP,
        snapshots::SNAPSHOTS,
        namespace(&item),
        snapshot_name,
    );
    BackupItemOutput {
        item,
        additional_items: vec![snapshot],
        ..BackupItemOutput::default()
    }
}

/// A storage may give more than was asked for; a volume of the snapshot is then asked for as large as it.
pub(crate) fn fit_request(claim: &mut Value, restore_size: i64) {
    let requested = quantity(text(claim, "/spec/resources/requests/storage"));
    let needed = snapshots::binary_quantity(restore_size).0;
    if requested < quantity(&needed) {
        claim["spec"]["resources"]["requests"]["storage"] = needed.into();
    }
}

/// What another backup noted on a claim that was made of it by hand: a restore would look for that backup's data.
pub(super) fn forget_former_backup(claim: &mut Value) {
    let annotations = claim
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.retain(|key, _| key != labels::VOLUME_SNAPSHOT_NAME && key != labels::DATA_UPLOAD_NAME);
    }
}

/// What the restore looks for on the PVC; only the copy in the backup has it.
pub(super) fn mark(claim: &mut Value, snapshot_name: &str, upload: &DataUpload, backup: &Backup) {
    let upload_name = format!("{}/{}", upload.namespace().unwrap_or_default(), upload.name_any());
    mark_snapshot(claim, snapshot_name, backup);
    set_metadata_entry(claim, "annotations", labels::DATA_UPLOAD_NAME, &upload_name);
}

fn mark_snapshot(claim: &mut Value, snapshot_name: &str, backup: &Backup) {
    let snapshot_label = labels::label_value(snapshot_name);
    set_metadata_entry(claim, "labels", labels::VOLUME_SNAPSHOT_NAME, &snapshot_label);
    set_metadata_entry(
        claim,
        "labels",
        labels::BACKUP_NAME,
        &labels::label_value(&backup.name_any()),
    );
    set_metadata_entry(claim, "annotations", labels::VOLUME_SNAPSHOT_NAME, snapshot_name);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_asks_for_at_least_the_size_of_its_snapshot() {
        let asked = |size: &str, bytes| {
            let mut claim = json!({"spec": {"resources": {"requests": {"storage": size}}}});
            fit_request(&mut claim, bytes);
            claim["spec"]["resources"]["requests"]["storage"].clone()
        };
        assert_eq!(asked("64Mi", 64 << 20), "64Mi");
        assert_eq!(asked("1Gi", 64 << 20), "1Gi");
        assert_eq!(asked("60M", 64 << 20), "64Mi");
        let mut bare = json!({"spec": {}});
        fit_request(&mut bare, 1 << 30);
        assert_eq!(bare["spec"]["resources"]["requests"]["storage"], "1Gi");
    }

    #[test]
    fn what_a_former_backup_noted_on_a_claim_is_forgotten() {
        let mut item = json!({"metadata": {"annotations": {
            labels::VOLUME_SNAPSHOT_NAME: "old", labels::DATA_UPLOAD_NAME: "velero/old", "mine": "1"}}});
        forget_former_backup(&mut item);
        assert_eq!(item["metadata"]["annotations"], json!({"mine": "1"}));
    }
}
