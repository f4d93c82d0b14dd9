//! Velero's tables of schedules, and what they do not say.

use caravel_api::v1::{Backup, Schedule, SchedulePhase};
use caravel_cases::{Case, each, same};
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::{Value, json};

use super::cron::Cron;
use super::decide::{Observed, backup_of, decide, next_run};

/// `2017-01-01 12:00:00`, or nothing.
fn time(value: &Value) -> Option<Timestamp> {
    let text = value.as_str().filter(|text| !text.is_empty())?;
    let civil: DateTime = text.parse().unwrap();
    Some(civil.in_tz("UTC").unwrap().timestamp())
}

fn schedule(value: &Value) -> Schedule {
    let mut value = value.clone();
    if value["metadata"]["creationTimestamp"].is_null() {
        value["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("creationTimestamp");
    }
    serde_json::from_value(value).unwrap()
}

fn reconciled(case: &Case) -> Result<(), String> {
    if case.input("schedule").is_null() {
        // A key without an object is the reconciler's: nothing is decided.
        return Ok(());
    }
    let now = time(case.input("fakeClockTime")).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut backups: Vec<Backup> = Vec::new();
    if !case.input("backup").is_null() {
        backups.push(serde_json::from_value(case.input("backup").clone()).unwrap());
    }
    let observed = Observed {
        schedule: schedule(case.input("schedule")),
        backups,
        skip_by_default: case.input("reconcilerSkipImmediately") == true,
    };
    let decision = decide(&observed, now);
    let wanted = case.want("expectedBackupCreate");
    same(&decision.submit, &!wanted.is_null())?;
    if decision.submit {
        let ours = serde_json::to_value(backup_of(&observed.schedule, now)).unwrap();
        for field in ["/metadata/name", "/metadata/namespace", "/metadata/labels"] {
            same(&ours.pointer(field), &wanted.pointer(field))?;
        }
    }
    let phase = case.want("expectedPhase").as_str().unwrap_or_default();
    if let (Some(write), false) = (&decision.write, phase.is_empty()) {
        same(&write.phase.to_string(), &phase.to_owned())?;
        same(
            &write.errors.len(),
            &caravel_cases::texts(case.want("expectedValidationErrors")).len(),
        )?;
    }
    let skipped = decision.write.is_some_and(|write| write.skipped);
    same(&skipped, &(case.want("expectedLastSkipped") != ""))
}

#[test]
fn schedules_are_reconciled_as_by_velero() {
    each("pkg_controller/TestReconcileOfSchedule.json", reconciled);
}

#[test]
fn a_schedule_is_due_when_it_is_in_velero() {
    each("pkg_controller/TestGetNextRunTime.json", |case| {
        // Velero's test runs on the machine's clock: within a second. Times in objects are whole seconds.
        let now: Timestamp = "2026-11-21T10:00:00.5Z".parse().unwrap();
        let whole = Timestamp::from_second(now.as_second()).unwrap();
        let offset = |value: &Value| {
            let text = value.as_str().filter(|text| !text.is_empty())?;
            Some(text.parse::<caravel_api::Duration>().unwrap().as_secs())
        };
        let mut value = case.input("schedule").clone();
        value["metadata"]["creationTimestamp"] = json!(whole);
        if let Some(ago) = offset(case.input("lastRanOffset")) {
            let last = Timestamp::from_second(now.as_second() - i64::try_from(ago).unwrap()).unwrap();
            value["status"]["lastBackup"] = json!(last);
        }
        let schedule = schedule(&value);
        let last = schedule
            .status
            .as_ref()
            .and_then(|status| status.last_backup.clone())
            .map_or(now, |time| time.0);
        let next = next_run(&schedule, &Cron::parse(&schedule.spec.schedule).unwrap(), None).unwrap();
        same(&(now > next), &(case.want("expectedDue") == true))?;
        let after = u64::try_from(next.as_second() - last.as_second()).unwrap();
        same(&Some(after), &offset(case.want("expectedNextRunTimeOffset")))
    });
}

#[test]
fn the_backup_of_a_schedule_is_veleros() {
    each("pkg_controller/TestGetBackup.json", |case| {
        let now = time(case.input("testClockTime")).unwrap();
        let ours = backup_of(&schedule(case.input("schedule")), now);
        let wanted: Backup = serde_json::from_value(case.want("expectedBackup").clone()).unwrap();
        same(&ours.metadata, &wanted.metadata)?;
        same(&ours.spec, &wanted.spec)
    });
}

#[test]
fn a_skip_is_written_once_and_moves_the_next_time() {
    let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    let value = json!({"metadata": {"name": "s", "creationTimestamp": "2026-11-01T00:00:00Z"},
        "spec": {"schedule": "0 * * * *", "skipImmediately": true, "template": {}}, "status": {"phase": "Enabled"}});
    let observed = Observed {
        schedule: schedule(&value),
        backups: Vec::new(),
        skip_by_default: false,
    };
    let decision = decide(&observed, now);
    assert!(!decision.submit && decision.write.unwrap().skipped);
    assert_eq!(decision.again.unwrap().as_secs(), 3600);
}

#[test]
fn an_expression_that_never_comes_is_refused_and_makes_no_backup() {
    let value = json!({"metadata": {"name": "s", "creationTimestamp": "2026-11-01T00:00:00Z"},
        "spec": {"schedule": "0 0 30 2 *", "template": {}}});
    let observed = Observed {
        schedule: schedule(&value),
        backups: Vec::new(),
        skip_by_default: false,
    };
    let decision = decide(&observed, "2026-11-21T10:00:00Z".parse().unwrap());
    assert!(!decision.submit);
    assert_eq!(decision.write.unwrap().phase, SchedulePhase::FailedValidation);
}
