//! `velero sandbox demo`, as a newcomer types it: with less data, so that an unoptimised build is as quick.

use assert_cmd::Command;

fn velero(args: &[&str]) -> Command {
    let mut velero = Command::new(env!("CARGO_BIN_EXE_velero"));
    velero.args(args);
    velero
}

fn play(story: &str) {
    let output = velero(&["sandbox", "demo", "--pages", "150", "--story", story])
        // The sandbox reads none of these.
        .env("KUBECONFIG", "/no/such/kubeconfig")
        .env("VELERO_NAMESPACE", "elsewhere")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/no/such/credentials")
        .timeout(std::time::Duration::from_secs(120))
        .output()
        .expect("the binary starts");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("Everything is back, byte for byte."),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn an_application_is_backed_up_lost_and_restored_byte_for_byte() {
    play("backup-and-restore");
}

#[test]
fn a_second_backup_restores_what_changed_after_the_first() {
    play("incremental");
}

#[test]
fn the_stories_are_listed_without_starting_anything() {
    let output = velero(&["sandbox", "demo", "--list"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        told.contains("backup-and-restore") && told.contains("incremental"),
        "{told}"
    );
}

#[test]
fn a_cluster_of_its_own_takes_no_kubeconfig() {
    let output = velero(&["--kubeconfig", "/etc/hosts", "sandbox", "demo"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
