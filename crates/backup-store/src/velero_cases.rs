//! Velero's own table tests of locations and of single files of a backup (`pkg_persistence`), put through ours.

use std::sync::Arc;

use caravel_api::v1::{Backup, BackupStorageLocation};
use caravel_cases::{Case, each, each_async, same};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::{BackupArtifacts, BackupStore, Location, LocationError, MemoryObjectStore, encode_metadata};

/// The cases' providers are made up; ours is the one that is built in.
fn location(case: &Case, certificate: Option<&str>) -> Result<Location, LocationError> {
    let mut given = case.input("location").clone();
    given["metadata"]["name"] = json!("default");
    if given["spec"]["provider"] != "" {
        given["spec"]["provider"] = json!("aws");
    }
    if given["spec"]["objectStorage"].is_null() {
        given["spec"]["objectStorage"] = json!({"bucket": ""});
    }
    let bsl: BackupStorageLocation = serde_json::from_value(given).unwrap();
    Location::from_bsl(&bsl, certificate.map(|pem| pem.as_bytes().to_vec()))
}

#[test]
fn a_location_can_be_used_where_veleros_can() {
    each("pkg_persistence/TestNewObjectBackupStoreGetter.json", |case| {
        let ours = location(case, None);
        same(&ours.is_err(), &(case.want("wantErr") != "")).map_err(|why| format!("{why} {ours:?}"))?;
        let Ok(ours) = ours else { return Ok(()) };
        same(&json!(ours.bucket), case.want("wantBucket"))?;
        let memory: Arc<dyn crate::ObjectStore> = Arc::new(MemoryObjectStore::new());
        let store = BackupStore::new(memory, &ours.prefix);
        same(&json!(store.layout().root()), case.want("wantPrefix"))
    });
}

#[test]
fn bucket_prefix_and_certificate_are_taken_from_where_velero_takes_them() {
    each(
        "pkg_persistence/TestNewObjectBackupStoreGetterConfig.json",
        |case| {
            let resolved = case.input("getter")["secretStore"]["data"].as_str();
            let ours = location(case, resolved).map_err(|error| error.to_string())?;
            let mut config = json!({"bucket": ours.bucket, "prefix": ours.prefix});
            if let Some(pem) = ours.ca_cert {
                config["caCert"] = json!(String::from_utf8(pem).unwrap());
            }
            same(&config, case.want("wantConfig"))
        },
    );
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Runs the cases of a file over a store in memory.
fn each_store(file: &str, check: impl AsyncFn(&Case, MemoryObjectStore, BackupStore) -> Result<(), String>) {
    each_async(file, async |case| {
        let memory = MemoryObjectStore::new();
        let store = BackupStore::new(Arc::new(memory.clone()), "");
        check(case, memory, store).await
    });
}

#[test]
fn the_metadata_of_a_backup_is_read_as_by_velero() {
    each_store(
        "pkg_persistence/TestGetBackupMetadata.json",
        async |case, memory, store| {
            if let Some(key) = case.input("key").as_str().filter(|key| !key.is_empty()) {
                memory.insert(key, case.input("obj").to_string());
            }
            let name = case.input("backupName").as_str().unwrap_or_default();
            let ours = store.get_backup_metadata(name).await;
            same(&ours.is_err(), &!case.want("wantErr").is_null())?;
            let name_of = |backup: Backup| (backup.metadata.namespace, backup.metadata.name);
            let wanted: Option<Backup> = serde_json::from_value(case.input("obj").clone()).unwrap();
            same(&ours.ok().map(name_of), &wanted.map(name_of))
        },
    );
}

#[test]
fn volume_infos_are_read_and_written_as_by_velero() {
    each_store(
        "pkg_persistence/TestGetBackupVolumeInfos.json",
        async |case, memory, store| {
            let text = match case.input("volumeInfoStr").as_str().unwrap_or_default() {
                "" if case.input("volumeInfo").is_null() => None,
                "" => Some(case.input("volumeInfo").to_string()),
                text => Some(text.to_owned()),
            };
            if let Some(text) = text {
                memory.insert("backups/backup-1/backup-1-volumeinfo.json.gz", gzip(&text));
            }
            let ours = store
                .get_volume_info("backup-1")
                .await
                .map_err(|error| error.to_string())?;
            let ours = ours.map_or(Value::Null, |infos| json!(infos));
            same(&ours, case.want("expectedResult"))
        },
    );
    each_store(
        "pkg_persistence/TestPutBackupVolumeInfos.json",
        async |case, memory, store| {
            let backup = json!({"metadata": {"name": "backup-1", "uid": "u1"}, "spec": {}});
            let artifacts = BackupArtifacts {
                metadata_json: encode_metadata(&serde_json::from_value(backup).unwrap()).unwrap(),
                volume_info: Some(Vec::new()),
                ..BackupArtifacts::default()
            };
            store
                .put_backup("backup-1", artifacts)
                .await
                .map_err(|error| error.to_string())?;
            // Of a backup its metadata is never missing.
            let keys = memory
                .keys()
                .into_iter()
                .filter(|key| !key.ends_with("velero-backup.json"));
            same(
                &keys.collect::<Vec<_>>(),
                &caravel_cases::texts(case.want("expectedKeys")),
            )
        },
    );
}
