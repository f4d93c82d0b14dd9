//! The command line as a whole: what parses, what is refused and how, and the tables.

use clap::{CommandFactory, Parser};
use serde_json::json;

use super::listing::Listing;
use super::{Cli, backup, not_yet, restore};

fn refusal(line: &str) -> (Option<String>, i32) {
    let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let error = Cli::try_parse_from(&args).expect_err(line);
    (not_yet::explain(&args, &error), error.exit_code())
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_session_of_the_documentation_parses() {
    for line in [
        "velero install --provider aws --plugins velero/velero-plugin-for-aws:v1.14.3 --bucket backups --secret-file ./credentials --backup-location-config region=us-east-1,s3ForcePathStyle=true,s3Url=https://n:7070 --cacert ./ca.crt --use-node-agent --features=EnableCSI --image x --wait",
        "velero install --use-volume-snapshots=false --no-secret --dry-run -o yaml",
        "velero install --provider aws --bucket b --no-secret --generate-repo-password",
        "velero install --provider aws --bucket b --no-secret --repo-password-file ./password",
        "velero repo export-password",
        "velero repo export-password --next",
        "velero repo change-password --generate-repo-password --confirm --timeout 10m",
        "velero repo change-password --repo-password-file ./password --wait=false",
        "velero repo change-password",
        "velero repo check shop-default-kopia",
        "velero repo check shop-default-kopia --read-percent 2.5 --timeout 2h",
        "velero repo describe",
        "velero repo describe shop-default-kopia bank-default-kopia",
        "velero repo maintain shop-default-kopia --full --timeout 1h",
        "velero repo maintain shop-default-kopia --wait=false",
        "velero backup create b1 --include-namespaces shop --snapshot-move-data --wait",
        "velero backup create b1 --snapshot-move-data=false --snapshot-volumes=false -w -n other",
        "velero -n other backup create b1 --include-namespaces a --include-namespaces b,c --ttl 24h0m0s -l app=x",
        "velero restore create r1 --from-backup b1 --wait",
        "velero restore create --from-backup b1",
        "velero backup describe b1 --details",
        "velero backup logs b1",
        "velero backup get",
        "velero backup get -o json",
        "velero restore get",
        "velero restore describe r1",
        "velero restore logs r1 --timeout 5m",
        "velero version --client-only",
        "velero kopia repository connect s3 --bucket backups --prefix dr --velero-namespace shop",
        "velero kopia snapshot restore 0123456789abcdef0123456789abcdef/folder/file ./file",
        // pflag: the last one wins.
        "velero backup create b1 --ttl 1h --ttl 2h",
    ] {
        Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

/// The commands of both founding documents, of the server and the node agent too (docs/coverage.md).
#[test]
fn what_the_documents_on_csi_snapshots_and_data_movement_tell_to_type_parses() {
    let install = "velero install --provider aws --bucket b --no-secret";
    for line in [
        format!(
            "{install} --features=EnableCSI --plugins=velero/velero-plugin-for-aws:v1.4.0,velero/velero-plugin-for-csi:v0.1.0"
        ),
        format!("{install} --use-node-agent --privileged-node-agent"),
        "velero client config set features=EnableCSI".into(),
        "velero backup create b1 --snapshot-move-data".into(),
        "velero backup create b1 --snapshot-move-data --data-mover mine".into(),
        "velero backup create b1 --snapshot-move-data --item-operation-timeout 1h".into(),
        "velero backup describe b1".into(),
        "velero backup logs b1".into(),
        "velero restore create --from-backup b1".into(),
        "velero restore create --from-backup b1 --include-cluster-resources".into(),
        "velero restore create --from-backup b1 --item-operation-timeout 1h".into(),
        "velero restore describe r1".into(),
        "velero restore logs r1".into(),
        "velero repo get".into(),
        "velero repo get shop-default-kopia -o yaml".into(),
        "velero server --features=EnableCSI --item-operation-sync-frequency 10s --log-level=debug".into(),
        "velero node-agent server --data-mover-prepare-timeout 1h --log-level=debug".into(),
    ] {
        Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn server_and_node_agent_wait_as_long_as_veleros_unless_told_otherwise() {
    let said = |line: &str| format!("{:?}", Cli::try_parse_from(line.split(' ')).unwrap());
    let of = |text: &str| format!("{:?}", text.parse::<caravel_api::Duration>().unwrap());
    let server = said("velero server");
    // 0 stands for 10 s, as with Velero.
    assert!(
        server.contains(&format!("item_operation_sync_frequency: {}", of("0s"))),
        "{server}"
    );
    assert!(
        server.contains(&format!("default_item_operation_timeout: {}", of("4h"))),
        "{server}"
    );
    let agent = said("velero node-agent server");
    assert!(
        agent.contains(&format!("data_mover_prepare_timeout: {}", of("30m"))),
        "{agent}"
    );
}

#[test]
fn the_objects_of_snapshots_are_removed_unless_the_server_is_told_to_keep_them() {
    let said = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| format!("{cli:?}"));
    for (line, objects) in [
        ("velero server", "Remove"),
        ("velero server --csi-snapshot-objects=remove", "Remove"),
        ("velero server --csi-snapshot-objects=keep", "Keep"),
    ] {
        let said = said(line).unwrap();
        assert!(
            said.contains(&format!("csi_snapshot_objects: {objects}")),
            "{said}"
        );
    }
    assert!(said("velero server --csi-snapshot-objects=some").is_err());
}

#[test]
fn verbs_and_flags_of_velero_that_are_missing_are_refused_as_such() {
    for (line, expected) in [
        (
            "velero -n x completion bash",
            "velero completion: this version does not have this command yet",
        ),
        (
            "velero backup describe -o json",
            "velero backup describe: this version does not have the flag -o yet",
        ),
        (
            "velero backup create b1 --default-volumes-to-fs-backup=true",
            "velero backup create: this version does not have the flag --default-volumes-to-fs-backup yet",
        ),
        (
            "velero restore create --show-labels",
            "velero restore create: this version does not have the flag --show-labels yet",
        ),
        (
            "velero install --use-node-agent-windows",
            "velero install: this version does not have the flag --use-node-agent-windows yet",
        ),
        (
            "velero backup get --log_dir x",
            "velero backup get: this version does not have the flag --log_dir yet",
        ),
    ] {
        let (text, code) = refusal(line);
        assert_eq!(text.as_deref(), Some(expected), "{line}");
        assert_eq!(code, 2, "{line}");
    }
}

#[test]
fn the_verb_may_stand_before_the_noun_and_either_may_be_plural_as_in_velero() {
    for line in [
        "velero get backups",
        "velero get backup b1",
        "velero get restores",
        "velero get schedules",
        "velero get backup-locations",
        "velero describe schedule s1",
        "velero describe restores",
        "velero delete backup b1 --confirm",
        "velero delete restores --all",
        "velero delete backup-location dr -l a=b",
        "velero create backup b1 --from-schedule daily",
        "velero create backup --from-schedule daily",
        "velero create schedule daily --schedule @daily",
        "velero create restore --from-backup b1",
        "velero create backup-location dr --provider aws --bucket b",
        "velero schedule pause --all",
        "velero schedule unpause s1 --skip-immediately",
        "velero backup cancel b1 b2",
        "velero restore cancel r1",
        "velero backup download b1 --force -o b1.tar.gz",
        "velero backup-location set dr --default",
        "velero backup get -l a=b --show-labels -L team,velero.io/schedule-name",
        "velero repo get shop-default-kopia -o yaml",
        "velero snapshot-location create east --provider aws --config region=us-east-1",
        "velero create snapshot-location east --provider aws",
        "velero -n x snapshot-location get",
        "velero get snapshot-locations",
        "velero snapshot-location set east --credential cloud=key",
        "velero plugin get --timeout 1m",
        "velero get plugins -o json",
        "velero plugin add velero/velero-plugin-for-aws:v1.14.3 --confirm",
        "velero client config set namespace=dr colorized=false",
        "velero client config get",
        "velero uninstall --force --wait",
        "velero debug --backup b1 --restore r1 --output bundle.tar.gz --verbose",
    ] {
        Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn what_nobody_has_is_plainly_unknown() {
    for line in [
        "velero bakup",
        "velero backup create b1 --colour",
        "velero backup create b1 --snapshot-move-data=perhaps",
        "velero backup create b1 --ttl 5",
    ] {
        let (text, code) = refusal(line);
        assert_eq!((text, code), (None, 2), "{line}");
    }
}

#[test]
fn the_backup_table_is_veleros() {
    let backup = |name: &str, phase: &str, location: &str| {
        serde_json::from_value(json!({
            "metadata": {"name": name}, "spec": {"storageLocation": location},
            "status": {"phase": phase, "startTimestamp": "2026-11-21T03:29:56Z", "expiration": "2026-12-21T03:29:56Z"},
        }))
        .unwrap()
    };
    let now = "2026-11-21T04:00:00Z".parse().unwrap();
    assert_eq!(
        backup::table(
            &Listing::default(),
            &[
                backup("b1", "Completed", "default"),
                backup("fix1", "Completed", "fix")
            ],
            now
        ),
        "NAME   STATUS      ERRORS   WARNINGS   CREATED                         EXPIRES   STORAGE LOCATION   QUEUE POSITION   SELECTOR\n\
         b1     Completed   0        0          2026-11-21 03:29:56 +0000 UTC   29d       default                             <none>\n\
         fix1   Completed   0        0          2026-11-21 03:29:56 +0000 UTC   29d       fix                                 <none>\n"
    );
    assert_eq!(backup::table(&Listing::default(), &[], now), "No backups found\n");
}

#[test]
fn the_restore_table_is_veleros() {
    let restore = serde_json::from_value(json!({
        "metadata": {"name": "b1-r", "creationTimestamp": "2026-11-21T03:30:57Z"}, "spec": {"backupName": "b1"},
        "status": {"phase": "Completed", "startTimestamp": "2026-11-21T03:30:57Z", "completionTimestamp": "2026-11-21T03:31:23Z", "warnings": 1},
    }))
    .unwrap();
    assert_eq!(
        restore::table(&Listing::default(), &[restore]),
        "NAME   BACKUP   STATUS      STARTED                         COMPLETED                       ERRORS   WARNINGS   CREATED                         SELECTOR\n\
         b1-r   b1       Completed   2026-11-21 03:30:57 +0000 UTC   2026-11-21 03:31:23 +0000 UTC   0        1          2026-11-21 03:30:57 +0000 UTC   <none>\n"
    );
}

#[test]
fn schedules_backups_are_newest_first_under_one_name() {
    let mut backups: Vec<caravel_api::v1::Backup> =
        ["z", "daily-20260101000000", "daily-20260201000000", "a"]
            .map(|name| caravel_api::v1::Backup::new(name, caravel_api::v1::BackupSpec::default()))
            .into();
    backup::sort(&mut backups);
    let names: Vec<_> = backups
        .iter()
        .map(|backup| backup.metadata.name.clone().unwrap())
        .collect();
    assert_eq!(names, ["a", "daily-20260201000000", "daily-20260101000000", "z"]);
}
