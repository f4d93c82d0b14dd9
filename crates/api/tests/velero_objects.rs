//! Objects that a real Velero wrote (shared/samples/objects) read, and come back as they were.

use std::path::PathBuf;

use caravel_api::{v1, v2alpha1};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// This package's folder, as cargo says at run time: checkouts share one target folder, so the path that was compiled in
/// may be that of another one, long gone.
fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
        .into()
}

fn sample(name: &str) -> Option<Value> {
    let samples = std::env::var_os("CARAVEL_SAMPLES")
        .map_or_else(|| package().join("../../../shared/samples"), PathBuf::from);
    let path = samples.join("objects").join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        assert!(std::env::var("CI").is_err(), "{} is missing", path.display());
        eprintln!("skipped: {} is missing", path.display());
        return None;
    };
    Some(serde_saphyr::from_str(&text).expect("the sample is YAML"))
}

/// Reads and writes again.
fn round_trip<K: Serialize + DeserializeOwned>(object: &Value) -> Value {
    let object: K = serde_json::from_value(object.clone()).expect("Velero's object reads");
    serde_json::to_value(object).expect("and writes")
}

fn every_item_survives<K: Serialize + DeserializeOwned>(file: &str) {
    let Some(list) = sample(file) else { return };
    let items = match list["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![list],
    };
    assert!(!items.is_empty());
    for item in items {
        assert_eq!(round_trip::<K>(&item), item, "{file}");
    }
}

#[test]
fn objects_of_a_real_velero_survive_a_round_trip() {
    every_item_survives::<v1::Backup>("backup-fix1.yaml");
    every_item_survives::<v1::Restore>("restore-b1-r.yaml");
    every_item_survives::<v1::BackupStorageLocation>("bsl.yaml");
    every_item_survives::<v1::BackupRepository>("backuprepositories.yaml");
    every_item_survives::<v2alpha1::DataUpload>("datauploads.yaml");
    every_item_survives::<v2alpha1::DataDownload>("datadownloads.yaml");
}

#[test]
fn unknown_words_of_open_enums_survive_inside_objects() {
    let upload = json!({
        "apiVersion": "velero.io/v2alpha1", "kind": "DataUpload", "metadata": {"name": "u"},
        "spec": {
            "backupStorageLocation": "default", "operationTimeout": "10m0s", "snapshotType": "Tape",
            "sourceNamespace": "shop", "sourcePVC": "data", "datamover": "someone-elses",
        },
        "status": {"phase": "Rewinding", "nodeOS": "plan9"},
    });
    assert_eq!(round_trip::<v2alpha1::DataUpload>(&upload), upload);
    let location = json!({
        "apiVersion": "velero.io/v1", "kind": "BackupStorageLocation", "metadata": {"name": "l"},
        "spec": {"provider": "p", "objectStorage": {"bucket": "b"}, "accessMode": "AppendOnly"},
        "status": {"phase": "Degraded"},
    });
    assert_eq!(round_trip::<v1::BackupStorageLocation>(&location), location);
}

#[test]
fn nulls_and_gaps_read_as_empty() {
    let backup: v1::Backup = serde_json::from_value(json!({
        "metadata": {"name": "b"},
        "spec": {"includedNamespaces": null, "ttl": null, "labelSelector": null, "snapshotMoveData": null, "hooks": {"resources": null}},
        "status": {"phase": null, "startTimestamp": null, "validationErrors": null},
    }))
    .unwrap();
    assert_eq!(backup.spec.included_namespaces, Vec::<String>::new());
    assert_eq!(backup.phase(), v1::BackupPhase::New);
    let location: v1::BackupStorageLocation =
        serde_json::from_value(json!({"metadata": {}, "spec": {}})).unwrap();
    assert_eq!(location.spec.object_storage.bucket, "");
}

/// The CRDs require no `spec`: the API server takes such an object, and Velero reads it.
#[test]
fn an_object_of_any_kind_without_a_spec_reads_as_one_with_an_empty_spec() {
    fn reads_as_empty<K: Serialize + DeserializeOwned>() {
        let metadata = json!({"name": "bare", "namespace": "velero"});
        let with = round_trip::<K>(&json!({"metadata": metadata, "spec": {}}));
        for bare in [
            json!({"metadata": metadata}),
            json!({"metadata": metadata, "spec": null}),
        ] {
            assert_eq!(round_trip::<K>(&bare), with);
            // Also through what kube and YAML files come through.
            let text: K = serde_json::from_str(&bare.to_string()).expect("reads from text");
            assert_eq!(serde_json::to_value(text).expect("writes"), with);
        }
        assert!(with["spec"].is_object());
    }
    reads_as_empty::<v1::Backup>();
    reads_as_empty::<v1::BackupRepository>();
    reads_as_empty::<v1::BackupStorageLocation>();
    reads_as_empty::<v1::DeleteBackupRequest>();
    reads_as_empty::<v1::DownloadRequest>();
    reads_as_empty::<v1::PodVolumeBackup>();
    reads_as_empty::<v1::PodVolumeRestore>();
    reads_as_empty::<v1::Restore>();
    reads_as_empty::<v1::Schedule>();
    reads_as_empty::<v1::ServerStatusRequest>();
    reads_as_empty::<v1::VolumeSnapshotLocation>();
    reads_as_empty::<v2alpha1::DataDownload>();
    reads_as_empty::<v2alpha1::DataUpload>();
}

#[test]
fn a_spec_that_is_there_and_wrong_is_never_read_as_empty() {
    let backup = json!({"metadata": {"name": "b"}, "spec": {"includedNamespaces": ["shop"], "ttl": "soon"}});
    let why = serde_json::from_value::<v1::Backup>(backup).unwrap_err();
    assert!(why.to_string().contains("soon"), "{why}");
}

#[test]
fn a_data_upload_result_is_what_velero_writes() {
    let json = json!({
        "backupStorageLocation": "default", "snapshotID": "abc", "sourceNamespace": "shop", "nodeOS": "linux",
        "snapshotSize": 42, "datamover": "velero", "dataMoverResult": {"a": "b"},
    });
    assert_eq!(round_trip::<caravel_api::DataUploadResult>(&json), json);
}
