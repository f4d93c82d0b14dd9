//! A change of the password over a cluster and a bucket in memory: killed at each call to the bucket, and what it waits for.

use std::sync::Arc;

use caravel_backup_repository::{Prepare, prepare};

use super::*;
use crate::in_memory::{Bucket, Cluster, PASSWORD, Turn, add_snapshot, environment, repository};

const NEW: &str = "battery staple";
const NAMESPACES: [&str; 2] = ["bank", "shop"];

/// Two repositories with the old password, each with a snapshot; one that the cluster knows, and one that only the bucket
/// does.
async fn saved() -> Bucket {
    let bucket = Bucket::default();
    for namespace in NAMESPACES {
        add_snapshot(&repository(&bucket, namespace).await, namespace);
    }
    bucket.objects.insert("kopia/bank/kopia.repository", "{}");
    bucket
}

/// A cluster over the bucket with a BackupRepository of shop.
async fn cluster(bucket: &Bucket) -> Cluster {
    let cluster = Cluster::new(bucket).await;
    cluster
        .create::<caravel_api::v1::BackupRepository>(json!({"metadata": {"name": "shop-default-kopia"},
            "spec": {"volumeNamespace": "shop", "backupStorageLocation": "default", "repositoryType": "kopia",
                "maintenanceFrequency": "1h0m0s", "resticIdentifier": ""}}))
        .await;
    cluster
}

/// The old password, and the new one beside it, as the command writes them.
async fn begin(cluster: &Cluster) {
    let held = |text: &str| serde_json::to_value(ByteString(text.into())).unwrap();
    let patch = json!({"data": {PASSWORD_KEY: held(PASSWORD), NEXT_PASSWORD_KEY: held(NEW)}});
    let api = cluster.context.api::<Secret>();
    api.patch(PASSWORD_SECRET, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

/// One look of a server that has just started.
async fn look(cluster: &Cluster) -> Next {
    let controller = RepositoryPassword {
        context: cluster.context.clone(),
        reopened: Mutex::default(),
    };
    controller
        .reconcile(&Key::new("velero", PASSWORD_SECRET))
        .await
        .unwrap()
}

async fn secret(cluster: &Cluster) -> Secret {
    cluster.get(PASSWORD_SECRET).await.unwrap()
}

async fn said(cluster: &Cluster) -> String {
    let secret = secret(cluster).await;
    let said = secret.annotations().get(REPOSITORY_PASSWORD_CHANGE);
    said.cloned().unwrap_or_default()
}

async fn opens(bucket: &Bucket, namespace: &str, passwords: impl Into<Passwords>) -> bool {
    let storage = Arc::new(bucket.repository(namespace));
    match prepare(storage, passwords, Prepare::ConnectOnly, environment()).await {
        Ok(repository) => {
            let found = repository.snapshots(&Default::default()).await.unwrap();
            assert_eq!(found.len(), 1, "{namespace}");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), PrepareErrorKind::WrongPassword, "{error}");
            false
        }
    }
}

async fn assert_ended(cluster: &Cluster, bucket: &Bucket) {
    let now = crate::backup_repository::password(Some(&secret(cluster).await)).unwrap();
    assert_eq!(now.current().expose_secret(), NEW);
    assert!(now.next().is_none());
    for namespace in NAMESPACES {
        assert!(opens(bucket, namespace, &now).await);
        assert!(!opens(bucket, namespace, &SecretString::from(PASSWORD)).await);
    }
    assert!(said(cluster).await.starts_with("done: 2 repositories"));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_call_every_repository_opens_with_a_password_that_is_still_recorded() {
    let mut cluster = cluster(&Bucket::default()).await;
    for calls in 0.. {
        let bucket = saved().await;
        let turn = Turn::dying_after(calls);
        cluster.reach(&bucket.in_turn(&turn));
        begin(&cluster).await;
        let ended = look(&cluster).await == Next::Done;

        let recorded = crate::backup_repository::password(Some(&secret(&cluster).await)).unwrap();
        for namespace in NAMESPACES {
            assert!(
                opens(&bucket, namespace, &recorded).await,
                "{namespace} after {calls} calls"
            );
        }
        if ended {
            assert!(calls > 30, "it was killed at {calls} places");
            assert_ended(&cluster, &bucket).await;
            return;
        }
        assert!(recorded.next().is_some(), "both, until all are changed");
        cluster.reach(&bucket);
        assert_eq!(look(&cluster).await, Next::Done, "after {calls} calls");
        assert_ended(&cluster, &bucket).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_next_password_nothing_is_looked_at_or_written() {
    let bucket = saved().await;
    let cluster = cluster(&bucket).await;
    let before = secret(&cluster).await;
    let opened = bucket.opened("shop");
    assert_eq!(look(&cluster).await, Next::Done);
    assert_eq!(secret(&cluster).await, before);
    assert_eq!(bucket.opened("shop"), opened);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_data_is_moved_into_is_left_until_that_has_ended_and_so_is_the_old_password() {
    let bucket = saved().await;
    let cluster = cluster(&bucket).await;
    cluster
        .create::<DataUpload>(
            json!({"metadata": {"name": "u1"}, "status": {"phase": "InProgress"},
            "spec": {"backupStorageLocation": "default", "sourceNamespace": "shop", "sourcePVC": "data",
                "snapshotType": "CSI", "operationTimeout": "10m0s"}}),
        )
        .await;
    begin(&cluster).await;
    assert_eq!(look(&cluster).await, Next::After(AGAIN));
    let why = said(&cluster).await;
    assert!(
        why.contains("both passwords stay in force") && why.contains("default/shop: a data movement"),
        "{why}"
    );
    assert!(opens(&bucket, "bank", &SecretString::from(NEW)).await);
    assert!(opens(&bucket, "shop", &SecretString::from(PASSWORD)).await);

    let ended = json!({"status": {"phase": "Completed"}});
    let uploads = cluster.context.api::<DataUpload>();
    let params = PatchParams::default();
    uploads.patch("u1", &params, &Patch::Merge(&ended)).await.unwrap();
    assert_eq!(look(&cluster).await, Next::Done);
    assert_ended(&cluster, &bucket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_location_with_repositories_is_named_before_anything_is_changed() {
    let bucket = saved().await;
    let cluster = cluster(&bucket).await;
    let read_only = json!({"spec": {"accessMode": "ReadOnly"}});
    let locations = cluster.context.api::<BackupStorageLocation>();
    let params = PatchParams::default();
    locations
        .patch("default", &params, &Patch::Merge(&read_only))
        .await
        .unwrap();
    begin(&cluster).await;
    assert_eq!(look(&cluster).await, Next::After(AGAIN));
    let why = said(&cluster).await;
    assert!(
        why.contains("location default: it is read-only") && why.contains("(bank)"),
        "{why}"
    );
    for namespace in NAMESPACES {
        assert!(opens(&bucket, namespace, &SecretString::from(PASSWORD)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restic_repositories_whose_password_would_be_lost_are_named_before_anything_is_changed() {
    let bucket = saved().await;
    bucket.objects.insert("restic/shop/config", "{}");
    let cluster = cluster(&bucket).await;
    begin(&cluster).await;
    assert_eq!(look(&cluster).await, Next::After(AGAIN));
    let why = said(&cluster).await;
    assert!(why.contains("restic repositories (shop)"), "{why}");
    for namespace in NAMESPACES {
        assert!(opens(&bucket, namespace, &SecretString::from(PASSWORD)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_password_that_somebody_takes_away_stops_the_change_and_is_said() {
    let mut cluster = cluster(&Bucket::default()).await;
    for free in (0..).step_by(3) {
        let bucket = saved().await;
        let turn = Turn::after(free);
        cluster.reach(&bucket.in_turn(&turn));
        begin(&cluster).await;
        let new = SecretString::from(NEW);
        let taking = async {
            turn.held().await;
            let bank_is_done = opens(&bucket, "bank", &new).await;
            let patch = json!({"data": {NEXT_PASSWORD_KEY: null},
                "metadata": {"annotations": {REPOSITORY_PASSWORD_CHANGE: null}}});
            let (api, params) = (cluster.context.api::<Secret>(), PatchParams::default());
            api.patch(PASSWORD_SECRET, &params, &Patch::Merge(&patch))
                .await
                .unwrap();
            turn.go_on();
            bank_is_done
        };
        let mut looking = Box::pin(look(&cluster));
        let bank_was_done = tokio::select! {
            biased;
            _ = &mut looking => {
                assert!(free > 30, "it was held at {free} places");
                return;
            }
            done = taking => done,
        };
        assert_eq!(looking.await, Next::Done, "after {free} calls");
        if !bank_was_done {
            assert!(
                !opens(&bucket, "shop", &new).await,
                "no other one is taken to it after {free} calls"
            );
        }
        if opens(&bucket, "bank", &new).await && bank_was_done {
            let why = said(&cluster).await;
            assert!(why.contains("put it back"), "after {free} calls: {why}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_being_made_with_the_old_password_is_waited_for() {
    let bucket = saved().await;
    let cluster = cluster(&bucket).await;
    cluster
        .create::<caravel_api::v1::BackupRepository>(json!({"metadata": {"name": "late-default-kopia"},
            "spec": {"volumeNamespace": "late", "backupStorageLocation": "default", "repositoryType": "kopia",
                "maintenanceFrequency": "1h0m0s", "resticIdentifier": ""}}))
        .await;
    // Somebody has read the one password that there was.
    let preparing = cluster.context.preparing.clone().read_owned().await;
    begin(&cluster).await;
    let making = async {
        while !said(&cluster).await.contains("now default/") {
            tokio::task::yield_now().await;
        }
        repository(&bucket, "late").await;
        drop(preparing);
    };
    let (next, ()) = tokio::join!(look(&cluster), making);
    assert_eq!(next, Next::Done);
    let now = crate::backup_repository::password(Some(&secret(&cluster).await)).unwrap();
    let storage = Arc::new(bucket.repository("late"));
    let opened = prepare(storage, &now, Prepare::ConnectOnly, environment()).await;
    opened.expect("it has the new password as the others have");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_an_unknown_password_keeps_both_and_is_named() {
    let bucket = saved().await;
    let cluster = cluster(&bucket).await;
    let storage = Arc::new(bucket.repository("shop"));
    let (old, third) = (SecretString::from(PASSWORD), SecretString::from("third"));
    rekey(storage, &old, &third, environment()).await.unwrap();
    begin(&cluster).await;
    assert_eq!(look(&cluster).await, Next::After(AGAIN));
    let why = said(&cluster).await;
    assert!(
        why.contains("default/shop: the backup repository does not open"),
        "{why}"
    );
    for word in [PASSWORD, NEW, "third"] {
        assert!(!why.contains(word), "guarantee 8");
    }
    let recorded = crate::backup_repository::password(Some(&secret(&cluster).await)).unwrap();
    assert!(recorded.next().is_some());
    assert!(opens(&bucket, "bank", &SecretString::from(NEW)).await);
}
