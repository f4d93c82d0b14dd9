//! `velero sandbox demo`, as a newcomer types it: with less data, so that an unoptimised build is as quick.

#![cfg(feature = "sandbox")]

use std::time::Duration;

use assert_cmd::Command;

fn velero(args: &[&str]) -> Command {
    let mut velero = Command::new(env!("CARGO_BIN_EXE_velero"));
    velero.args(args);
    velero
}

/// What a story told, and how the command ended.
fn play(args: &[&str]) -> (String, Option<i32>) {
    let output = velero(&["sandbox", "demo", "--pages", "150"])
        .args(args)
        // The sandbox reads none of these.
        .env("KUBECONFIG", "/no/such/kubeconfig")
        .env("VELERO_NAMESPACE", "elsewhere")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/no/such/credentials")
        .env("AWS_ACCESS_KEY_ID", "somebody")
        .env("AWS_SECRET_ACCESS_KEY", "else")
        // Nothing listens there.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("http_proxy", "http://127.0.0.1:9")
        .env("ALL_PROXY", "http://127.0.0.1:9")
        .timeout(Duration::from_secs(200))
        .output()
        .expect("the binary starts");
    let told = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&told).into_owned(), output.status.code())
}

#[test]
fn an_application_is_backed_up_lost_and_restored_byte_for_byte() {
    let (told, code) = play(&[]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("Everything is back, byte for byte."), "{told}");
}

#[test]
fn a_second_backup_moves_what_has_changed_and_restores_all() {
    let (told, code) = play(&["--story", "incremental"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("1 volume of 15.76 MB, 4.20 MB of it new"), "{told}");
}

#[test]
fn a_snapshot_under_a_writer_has_one_moment_of_it() {
    let (told, code) = play(&["--story", "busy"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("all pages are of one moment of the backup's time"),
        "{told}"
    );
}

#[test]
fn a_snapshot_that_stays_in_the_storage_outlives_its_namespace_and_goes_with_its_backup() {
    let (told, code) = play(&["--story", "csi-snapshot"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("Storage Snapshot ID: snap-"), "{told}");
    assert!(told.contains("the storage still has the snapshot"), "{told}");
    assert!(
        told.contains("the backup is gone, and so is its snapshot in the storage"),
        "{told}"
    );
    assert!(told.contains("Everything is back, byte for byte."), "{told}");
}

#[test]
fn snapshot_objects_that_stay_in_the_cluster_are_in_nobodys_way_and_go_with_their_backup() {
    let (told, code) = play(&["--story", "csi-snapshot-kept"]);
    assert_eq!(code, Some(0), "{told}");
    for fact in [
        "the server runs with --csi-snapshot-objects=keep",
        "the content says Retain",
        "the storage still has the snapshot",
        "Everything is back, byte for byte.",
        "no VolumeSnapshot and no VolumeSnapshotContent of it is left",
    ] {
        assert!(told.contains(fact), "{fact}: {told}");
    }
}

#[test]
fn a_backup_that_is_canceled_half_way_says_so_and_leaves_nothing() {
    let (told, code) = play(&["--story", "cancel"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("DataUpload: Canceled: "), "{told}");
    assert!(
        told.contains("backup shop-1: PartiallyFailed, 1 error(s)"),
        "{told}"
    );
    assert!(told.contains("Everything is back, byte for byte."), "{told}");
}

#[test]
fn a_backup_that_is_canceled_by_command_stops_within_seconds_and_says_who() {
    let (told, code) = play(&["--story", "cancel-backup"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("s after the command: canceled by "), "{told}");
    assert!(
        told.contains("refused: backup velero/shop-1 has ended as "),
        "{told}"
    );
    assert!(told.contains("no snapshot, no pod, no volume: nothing"), "{told}");
    assert!(told.contains("Everything is back, byte for byte."), "{told}");
}

#[test]
fn a_schedules_backup_is_restored_and_goes_when_its_time_is_over() {
    let (told, code) = play(&["--story", "schedule-and-expire"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("Schedule \"often\" created successfully."),
        "{told}"
    );
    assert!(told.contains("Schedule often paused successfully"), "{told}");
    assert!(
        told.contains("no Backup, no Restore, no file of them in bucket"),
        "{told}"
    );
    assert!(told.contains("Everything is back, byte for byte."), "{told}");
}

#[test]
fn another_cluster_with_the_same_bucket_sees_the_backup_and_restores_it() {
    let (told, code) = play(&["--story", "second-cluster"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("Everything is back, byte for byte."), "{told}");
}

#[test]
fn a_backup_whose_node_dies_says_so_and_the_next_one_goes_over_another() {
    let (told, code) = play(&["--story", "node-dies"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("is that node down?"), "{told}");
    assert!(told.contains("backup shop-1: PartiallyFailed"), "{told}");
    assert!(told.contains("Everything is back, byte for byte."), "{told}");
}

#[test]
fn a_data_mover_that_is_killed_fails_its_volume_with_the_reason_and_leaves_nothing() {
    let (told, code) = play(&["--story", "mover-killed"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("exit code 137"), "{told}");
    assert!(told.contains("backup shop-1: PartiallyFailed"), "{told}");
    assert!(told.contains("Everything is back, byte for byte."), "{told}");
}

#[test]
fn a_volume_that_is_a_device_comes_back_with_every_byte_and_every_hole() {
    let (told, code) = play(&["--story", "block-volume"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("all 1 volumes are the same"), "{told}");
    let (told, code) = play(&["--story", "block-volume", "--spoil"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("does not hold what was there"), "{told}");
}

#[test]
fn a_repository_is_maintained_by_jobs_and_a_failure_says_why() {
    let (told, code) = play(&["--story", "maintenance"]);
    assert_eq!(code, Some(0), "{told}");
    for line in [
        "full maintenance: Succeeded, by Job shop-default-kopia-maintain-job-",
        "maintenance that was due: Succeeded",
        "quick maintenance: Failed: cannot maintain backup repository shop-default-kopia: ",
        "3 jobs and 3 pods are kept; the history has 3 runs",
        "Everything is back, byte for byte.",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

#[test]
fn what_was_backed_up_before_the_password_changed_comes_back_with_the_new_one_and_is_deleted_with_it() {
    let (told, code) = play(&["--story", "change-password"]);
    assert_eq!(code, Some(0), "{told}");
    for line in [
        "holds the new password alone; kopia/shop/kopia.repository is sealed anew",
        "no problem found: 1 snapshots",
        "backup shop-1 is gone, and every file of it",
        "Everything is back, byte for byte.",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

#[test]
fn many_volumes_never_move_more_at_once_than_the_configmap_says() {
    // `--volumes 200 --nodes 20` is the same with more: some minutes.
    let (told, code) = play(&["--story", "many-volumes", "--volumes", "8", "--nodes", "2"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("loadConcurrency.globalConfig: 0 is refused: a whole number from 1 on"),
        "{told}"
    );
    assert!(told.contains("podLabel: {} is refused: unknown key"), "{told}");
    assert!(told.contains("all 8 volumes are the same"), "{told}");
    assert!(
        told.contains("the storage has 8 volumes and no snapshot"),
        "{told}"
    );
    assert!(
        told.contains("never more than the ConfigMap says, first come, first served"),
        "{told}"
    );
}

#[test]
fn somebody_elses_data_mover_saves_and_restores_and_ours_leaves_it_alone() {
    let is_there = |tool: &str| std::process::Command::new(tool).arg("--help").output().is_ok();
    if !["bash", "kubectl", "tar"].into_iter().all(is_there) {
        assert!(
            std::env::var_os("CI").is_none(),
            "bash, kubectl and tar are needed"
        );
        eprintln!("skipped: bash, kubectl and tar are needed");
        return;
    }
    let (told, code) = play(&["--story", "custom-mover"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("DataDownloads: 1, moved by tar-files"), "{told}");
    assert!(told.contains("all 1 volumes are the same"), "{told}");
}

#[test]
fn one_wrong_byte_is_noticed_and_the_exit_code_says_so() {
    let (told, code) = play(&["--spoil"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("1 of the entries are not what was there: pages/00/page-00000"),
        "{told}"
    );
    assert!(!told.contains("Everything is back"), "{told}");
}

#[test]
fn the_stories_are_listed_without_starting_anything() {
    let output = velero(&["sandbox", "demo", "--list"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    for story in [
        "backup-and-restore",
        "incremental",
        "cancel",
        "cancel-backup",
        "schedule-and-expire",
        "second-cluster",
        "node-dies",
        "mover-killed",
        "block-volume",
        "custom-mover",
        "maintenance",
        "change-password",
        "many-volumes",
    ] {
        assert!(told.contains(story), "{told}");
    }
}

#[test]
fn a_cluster_of_its_own_takes_no_kubeconfig() {
    let output = velero(&["--kubeconfig", "/etc/hosts", "sandbox", "demo"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
