//! What the product asks of an S3 server, asked of this one.

use std::sync::Arc;

use caravel_backup_store::{Body, Credentials, Location, PutMode};

use super::*;

fn location(store: &ObjectStore) -> Location {
    let config = [
        ("region", "us-east-1".to_owned()),
        ("s3ForcePathStyle", "true".to_owned()),
        ("s3Url", store.url()),
    ];
    Location {
        provider: "aws".into(),
        bucket: BUCKET.into(),
        config: config.map(|(key, value)| (key.to_owned(), value)).into(),
        ..Location::default()
    }
}

fn key(store: &ObjectStore) -> Credentials {
    Credentials::from_file_content(store.credentials().into())
}

fn install_tls() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_rules_of_every_store_for_repositories() {
    install_tls();
    let folder = tempfile::tempdir().unwrap();
    let store = ObjectStore::start(folder.path()).await.unwrap();
    let storage = location(&store)
        .repository_storage(Some(&key(&store)), "shop")
        .unwrap();
    caravel_storage::conformance::verify(storage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_address_is_read_without_a_key_and_nothing_else_is() {
    install_tls();
    let folder = tempfile::tempdir().unwrap();
    let store = ObjectStore::start(folder.path()).await.unwrap();
    let objects = location(&store).object_store(Some(&key(&store))).unwrap();
    let put = objects.put_object("a/b", Body::Bytes("a line".into()), PutMode::Replace);
    put.await.unwrap();
    let url = objects
        .create_signed_url("a/b", std::time::Duration::from_secs(60))
        .await
        .unwrap();
    let answer = reqwest::get(url.as_str()).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "a line");
    let unsigned = reqwest::get(format!("{}/{BUCKET}/a/b", store.url()))
        .await
        .unwrap();
    assert_eq!(unsigned.status(), 403);
    let wrong = Credentials::from_file_content(
        "[default]\naws_access_key_id=A\naws_secret_access_key=B\n"
            .to_owned()
            .into(),
    );
    let stranger = location(&store).object_store(Some(&wrong)).unwrap();
    assert!(stranger.list_objects("").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_and_key_are_found_again_at_the_next_start() {
    install_tls();
    let folder = tempfile::tempdir().unwrap();
    let first = ObjectStore::start(folder.path()).await.unwrap();
    let before = key(&first);
    let objects: Arc<_> = location(&first).object_store(Some(&before)).unwrap();
    let put = objects.put_object("kept", Body::Bytes("x".into()), PutMode::Replace);
    put.await.unwrap();
    let address = first.url();
    drop(first);
    let second = ObjectStore::start(folder.path()).await.unwrap();
    assert_ne!(second.url(), address);
    let objects = location(&second).object_store(Some(&before)).unwrap();
    assert_eq!(objects.list_objects("").await.unwrap(), ["kept"]);
    assert_eq!(second.bytes(), 1);
}
