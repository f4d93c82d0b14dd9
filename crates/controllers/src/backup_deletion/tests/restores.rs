//! A restore and a deletion of one backup that begin in the same moment: both have looked, and neither has written. Then in
//! each order of writing and looking again, with the real controllers of both.

use caravel_api::phase::RestorePhase;
use http::Method;

use super::*;
use crate::in_memory::{environment, in_turn};
use crate::restore;

const BACKUP: &str = "/backups/b1";
const RESTORE: &str = "/restores/r1";

impl Server {
    /// What the restore controller of this server does with `r1`.
    fn restoring(&self, context: Context) -> impl Reconciler + use<> {
        let settings = restore::Settings::new(self.controller.scratch.clone());
        restore::controller(context, settings, CancellationToken::new())
    }

    async fn create_restore(&self, phase: &str) {
        let restore =
            json!({"metadata": {"name": "r1"}, "spec": {"backupName": "b1"}, "status": {"phase": phase}});
        self.cluster.create::<Restore>(restore).await;
    }

    async fn request(&self, name: &str) -> Option<DeleteBackupRequest> {
        self.cluster.get(name).await
    }

    async fn restore(&self) -> Restore {
        self.cluster.get("r1").await.unwrap()
    }

    async fn backup_phase(&self) -> BackupPhase {
        self.cluster.get::<Backup>("b1").await.unwrap().phase()
    }

    /// Nothing was restored, and the Restore says why.
    async fn assert_refused(&self) {
        let restore = self.restore().await;
        assert_eq!(restore.phase(), RestorePhase::FailedValidation);
        let said = restore.status.unwrap().validation_errors;
        assert!(
            said.len() == 1 && said[0].contains("\"b1\" is Deleting"),
            "{said:?}"
        );
    }
}

fn r1() -> Key {
    Key::new(NAMESPACE, "r1")
}

/// The deletion says which restore it met.
fn assert_names_the_restore(errors: &[String]) {
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("restore r1 reads from the backup (InProgress)"),
        "{errors:?}"
    );
}

/// Drives the work until its client is held.
async fn until_held<T>(work: &mut (impl Future<Output = T> + Unpin), turn: &Turn) {
    tokio::select! {
        biased;
        () = turn.held() => {}
        _ = work => panic!("it ended, and was not held"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_begins_after_the_deletion_has_looked_is_refused_and_the_deletion_goes_on() {
    let saved = Saved::new().await.with_volume_info().await;
    let mut server = Server::new(&saved.bucket).await;
    server.create_restore("New").await;
    let (begins, is_over) = (Turn::after(0), Turn::after(0));
    let restorer = server.restoring(in_turn(&server.cluster.context, &begins, Method::PATCH, RESTORE));
    server.controller.context = in_turn(&server.cluster.context, &is_over, Method::DELETE, RESTORE);

    let (key, mut deleting) = (r1(), Box::pin(server.delete("d1")));
    let mut restoring = restorer.reconcile(&key);
    until_held(&mut restoring, &begins).await;
    // It says so, looks, and deletes all but the objects.
    until_held(&mut deleting, &is_over).await;
    begins.go_on();
    assert_eq!(restoring.await.unwrap(), Next::Done);
    server.assert_refused().await;
    is_over.go_on();
    assert_eq!(deleting.await, none());
    saved.assert_gone().await;
    assert!(!server.has_backup().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_begins_after_the_restore_has_looked_puts_the_phase_back_and_names_the_restore() {
    let saved = Saved::new().await.with_volume_info().await;
    let mut server = Server::new(&saved.bucket).await;
    server.create_restore("New").await;
    let (begins, runs) = (Turn::after(0), Turn::after(0));
    let bucket = saved.bucket.in_turn(&runs);
    let context = server.cluster.context.clone();
    let restorer = server.restoring(context.over(Arc::new(bucket), environment()));
    server.controller.context = in_turn(&server.cluster.context, &begins, Method::PATCH, BACKUP);

    let (key, mut deleting) = (r1(), Box::pin(server.delete("d1")));
    until_held(&mut deleting, &begins).await;
    let mut restoring = restorer.reconcile(&key);
    // It asks the bucket for the backup.
    until_held(&mut restoring, &runs).await;
    assert_eq!(server.restore().await.phase(), RestorePhase::InProgress);
    begins.go_on();
    assert_names_the_restore(&deleting.await);
    assert_eq!(server.backup_phase().await, BackupPhase::Completed);
    saved.assert_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_takes_the_other_requests_away_when_it_goes_on_and_leaves_them_when_it_is_refused() {
    let saved = Saved::new().await.with_volume_info().await;
    let mut server = Server::new(&saved.bucket).await;
    let other = json!({"metadata": {"name": "other"}, "spec": {"backupName": "b1"}});
    server.cluster.create::<DeleteBackupRequest>(other).await;
    let begins = Turn::after(0);
    server.controller.context = in_turn(&server.cluster.context, &begins, Method::PATCH, BACKUP);
    let mut deleting = Box::pin(server.delete("d1"));
    until_held(&mut deleting, &begins).await;
    server.create_restore("InProgress").await;
    begins.go_on();
    assert_names_the_restore(&deleting.await);
    assert!(server.request("other").await.is_some());

    let ended = json!({"status": {"phase": "Completed"}});
    merge(&server.cluster.context.api::<Restore>(), "r1", &ended)
        .await
        .unwrap();
    assert_eq!(server.delete("d2").await, none());
    assert!(server.request("other").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_ran_between_the_look_and_the_beginning_goes_with_its_backup() {
    let saved = Saved::new().await.with_volume_info().await;
    let mut server = Server::new(&saved.bucket).await;
    let begins = Turn::after(0);
    server.controller.context = in_turn(&server.cluster.context, &begins, Method::PATCH, BACKUP);
    let mut deleting = Box::pin(server.delete("d1"));
    until_held(&mut deleting, &begins).await;
    server.create_restore("Completed").await;
    begins.go_on();
    assert_eq!(deleting.await, none());
    assert!(server.cluster.get::<Restore>("r1").await.is_none());
    saved.assert_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_step_back_where_both_have_begun_before_either_looks_and_the_backup_is_as_it_was() {
    let saved = Saved::new().await.with_volume_info().await;
    let mut server = Server::new(&saved.bucket).await;
    server.create_restore("New").await;
    // The restore's second look at the Backup, the deletion's first and second write of it.
    let (looks, begins, puts_back) = (Turn::after(1), Turn::after(0), Turn::after(1));
    let restorer = server.restoring(in_turn(&server.cluster.context, &looks, Method::GET, BACKUP));
    let context = in_turn(&server.cluster.context, &puts_back, Method::PATCH, BACKUP);
    server.controller.context = in_turn(&context, &begins, Method::PATCH, BACKUP);

    let (key, mut deleting) = (r1(), Box::pin(server.delete("d1")));
    until_held(&mut deleting, &begins).await;
    let mut restoring = restorer.reconcile(&key);
    until_held(&mut restoring, &looks).await;
    begins.go_on();
    until_held(&mut deleting, &puts_back).await;
    assert_eq!(server.backup_phase().await, BackupPhase::Deleting);
    looks.go_on();
    assert_eq!(restoring.await.unwrap(), Next::Done);
    server.assert_refused().await;
    puts_back.go_on();
    assert_names_the_restore(&deleting.await);
    assert_eq!(server.backup_phase().await, BackupPhase::Completed);
    saved.assert_untouched().await;
    // Whoever still wants theirs asks again.
    assert_eq!(server.delete("d2").await, none());
    saved.assert_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_died_before_it_looked_waits_for_the_restore_that_runs_and_goes_on() {
    let saved = Saved::new().await.with_volume_info().await;
    let mut server = Server::new(&saved.bucket).await;
    // It lists the restores at first, when it has read the bucket, and when it has said that it begins.
    let dies = Turn::dying_after(2);
    server.controller.context = in_turn(&server.cluster.context, &dies, Method::GET, "/restores");
    let request = json!({"metadata": {"name": "d1"}, "spec": {"backupName": "b1"}});
    server.cluster.create::<DeleteBackupRequest>(request).await;
    let key = Key::new(NAMESPACE, "d1");
    assert!(server.controller.reconcile(&key).await.is_err());
    assert_eq!(server.backup_phase().await, BackupPhase::Deleting);

    server.controller.context = server.cluster.context.clone();
    server.create_restore("WaitingForPluginOperations").await;
    let next = server.controller.reconcile(&key).await.unwrap();
    assert_eq!(next, Next::After(AGAIN));
    saved.assert_untouched().await;
    let ended = json!({"status": {"phase": "Completed"}});
    merge(&server.cluster.context.api::<Restore>(), "r1", &ended)
        .await
        .unwrap();
    let next = server.controller.reconcile(&key).await.unwrap();
    assert_eq!(next, Next::Done);
    saved.assert_gone().await;
    assert!(!server.has_backup().await);
}
