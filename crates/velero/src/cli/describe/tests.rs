//! Our texts against Velero's own for the same objects (shared/samples), and what Velero does not say.

use std::path::PathBuf;

use caravel_api::v1::{Backup, BackupPhase, Restore};
use caravel_api::v2alpha1::{DataUpload, DataUploadSpec};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::artifacts::{Files, Findings, Read, Results};
use super::{backup, restore, stuck};

fn sample(path: &str) -> Option<String> {
    // Asked of cargo at run time: checkouts share one target folder, so the path that was compiled in may be another's.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let folder = std::env::var_os("CARAVEL_SAMPLES").map_or_else(
        || PathBuf::from(package).join("../../../shared/samples"),
        PathBuf::from,
    );
    let text = std::fs::read_to_string(folder.join(path)).ok();
    assert!(
        text.is_some() || std::env::var("CI").is_err(),
        "{path} is missing"
    );
    text
}

fn read<T: DeserializeOwned>(path: &str) -> Read<T> {
    sample(path).map_or(Read::Absent, |text| {
        Read::Got(serde_json::from_str(&text).unwrap())
    })
}

/// Backup fix1 of the samples.
fn fix1() -> Option<backup::Described> {
    Some(backup::Described {
        backup: serde_saphyr::from_str(&sample("objects/backup-fix1.yaml")?).unwrap(),
        files: Files {
            results: read("bucket/fix1/fix1-results"),
            operations: read("bucket/fix1/fix1-itemoperations.json"),
            resource_list: read("bucket/fix1/fix1-resource-list.json"),
            volumes: read("bucket/fix1/fix1-volumeinfo.json"),
        },
        waits_for: Vec::new(),
    })
}

#[test]
fn backup_describe_equals_veleros() {
    let Some(described) = fix1() else { return };
    for (details, file) in [
        (false, "cli/backup-describe.txt"),
        (true, "cli/backup-describe-details.txt"),
    ] {
        let theirs = sample(file).unwrap();
        assert_eq!(
            backup::text(&described, details, true).trim_end(),
            theirs.trim_end(),
            "{file}"
        );
    }
}

#[test]
fn a_left_out_fifo_is_seen_in_details_of_a_completed_backup() {
    let described = backup::Described {
        backup: object(
            json!({"metadata": {"name": "b1", "namespace": "velero"}, "spec": {}, "status": {"phase": "Completed", "warnings": 1}}),
        ),
        files: Files {
            results: Read::Got(Results {
                warnings: Findings {
                    namespaces: [(
                        "shop".to_owned(),
                        vec!["PVC data: left out: pipe (fifo)".to_owned()],
                    )]
                    .into(),
                    ..Findings::default()
                },
                ..Results::default()
            }),
            operations: Read::Absent,
            resource_list: Read::Absent,
            volumes: Read::Got(Vec::new()),
        },
        waits_for: Vec::new(),
    };
    let text = backup::text(&described, true, false);
    assert!(text.contains("Phase:  Completed\n\n"), "{text}");
    assert!(text.contains("Warnings:\n  Velero:     <none>\n  Cluster:    <none>\n  Namespaces:\n    shop:  PVC data: left out: pipe (fifo)\n"), "{text}");
    assert!(backup::text(&described, false, false).contains("Errors:    0\nWarnings:  1\n"));
}

#[test]
fn restore_describe_equals_veleros() {
    let (Some(object), Some(theirs)) = (
        sample("objects/restore-b1-r.yaml"),
        sample("cli/restore-describe-details.txt"),
    ) else {
        return;
    };
    let restore: Restore = serde_saphyr::from_str(&object).unwrap();
    // The restore's files are not among the samples; their content follows from the text.
    let uid = "be485ecd-06f2-4c49-9d11-131fad20237a";
    let ids = [
        ("data-app-0", "626126c7-7e82-45b67ee0b"),
        ("data-app-1", "692b5c00-9ef7-4ddc6afc6"),
    ]
    .map(|(pvc, tail)| (pvc, format!("dd-{uid}.{tail}")));
    let times = [
        ("03:30:57", "03:30:59", "03:31:07"),
        ("03:30:58", "03:31:10", "03:31:17"),
    ]
    .map(|(a, b, c)| [a, b, c].map(|at| format!("2026-11-21T{at}Z")));
    let volumes: Vec<_> = ids
        .iter()
        .map(|(pvc, id)| json!({"pvcNamespace": "shop", "pvcName": pvc, "restoreMethod": "CSISnapshot", "snapshotDataMoved": true,
            "snapshotDataMovementInfo": {"dataMover": "velero", "uploaderType": "kopia", "operationID": id}}))
        .collect();
    let operations: Vec<_> = ids
        .iter()
        .zip(&times)
        .map(|((pvc, id), times)| json!({
            "spec": {"restoreItemAction": "velero.io/csi-pvc-restorer", "operationID": id, "resourceIdentifier": {"Group": "", "Resource": "persistentvolumeclaims", "Namespace": "shop", "Name": pvc}},
            "status": {"phase": "Completed", "nCompleted": 52428800, "nTotal": 52428800, "operationUnits": "Bytes", "description": "Completed", "created": times[0], "started": times[1], "updated": times[2]},
        }))
        .collect();
    let warning = "could not restore, ConfigMap:kube-root-ca.crt already exists. Warning: the in-cluster version is different than the backed-up version";
    let list = theirs.split_once("Resource List:\n").unwrap().1;
    let mut resources = std::collections::BTreeMap::<String, Vec<String>>::new();
    for line in list.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("    - ") {
            Some(item) => resources.last_entry().unwrap().get_mut().push(item.to_owned()),
            None => drop(resources.insert(line.trim().trim_end_matches(':').to_owned(), Vec::new())),
        }
    }
    let described = restore::Described {
        restore,
        files: Files {
            results: Read::Got(
                serde_json::from_value(
                    json!({"errors": {}, "warnings": {"namespaces": {"shop": [warning]}}}),
                )
                .unwrap(),
            ),
            operations: Read::Got(serde_json::from_value(operations.into()).unwrap()),
            resource_list: Read::Got(resources),
            volumes: Read::Got(serde_json::from_value(volumes.into()).unwrap()),
        },
        waits_for: Vec::new(),
    };
    assert_eq!(
        restore::text(&described, true, true).trim_end(),
        theirs.trim_end()
    );
}

#[test]
fn a_refused_backup_says_why() {
    let described = backup::Described {
        backup: object(
            json!({"metadata": {"name": "b1"}, "spec": {}, "status": {"phase": "FailedValidation", "validationErrors": ["no class", "no location"]}}),
        ),
        files: Files::default(),
        waits_for: Vec::new(),
    };
    let text = backup::text(&described, false, false);
    assert!(
        text.contains(
            "Phase:  FailedValidation\n\nValidation errors:  no class\n                    no location\n"
        ),
        "{text}"
    );
}

#[test]
fn a_waiting_data_upload_is_explained_with_the_command_that_shows_more() {
    let mut upload = DataUpload::new("b1-x", DataUploadSpec::default());
    upload.metadata.namespace = Some("velero".into());
    upload.status = serde_json::from_value(json!({"phase": "Accepted", "acceptedByNode": "n1"})).unwrap();
    let sentences = stuck::backup(
        &BackupPhase::WaitingForPluginOperations,
        None,
        "velero",
        &[(&upload).into()],
        jiff::Timestamp::UNIX_EPOCH,
    );
    assert_eq!(
        sentences,
        [
            "DataUpload velero/b1-x was accepted by node n1 and waits for its pod to start (kubectl -n velero describe pod b1-x)"
        ]
    );
}

#[test]
fn a_backup_that_no_server_looks_at_is_explained() {
    let created =
        k8s_openapi::apimachinery::pkg::apis::meta::v1::Time("2026-11-21T00:00:00Z".parse().unwrap());
    let at = |time: &str| {
        stuck::backup(
            &BackupPhase::New,
            Some(&created),
            "velero",
            &[],
            time.parse().unwrap(),
        )
    };
    assert_eq!(at("2026-11-21T00:00:10Z"), Vec::<String>::new());
    assert!(at("2026-11-21T00:02:00Z")[0].contains("kubectl -n velero get deployment velero"));
}

fn object(value: serde_json::Value) -> Backup {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_schedule_is_described_as_by_velero() {
    let schedule = serde_json::from_value(json!({
        "metadata": {"name": "s1", "namespace": "velero"},
        "spec": {"schedule": "@every 24h", "paused": true, "template": {"includedNamespaces": ["*"]}},
    }))
    .unwrap();
    let Some(wanted) = sample("cli/schedule-describe.txt") else {
        return;
    };
    assert_eq!(
        super::schedule::text(&schedule, true).trim_end(),
        wanted.trim_end()
    );
}

#[test]
fn a_schedule_that_is_refused_says_why_and_when_it_ran() {
    let schedule = serde_json::from_value(json!({
        "metadata": {"name": "s1", "namespace": "velero"},
        "spec": {"schedule": "often", "template": {}},
        "status": {"phase": "FailedValidation", "validationErrors": ["invalid schedule: often"],
            "lastBackup": "2026-11-21T03:00:00Z"},
    }))
    .unwrap();
    let text = super::schedule::text(&schedule, false);
    assert!(
        text.contains("Phase:  FailedValidation\n\nValidation errors:  invalid schedule: often"),
        "{text}"
    );
    assert!(
        text.contains("Last Backup:  2026-11-21 03:00:00 +0000 UTC"),
        "{text}"
    );
}
