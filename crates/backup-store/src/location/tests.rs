//! From a BackupStorageLocation to a bucket on a real server; what must be refused; what must not be shown.

use std::time::Duration;

use bytes::Bytes;
use caravel_storage::{BlobId, StorageErrorKind, s3::test_server::TestServer};
use futures::TryStreamExt as _;
use serde_json::{Value, json};

use super::*;
use crate::{BackupStore, Body, DownloadTarget, PutMode};

fn bsl(spec: Value) -> BackupStorageLocation {
    let object = json!({"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation", "metadata": {"name": "default"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn credentials(id: &str, secret: &str) -> Credentials {
    let text = format!("[default]\naws_access_key_id={id}\naws_secret_access_key={secret}\n");
    Credentials::from_file_content(text.into())
}

/// A location on the test server, as `velero install` makes it.
fn location(server: &TestServer, prefix: &str) -> Location {
    let bsl = bsl(json!({
        "provider": "aws",
        "objectStorage": {"bucket": "backups", "prefix": prefix},
        "config": {"region": "us-east-1", "s3ForcePathStyle": "true", "s3Url": server.endpoint()},
    }));
    Location::from_bsl(&bsl, server.ca_pem().map(<[u8]>::to_vec)).unwrap()
}

fn good() -> Credentials {
    credentials("AKTESTSERVERKEY", "test-server-secret/+=")
}

async fn read(store: &Arc<dyn ObjectStore>, key: &str) -> Bytes {
    let parts: Vec<Bytes> = store.get_object(key).await.unwrap().try_collect().await.unwrap();
    parts.concat().into()
}

#[test]
fn prefixes_are_velero_s() {
    let with = |prefix: &str| {
        let bsl =
            bsl(json!({"provider": "velero.io/aws", "objectStorage": {"bucket": "b", "prefix": prefix}}));
        Location::from_bsl(&bsl, None).map(|location| location.repository_prefix("shop"))
    };
    assert_eq!(with("").unwrap(), "kopia/shop/");
    assert_eq!(with("velero").unwrap(), "velero/kopia/shop/");
    assert_eq!(with("a/b/").unwrap(), "a/b/kopia/shop/");
    assert_eq!(with("/a/").unwrap(), "a/kopia/shop/");
    for bad in ["a//b", "a/../b", "."] {
        assert!(matches!(with(bad), Err(LocationError::BadPrefix { .. })), "{bad}");
    }
}

#[test]
fn settings_that_cannot_work_are_named() {
    let with = |spec: Value| {
        let location = Location::from_bsl(&bsl(spec), None)?;
        location.object_store(Some(&good())).map(drop)
    };
    let aws = |config: Value| json!({"provider": "aws", "objectStorage": {"bucket": "b"}, "config": config});
    let error = |spec: Value| with(spec).unwrap_err().to_string();
    with(aws(
        json!({"region": "eu-west-1", "checksumAlgorithm": "", "signatureVersion": "4"}),
    ))
    .expect("usual keys");
    assert!(error(json!({"provider": "aws", "objectStorage": {}})).contains("bucket"));
    assert!(
        error(json!({"provider": "aws", "objectStorage": {"bucket": "a/b"}}))
            .contains("objectStorage.prefix")
    );
    assert!(error(json!({"provider": "acme", "objectStorage": {"bucket": "b"}})).contains("acme"));
    assert!(error(aws(json!({"regoin": "x"}))).contains("regoin"));
    assert!(error(aws(json!({"s3ForcePathStyle": "yes"}))).contains("s3ForcePathStyle"));
    assert!(error(aws(json!({"s3Url": "https://host/path"}))).contains("no path"));
    assert!(error(aws(json!({"customerKeyEncryptionFile": "/x"}))).contains("not supported"));
    assert!(error(aws(json!({"profile": "other"}))).contains("[other]"));
    with(json!({"provider": "acme/store", "objectStorage": {"bucket": "b"}, "config": {"s3Url": "https://host", "own": "1"}}))
        .expect("any provider with an s3Url");
}

#[test]
fn settings_of_google_are_velero_s_plug_in_s() {
    let with = |config: Value, secret: Option<&str>| {
        let spec = json!({"provider": "velero.io/gcp", "objectStorage": {"bucket": "b"}, "config": config});
        let location = Location::from_bsl(&bsl(spec), None)?;
        let credentials = secret.map(|text| Credentials::from_file_content(text.into()));
        location.repository_storage(credentials.as_ref(), "shop")?;
        location.object_store(credentials.as_ref()).map(drop)
    };
    let error = |config: Value, secret| with(config, secret).unwrap_err().to_string();
    with(
        json!({"kmsKeyName": "projects/p/locations/l/keyRings/r/cryptoKeys/k", "serviceAccount": "a@b",
            "storeEndpoint": "storage-example.p.googleapis.com", "universeDomain": "googleapis.com"}),
        None,
    )
    .expect("all that the plug-in knows, with the identity of the pod");
    assert!(error(json!({"region": "x"}), None).contains("kmsKeyName"));
    assert!(error(json!({"universeDomain": "example.goog"}), None).contains("universeDomain"));
    assert!(error(json!({"storeEndpoint": "https://host/path"}), None).contains("storeEndpoint"));
    assert!(error(json!({}), Some("[default]\naws_access_key_id=AK\n")).contains("service account"));
}

#[test]
fn settings_of_azure_are_velero_s_plug_in_s() {
    let with = |config: Value, secret: Option<&str>| {
        let spec = json!({"provider": "velero.io/azure", "objectStorage": {"bucket": "b"}, "config": config});
        let location = Location::from_bsl(&bsl(spec), None)?;
        let credentials = secret.map(|text| Credentials::from_file_content(text.into()));
        location.repository_storage(credentials.as_ref(), "shop")?;
        let store = location.object_store(credentials.as_ref())?;
        Ok::<_, LocationError>(format!("{store:?}"))
    };
    let error = |config: Value, secret| with(config, secret).unwrap_err().to_string();
    let key = Some("AZURE_STORAGE_ACCOUNT_ACCESS_KEY=aGlkZGVu\nAZURE_CLOUD_NAME=AzureUSGovernment\n");
    let by_key = json!({"resourceGroup": "rg", "storageAccount": "acc", "subscriptionId": "s", "blockSizeInBytes": "1048576",
        "storageAccountKeyEnvVar": "AZURE_STORAGE_ACCOUNT_ACCESS_KEY"});
    let shown = with(by_key, key).unwrap();
    assert!(
        shown.contains("https://acc.blob.core.usgovcloudapi.net"),
        "{shown}"
    );
    let shown = with(
        json!({"storageAccount": "acc", "useAAD": "true", "storageAccountURI": "https://mine.example/"}),
        None,
    )
    .expect("the identity of the pod");
    assert!(shown.contains("https://mine.example"), "{shown}");
    assert!(error(json!({}), key).contains("storageAccount"));
    assert!(error(json!({"storageAccount": "acc", "region": "x"}), key).contains("useAAD"));
    assert!(error(json!({"storageAccount": "acc"}), key).contains("management API"));
    assert!(error(json!({"storageAccount": "acc", "useAAD": "yes"}), key).contains("useAAD"));
    assert!(
        error(
            json!({"storageAccount": "acc", "useAAD": "true", "blockSizeInBytes": "x"}),
            key
        )
        .contains("blockSizeInBytes")
    );
}

#[test]
fn a_location_survives_its_way_to_the_data_mover() {
    let location = Location {
        provider: "aws".into(),
        bucket: "b".into(),
        prefix: "velero".into(),
        config: BTreeMap::from([("region".into(), "r".into())]),
        ca_cert: Some(b"-----BEGIN CERTIFICATE-----\n".to_vec()),
    };
    let text = serde_json::to_string(&location).unwrap();
    assert!(text.contains("BEGIN CERTIFICATE"), "{text}");
    assert_eq!(serde_json::from_str::<Location>(&text).unwrap(), location);
}

#[test]
fn guarantee_8_a_location_and_its_errors_show_no_key() {
    let location = Location {
        provider: "aws".into(),
        bucket: "b".into(),
        ..Location::default()
    };
    let store = location
        .object_store(Some(&credentials("AKHIDDENKEY", "hidden-secret")))
        .unwrap();
    let storage = location
        .repository_storage(Some(&credentials("AKHIDDENKEY", "hidden-secret")), "shop")
        .unwrap();
    let profile = Location {
        config: BTreeMap::from([("profile".into(), "x".into())]),
        ..location.clone()
    };
    let error = profile
        .object_store(Some(&credentials("AKHIDDENKEY", "hidden-secret")))
        .unwrap_err();
    for shown in [
        format!("{store:?}"),
        format!("{storage:?}"),
        format!("{error} {error:?}"),
        format!("{location:?}"),
    ] {
        assert!(
            !shown.contains("AKHIDDENKEY") && !shown.contains("hidden-secret"),
            "{shown}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_a_real_server_is_read_and_written() {
    for tls in [false, true] {
        let Some(server) = TestServer::start(tls, "a_bucket_of_a_real_server_is_read_and_written") else {
            return;
        };
        let location = location(&server, "velero");
        read_and_write(location.object_store(Some(&good())).unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_azure_s_emulator_is_read_and_written() {
    use caravel_storage::azure::test_server::{ACCOUNT, CONTAINER, TestServer};
    let Some(server) = TestServer::start("a_container_of_azure_s_emulator_is_read_and_written") else {
        return;
    };
    let spec = json!({
        "provider": "velero.io/azure",
        "objectStorage": {"bucket": CONTAINER, "prefix": "velero"},
        "config": {"storageAccount": ACCOUNT, "storageAccountURI": server.endpoint(), "storageAccountKeyEnvVar": "KEY"},
    });
    let location = Location::from_bsl(&bsl(spec), None).unwrap();
    let credentials = Credentials::from_file_content(format!("KEY={}\n", server.key()).into());
    let store = location.object_store(Some(&credentials)).unwrap();
    read_and_write(store.clone()).await;
    let url = store
        .create_signed_url("velero/backups/b1/part", Duration::from_secs(600))
        .await
        .unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url.as_str()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.bytes().await.unwrap().len(), 16 << 20);
}

async fn read_and_write(store: Arc<dyn ObjectStore>) {
    let folder = tempfile::tempdir().unwrap();
    // Empty, small, one part exactly, and several parts.
    for (name, length) in [
        ("empty", 0),
        ("small", 10),
        ("part", 16 << 20),
        ("large", (40 << 20) + 7),
    ] {
        let data: Vec<u8> = (0..length).map(|i: usize| (i % 251) as u8).collect();
        let (file, key) = (folder.path().join(name), format!("velero/backups/b1/{name}"));
        std::fs::write(&file, &data).unwrap();
        store
            .put_object(&key, Body::File(file), PutMode::Replace)
            .await
            .unwrap();
        assert!(read(&store, &key).await == data, "{name}");
        assert!(store.object_exists(&key).await.unwrap());
    }
    assert!(!store.object_exists("velero/backups/b1/sma").await.unwrap());
    assert!(!store.object_exists("velero/backups/b1/missing").await.unwrap());
    assert_eq!(
        store.list_common_prefixes("velero/").await.unwrap(),
        ["velero/backups/"]
    );
    assert_eq!(
        store.list_common_prefixes("velero/backups/").await.unwrap(),
        ["velero/backups/b1/"]
    );
    assert_eq!(store.list_objects("velero/backups/b1/").await.unwrap().len(), 4);
    let twice = store
        .put_object(
            "velero/backups/b1/small",
            Body::Bytes(Bytes::new()),
            PutMode::Create,
        )
        .await;
    assert_eq!(twice.unwrap_err().kind(), StorageErrorKind::AlreadyExists);
    store.delete_object("velero/backups/b1/small").await.unwrap();
    store
        .delete_object("velero/backups/b1/small")
        .await
        .expect("deleting twice is no error");
    let gone = store.get_object("velero/backups/b1/small").await;
    assert!(gone.err().expect("it is gone").is_not_found());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_address_is_read_without_a_key_and_is_not_shown() {
    let Some(server) = TestServer::start(true, "a_signed_address_is_read_without_a_key_and_is_not_shown")
    else {
        return;
    };
    let location = location(&server, "velero");
    let backups = BackupStore::new(location.object_store(Some(&good())).unwrap(), &location.prefix);
    backups.check().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    std::fs::write(&log, "a line").unwrap();
    backups.put_log("b1", &log).await.unwrap();
    let target = DownloadTarget {
        kind: caravel_api::phase::DownloadTargetKind::BackupLog,
        name: "b1".to_owned(),
    };
    let url = backups
        .signed_url(&target, Duration::from_secs(600))
        .await
        .unwrap();
    assert!(url.to_string().contains("X-Amz-Signature="));
    assert!(!format!("{url:?}").contains("Signature"), "guarantee 8");
    let ca = reqwest::Certificate::from_pem(server.ca_pem().unwrap()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
    let answer = client.get(url.as_str()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), "a line");
    let cut = url.as_str().rsplit_once('&').unwrap().0.to_owned();
    assert_ne!(client.get(cut).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_location_is_said_in_words() {
    let Some(server) = TestServer::start(true, "what_is_wrong_with_a_location_is_said_in_words") else {
        return;
    };
    let good_location = location(&server, "velero");
    let check = |location: Location, credentials: Credentials| async move {
        let store = location.object_store(Some(&credentials)).unwrap();
        BackupStore::new(store, &location.prefix)
            .check()
            .await
            .unwrap_err()
            .to_string()
    };
    let unknown = check(
        Location {
            ca_cert: None,
            ..good_location.clone()
        },
        good(),
    )
    .await;
    assert!(
        unknown.contains("is not trusted") && unknown.contains("--cacert"),
        "{unknown}"
    );
    let missing = check(
        Location {
            bucket: "nothere".into(),
            ..good_location.clone()
        },
        good(),
    )
    .await;
    assert!(missing.contains("bucket nothere does not exist"), "{missing}");
    let wrong = check(good_location.clone(), credentials("AKTESTSERVERKEY", "wrong")).await;
    assert!(wrong.contains("secret access key is wrong"), "{wrong}");
    let storage = good_location.repository_storage(Some(&good()), "shop").unwrap();
    storage
        .put(&BlobId::from("pabc"), Bytes::from_static(b"x"))
        .await
        .unwrap();
    let store = good_location.object_store(Some(&good())).unwrap();
    assert_eq!(store.list_objects("").await.unwrap(), ["velero/kopia/shop/pabc"]);
}
