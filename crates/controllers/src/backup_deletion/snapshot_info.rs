//! The snapshot-info ConfigMaps that a deletion of Velero's has left: each names a snapshot whose DataUpload may be gone.
//!
//! Velero's delete action `velero.io/dataupload-delete` writes one for each DataUpload of the tarball (`<upload>-info`), and
//! its controller reads them and deletes them before it forgets the snapshots (upstream
//! `pkg/datamover/dataupload_delete_action.go`, v1.18.3). Here nothing has to be passed on, so none is written; those of a
//! Velero that was stopped in between are read, and go only when their snapshots are gone.

use std::collections::BTreeMap;

use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_api::v2alpha1::DataUpload;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::ListParams;

use crate::context::Context;
use crate::reconcile::Error;

/// What stands behind a DataUpload's name in the name of its ConfigMap.
const SUFFIX: &str = "-info";

/// A ConfigMap, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SnapshotInfo {
    pub config_map: String,
    /// Of the volumes.
    pub namespace: String,
    pub snapshot: String,
}

/// What the ConfigMaps of a backup say; for one that cannot be used, why.
///
/// # Errors
/// The API server cannot be asked.
pub(super) async fn read(
    context: &Context,
    backup: &Backup,
) -> Result<Vec<Result<SnapshotInfo, String>>, Error> {
    let selector = format!(
        "{}={},{}=true",
        labels::BACKUP_NAME,
        labels::label_value(&backup.name_any()),
        labels::DATA_UPLOAD_SNAPSHOT_INFO
    );
    let found = context
        .api::<ConfigMap>()
        .list(&ListParams::default().labels(&selector))
        .await?;
    let mut infos = Vec::new();
    for config_map in found.items {
        let name = config_map.name_any();
        if is_of_another_backup(context, backup, &name).await? {
            tracing::warn!(config_map = %name, backup = %backup.name_any(), "left alone: its DataUpload is of another backup");
            continue;
        }
        let said = parse(&name, &config_map.data.unwrap_or_default(), backup);
        infos.extend(said.transpose());
    }
    Ok(infos)
}

/// Velero before 1.18.3 labelled the ConfigMap with the backup that was deleted, whosever the DataUpload in its tarball was.
async fn is_of_another_backup(context: &Context, backup: &Backup, config_map: &str) -> Result<bool, Error> {
    let Some(upload) = config_map.strip_suffix(SUFFIX) else {
        return Ok(false);
    };
    let upload = context.api::<DataUpload>().get_opt(upload).await?;
    let ours = labels::label_value(&backup.name_any());
    Ok(upload.is_some_and(|upload| {
        upload
            .labels()
            .get(labels::BACKUP_NAME)
            .is_none_or(|name| *name != ours)
    }))
}

/// None: of a backup with this name in another location.
fn parse(
    name: &str,
    data: &BTreeMap<String, String>,
    backup: &Backup,
) -> Result<Option<SnapshotInfo>, String> {
    let text = |key: &str| data.get(key).cloned().unwrap_or_default();
    let location = text("backupStorageLocation");
    if !location.is_empty() && location != backup.spec.storage_location {
        return Ok(None);
    }
    let (namespace, snapshot, kind) = (
        text("volumeNamespace"),
        text("snapshotID"),
        text("repositoryType"),
    );
    if namespace.is_empty() || snapshot.is_empty() || kind != "kopia" {
        return Err(format!(
            "ConfigMap {name} (label {}) does not say which snapshot it is about (snapshotID {snapshot:?}, volumeNamespace {namespace:?}, repositoryType {kind:?}): delete the ConfigMap if nobody needs it, then delete the backup again",
            labels::DATA_UPLOAD_SNAPSHOT_INFO
        ));
    }
    Ok(Some(SnapshotInfo {
        config_map: name.to_owned(),
        namespace,
        snapshot,
    }))
}

/// Deletes those ConfigMaps; gives what went wrong.
pub(super) async fn delete(context: &Context, infos: &[SnapshotInfo]) -> Vec<String> {
    let api = context.api::<ConfigMap>();
    let mut errors = Vec::new();
    for info in infos {
        match api.delete(&info.config_map, &Default::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => errors.push(format!("error deleting ConfigMap {}: {error}", info.config_map)),
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(data: Value) -> Result<Option<SnapshotInfo>, String> {
        let mut backup = Backup::new("b1", Default::default());
        backup.spec.storage_location = "default".into();
        parse("u-info", &serde_json::from_value(data).unwrap(), &backup)
    }

    /// As Velero 1.18.3 writes it: `genConfigmap`.
    fn velero_s() -> Value {
        json!({"volumeNamespace": "shop", "backupStorageLocation": "default", "snapshotID": "a1", "repositoryType": "kopia",
            "source": "shop/data", "uploaderType": "kopia", "repoIdentifier": ""})
    }

    #[test]
    fn velero_s_config_map_is_understood() {
        let expected = SnapshotInfo {
            config_map: "u-info".into(),
            namespace: "shop".into(),
            snapshot: "a1".into(),
        };
        assert_eq!(said(velero_s()), Ok(Some(expected)));
    }

    #[test]
    fn one_of_another_location_is_left_alone() {
        let mut other = velero_s();
        other["backupStorageLocation"] = json!("second");
        assert_eq!(said(other), Ok(None));
    }

    #[test]
    fn one_that_says_nothing_stops_the_deletion_and_is_named() {
        for key in ["snapshotID", "volumeNamespace", "repositoryType"] {
            let mut half = velero_s();
            half[key] = json!("");
            let why = said(half).unwrap_err();
            assert!(why.contains("u-info") && why.contains(key), "{why}");
        }
    }
}
