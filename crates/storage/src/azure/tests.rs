//! Azure Blob Storage against its emulator (Azurite, where `CARAVEL_AZURITE` names one), and against a server that answers
//! as told.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::{path::Path, signer::Signer as _};

use super::{test_server::TestServer, *};
use crate::{
    BlobId, Storage as _,
    bucket::answering::{Answering, Reply},
};

fn told(server: &Answering) -> AzureStorage {
    let config = AzureConfig {
        account: "account".to_owned(),
        container: "backups".to_owned(),
        endpoint: Some(format!("http://{}", server.address)),
        identity: AzureIdentity::Key("aGlkZGVuLWtleQ==".to_owned()),
        retries: Some(2),
        ..AzureConfig::default()
    };
    AzureStorage::new(config).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_behaves_as_a_storage_must() {
    let Some(server) = TestServer::start("azurite_behaves_as_a_storage_must") else {
        return;
    };
    for prefix in ["", "velero/kopia/odd-ns/", "p"] {
        crate::conformance::verify(Arc::new(AzureStorage::new(server.config(prefix)).unwrap())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_named_as_the_prefix_is_in_the_listing_and_a_listing_of_many_pages_is_complete() {
    let test = "a_blob_named_as_the_prefix_is_in_the_listing_and_a_listing_of_many_pages_is_complete";
    let Some(server) = TestServer::start(test) else {
        return;
    };
    let storage = AzureStorage::new(server.config("many/")).unwrap();
    let names: Vec<_> = (0..5100).map(|n| BlobId::from(format!("p{n:05}"))).collect();
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
    assert_eq!(storage.list("p00007").await.unwrap().len(), 1);
    assert_eq!(storage.list("p0000").await.unwrap().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_say_what_to_correct() {
    let Some(server) = TestServer::start("messages_say_what_to_correct") else {
        return;
    };
    let missing = AzureStorage::new(AzureConfig {
        container: "elsewhere".to_owned(),
        ..server.config("")
    })
    .unwrap();
    let id = BlobId::from("p1");
    for error in [
        missing.list("").await.unwrap_err(),
        missing.get(&id).await.unwrap_err(),
        missing.metadata(&id).await.unwrap_err(),
        missing.put(&id, Bytes::new()).await.unwrap_err(),
        missing.put_if_absent(&id, Bytes::new()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), StorageErrorKind::Misconfigured, "{error}");
        assert!(
            error.to_string().contains("container elsewhere does not exist"),
            "{error}"
        );
    }
    let wrong = AzureStorage::new(AzureConfig {
        identity: AzureIdentity::Key("aGlkZGVuLWtleQ==".to_owned()),
        ..server.config("")
    })
    .unwrap();
    let error = wrong.list("").await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("RequestId"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_address_is_read_without_a_key() {
    let Some(server) = TestServer::start("a_signed_address_is_read_without_a_key") else {
        return;
    };
    let config = server.config("");
    let storage = AzureStorage::new(config.clone()).unwrap();
    storage
        .put(&"log".into(), Bytes::from_static(b"a line"))
        .await
        .unwrap();
    let url = microsoft_azure(&config)
        .unwrap()
        .signed_url(http::Method::GET, &Path::from("log"), Duration::from_secs(600))
        .await
        .unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url.clone()).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "a line");
    let mut unsigned = url;
    unsigned.set_query(None);
    assert_ne!(client.get(unsigned).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn guarantee_4_a_refusal_or_nonsense_is_never_a_missing_blob() {
    let answer = |status, code: &str| {
        let body = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>No.\nRequestId:1</Message></Error>"
        );
        Reply::status(status, &body)
    };
    for (reply, kind) in [
        (answer(403, "AuthenticationFailed"), StorageErrorKind::Denied),
        (
            answer(403, "AuthorizationPermissionMismatch"),
            StorageErrorKind::Denied,
        ),
        (answer(404, "ContainerNotFound"), StorageErrorKind::Misconfigured),
        (
            answer(409, "ContainerBeingDeleted"),
            StorageErrorKind::Misconfigured,
        ),
        (Reply::status(404, ""), StorageErrorKind::Misconfigured),
        (answer(503, "ServerBusy"), StorageErrorKind::Unavailable),
        (Reply::Close, StorageErrorKind::Unavailable),
    ] {
        let shown = format!("{reply:?}");
        let server = Answering::start(move |_| reply.clone()).await;
        let storage = told(&server);
        let id = BlobId::from("p1");
        for (call, error) in [
            ("get", storage.get(&id).await.unwrap_err()),
            ("list", storage.list("").await.unwrap_err()),
            ("delete", storage.delete(&id).await.unwrap_err()),
        ] {
            assert_eq!(error.kind(), kind, "{call}: {shown}: {error}");
            assert!(!error.to_string().contains("hidden"), "{error}");
        }
        // The answer to HEAD has no body, and this server sends no x-ms-error-code.
        assert!(
            !storage.metadata(&id).await.unwrap_err().is_not_found(),
            "{shown}"
        );
    }
    let server = Answering::start(move |_| answer(404, "BlobNotFound")).await;
    assert!(told(&server).get(&"p1".into()).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn guarantee_4_half_a_listing_is_an_error() {
    for body in [
        "",
        "<html><body>log in first</body></html>",
        "<EnumerationResults><Blobs /><NextMarker />",
        "<EnumerationResults><Blobs /></EnumerationResults>",
    ] {
        let server = Answering::start(move |_| Reply::status(200, body)).await;
        let error = told(&server).list("").await.expect_err(body);
        assert_eq!(error.kind(), StorageErrorKind::Unavailable, "{body}: {error}");
    }
}

#[test]
fn unusable_settings_are_named_and_hold_no_key() {
    let config = |key: &str, endpoint: Option<&str>| AzureConfig {
        account: "account".to_owned(),
        container: "c".to_owned(),
        endpoint: endpoint.map(str::to_owned),
        identity: AzureIdentity::Key(key.to_owned()),
        ..AzureConfig::default()
    };
    let error = |config| AzureStorage::new(config).unwrap_err().to_string();
    let not_base64 = error(config("hush!", None));
    assert!(
        not_base64.contains("base64") && !not_base64.contains("hush"),
        "{not_base64}"
    );
    assert!(error(config("aGk=", Some("ftp://host"))).contains("storageAccountURI"));
    let nobody = AzureConfig {
        account: String::new(),
        ..config("aGk=", None)
    };
    assert!(error(nobody).contains("storage account"));
    let usual = AzureStorage::new(config("aGk=", None)).unwrap();
    assert!(
        format!("{usual:?}").contains("https://account.blob.core.windows.net"),
        "{usual:?}"
    );
}
