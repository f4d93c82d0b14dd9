//! The end of a backup of which a volume is not saved, over a cluster and a bucket in memory.

mod objects;

use std::io::Read as _;

use caravel_backup_store::tarball::Writer;
use caravel_storage::{Operation, StorageErrorKind};
use flate2::read::MultiGzDecoder;

use super::*;
use crate::in_memory::{Bucket, Cluster};

const LOG: &str = "backups/b1/b1-logs.gz";

/// A server with the backup `b1` in Finalizing, whose log is not in the bucket.
struct Server {
    bucket: Bucket,
    cluster: Cluster,
    controller: BackupFinalizer,
    _scratch: tempfile::TempDir,
}

impl Server {
    /// Each `(namespace, name)` is an item whose operation has failed.
    async fn new(not_saved: &[(&str, &str)]) -> Self {
        let bucket = Bucket::default();
        let cluster = Cluster::new(&bucket).await;
        let backup: Backup = cluster
            .create(
                json!({"metadata": {"name": "b1"}, "spec": {"storageLocation": "default"},
                "status": {"phase": "Finalizing"}}),
            )
            .await;
        bucket.objects.insert(
            "backups/b1/velero-backup.json",
            serde_json::to_vec(&backup).unwrap(),
        );
        let scratch = tempfile::tempdir().unwrap();
        let archive = scratch.path().join("b1.tar.gz");
        Writer::create(&archive).unwrap().finish().unwrap();
        let store = bucket.backups();
        store.put_backup_contents("b1", &archive).await.unwrap();
        let operations: Vec<BackupOperation> = not_saved.iter().map(failed).collect();
        store.put_item_operations("b1", &operations).await.unwrap();
        let settings = Settings {
            scratch: scratch.path().to_owned(),
            snapshot_objects: SnapshotObjects::Remove,
        };
        Self {
            controller: BackupFinalizer {
                context: cluster.context.clone(),
                settings,
            },
            bucket,
            cluster,
            _scratch: scratch,
        }
    }

    async fn finalize(&self) -> Result<Next, Error> {
        self.controller.reconcile(&Key::new("velero", "b1")).await
    }

    /// The phase, and how many errors it counts.
    async fn ended(&self) -> (BackupPhase, i32) {
        let backup: Backup = self.cluster.get("b1").await.unwrap();
        (backup.phase(), backup.status.unwrap_or_default().errors)
    }

    fn log(&self) -> String {
        let log = self.bucket.objects.object(LOG).unwrap();
        let mut text = String::new();
        MultiGzDecoder::new(&log[..]).read_to_string(&mut text).unwrap();
        text
    }

    async fn errors(&self) -> ResultSet {
        let results = self.bucket.backups().get_results("b1").await.unwrap();
        results.unwrap().errors
    }
}

fn failed((namespace, name): &(&str, &str)) -> BackupOperation {
    let mut operation = BackupOperation::default();
    operation.spec.resource_identifier = ResourceIdentifier {
        resource: "persistentvolumeclaims".into(),
        namespace: (*namespace).into(),
        name: (*name).into(),
        ..ResourceIdentifier::default()
    };
    operation.status.phase = OperationPhase::Failed;
    operation.status.error = "data mover pod is gone".into();
    operation
}

/// Found by the simulation (seed 8): it stayed in Finalizing for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_whose_log_could_not_be_saved_is_finalized_all_the_same_and_its_log_says_what_is_missing() {
    let server = Server::new(&[("shop", "data")]).await;
    assert_eq!(server.finalize().await.unwrap(), Next::Done);
    assert_eq!(server.ended().await, (BackupPhase::PartiallyFailed, 1));
    let log = server.log();
    assert!(
        log.lines().count() == 1 && log.contains("data mover pod is gone"),
        "{log}"
    );
    assert_eq!(server.errors().await.namespaces["shop"].len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_read_now_is_not_taken_for_one_that_is_missing() {
    let server = Server::new(&[("shop", "data")]).await;
    let mut run = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut run, b"what the run said\n").unwrap();
    server.bucket.objects.insert(LOG, run.finish().unwrap());
    let objects = &server.bucket.objects;
    objects.fail(Operation::Get, "-logs.gz", StorageErrorKind::Unavailable);
    server.finalize().await.unwrap_err();
    assert_eq!(server.ended().await, (BackupPhase::Finalizing, 0));
    objects.heal();
    assert_eq!(server.finalize().await.unwrap(), Next::Done);
    assert_eq!(server.ended().await, (BackupPhase::PartiallyFailed, 1));
    let log = server.log();
    assert!(log.starts_with("what the run said\n"), "{log}");
    assert_eq!(log.lines().count(), 2, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_operation_of_an_item_without_a_namespace_is_said_and_counted_too() {
    let server = Server::new(&[("", "content-1"), ("shop", "data")]).await;
    assert_eq!(server.finalize().await.unwrap(), Next::Done);
    assert_eq!(server.ended().await, (BackupPhase::PartiallyFailed, 2));
    assert_eq!(server.errors().await.cluster.len(), 1);
    assert_eq!(server.log().lines().count(), 2);
}
