//! A deletion from the request to the last blob, over a cluster and a bucket in memory.

mod objects;
mod restores;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use caravel_api::phase::DeleteBackupRequestPhase;
use caravel_api::v2alpha1::DataUpload;
use caravel_backup_store::tarball::Writer;
use caravel_backup_store::volume_info::BackupVolumeInfo;
use caravel_item_action::{ActionError, DeleteItemAction, ResourceSelector};
use caravel_storage::faulty::{Fault, Rule};
use caravel_storage::{Operation, Storage as _, StorageErrorKind};
use k8s_openapi::api::core::v1::ConfigMap;

use super::*;
use crate::in_memory::{Bucket, Cluster, NAMESPACE, Turn, add_snapshot, repository, snapshots};

/// When the backup was begun; what a synced Backup and its folder have in common.
const STARTED: &str = "2026-11-21T09:00:00Z";

/// The backup `b1` in a bucket: which snapshots it has where, and another backup's beside them.
struct Saved {
    bucket: Bucket,
    shop: Vec<String>,
    bank: Vec<String>,
    other: String,
}

impl Saved {
    /// Two snapshots of shop, one of bank; another backup has one of shop.
    async fn new() -> Self {
        let bucket = Bucket::default();
        let (shop, bank) = (
            repository(&bucket, "shop").await,
            repository(&bucket, "bank").await,
        );
        let saved = Self {
            shop: vec![add_snapshot(&shop, "shop/data"), add_snapshot(&shop, "shop/web")],
            bank: vec![add_snapshot(&bank, "bank/data")],
            other: add_snapshot(&shop, "shop/data"),
            bucket,
        };
        let metadata = json!({"apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": {"name": "b1", "namespace": NAMESPACE, "uid": "first"},
            "spec": {"storageLocation": "default"}, "status": {"phase": "Completed", "startTimestamp": STARTED}});
        let objects = &saved.bucket.objects;
        objects.insert("backups/b1/velero-backup.json", metadata.to_string());
        objects.insert("backups/b1/b1-logs.gz", "");
        saved
    }

    fn all(&self) -> Vec<(&'static str, &String)> {
        let shop = self.shop.iter().map(|id| ("shop", id));
        shop.chain(self.bank.iter().map(|id| ("bank", id))).collect()
    }

    /// The volume info tells of the snapshots.
    async fn with_volume_info(self) -> Self {
        let moved = |(namespace, id): (&str, &String)| -> BackupVolumeInfo {
            let info = json!({"pvcNamespace": namespace, "backupMethod": "CSISnapshot", "snapshotDataMoved": true,
                "snapshotDataMovementInfo": {"snapshotHandle": id, "dataMover": "velero", "uploaderType": "kopia",
                    "operationID": "du-1", "size": 1, "Phase": "Completed"}});
            serde_json::from_value(info).unwrap()
        };
        let volumes: Vec<BackupVolumeInfo> = self.all().into_iter().map(moved).collect();
        let backups = self.bucket.backups();
        backups.put_volume_info("b1", &volumes).await.unwrap();
        self
    }

    /// The volume info tells of no volume.
    async fn with_empty_volume_info(self) -> Self {
        let backups = self.bucket.backups();
        backups.put_volume_info("b1", &[]).await.unwrap();
        self
    }

    /// The DataUploads in the tarball tell of them, and nothing else does: Velero 1.12.
    async fn with_uploads_in_the_tarball(self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("b1.tar.gz");
        let mut tarball = Writer::create(&file).unwrap();
        let mut add = |name: &str, backup: &str, namespace: &str, id: &str| {
            let item = upload(name, backup, namespace, id);
            let added = tarball.append("datauploads.velero.io", "v2alpha1", true, NAMESPACE, name, &item);
            added.unwrap();
        };
        for (index, (namespace, id)) in self.all().into_iter().enumerate() {
            add(&format!("b1-{index}"), "b1", namespace, id);
        }
        // Velero's namespace was backed up with the rest.
        add("nightly-1", "nightly", "shop", &self.other);
        tarball.finish().unwrap();
        let backups = self.bucket.backups();
        backups.put_backup_contents("b1", &file).await.unwrap();
        self
    }

    async fn left(&self) -> (Vec<String>, Vec<String>) {
        (
            snapshots(&self.bucket, "shop").await,
            snapshots(&self.bucket, "bank").await,
        )
    }

    /// Nothing of the backup is there, and all of the other one.
    async fn assert_gone(&self) {
        assert_eq!(self.left().await, (vec![self.other.clone()], vec![]));
        assert_eq!(self.bucket.objects.keys(), Vec::<String>::new());
    }

    /// Everything is as it was, but for what other tests may count.
    async fn assert_untouched(&self) {
        let mut shop = [&self.shop[..], std::slice::from_ref(&self.other)].concat();
        shop.sort();
        assert_eq!(self.left().await, (shop, self.bank.clone()));
        let keys = self.bucket.objects.keys();
        assert!(
            keys.contains(&"backups/b1/velero-backup.json".to_owned()),
            "{keys:?}"
        );
    }
}

fn upload(name: &str, backup: &str, namespace: &str, id: &str) -> Value {
    json!({"apiVersion": "velero.io/v2alpha1", "kind": "DataUpload",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"velero.io/backup-name": backup}},
        "spec": {"backupStorageLocation": "default", "sourceNamespace": namespace, "sourcePVC": "data",
            "snapshotType": "CSI", "operationTimeout": "10m0s"},
        "status": {"phase": "Completed", "snapshotID": id}})
}

/// A server's controller in a cluster that has synced `b1`: another UID, and no DataUpload.
struct Server {
    cluster: Cluster,
    controller: BackupDeletion,
    _scratch: tempfile::TempDir,
}

impl Server {
    async fn new(bucket: &Bucket) -> Self {
        let cluster = Cluster::new(bucket).await;
        let scratch = tempfile::tempdir().unwrap();
        let controller = BackupDeletion {
            context: cluster.context.clone(),
            scratch: scratch.path().to_owned(),
            actions: item_actions::built_in(),
        };
        let server = Self {
            cluster,
            controller,
            _scratch: scratch,
        };
        server.sync().await;
        server
    }

    /// The Backup, as the sync controller makes it.
    async fn sync(&self) {
        self.cluster
            .create::<Backup>(
                json!({"metadata": {"name": "b1"}, "spec": {"storageLocation": "default"},
                "status": {"phase": "Completed", "startTimestamp": STARTED}}),
            )
            .await;
    }

    /// The same cluster over another bucket, to begin again.
    async fn over(&mut self, bucket: &Bucket) {
        self.cluster.reach(bucket);
        self.controller.context = self.cluster.context.clone();
        if !self.has_backup().await {
            self.sync().await;
        }
    }

    /// Asks for the deletion, and does it; gives the errors that the user reads.
    async fn delete(&self, request: &str) -> Vec<String> {
        self.cluster
            .create::<DeleteBackupRequest>(
                json!({"metadata": {"name": request}, "spec": {"backupName": "b1"}}),
            )
            .await;
        let next = self.controller.reconcile(&Key::new(NAMESPACE, request)).await;
        assert_eq!(next.unwrap(), Next::Done);
        let request: DeleteBackupRequest = self.cluster.get(request).await.unwrap();
        assert_eq!(request.phase(), DeleteBackupRequestPhase::Processed);
        request.status.unwrap_or_default().errors
    }

    async fn has_backup(&self) -> bool {
        self.cluster.get::<Backup>("b1").await.is_some()
    }
}

fn none() -> Vec<String> {
    Vec::new()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_only_sees_the_bucket_forgets_by_the_volume_info_and_opens_each_repository_once() {
    let saved = Saved::new().await.with_volume_info().await;
    let server = Server::new(&saved.bucket).await;
    let before = ["shop", "bank"].map(|namespace| saved.bucket.opened(namespace));
    assert_eq!(server.delete("d1").await, none());
    let opened = ["shop", "bank"].map(|namespace| saved.bucket.opened(namespace));
    assert_eq!(opened, before.map(|before| before + 1));
    saved.assert_gone().await;
    assert!(!server.has_backup().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_volume_info_is_forgotten_by_the_uploads_in_its_tarball_and_no_other_backup_s() {
    let saved = Saved::new().await.with_uploads_in_the_tarball().await;
    let server = Server::new(&saved.bucket).await;
    assert_eq!(server.delete("d1").await, none());
    saved.assert_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_which_nothing_says_what_data_it_has_is_kept_unless_it_failed_or_is_being_deleted() {
    let saved = Saved::new().await;
    let server = Server::new(&saved.bucket).await;
    let errors = server.delete("d1").await;
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("which snapshots") && errors[0].contains("b1.tar.gz"),
        "{errors:?}"
    );
    saved.assert_untouched().await;
    // This server has deleted its data, and died over its files.
    let deleting = json!({"status": {"phase": "Deleting"}});
    merge(&server.cluster.context.api::<Backup>(), "b1", &deleting)
        .await
        .unwrap();
    assert_eq!(server.delete("d2").await, none());
    assert_eq!(saved.bucket.objects.keys(), none());
}

#[test]
fn a_folder_is_of_the_backup_that_was_synced_from_it_and_not_of_one_that_began_in_the_same_second() {
    let backup = |uid: &str, phase: &str, completed: &str| -> Backup {
        serde_json::from_value(json!({"metadata": {"name": "b1", "uid": uid}, "spec": {},
            "status": {"phase": phase, "startTimestamp": STARTED, "completionTimestamp": completed}}))
        .unwrap()
    };
    let (early, late) = ("2026-11-21T09:01:00Z", "2026-11-21T09:02:00Z");
    let saved = backup("theirs", "Completed", early);
    let is_ours = |backup: &Backup| somebody_elses(&saved, backup).is_none();
    assert!(is_ours(&backup("synced", "Completed", early)));
    assert!(is_ours(&backup("synced", "Deleting", early)));
    assert!(is_ours(&backup("theirs", "Failed", late)));
    assert!(!is_ours(&backup("a clone's", "Failed", early)));
    assert!(!is_ours(&backup("a clone's", "Completed", late)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deletion_of_velero_s_has_left_is_deleted_with_the_backup() {
    let saved = Saved::new().await.with_empty_volume_info().await;
    let server = Server::new(&saved.bucket).await;
    let info = |name: &str, namespace: &str, id: &str| {
        json!({"metadata": {"name": name,
            "labels": {"velero.io/backup-name": "b1", "velero.io/data-upload-snapshot-info": "true"}},
            "data": {"volumeNamespace": namespace, "backupStorageLocation": "default", "snapshotID": id,
                "repositoryType": "kopia", "uploaderType": "kopia", "source": "data", "repoIdentifier": ""}})
    };
    for (index, (namespace, id)) in saved.all().into_iter().enumerate() {
        let name = format!("b1-{index}-info");
        server
            .cluster
            .create::<ConfigMap>(info(&name, namespace, id))
            .await;
    }
    // Velero before 1.18.3 wrote such a one for each DataUpload in the tarball, whosever it was.
    let nightly = upload("nightly-1", "nightly", "shop", &saved.other);
    server.cluster.create::<DataUpload>(nightly).await;
    let wrong = info("nightly-1-info", "shop", &saved.other);
    server.cluster.create::<ConfigMap>(wrong).await;

    assert_eq!(server.delete("d1").await, none());
    saved.assert_gone().await;
    let config_map = async |name: &str| server.cluster.get::<ConfigMap>(name).await;
    assert!(config_map("b1-0-info").await.is_none());
    assert!(config_map("nightly-1-info").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_uploads_of_a_backup_that_was_synced_back_are_found_by_the_first_uid() {
    let saved = Saved::new().await.with_volume_info().await;
    let server = Server::new(&saved.bucket).await;
    let mut finished = upload("b1-0", "b1", "shop", &saved.shop[0]);
    finished["metadata"]["labels"]["velero.io/backup-uid"] = json!("first");
    server.cluster.create::<DataUpload>(finished).await;
    assert_eq!(server.delete("d1").await, none());
    assert!(server.cluster.get::<DataUpload>("b1-0").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_repository_keeps_the_backup_and_says_so_and_a_later_deletion_goes_on() {
    let saved = Saved::new().await.with_volume_info().await;
    let server = Server::new(&saved.bucket).await;
    for (request, kind, words) in [
        ("d1", StorageErrorKind::Unavailable, "cannot be reached"),
        ("d2", StorageErrorKind::Denied, "cannot be reached"),
    ] {
        let shop = saved.bucket.repository("shop");
        shop.add(Rule::always(Fault::Fail(kind)));
        let errors = server.delete(request).await;
        shop.clear();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].contains("2 snapshots of namespace shop") && errors[0].contains(words),
            "{errors:?}"
        );
        assert!(errors[0].contains("can be deleted again"), "{errors:?}");
        assert!(server.has_backup().await);
        let volumes = saved.bucket.backups().get_volume_info("b1").await.unwrap();
        assert_eq!(
            volumes.map(|volumes| volumes.len()),
            Some(3),
            "what knows of the data stays"
        );
        assert_eq!(
            snapshots(&saved.bucket, "shop").await.len(),
            3,
            "nothing of shop is gone"
        );
    }
    // Those of bank went with the first try: to forget them again is fine.
    assert_eq!(server.delete("d3").await, none());
    saved.assert_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_and_repositories_that_are_gone_already_are_fine() {
    let saved = Saved::new().await.with_volume_info().await;
    let server = Server::new(&saved.bucket).await;
    let shop = repository(&saved.bucket, "shop").await;
    shop.delete_snapshot(&saved.shop[0].parse().unwrap())
        .await
        .unwrap();
    let bank = saved.bucket.repository("bank");
    for blob in bank.list("").await.unwrap() {
        bank.delete(&blob.id).await.unwrap();
    }
    assert_eq!(server.delete("d1").await, none());
    assert_eq!(
        snapshots(&saved.bucket, "shop").await,
        std::slice::from_ref(&saved.other)
    );
    assert_eq!(saved.bucket.objects.keys(), none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_bucket_without_the_backup_s_files_is_not_taken_for_its_repositories() {
    let bucket = Bucket::default();
    let server = Server::new(&bucket).await;
    // It never came so far as to have a folder, but one of its uploads has ended.
    let uid = server.cluster.get::<Backup>("b1").await.unwrap().uid().unwrap();
    let mut finished = upload("b1-0", "b1", "shop", "0123456789abcdef0123456789abcdef");
    finished["metadata"]["labels"]["velero.io/backup-uid"] = json!(uid);
    server.cluster.create::<DataUpload>(finished).await;
    let errors = server.delete("d1").await;
    assert!(errors[0].contains("there is no backup repository"), "{errors:?}");
    assert!(server.has_backup().await && server.cluster.get::<DataUpload>("b1-0").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_at_a_read_only_location() {
    let saved = Saved::new().await.with_volume_info().await;
    let server = Server::new(&saved.bucket).await;
    let read_only = json!({"spec": {"accessMode": "ReadOnly"}});
    let locations = server.cluster.context.api::<BackupStorageLocation>();
    merge(&locations, "default", &read_only).await.unwrap();
    let before = saved.bucket.repository("shop").calls().len();
    let errors = server.delete("d1").await;
    assert!(errors[0].contains("read-only"), "{errors:?}");
    assert_eq!(
        saved.bucket.repository("shop").calls().len(),
        before,
        "not even looked at"
    );
    saved.assert_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_begins_while_the_deletion_looks_is_named_and_nothing_is_deleted() {
    let saved = Saved::new().await.with_volume_info().await;
    let turn = Turn::after(1);
    let server = Server::new(&saved.bucket.in_turn(&turn)).await;
    let restore = async {
        turn.held().await;
        server
            .cluster
            .create::<Restore>(json!({"metadata": {"name": "r1"}, "spec": {"backupName": "b1"},
                "status": {"phase": "InProgress"}}))
            .await;
        turn.go_on();
    };
    let (errors, ()) = tokio::join!(server.delete("d1"), restore);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("restore r1 reads from the backup") && errors[0].contains("restore cancel r1"),
        "{errors:?}"
    );
    saved.assert_untouched().await;
    let backup: Backup = server.cluster.get("b1").await.unwrap();
    assert_eq!(backup.status.unwrap().phase, Some(BackupPhase::Completed));
}

/// One cluster stops before each of its calls to the bucket in turn, the other deletes the backup, then the first goes on.
#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_may_expire_one_backup_at_the_same_moment() {
    let nowhere = Bucket::default();
    let (mut slow, mut quick) = (Server::new(&nowhere).await, Server::new(&nowhere).await);
    for free in 0.. {
        let saved = Saved::new().await.with_volume_info().await;
        let turn = Turn::after(free);
        slow.over(&saved.bucket.in_turn(&turn)).await;
        quick.over(&saved.bucket).await;
        let request = format!("d{free}");
        let mut work = Box::pin(slow.delete(&request));
        let errors = tokio::select! {
            biased;
            () = turn.held() => None,
            errors = &mut work => Some(errors),
        };
        if let Some(errors) = errors {
            assert_eq!(errors, none());
            assert!(free > 20, "the slow one made {free} calls");
            return;
        }
        assert_eq!(quick.delete(&request).await, none(), "after {free} calls");
        turn.go_on();
        assert_eq!(work.await, none(), "after {free} calls");
        saved.assert_gone().await;
        assert!(!slow.has_backup().await && !quick.has_backup().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_once_anywhere_costs_a_second_deletion_and_no_more() {
    let mut server = Server::new(&Bucket::default()).await;
    for nth in 1.. {
        let saved = Saved::new().await.with_volume_info().await;
        server.over(&saved.bucket).await;
        let shop = saved.bucket.repository("shop");
        let before = shop.calls().len();
        shop.add(Rule::always(Fault::LostAnswer(StorageErrorKind::Unavailable)).nth(nth));
        let errors = server.delete(&format!("first-{nth}")).await;
        shop.clear();
        let calls = shop.calls()[before..].to_vec();
        if !errors.is_empty() {
            assert!(server.has_backup().await, "after {nth} calls");
            let again = server.delete(&format!("second-{nth}")).await;
            assert_eq!(again, none(), "after {nth} calls");
        }
        saved.assert_gone().await;
        if calls.len() < usize::try_from(nth).unwrap() {
            assert_eq!(errors, none(), "no call failed");
            let writes = |(operation, _): &(Operation, String)| {
                matches!(operation, Operation::Put | Operation::PutIfAbsent)
            };
            assert!(calls.iter().any(writes), "{calls:?}");
            return;
        }
    }
}

/// Is called for DataUploads, and fails until it may not.
#[derive(Default)]
struct Elsewhere {
    is_there: AtomicBool,
    called: AtomicUsize,
}

#[async_trait]
impl DeleteItemAction for Elsewhere {
    fn name(&self) -> &str {
        "example.com/elsewhere"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&["datauploads.velero.io"])
    }

    async fn execute(&self, _: &Value, backup: &Backup) -> Result<(), ActionError> {
        assert_eq!(backup.name_any(), "b1");
        self.called.fetch_add(1, Ordering::Relaxed);
        if self.is_there.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(ActionError::new("the other storage is away"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_item_action_that_fails_keeps_the_backup_and_a_later_deletion_goes_on() {
    let saved = Saved::new().await.with_uploads_in_the_tarball().await;
    let mut server = Server::new(&saved.bucket).await;
    let elsewhere = Arc::new(Elsewhere::default());
    server.controller.actions = vec![Arc::clone(&elsewhere) as Arc<dyn DeleteItemAction>];
    let errors = server.delete("d1").await;
    // Three of the backup, and one of another that lies in its tarball.
    assert_eq!(errors.len(), 4, "{errors:?}");
    assert!(
        errors[0].contains("example.com/elsewhere failed for datauploads.velero.io"),
        "{errors:?}"
    );
    assert!(server.has_backup().await);
    saved.assert_untouched().await;
    elsewhere.is_there.store(true, Ordering::Relaxed);
    assert_eq!(server.delete("d2").await, none());
    assert_eq!(elsewhere.called.load(Ordering::Relaxed), 8);
    saved.assert_gone().await;
}
