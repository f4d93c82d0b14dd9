//! The layout against Velero's own cases and files, and who may write what (guarantee 4).

use std::fs;

use caravel_storage::{Operation, StorageErrorKind};
use serde_json::{Value, json};

use super::*;
use crate::{MemoryObjectStore, golden};

fn store(memory: &MemoryObjectStore) -> BackupStore {
    BackupStore::new(Arc::new(memory.clone()), "")
}

fn metadata(uid: &str) -> Vec<u8> {
    let backup: Backup = serde_json::from_value(json!({
        "apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {"name": "b1", "namespace": "velero", "uid": uid}, "spec": {},
    }))
    .unwrap();
    encode_metadata(&backup).unwrap()
}

struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("contents"), "contents").unwrap();
        fs::write(folder.path().join("log"), "log").unwrap();
        Self { folder }
    }

    fn artifacts(&self, uid: &str) -> BackupArtifacts {
        BackupArtifacts {
            metadata_json: metadata(uid),
            contents: Some(self.folder.path().join("contents")),
            log: Some(self.folder.path().join("log")),
            pod_volume_backups: Some(Vec::new()),
            volume_snapshots: Some(Vec::new()),
            item_operations: Some(Vec::new()),
            resource_list: Some(ResourceList::default()),
            results: None,
            volume_info: Some(Vec::new()),
            csi_snapshots: None,
        }
    }
}

#[tokio::test]
async fn csi_snapshots_are_in_the_documented_files_and_only_where_there_are_some() {
    let memory = MemoryObjectStore::new();
    let store = BackupStore::new(Arc::new(memory.clone()), "");
    let csi = |memory: &MemoryObjectStore| -> Vec<String> {
        memory
            .keys()
            .into_iter()
            .filter(|key| key.contains("-csi-"))
            .collect()
    };
    let made = Made::new();
    store.put_backup("none", made.artifacts("u1")).await.unwrap();
    assert_eq!(csi(&memory), Vec::<String>::new());
    assert_eq!(
        store.get_csi_snapshots("none").await.unwrap(),
        CsiSnapshotFiles::default()
    );
    let files = CsiSnapshotFiles {
        snapshots: vec![serde_json::json!({"metadata": {"name": "s"}})],
        contents: vec![serde_json::json!({"metadata": {"name": "c"}})],
        classes: Vec::new(),
    };
    let artifacts = BackupArtifacts {
        csi_snapshots: Some(files.clone()),
        ..made.artifacts("u2")
    };
    store.put_backup("b", artifacts).await.unwrap();
    assert_eq!(
        csi(&memory),
        [
            "backups/b/b-csi-volumesnapshotclasses.json.gz",
            "backups/b/b-csi-volumesnapshotcontents.json.gz",
            "backups/b/b-csi-volumesnapshots.json.gz",
        ]
    );
    assert_eq!(store.get_csi_snapshots("b").await.unwrap(), files);
}

#[tokio::test]
async fn put_backup_writes_velero_s_keys() {
    let file = "pkg_persistence/TestPutBackup.json";
    let Some(cases) = caravel_cases::read(file) else {
        return;
    };
    let mut results = Vec::new();
    for listed in &cases {
        let case = &listed.0;
        let name = listed.name();
        let memory = MemoryObjectStore::new();
        let store = BackupStore::new(
            Arc::new(memory.clone()),
            case["input"]["prefix"].as_str().unwrap_or_default(),
        );
        let fail = |end: &str, operation| memory.fail(operation, end, StorageErrorKind::Denied);
        match name {
            "normal case" | "normal case with backup store prefix" => {}
            "error on metadata upload does not upload data" => {
                fail("velero-backup.json", Operation::PutIfAbsent)
            }
            "error on data upload deletes metadata" => fail(".tar.gz", Operation::Put),
            "error on log upload is ok" => fail("-logs.gz", Operation::Put),
            "data should be uploaded even when metadata is nil" => {
                results.push((
                    listed,
                    Err("a backup without velero-backup.json cannot be asked for".to_owned()),
                ));
                continue;
            }
            other => panic!("unknown case {other:?}"),
        }
        let result = store.put_backup("backup-1", Made::new().artifacts("u1")).await;
        assert_eq!(
            result.is_err(),
            case["want"]["expectedErr"] != "",
            "{name}: {result:?}"
        );
        let mut expected: Vec<_> = case["want"]["expectedKeys"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        expected.sort_unstable();
        assert_eq!(memory.keys(), expected, "{name}");
        results.push((listed, Ok(())));
    }
    caravel_cases::settle(file, &results);
}

#[tokio::test]
async fn a_location_is_valid_where_velero_says_so() {
    let Some(cases) = golden::cases(
        "pkg_persistence/TestIsValid.json",
        "a_location_is_valid_where_velero_says_so",
    ) else {
        return;
    };
    for case in &cases {
        let memory = MemoryObjectStore::new();
        for (key, data) in case["input"]["storageData"].as_object().into_iter().flatten() {
            memory.insert(key, data.as_str().unwrap_or_default().to_owned());
        }
        let store = BackupStore::new(Arc::new(memory), case["input"]["prefix"].as_str().unwrap());
        let valid = store.check().await;
        assert_eq!(
            valid.is_err(),
            case["want"]["expectErr"] == true,
            "{}: {valid:?}",
            case["name"]
        );
    }
}

#[tokio::test]
async fn backups_are_listed_where_velero_lists_them() {
    let test = "backups_are_listed_where_velero_lists_them";
    let Some(cases) = golden::cases("pkg_persistence/TestListBackups.json", test) else {
        return;
    };
    for case in &cases {
        let memory = MemoryObjectStore::new();
        for (key, data) in case["input"]["storageData"].as_object().into_iter().flatten() {
            memory.insert(key, data.as_str().unwrap_or_default().to_owned());
        }
        let store = BackupStore::new(
            Arc::new(memory.clone()),
            case["input"]["prefix"].as_str().unwrap(),
        );
        memory.insert(&format!("{}half/half-logs.gz", store.layout().backups()), "log");
        assert_eq!(
            json!(store.list_backups().await.unwrap()),
            case["want"]["expectedRes"],
            "{}",
            case["name"]
        );
    }
}

#[tokio::test]
async fn downloads_are_velero_s_keys() {
    let test = "downloads_are_velero_s_keys";
    let Some(cases) = golden::cases("pkg_persistence/TestGetDownloadURL.json", test) else {
        return;
    };
    for case in &cases {
        let layout = Layout::new(case["input"]["prefix"].as_str().unwrap());
        let name = case["input"]["targetName"].as_str().unwrap();
        for (kind, key) in case["want"]["expectedKeyByKind"].as_object().unwrap() {
            let kind: DownloadTargetKind = serde_json::from_value(json!(kind)).unwrap();
            assert_eq!(
                layout.download_target(&kind, name).as_deref(),
                key.as_str(),
                "{}",
                case["name"]
            );
        }
    }
    let unknown = serde_json::from_value(json!("Horoscope")).unwrap();
    let target = DownloadTarget {
        kind: unknown,
        name: "b1".to_owned(),
    };
    let error = store(&MemoryObjectStore::new())
        .signed_url(&target, Duration::from_secs(600))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("Horoscope"));
}

#[tokio::test]
async fn what_velero_wrote_is_read_and_written_the_same() {
    let Some(samples) = golden::samples("what_velero_wrote_is_read_and_written_the_same") else {
        return;
    };
    let memory = MemoryObjectStore::new();
    let store = store(&memory);
    for name in ["fix1", "fix3"] {
        let folder = samples.join("bucket").join(name);
        let sample = |file: &str| fs::read(folder.join(format!("{name}-{file}"))).unwrap();
        let gz = |text: &[u8]| encoding::gzip(text).unwrap();
        let written = |rest: &str| {
            let data = memory.object(&store.layout.backup_file(name, rest)).unwrap();
            std::io::read_to_string(flate2::read::GzDecoder::new(data.as_ref())).unwrap()
        };
        let text = |file: &str| String::from_utf8(sample(file)).unwrap();
        memory.insert(
            &store.layout.backup_metadata(name),
            fs::read(folder.join("velero-backup.json")).unwrap(),
        );
        for (rest, file) in [
            (ITEM_OPERATIONS, "itemoperations.json"),
            (RESULTS, "results"),
            (RESOURCE_LIST, "resource-list.json"),
            (VOLUME_INFO, "volumeinfo.json"),
            (POD_VOLUME_BACKUPS, "podvolumebackups.json"),
        ] {
            memory.insert(&store.layout.backup_file(name, rest), gz(&sample(file)));
        }
        let backup = store.get_backup_metadata(name).await.unwrap();
        assert_eq!(backup.metadata.name.as_deref(), Some(name));
        store
            .put_item_operations(name, &store.get_item_operations(name).await.unwrap())
            .await
            .unwrap();
        store
            .put_results(name, &store.get_results(name).await.unwrap().unwrap())
            .await
            .unwrap();
        store
            .put_resource_list(name, &store.get_resource_list(name).await.unwrap().unwrap())
            .await
            .unwrap();
        store
            .put_volume_info(name, &store.get_volume_info(name).await.unwrap().unwrap())
            .await
            .unwrap();
        assert_eq!(written(ITEM_OPERATIONS), text("itemoperations.json"));
        assert_eq!(written(RESULTS), text("results"));
        assert_eq!(written(RESOURCE_LIST), text("resource-list.json"));
        assert_eq!(written(VOLUME_INFO), text("volumeinfo.json"));
        assert!(
            store.get_pod_volume_backups(name).await.unwrap().is_empty(),
            "Go's null is an empty list"
        );
    }
    assert_eq!(store.list_backups().await.unwrap(), ["fix1", "fix3"]);
}

#[tokio::test]
async fn a_deletion_takes_one_backup_with_its_metadata_last_and_no_other() {
    let memory = MemoryObjectStore::new();
    let store = store(&memory);
    let files = [
        "backups/b1/b1.tar.gz",
        "backups/b1/velero-backup.json",
        "backups/b10/velero-backup.json",
        "restores/r1/restore-r1-logs.gz",
    ];
    for key in files {
        memory.insert(key, "x");
    }
    memory.fail(
        Operation::Delete,
        "backups/b1/b1.tar.gz",
        StorageErrorKind::Denied,
    );
    assert!(store.delete_backup("b1").await.is_err());
    assert!(
        store.backup_exists("b1").await.unwrap(),
        "it is seen until everything else is gone"
    );
    memory.heal();
    store.delete_backup("b1").await.unwrap();
    store.delete_restore("r1").await.unwrap();
    assert_eq!(memory.keys(), ["backups/b10/velero-backup.json"]);
}

#[tokio::test]
async fn missing_files_are_empty_and_a_failing_store_is_not() {
    let memory = MemoryObjectStore::new();
    let store = store(&memory);
    assert!(store.get_item_operations("b1").await.unwrap().is_empty());
    assert!(store.get_volume_info("b1").await.unwrap().is_none());
    assert!(store.get_backup_metadata("b1").await.unwrap_err().is_not_found());
    memory.fail(Operation::Get, "", StorageErrorKind::Denied);
    assert!(store.get_item_operations("b1").await.is_err());
    assert!(!store.get_backup_metadata("b1").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn guarantee_4_another_uid_s_backup_is_not_touched() {
    let made = Made::new();
    for refuses in [false, true] {
        let mut memory = MemoryObjectStore::new();
        if refuses {
            memory = memory.without_conditional_put();
        }
        let store = store(&memory);
        store.put_backup("b1", made.artifacts("theirs")).await.unwrap();
        let before: Vec<_> = memory
            .keys()
            .into_iter()
            .map(|key| (memory.object(&key), key))
            .collect();
        fs::write(made.folder.path().join("log"), "another log").unwrap();
        let error = store.put_backup("b1", made.artifacts("ours")).await.unwrap_err();
        assert!(
            matches!(&error, BackupStoreError::Conflict { theirs, .. } if theirs == "theirs"),
            "{error}"
        );
        assert!(store.put_backup_metadata("b1", &metadata("ours")).await.is_err());
        let after: Vec<_> = memory
            .keys()
            .into_iter()
            .map(|key| (memory.object(&key), key))
            .collect();
        assert_eq!(before, after);
        store
            .put_backup("b1", made.artifacts("theirs"))
            .await
            .expect("our own from before a restart is written again");
    }
}

#[tokio::test]
async fn guarantee_4_a_store_that_cannot_be_looked_at_is_not_written_to() {
    let memory = MemoryObjectStore::new();
    memory.fail(
        Operation::Get,
        "velero-backup.json",
        StorageErrorKind::Unavailable,
    );
    let error = store(&memory)
        .put_backup("b1", Made::new().artifacts("ours"))
        .await
        .unwrap_err();
    assert!(error.is_transient());
    assert_eq!(memory.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn guarantee_4_cleaning_up_leaves_what_another_uid_wrote_meanwhile() {
    let memory = MemoryObjectStore::new();
    let store = store(&memory);
    // The failing last upload, with somebody else's backup in the place of ours by then.
    memory.fail_behind(
        Operation::Put,
        "-volumeinfo.json.gz",
        StorageErrorKind::Denied,
        ("backups/b1/velero-backup.json", metadata("theirs")),
    );
    let made = Made::new();
    let result = store.put_backup("b1", made.artifacts("ours")).await;
    assert!(result.is_err());
    assert_eq!(
        memory.object("backups/b1/velero-backup.json").unwrap().as_ref(),
        metadata("theirs")
    );
    assert!(memory.object("backups/b1/b1.tar.gz").is_some());
}

#[tokio::test]
async fn foreign_folders_are_named_three_at_most() {
    let memory = MemoryObjectStore::new();
    for folder in ["backups", "kopia", "a", "b", "c", "d"] {
        memory.insert(&format!("{folder}/x"), "x");
    }
    let error = store(&memory).check().await.unwrap_err();
    assert!(error.to_string().contains("[a, b, c, ...]"), "{error}");
}
