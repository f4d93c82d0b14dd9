//! What goes wrong is refused, or fails, with a reason that names the thing to correct; nothing is overwritten or left behind.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use caravel_e2e::scenario::{
    Bucket, Cluster, Installation, Kind, NAMESPACE, Options, Shop, step, until, without_server_fields,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(90);
const LATER: Duration = Duration::from_secs(180);

#[test]
fn a_missing_bucket_makes_the_location_unavailable_and_a_backup_is_refused() -> Result<()> {
    let cluster = Cluster::connect()?;
    let options = Options {
        bucket: Some("no-such-bucket".to_owned()),
        ..Options::default()
    };
    unavailable(&cluster, "bad_bucket", &options, &["no-such-bucket"])
}

#[test]
fn wrong_credentials_make_the_location_unavailable_and_are_never_shown() -> Result<()> {
    let cluster = Cluster::connect()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("credentials");
    fs::write(
        &file,
        "[default]\naws_access_key_id=stranger\naws_secret_access_key=not-the-right-secret\n",
    )?;
    let options = Options {
        credentials_file: Some(file),
        ..Options::default()
    };
    unavailable(&cluster, "bad_credentials", &options, &[])?;
    let logs = cluster.kubectl(&["logs", "--namespace", NAMESPACE, "deployment/velero"])?;
    ensure!(
        !logs.contains("not-the-right-secret"),
        "the server's log shows the secret key"
    );
    Ok(())
}

#[test]
fn an_unknown_certificate_makes_the_location_unavailable() -> Result<()> {
    let cluster = Cluster::connect()?;
    let options = Options {
        ca_file: Some(None),
        ..Options::default()
    };
    unavailable(&cluster, "bad_certificate", &options, &["certificate"])
}

#[test]
fn without_a_snapshot_class_the_backup_fails_in_part_and_says_what_to_label() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "bad_class")?;
    let shop = Shop::named("shop").size("64Mi").create(&cluster)?;
    let class = cluster.facts().snapshot_class.clone();
    let kept = cluster.must_get(Kind::VOLUME_SNAPSHOT_CLASS, "", &class)?;
    cluster.delete(Kind::VOLUME_SNAPSHOT_CLASS, "", &class)?;
    let outcome = step("back up", || {
        create_backup(&cluster, "b1")?;
        ended(&cluster, "b1")
    });
    cluster.apply(&without_server_fields(kept).to_string())?;
    let backup = outcome?;
    ensure!(
        backup["status"]["phase"] == "PartiallyFailed",
        "the backup ended {}",
        backup["status"]
    );
    let told = told(&cluster, "b1")?;
    for word in [
        "data",
        &cluster.facts().driver,
        "velero.io/csi-volumesnapshot-class",
    ] {
        ensure!(told.contains(word), "neither describe nor the log names `{word}`");
    }
    installation.nothing_temporary_is_left(&cluster)?;
    shop.destroy(&cluster)
}

#[test]
fn a_wrong_repository_password_is_said_and_overwrites_nothing() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "bad_password")?;
    let shop = Shop::named("shop").size("64Mi").create(&cluster)?;
    step("a good backup", || {
        create_backup(&cluster, "good")?;
        let backup = ended(&cluster, "good")?;
        ensure!(
            backup["status"]["phase"] == "Completed",
            "the good backup ended {}",
            backup["status"]
        );
        Ok(())
    })?;
    let before = installation.bucket().object("kopia/shop/kopia.repository")?;
    let secret = json!({"stringData": {"repository-password": "another-password"}});
    cluster.merge(Kind::SECRET, NAMESPACE, "velero-repo-credentials", &secret)?;
    for repository in cluster.list(Kind::BACKUP_REPOSITORY, NAMESPACE, "")? {
        cluster.delete(
            Kind::BACKUP_REPOSITORY,
            NAMESPACE,
            repository["metadata"]["name"].as_str().unwrap_or_default(),
        )?;
    }
    create_backup(&cluster, "bad")?;
    let message = step("the repository is NotReady", || {
        until("a BackupRepository that is NotReady", SOON, || {
            let repositories = cluster.list(Kind::BACKUP_REPOSITORY, NAMESPACE, "")?;
            let not_ready = repositories
                .iter()
                .find(|one| one["status"]["phase"] == "NotReady");
            Ok(not_ready
                .map(|one| one["status"]["message"].as_str().unwrap_or_default().to_owned())
                .ok_or_else(|| format!("{repositories:?}")))
        })
    })?;
    ensure!(
        message.contains("password"),
        "the repository's message does not speak of the password: {message}"
    );
    ensure!(
        !message.contains("another-password"),
        "the message shows the password"
    );
    let after = installation.bucket().object("kopia/shop/kopia.repository")?;
    ensure!(before == after, "kopia.repository was overwritten");
    shop.destroy(&cluster)
}

#[test]
fn a_mover_that_never_starts_fails_with_the_schedulers_reason_and_leaves_nothing() -> Result<()> {
    let cluster = Cluster::connect()?;
    let installation = Installation::fresh(&cluster, "bad_schedule")?;
    let shop = Shop::named("shop").size("64Mi").create(&cluster)?;
    step("a prepare timeout of 20 s", || {
        cluster.kubectl(&[
            "patch", "daemonset", "node-agent", "--namespace", NAMESPACE, "--type=json", "--patch",
            r#"[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--data-mover-prepare-timeout=20s"}]"#,
        ])?;
        cluster.kubectl(&[
            "rollout",
            "status",
            "daemonset/node-agent",
            "--namespace",
            NAMESPACE,
            "--timeout=90s",
        ])
    })?;
    let nodes = cluster.kubectl(&["get", "nodes", "--output", "name"])?;
    let cordon = |verb: &str| {
        nodes
            .lines()
            .try_for_each(|node| cluster.kubectl(&[verb, node]).map(|_| ()))
    };
    cordon("cordon")?;
    let outcome = step("back up with no node to schedule to", || {
        create_backup(&cluster, "b1")?;
        ended(&cluster, "b1")
    });
    cordon("uncordon")?;
    let backup = outcome?;
    ensure!(
        backup["status"]["phase"] == "PartiallyFailed",
        "the backup ended {}",
        backup["status"]
    );
    let uploads = installation.data_uploads(&cluster, "b1")?;
    let upload = uploads.first().context("there is no DataUpload")?;
    ensure!(
        upload["status"]["phase"] == "Failed",
        "the DataUpload ended {}",
        upload["status"]
    );
    let message = upload["status"]["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("unschedulable"),
        "the DataUpload's message lacks the scheduler's reason: {message}"
    );
    step("nothing temporary is left", || {
        installation.nothing_temporary_is_left(&cluster)
    })?;
    shop.destroy(&cluster)
}

#[test]
fn two_installs_on_one_bucket_at_once_make_one_repository_and_lose_nothing() -> Result<()> {
    const SECOND: &str = "velero-two";
    let cluster = Cluster::connect()?;
    Installation::remove_from(&cluster, SECOND)?;
    let installation = Installation::fresh(&cluster, "two_installs")?;
    let more = Options {
        more: vec!["--namespace".to_owned(), SECOND.to_owned()],
        ..Options::default()
    };
    let said = step("a second install on the same bucket", || {
        installation.install(&cluster, &more)
    })?;
    ensure!(
        said.succeeded(),
        "the second install ended with {}: {}",
        said.code,
        said.both()
    );
    cluster.wait_for_phase(
        Kind::BACKUP_STORAGE_LOCATION,
        SECOND,
        "default",
        &["Available"],
        SOON,
    )?;
    let shop = Shop::named("shop").size("64Mi").create(&cluster)?;
    shop.run(&cluster, "echo kept > file; sync")?;
    let before = shop.tree(&cluster)?;
    step("both back up at once", || {
        create_backup(&cluster, "one")?;
        let words = [
            "backup",
            "create",
            "two",
            "--include-namespaces",
            "shop",
            "--snapshot-move-data",
        ];
        cluster.velero_ok(&[&["--namespace", SECOND], &words[..]].concat())?;
        for (namespace, name) in [(NAMESPACE, "one"), (SECOND, "two")] {
            cluster.wait_for_phase(Kind::BACKUP, namespace, name, &["Completed"], LATER)?;
        }
        Ok(())
    })?;
    let repositories = |bucket: &Bucket| -> Result<usize> {
        Ok(bucket
            .objects()?
            .iter()
            .filter(|(key, _)| key.ends_with("/kopia.repository"))
            .count())
    };
    ensure!(
        repositories(installation.bucket())? == 1,
        "there is not exactly one repository in the bucket"
    );
    Installation::remove_from(&cluster, SECOND)?;
    shop.destroy(&cluster)?;
    cluster.velero_ok(&["restore", "create", "r1", "--from-backup", "one", "--wait"])?;
    before.must_equal(&shop.tree(&cluster)?, caravel_e2e::scenario::Unlike::Nothing)?;
    shop.destroy(&cluster)
}

/// Installs, waits for the location to be Unavailable with a reason that has these words, and sees a backup refused with it.
fn unavailable(cluster: &Cluster, scenario: &str, options: &Options, words: &[&str]) -> Result<()> {
    let _installation = Installation::with(cluster, scenario, options)?;
    let location = step("the location is Unavailable", || {
        cluster.wait_for_phase(
            Kind::BACKUP_STORAGE_LOCATION,
            NAMESPACE,
            "default",
            &["Unavailable"],
            SOON,
        )
    })?;
    let reason = location["status"]["message"].as_str().unwrap_or_default();
    println!("   reason: {reason}");
    ensure!(!reason.is_empty(), "the location has no reason");
    for word in words {
        ensure!(
            reason.contains(word),
            "the reason does not say `{word}`: {reason}"
        );
    }
    step("a backup is refused with it", || {
        let said = cluster.velero(&[
            "backup",
            "create",
            "refused",
            "--include-namespaces",
            "default",
            "--wait",
        ])?;
        let backup = cluster.get(Kind::BACKUP, NAMESPACE, "refused")?;
        let errors = backup.map(|backup| {
            ensure!(
                backup["status"]["phase"] == "FailedValidation",
                "the backup is {}",
                backup["status"]
            );
            Ok(backup["status"]["validationErrors"].to_string())
        });
        let told = format!("{}{}", said.both(), errors.transpose()?.unwrap_or_default());
        let begin = reason.split(['"', '\'', ':']).next().unwrap_or_default();
        ensure!(
            told.contains("Unavailable") || told.contains(begin),
            "the refusal does not give the reason: {told}"
        );
        Ok(())
    })
}

fn create_backup(cluster: &Cluster, name: &str) -> Result<()> {
    cluster
        .velero_ok(&[
            "backup",
            "create",
            name,
            "--include-namespaces",
            "shop",
            "--snapshot-move-data",
        ])
        .map(|_| ())
}

fn ended(cluster: &Cluster, name: &str) -> Result<Value> {
    let phases = ["Completed", "PartiallyFailed", "Failed", "FailedValidation"];
    cluster.wait_for_phase(Kind::BACKUP, NAMESPACE, name, &phases, LATER)
}

/// All that the user is told of a backup.
fn told(cluster: &Cluster, name: &str) -> Result<String> {
    let described = cluster.velero_ok(&["backup", "describe", name, "--details"])?;
    let logs = cluster.velero_ok(&["backup", "logs", name])?;
    Ok(format!("{described}{logs}"))
}
