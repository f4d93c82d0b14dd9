//! Table tests of [`super::decide`].

use std::sync::Arc;

use caravel_api::Duration;
use caravel_api::v1::{Backup, Restore};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::decide::{Decision, Observed, decide, deletion_met, latest};
use super::{Context, Key, Reconciler as _, RestoreController, Settings};

/// A Restore that would run; cases merge-patch one thing.
fn observed(patch: Value) -> Observed {
    let mut world = json!({
        "restore": {"apiVersion": "velero.io/v1", "kind": "Restore", "metadata": {"name": "r1", "namespace": "velero"},
            "spec": {"backupName": "b1", "hooks": {}, "includedNamespaces": ["*"]}},
        "backup": {"apiVersion": "velero.io/v1", "kind": "Backup", "metadata": {"name": "b1"},
            "spec": {"storageLocation": "default"}, "status": {"phase": "Completed"}},
        "location": {"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation", "metadata": {"name": "default"},
            "spec": {"provider": "aws", "objectStorage": {"bucket": "b"}}, "status": {"phase": "Available"}},
    });
    merge(&mut world, &patch);
    Observed {
        restore: serde_json::from_value(world["restore"].clone()).unwrap(),
        backup: serde_json::from_value(world["backup"].clone()).unwrap(),
        location: serde_json::from_value(world["location"].clone()).unwrap(),
        policies: world["policies"].as_str().map(|why| Err(why.to_owned())),
        modifiers: world["modifiers"].as_str().map(|why| Err(why.to_owned())),
    }
}

#[test]
fn policies_that_cannot_be_used_refuse_the_restore() {
    let broken = observed(json!({"policies": "invalid restore resource policies: no"}));
    let decision = decide(&broken, Duration::from_hours(4));
    let refused = Decision::Refuse(vec!["invalid restore resource policies: no".to_owned()]);
    assert_eq!(decision, refused);
    let left = observed(json!({"policies": "no", "restore": {"status": {"phase": "InProgress"}}}));
    let decision = decide(&left, Duration::from_hours(4));
    assert!(
        matches!(&decision, Decision::GiveUp { reason } if reason.contains(": no;")),
        "{decision:?}"
    );
}

#[test]
fn a_restore_that_is_canceled_before_it_began_does_not_begin() {
    let by_alice = json!({"restore": {"metadata": {"annotations": {"velero.io/cancel": "alice"}}}});
    assert_eq!(decision(by_alice), Decision::Cancel("alice".to_owned()));
}

#[test]
fn a_restore_of_a_schedule_takes_its_completed_backup_that_started_last() {
    let backup = |name: &str, phase: &str, hour: u8| {
        let value = json!({"metadata": {"name": name}, "spec": {},
            "status": {"phase": phase, "startTimestamp": format!("2026-01-01T{hour:02}:00:00Z")}});
        serde_json::from_value(value).unwrap()
    };
    let backups = [
        backup("old", "Completed", 1),
        backup("new", "Completed", 2),
        backup("partial", "PartiallyFailed", 3),
        backup("running", "InProgress", 4),
    ];
    assert_eq!(latest(&backups).unwrap().metadata.name.as_deref(), Some("new"));
    assert!(latest(&backups[2..]).is_none());
    let Decision::Run(start) =
        decision(json!({"restore": {"spec": {"backupName": "", "scheduleName": "daily"}}}))
    else {
        panic!("runs");
    };
    assert_eq!(start.backup_name, "b1");
}

fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

fn decision(patch: Value) -> Decision {
    decide(&observed(patch), Duration::from_hours(4))
}

#[test]
fn a_valid_restore_runs_with_veleros_defaults_written_into_it() {
    let Decision::Run(start) =
        decision(json!({"backup": {"metadata": {"labels": {"velero.io/schedule-name": "daily"}}}}))
    else {
        panic!("runs");
    };
    // As in samples/objects/restore-b1-r.yaml.
    assert_eq!(
        start.excluded_resources,
        [
            "nodes",
            "events",
            "events.events.k8s.io",
            "backups.velero.io",
            "restores.velero.io",
            "resticrepositories.velero.io",
            "csinodes.storage.k8s.io",
            "volumeattachments.storage.k8s.io",
            "backuprepositories.velero.io",
        ]
    );
    assert_eq!(start.item_operation_timeout.to_string(), "4h0m0s");
    assert_eq!(start.schedule_name.as_deref(), Some("daily"));
}

#[test]
fn what_cannot_be_done_is_refused_and_said_never_ignored() {
    for (patch, words) in [
        (
            json!({"restore": {"spec": {"backupName": ""}}}),
            "Either a backup or schedule",
        ),
        (
            json!({"restore": {"spec": {"scheduleName": "s"}}}),
            "but not both",
        ),
        (
            json!({"restore": {"spec": {"backupName": "", "scheduleName": "s"}}, "backup": null}),
            "No completed backups found for schedule s",
        ),
        (
            json!({"restore": {"spec": {"includedResources": ["nodes"]}}}),
            "nodes are non-restorable",
        ),
        (
            json!({"restore": {"spec": {"includedNamespaces": ["*", "a"]}}}),
            "namespace lists",
        ),
        (
            json!({"restore": {"spec": {"excludedResources": ["*"]}}}),
            "resource lists",
        ),
        (
            json!({"restore": {"spec": {"existingResourcePolicy": "overwrite"}}}),
            "Invalid ExistingResourcePolicy",
        ),
        (
            json!({"restore": {"spec": {"hooks": {"resources": [{"name": "h", "postHooks": [{"init": {"initContainers": [{"name": "a"}]}}]}]}}}}),
            "command, image is missing",
        ),
        (
            json!({"modifiers": "ConfigMap m does not exist"}),
            "ConfigMap m does not exist",
        ),
        (
            json!({"restore": {"spec": {"restoreStatus": {"includedResources": ["pods"], "excludedResources": ["pods"]}}}}),
            "restore status resource",
        ),
        (
            json!({"restore": {"spec": {"labelSelector": {"matchLabels": {"a": "b"}}, "orLabelSelectors": [{}]}}}),
            "only one can be specified",
        ),
        (json!({"backup": null}), "\"b1\" not found"),
        (
            json!({"backup": {"status": {"phase": "InProgress"}}}),
            "backup \"b1\" is InProgress",
        ),
        (
            json!({"backup": {"status": {"phase": "Failed"}}}),
            "backup \"b1\" is Failed",
        ),
        (
            json!({"backup": {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}}),
            "can be restored",
        ),
        (
            json!({"location": null}),
            "BackupStorageLocation \"default\" of backup \"b1\" does not exist",
        ),
        (
            json!({"location": {"status": {"phase": "Unavailable", "message": "bucket backups does not exist"}}}),
            "bucket backups does not exist",
        ),
        (json!({"location": {"status": null}}), "not validated yet"),
    ] {
        match decision(patch.clone()) {
            Decision::Refuse(reasons) => {
                assert!(
                    reasons.iter().any(|reason| reason.contains(words)),
                    "{patch}: {reasons:?}"
                );
            }
            other => panic!("{patch}: {other:?}"),
        }
    }
}

#[test]
fn every_reason_is_given_at_once() {
    let Decision::Refuse(reasons) =
        decision(json!({"restore": {"spec": {"existingResourcePolicy": "other"}}, "modifiers": "none"}))
    else {
        panic!("refused");
    };
    assert_eq!(reasons.len(), 2, "{reasons:?}");
}

#[test]
fn a_partially_failed_backup_can_be_restored() {
    assert!(matches!(
        decision(json!({"backup": {"status": {"phase": "PartiallyFailed"}}})),
        Decision::Run(_)
    ));
}

#[test]
fn only_new_restores_are_started_and_one_that_its_server_left_begins_again() {
    for (phase, wanted) in [
        ("InProgress", Decision::Again { attempt: 2 }),
        ("WaitingForPluginOperations", Decision::Nothing),
        ("Finalizing", Decision::Nothing),
        ("Completed", Decision::Nothing),
        ("PartiallyFailed", Decision::Nothing),
        ("Failed", Decision::Nothing),
        ("FailedValidation", Decision::Nothing),
        ("SomethingNewer", Decision::Nothing),
    ] {
        assert_eq!(
            decision(json!({"restore": {"status": {"phase": phase}}})),
            wanted,
            "{phase}"
        );
    }
}

#[test]
fn a_restore_whose_backup_is_being_deleted_since_the_moment_in_which_it_began_does_not_run() {
    let backup = |uid: &str, phase: &str| -> Backup {
        let value = json!({"metadata": {"name": "b1", "uid": uid}, "spec": {}, "status": {"phase": phase}});
        serde_json::from_value(value).unwrap()
    };
    let was = backup("first", "Completed");
    assert_eq!(deletion_met(&was, Some(&was)), None);
    let why = deletion_met(&was, Some(&backup("first", "Deleting"))).unwrap();
    assert!(
        why.contains("\"b1\" is Deleting") && why.contains("nothing was restored"),
        "{why}"
    );
    let mut going = was.clone();
    going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    assert!(deletion_met(&was, Some(&going)).is_some());
    // Gone; and gone, and brought back by the sync controller of another cluster's.
    for now in [None, Some(&backup("second", "Completed"))] {
        let why = deletion_met(&was, now).unwrap();
        assert!(why.contains("was deleted in the moment"), "{why}");
    }
}

/// A Restore that its server has left, with one more thing.
fn left(patch: Value) -> Decision {
    let mut world = json!({"restore": {"status": {"phase": "InProgress"}}});
    merge(&mut world, &patch);
    decision(world)
}

#[test]
fn a_restore_that_cannot_begin_again_has_failed_with_the_reason() {
    for (patch, words) in [
        (
            json!({"restore": {"metadata": {"annotations": {"velero.io/attempt": "3"}}}}),
            "3 times",
        ),
        (json!({"backup": null}), "not found"),
        (
            json!({"location": {"status": {"phase": "Unavailable", "message": "bucket is gone"}}}),
            "bucket is gone",
        ),
        (json!({"modifiers": "ConfigMap m does not exist"}), "ConfigMap m"),
    ] {
        match left(patch.clone()) {
            Decision::GiveUp { reason } => assert!(reason.contains(words), "{patch}: {reason}"),
            other => panic!("{patch}: {other:?}"),
        }
    }
}

#[test]
fn a_restore_that_its_server_left_and_somebody_canceled_does_not_begin_again() {
    let by_alice = json!({"restore": {"metadata": {"annotations": {"velero.io/cancel": "alice"}}}});
    assert_eq!(left(by_alice), Decision::Cancel("alice".to_owned()));
}

#[test]
fn a_deleted_restore_loses_the_finalizer_that_velero_gave_it_and_never_starts() {
    let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    assert_eq!(
        decision(json!({"restore": {"metadata": deleted}})),
        Decision::Nothing
    );
    let mut with_finalizer = deleted;
    with_finalizer["finalizers"] = json!(["restores.velero.io/external-resources-finalizer"]);
    assert_eq!(
        decision(json!({"restore": {"metadata": with_finalizer}})),
        Decision::ForgetFinalizer
    );
}

#[test]
fn the_sample_of_a_real_velero_restore_is_understood() {
    let restore: Restore = serde_json::from_value(json!({
        "apiVersion": "velero.io/v1", "kind": "Restore", "metadata": {"name": "b1-r"},
        "spec": {"backupName": "b1", "hooks": {}, "uploaderConfig": {}, "includedNamespaces": ["*"], "itemOperationTimeout": "4h0m0s"},
    }))
    .unwrap();
    let mut observed = observed(json!({}));
    observed.restore = restore;
    assert!(matches!(
        decide(&observed, Duration::from_hours(4)),
        Decision::Run(_)
    ));
}

#[test]
fn a_restore_that_is_gone_is_left_as_in_velero() {
    caravel_cases::each_async("pkg_controller/TestProcessQueueItemSkips.json", async |case| {
        let word = |field: &str| case.input(field).as_str().unwrap_or_default().to_owned();
        let client = caravel_cases::api::client(|_| caravel_cases::api::failure(404, "NotFound"));
        let controller = RestoreController {
            context: Context::new(client, word("namespace"), Default::default()),
            settings: Arc::new(Settings::new(std::env::temp_dir())),
            shutdown: CancellationToken::new(),
        };
        let key = Key::new(word("namespace"), word("restoreName"));
        let done = controller.reconcile(&key).await;
        caravel_cases::same(&done.is_err(), &(case.want("expectError") == true))
    });
}
