//! Google Cloud Storage against a server of its XML API in this process (no project of Google's is at hand), and against
//! a server that answers as told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use object_store::{path::Path, signer::Signer as _};
use parking_lot::Mutex;

use super::*;
use crate::{
    BlobId, Storage as _,
    bucket::answering::{Answering, Reply},
    memory::MemoryStorage,
    s3::storage_server::{BUCKET, StorageServer},
};

const EMAIL: &str = "backup@project.iam.gserviceaccount.com";

/// The key of a service account that no project knows. Made once: an RSA key takes its time.
fn credentials() -> GcsCredentials {
    static KEY: OnceLock<String> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("aws-lc-rs makes RSA keys");
        pair.serialize_pem()
    });
    let file = serde_json::json!({
        "type": "service_account", "project_id": "project", "private_key_id": "hidden-key-id", "private_key": key,
        "client_email": EMAIL, "token_uri": "https://oauth2.googleapis.com/token",
    });
    GcsCredentials::parse(&file.to_string()).unwrap()
}

fn config(address: &str) -> GcsConfig {
    GcsConfig {
        bucket: BUCKET.to_owned(),
        endpoint: Some(format!("http://{address}")),
        credentials: Some(credentials()),
        retries: Some(2),
        ..GcsConfig::default()
    }
}

fn storage(server: &Answering) -> GcsStorage {
    GcsStorage::new(config(&server.address.to_string())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_the_xml_api_behaves_as_a_storage_must() {
    let memory = Arc::new(MemoryStorage::new());
    let server = StorageServer::start(memory, Arc::new(Timestamp::now)).unwrap();
    crate::conformance::verify(Arc::new(GcsStorage::new(config(&server.address())).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_of_many_pages_is_complete() {
    let memory = Arc::new(MemoryStorage::new());
    for n in 0..2345 {
        let id = BlobId::from(format!("p{n:05}"));
        memory.put(&id, Bytes::new()).await.unwrap();
    }
    let server = StorageServer::start(memory, Arc::new(Timestamp::now)).unwrap();
    let storage = GcsStorage::new(config(&server.address())).unwrap();
    assert_eq!(storage.list("p").await.unwrap().len(), 2345);
    assert_eq!(
        storage.metadata(&"p01234".into()).await.unwrap().id,
        "p01234".into()
    );
}

#[tokio::test]
async fn every_request_carries_a_token_that_the_service_account_signed() {
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = heads.clone();
    let server = Answering::start(move |request| {
        seen.lock().push(request.head);
        Reply::status(200, "")
    })
    .await;
    let storage = storage(&server);
    storage.put(&"p1".into(), Bytes::from_static(b"x")).await.unwrap();
    storage.get(&"p1".into()).await.unwrap();
    storage.delete(&"p1".into()).await.unwrap();
    let heads = heads.lock();
    assert_eq!(heads.len(), 3);
    for head in heads.iter() {
        let token = head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: bearer "))
            .expect("a token");
        assert_eq!(token.split('.').count(), 3, "header, claims, signature");
    }
}

#[tokio::test]
async fn new_objects_name_the_key_of_the_location_and_nothing_else_does() {
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = heads.clone();
    let server = Answering::start(move |request| {
        seen.lock().push(request.head);
        Reply::status(200, "")
    })
    .await;
    let key = "projects/p/locations/l/keyrings/r/cryptokeys/k";
    let storage = GcsStorage::new(GcsConfig {
        kms_key_name: Some(key.to_owned()),
        ..config(&server.address.to_string())
    })
    .unwrap();
    storage.put(&"p1".into(), Bytes::new()).await.unwrap();
    storage.get(&"p1".into()).await.unwrap();
    let heads = heads.lock();
    let header = format!("x-goog-encryption-kms-key-name: {key}");
    let named: Vec<_> = heads.iter().map(|head| head.contains(&header)).collect();
    assert_eq!(named, [true, false]);
}

#[tokio::test]
async fn guarantee_4_a_refusal_or_nonsense_is_never_a_missing_blob() {
    let answer = |status, code: &str| {
        Reply::status(
            status,
            &format!("<?xml version='1.0'?><Error><Code>{code}</Code></Error>"),
        )
    };
    for (reply, kind) in [
        (answer(403, "AccessDenied"), StorageErrorKind::Denied),
        (answer(401, "AuthenticationRequired"), StorageErrorKind::Denied),
        (answer(403, "RetentionPolicyNotMet"), StorageErrorKind::Denied),
        (answer(404, "NoSuchBucket"), StorageErrorKind::Misconfigured),
        (Reply::status(404, ""), StorageErrorKind::Misconfigured),
        (
            Reply::status(404, "<html>no such page</html>"),
            StorageErrorKind::Misconfigured,
        ),
        (answer(503, "ServiceUnavailable"), StorageErrorKind::Unavailable),
        (answer(429, "SlowDown"), StorageErrorKind::Unavailable),
        (Reply::Close, StorageErrorKind::Unavailable),
    ] {
        let shown = format!("{reply:?}");
        let server = Answering::start(move |_| reply.clone()).await;
        let storage = storage(&server);
        let id = BlobId::from("p1");
        for (call, error) in [
            ("get", storage.get(&id).await.unwrap_err()),
            ("metadata", storage.metadata(&id).await.unwrap_err()),
            ("list", storage.list("").await.unwrap_err()),
            ("delete", storage.delete(&id).await.unwrap_err()),
        ] {
            assert_eq!(error.kind(), kind, "{call}: {shown}: {error}");
            assert!(
                !error.to_string().contains("s3"),
                "{call} speaks of another store: {error}"
            );
        }
    }
    let server = Answering::start(move |_| answer(404, "NoSuchKey")).await;
    assert!(
        storage(&server)
            .get(&"p1".into())
            .await
            .unwrap_err()
            .is_not_found()
    );
    storage(&server).delete(&"p1".into()).await.expect("gone is gone");
}

#[tokio::test]
async fn guarantee_4_half_a_listing_is_an_error() {
    for body in [
        "",
        "<html><body>log in first</body></html>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<ListBucketResult><IsTruncated>false</IsTruncated>",
    ] {
        let server = Answering::start(move |_| Reply::status(200, body)).await;
        let storage = storage(&server);
        let error = storage.list("").await.expect_err(body);
        assert_eq!(error.kind(), StorageErrorKind::Unavailable, "{body}: {error}");
        let error = storage.metadata(&"p1".into()).await.expect_err(body);
        assert!(!error.is_not_found(), "{body}: {error}");
    }
}

/// Keeps what is put under its condition, and hangs up after the first put is done.
async fn keeping(held: Arc<Mutex<BTreeMap<String, Vec<u8>>>>) -> Answering {
    let puts = AtomicUsize::new(0);
    Answering::start(move |request| {
        let mut held = held.lock();
        if request.method == "GET" {
            return match held.get(&request.target) {
                Some(data) => Reply::Answer(200, data.clone()),
                None => Reply::status(404, "<Error><Code>NoSuchKey</Code></Error>"),
            };
        }
        assert!(request.head.contains("x-goog-if-generation-match: 0"));
        let exists = held.contains_key(&request.target);
        if !exists {
            held.insert(request.target, request.body);
        }
        match (puts.fetch_add(1, Ordering::SeqCst), exists) {
            (0, _) => Reply::Close,
            (_, false) => Reply::status(200, ""),
            (_, true) => Reply::status(412, "<Error><Code>PreconditionFailed</Code></Error>"),
        }
    })
    .await
}

#[tokio::test]
async fn guarantee_4_a_create_whose_answer_was_lost_is_read_back() {
    let server = keeping(Arc::default()).await;
    let ours = storage(&server);
    let id = BlobId::from("kopia.repository");
    ours.put_if_absent(&id, Bytes::from_static(b"ours"))
        .await
        .expect("it is ours");
    let error = ours
        .put_if_absent(&id, Bytes::from_static(b"theirs"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::AlreadyExists, "{error}");

    let held: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
    let target = format!("/{BUCKET}/kopia%2Erepository");
    held.lock().insert(target.clone(), b"theirs".to_vec());
    let server = keeping(held.clone()).await;
    let error = storage(&server)
        .put_if_absent(&id, Bytes::from_static(b"ours"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::AlreadyExists, "{error}");
    assert_eq!(held.lock()[&target], b"theirs");
}

#[tokio::test]
async fn signed_addresses_are_google_s_whatever_the_endpoint_is() {
    let config = config("127.0.0.1:1");
    let url = signer(&config)
        .unwrap()
        .signed_url(
            http::Method::GET,
            &Path::from("velero/x"),
            Duration::from_secs(600),
        )
        .await
        .unwrap();
    assert_eq!(url.host_str(), Some("storage.googleapis.com"));
    assert_eq!(url.path(), "/backups/velero/x");
    let query = url.query().unwrap();
    assert!(query.contains("X-Goog-Signature=") && query.contains("X-Goog-Expires=600"));
    assert!(query.contains("backup%40project"), "{query}");
}

#[test]
fn an_endpoint_may_be_written_as_google_s_libraries_take_it() {
    let with = |endpoint: &str| {
        let config = GcsConfig {
            endpoint: Some(endpoint.to_owned()),
            ..GcsConfig::default()
        };
        config.address().map(|url| url.to_string())
    };
    assert_eq!(
        with("storage-example.p.googleapis.com").unwrap(),
        "https://storage-example.p.googleapis.com/"
    );
    assert_eq!(with("https://host/storage/v1/").unwrap(), "https://host/");
    assert!(
        with("https://host/other")
            .unwrap_err()
            .to_string()
            .contains("storeEndpoint")
    );
    assert!(with("ftp://host").is_err());
}

#[tokio::test]
async fn guarantee_8_no_message_holds_a_key_or_a_token() {
    let server = Answering::start(|_| Reply::status(403, "<Error><Code>AccessDenied</Code></Error>")).await;
    let config = config(&server.address.to_string());
    let storage = GcsStorage::new(config.clone()).unwrap();
    let error = storage.get(&"p1".into()).await.unwrap_err();
    let broken = GcsConfig {
        credentials: Some(
            GcsCredentials::parse(
                r#"{"type": "service_account", "client_email": "a@b", "private_key_id": "hidden-key-id",
                    "private_key": "hidden PRIVATE KEY"}"#,
            )
            .unwrap(),
        ),
        ..config.clone()
    };
    let unusable = GcsStorage::new(broken).unwrap_err();
    assert_eq!(unusable.kind(), StorageErrorKind::Misconfigured, "{unusable}");
    for shown in [
        format!("{config:?} {storage:?}"),
        format!("{error} {error:?}"),
        format!("{unusable} {unusable:?}"),
    ] {
        assert!(
            !shown.contains("hidden-key-id") && !shown.contains("PRIVATE KEY"),
            "{shown}"
        );
    }
}
