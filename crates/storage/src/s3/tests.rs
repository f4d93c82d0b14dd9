//! S3 against a real server (versitygw, with and without TLS), and against a server that answers as told:
//! refusals, lost answers, broken listings.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::{test_server::TestServer, *};
use crate::{
    BlobId, LockMode, ObjectLock, Storage as _, StorageErrorKind,
    bucket::answering::{Answering, Reply},
};

fn storage(config: S3Config) -> S3Storage {
    S3Storage::new(config).unwrap()
}

async fn failure(config: S3Config) -> StorageError {
    storage(config).list("").await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn versitygw_behaves_as_a_storage_must() {
    for tls in [false, true] {
        let Some(server) = TestServer::start(tls, "versitygw_behaves_as_a_storage_must") else {
            return;
        };
        for prefix in ["", "velero/kopia/odd-ns/", "p"] {
            crate::conformance::verify(Arc::new(storage(server.config(prefix)))).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_under_a_lock_has_it_and_keeps_it_longer_on_request() {
    for tls in [false, true] {
        let test = "what_is_put_under_a_lock_has_it_and_keeps_it_longer_on_request";
        let Some(server) = TestServer::start(tls, test) else {
            return;
        };
        let config = server.with_locks("locked", "odd+ns/").await;
        // Not the whole suite: in a bucket with versions, versitygw does not create over a deletion, as AWS does.
        let storage = storage(config.clone());
        let (first, second) = (BlobId::from("p1"), BlobId::from("kopia.repository"));
        let lock = |until: &str| ObjectLock {
            mode: LockMode::Governance,
            until: until.parse().unwrap(),
        };
        let data = Bytes::from_static(b"kept");
        let until = lock("2126-11-22T10:07:00.5Z");
        storage.put_locked(&first, data.clone(), &until).await.unwrap();
        storage
            .put_locked_if_absent(&second, data.clone(), &until)
            .await
            .unwrap();
        for id in ["p1", "kopia.repository"] {
            let said = server.retention(&config, id).await.unwrap();
            assert!(
                said.contains("GOVERNANCE") && said.contains("2126-11-22T10:07:00"),
                "{said}"
            );
        }
        let again = storage.put_locked_if_absent(&second, data.clone(), &until).await;
        assert_eq!(again.unwrap_err().kind(), StorageErrorKind::AlreadyExists);

        storage
            .extend_lock(&first, &lock("2127-01-01T00:00:00.5Z"))
            .await
            .unwrap();
        let said = server.retention(&config, "p1").await.unwrap();
        assert!(said.contains("2127-01-01T00:00:00"), "{said}");
        // One that ends later stays as it is.
        storage.extend_lock(&first, &until).await.unwrap();
        assert_eq!(server.retention(&config, "p1").await, Some(said));
        let gone = storage
            .extend_lock(&BlobId::from("p2"), &until)
            .await
            .unwrap_err();
        assert_eq!(gone.kind(), StorageErrorKind::NotFound, "{gone}");

        // Nobody else's puts are locked, and a delete hides what is locked.
        let free = BlobId::from("s1");
        storage.put(&free, data.clone()).await.unwrap();
        assert_eq!(server.retention(&config, "s1").await, None);
        storage.delete(&first).await.unwrap();
        assert!(storage.get(&first).await.unwrap_err().is_not_found());
        // versitygw and AWS answer 405 about a deleted one's lock.
        let gone = storage.extend_lock(&first, &until).await.unwrap_err();
        assert_eq!(gone.kind(), StorageErrorKind::NotFound, "{gone}");

        // The mode of a lock may have been another once: it goes on in its own.
        for (mode, other) in [
            (LockMode::Governance, LockMode::Compliance),
            (LockMode::Compliance, LockMode::Governance),
        ] {
            let id = BlobId::from(format!("q-{mode}"));
            let before = ObjectLock { mode, ..until };
            storage.put_locked(&id, data.clone(), &before).await.unwrap();
            let later = ObjectLock {
                mode: other,
                ..lock("2127-01-01T00:00:00Z")
            };
            storage.extend_lock(&id, &later).await.unwrap();
            let said = server.retention(&config, id.as_str()).await.unwrap();
            assert!(
                said.contains(&mode.to_string()) && said.contains("2127-01-01T00:00:00"),
                "{said}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_object_lock_refuses_a_lock() {
    let test = "a_bucket_without_object_lock_refuses_a_lock";
    let Some(server) = TestServer::start(false, test) else {
        return;
    };
    let storage = storage(server.config("plain/"));
    let lock = ObjectLock {
        mode: LockMode::Compliance,
        until: "2126-11-22T10:07:00Z".parse().unwrap(),
    };
    let refused = storage
        .put_locked(&BlobId::from("p1"), Bytes::from_static(b"x"), &lock)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), StorageErrorKind::Misconfigured, "{refused}");
    assert!(
        refused.to_string().contains("was made without object lock"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_of_many_pages_is_complete() {
    let Some(server) = TestServer::start(false, "a_listing_of_many_pages_is_complete") else {
        return;
    };
    let storage = storage(server.config("many/"));
    let names: Vec<_> = (0..2345).map(|n| BlobId::from(format!("p{n:05}"))).collect();
    let puts = names.iter().map(|id| storage.put(id, Bytes::from_static(b"x")));
    use futures::StreamExt as _;
    let put: Vec<_> = futures::stream::iter(puts).buffer_unordered(16).collect().await;
    assert!(put.iter().all(Result::is_ok));
    let listed: Vec<_> = storage
        .list("p")
        .await
        .unwrap()
        .into_iter()
        .map(|blob| blob.id)
        .collect();
    assert!(listed == names, "{} of {}", listed.len(), names.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_say_what_to_correct() {
    let Some(server) = TestServer::start(true, "messages_say_what_to_correct") else {
        return;
    };
    let good = server.config("");

    let error = failure(S3Config {
        ca_pem: None,
        ..good.clone()
    })
    .await;
    assert_eq!(error.kind(), StorageErrorKind::Misconfigured, "{error}");
    assert!(
        error.to_string().contains("is not trusted") && error.to_string().contains("--cacert"),
        "{error}"
    );
    let skipping = S3Config {
        ca_pem: None,
        insecure_skip_tls_verify: true,
        ..good.clone()
    };
    storage(skipping)
        .list("")
        .await
        .expect("insecureSkipTLSVerify trusts anybody");

    let error = failure(S3Config {
        bucket: "elsewhere".to_owned(),
        ..good.clone()
    })
    .await;
    assert_eq!(error.kind(), StorageErrorKind::Misconfigured, "{error}");
    assert!(
        error.to_string().contains("bucket elsewhere does not exist"),
        "{error}"
    );
    let missing = storage(S3Config {
        bucket: "elsewhere".to_owned(),
        ..good.clone()
    });
    for error in [
        missing.get(&"p1".into()).await.unwrap_err(),
        missing.metadata(&"p1".into()).await.unwrap_err(),
        missing.put(&"p1".into(), Bytes::new()).await.unwrap_err(),
        missing
            .put_if_absent(&"p1".into(), Bytes::new())
            .await
            .unwrap_err(),
        missing.delete(&"p1".into()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), StorageErrorKind::Misconfigured, "{error}");
    }

    let mut key = test_server::credentials();
    key.secret_access_key = "wrong".to_owned();
    let error = failure(S3Config {
        credentials: Some(key),
        ..good.clone()
    })
    .await;
    assert_eq!(error.kind(), StorageErrorKind::Denied, "{error}");
    assert!(
        error.to_string().contains("secret access key is wrong"),
        "{error}"
    );
    let mut key = test_server::credentials();
    key.access_key_id = "AKNOBODY".to_owned();
    let error = failure(S3Config {
        credentials: Some(key),
        ..good.clone()
    })
    .await;
    assert_eq!(error.kind(), StorageErrorKind::Denied, "{error}");
    assert!(
        error.to_string().contains("does not know the access key id"),
        "{error}"
    );

    let http = server.endpoint().replace("https", "http");
    let error = failure(S3Config {
        endpoint: Some(http),
        ..good.clone()
    })
    .await;
    assert!(!error.is_not_found(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_that_is_its_own_ca_is_trusted_when_given_as_ca_cert() {
    let test = "a_self_signed_certificate_that_is_its_own_ca_is_trusted_when_given_as_ca_cert";
    let Some(server) = TestServer::start_with_self_signed_ca(test) else {
        return;
    };
    storage(server.config(""))
        .list("")
        .await
        .expect("as Go, so Velero, accepts it");
    let localhost = server.endpoint().replace("127.0.0.1", "localhost");
    let error = failure(S3Config {
        endpoint: Some(localhost),
        ..server.config("")
    })
    .await;
    assert!(
        error.to_string().contains("is not trusted"),
        "it is for another name: {error}"
    );
    let other = TestServer::start_with_self_signed_ca(test).expect("it started before");
    let error = failure(S3Config {
        ca_pem: other.ca_pem().map(<[u8]>::to_vec),
        ..server.config("")
    })
    .await;
    assert!(
        error.to_string().contains("is not trusted"),
        "another's certificate: {error}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_and_named() {
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let config = S3Config {
        endpoint: Some(format!("http://{port}")),
        bucket: "b".to_owned(),
        path_style: true,
        credentials: Some(test_server::credentials()),
        ..S3Config::default()
    };
    let error = failure(config).await;
    assert_eq!(error.kind(), StorageErrorKind::Unavailable);
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

#[test]
fn unusable_settings_are_named() {
    let config = |endpoint: &str| S3Config {
        bucket: "b".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        ..S3Config::default()
    };
    for endpoint in ["nonsense", "ftp://host", "https://host/path", "https://"] {
        let error = S3Storage::new(config(endpoint)).unwrap_err();
        assert_eq!(
            error.kind(),
            StorageErrorKind::Misconfigured,
            "{endpoint}: {error}"
        );
    }
    for ca in [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let error = S3Storage::new(S3Config {
            ca_pem: Some(ca.into()),
            ..config("https://host")
        })
        .unwrap_err();
        assert!(error.to_string().contains("CA certificate"), "{error}");
    }
    for prefix in ["/a/", "a//b/", "a/../b/", "./"] {
        let error = S3Storage::new(S3Config {
            prefix: prefix.to_owned(),
            ..config("https://host")
        })
        .unwrap_err();
        assert!(error.to_string().contains("prefix"), "{error}");
    }
}

#[tokio::test]
async fn guarantee_8_no_message_holds_a_key_or_a_signature() {
    let hidden = [
        "AKTESTSERVERKEY",
        "test-server-secret",
        "pass-in-address",
        "Signature=",
    ];
    let shown = |text: String| assert!(!hidden.iter().any(|word| text.contains(word)), "{text}");
    let server = Answering::start(|_| Reply::status(403, "<Error><Code>AccessDenied</Code></Error>")).await;
    let config = server.config();
    shown(format!("{config:?}"));
    let storage = storage(config);
    shown(format!("{storage:?}"));
    let error = storage.get(&"p1".into()).await.unwrap_err();
    shown(format!("{error} {error:?}"));
    let config = S3Config {
        endpoint: Some("https://u:pass-in-address@host".to_owned()),
        ..server.config()
    };
    let error = S3Storage::new(config).unwrap_err();
    shown(format!("{error} {error:?}"));
}

#[tokio::test]
async fn guarantee_4_a_refusal_or_nonsense_is_never_a_missing_blob() {
    let kinds = [
        (
            Reply::status(403, "<Error><Code>AccessDenied</Code></Error>"),
            StorageErrorKind::Denied,
        ),
        (Reply::status(403, ""), StorageErrorKind::Denied),
        (
            Reply::status(404, "<html>no such page</html>"),
            StorageErrorKind::Misconfigured,
        ),
        (Reply::status(404, ""), StorageErrorKind::Misconfigured),
        (
            Reply::status(404, "<Error><Code>NoSuchBucket</Code></Error>"),
            StorageErrorKind::Misconfigured,
        ),
        (
            Reply::status(301, "<Error><Code>PermanentRedirect</Code></Error>"),
            StorageErrorKind::Misconfigured,
        ),
        (
            Reply::status(503, "<Error><Code>SlowDown</Code></Error>"),
            StorageErrorKind::Unavailable,
        ),
        (Reply::Close, StorageErrorKind::Unavailable),
    ];
    for (reply, kind) in kinds {
        let shown = format!("{reply:?}");
        let server = Answering::start(move |_| reply.clone()).await;
        let storage = storage(server.config());
        assert_eq!(
            storage.get(&"p1".into()).await.unwrap_err().kind(),
            kind,
            "get: {shown}"
        );
        assert_eq!(
            storage.metadata(&"p1".into()).await.unwrap_err().kind(),
            kind,
            "metadata: {shown}"
        );
        assert_eq!(storage.list("").await.unwrap_err().kind(), kind, "list: {shown}");
    }
    let server = Answering::start(|_| Reply::status(404, "<Error><Code>NoSuchKey</Code></Error>")).await;
    assert!(
        storage(server.config())
            .get(&"p1".into())
            .await
            .unwrap_err()
            .is_not_found()
    );
}

#[tokio::test]
async fn guarantee_4_half_a_listing_is_an_error() {
    const ITEM: &str = "<Contents><Key>p1</Key><Size>1</Size><LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>";
    let broken = [
        String::new(),
        "<html><body>log in first</body></html>".to_owned(),
        "<Error><Code>InternalError</Code></Error>".to_owned(),
        format!("<ListBucketResult><IsTruncated>true</IsTruncated>{ITEM}</ListBucketResult>"),
        format!("<ListBucketResult><IsTruncated>false</IsTruncated>{ITEM}"),
    ];
    for body in broken {
        let shown = body.clone();
        let server = Answering::start(move |_| Reply::status(200, &body)).await;
        let storage = storage(server.config());
        let error = storage.list("").await.expect_err(&shown);
        assert_eq!(error.kind(), StorageErrorKind::Unavailable, "{shown}: {error}");
        assert!(
            !storage
                .metadata(&"p1".into())
                .await
                .expect_err(&shown)
                .is_not_found()
        );
    }
    // The second page fails: the first is not returned alone.
    let server = Answering::start(|request| match request.target.contains("continuation-token") {
        true => Reply::status(403, "<Error><Code>AccessDenied</Code></Error>"),
        false => Reply::status(
            200,
            &format!(
                "<ListBucketResult><IsTruncated>true</IsTruncated>{ITEM}\
                 <NextContinuationToken>t</NextContinuationToken></ListBucketResult>"
            ),
        ),
    })
    .await;
    assert_eq!(
        storage(server.config()).list("").await.unwrap_err().kind(),
        StorageErrorKind::Denied
    );
}

#[tokio::test]
async fn guarantee_4_a_create_whose_answer_was_lost_is_read_back() {
    // The first PUT is done, but its answer is lost.
    let lost = Keeping::start(|puts| puts == 1).await;
    let ours = storage(lost.config());
    ours.put_if_absent(&"kopia.repository".into(), Bytes::from_static(b"ours"))
        .await
        .expect("it is ours");
    let error = ours
        .put_if_absent(&"kopia.repository".into(), Bytes::from_static(b"theirs"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::AlreadyExists);

    // Somebody else's blob is there, and the refusal is lost.
    let lost = Keeping::start(|puts| puts == 1).await;
    lost.blobs
        .lock()
        .insert("/b/kopia.repository".to_owned(), b"theirs".to_vec());
    let error = storage(lost.config())
        .put_if_absent(&"kopia.repository".into(), Bytes::from_static(b"ours"))
        .await;
    assert_eq!(error.unwrap_err().kind(), StorageErrorKind::AlreadyExists);
    assert_eq!(lost.blobs.lock()["/b/kopia.repository"], b"theirs");
}

#[tokio::test]
async fn a_store_that_refuses_conditions_is_unsupported() {
    let server = Answering::start(|_| Reply::status(501, "<Error><Code>NotImplemented</Code></Error>")).await;
    let error = storage(server.config())
        .put_if_absent(&"p1".into(), Bytes::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Unsupported);
}

#[tokio::test]
async fn a_busy_store_is_asked_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let server = Answering::start(move |_| match counter.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Reply::status(503, "<Error><Code>SlowDown</Code></Error>"),
        _ => Reply::status(200, "content"),
    })
    .await;
    assert_eq!(
        storage(server.config()).get(&"p1".into()).await.unwrap().as_ref(),
        b"content"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_busy_store_is_asked_again_for_a_longer_lock() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let server = Answering::start(move |request| match request.method.as_str() {
        "PUT" if counter.fetch_add(1, Ordering::SeqCst) == 2 => {
            let has = |header: &str| request.head.to_lowercase().contains(header);
            assert!(
                has("content-md5: ") && has("x-amz-checksum-sha256: "),
                "{}",
                request.head
            );
            Reply::status(200, "")
        }
        _ => Reply::status(503, "<Error><Code>SlowDown</Code></Error>"),
    })
    .await;
    let lock = ObjectLock {
        mode: LockMode::Governance,
        until: "2126-11-22T10:07:00Z".parse().unwrap(),
    };
    storage(server.config())
        .extend_lock(&"p1".into(), &lock)
        .await
        .unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

impl Answering {
    fn config(&self) -> S3Config {
        S3Config {
            bucket: "b".to_owned(),
            endpoint: Some(format!("http://{}", self.address)),
            path_style: true,
            credentials: Some(test_server::credentials()),
            retries: Some(2),
            ..S3Config::default()
        }
    }
}

/// A server that keeps what is put and loses the answer to some puts.
struct Keeping {
    server: Answering,
    blobs: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Keeping {
    async fn start(loses: impl Fn(usize) -> bool + Send + Sync + 'static) -> Self {
        let blobs: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
        let (kept, puts) = (blobs.clone(), AtomicUsize::new(0));
        let server = Answering::start(move |request| {
            let mut kept = kept.lock();
            if request.method == "GET" {
                return match kept.get(&request.target) {
                    Some(data) => Reply::Answer(200, data.clone()),
                    None => Reply::status(404, "<Error><Code>NoSuchKey</Code></Error>"),
                };
            }
            assert!(request.head.contains("if-none-match: *"));
            let exists = kept.contains_key(&request.target);
            if !exists {
                kept.insert(request.target, request.body);
            }
            match (loses(puts.fetch_add(1, Ordering::SeqCst) + 1), exists) {
                (true, _) => Reply::Close,
                (false, false) => Reply::status(200, ""),
                (false, true) => Reply::status(412, "<Error><Code>PreconditionFailed</Code></Error>"),
            }
        })
        .await;
        Self { server, blobs }
    }

    fn config(&self) -> S3Config {
        self.server.config()
    }
}
