//! When a Job is made, waited for, written down and deleted; what it inherits; why it failed.

use std::collections::BTreeMap;
use std::time::Duration;

use caravel_api::labels::{MAINTAIN_NOW, name_or_hash};
use caravel_api::phase::BackupRepositoryMaintenanceResult as Outcome;
use caravel_api::v1::BackupRepository;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::configuration::{self, JobConfiguration};
use super::decide::{JobState, MaintenanceJob, Mode, Observed, Plan, Step, decide};
use super::job::NewJob;
use super::metrics::MaintenanceMetrics;
use super::result::{Ended, ended, pod_waits_for, reason};
use super::{history, job};

fn at(minutes: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
}

/// Ready, maintained at minute 0, every hour.
fn repository() -> Observed {
    Observed {
        jobs: Vec::new(),
        recent: Vec::new(),
        last: Some(at(0)),
        frequency: Duration::from_secs(3600),
        asked: None,
        read_only: false,
        keep: 3,
    }
}

fn running(name: &str, created: i64) -> MaintenanceJob {
    MaintenanceJob {
        name: name.into(),
        created: at(created),
        state: JobState::Running,
    }
}

fn succeeded(name: &str, created: i64) -> MaintenanceJob {
    MaintenanceJob {
        state: JobState::Succeeded {
            at: Some(at(created + 1)),
        },
        ..running(name, created)
    }
}

fn failed(name: &str, created: i64) -> MaintenanceJob {
    MaintenanceJob {
        state: JobState::Failed {
            at: None,
            message: "no space".into(),
        },
        ..running(name, created)
    }
}

fn step(observed: &Observed, minute: i64) -> Step {
    decide(observed, at(minute)).step
}

#[test]
fn maintenance_is_due_when_its_frequency_has_passed_and_rests_until_then() {
    assert_eq!(step(&repository(), 59), Step::Rest { until: at(60) });
    assert_eq!(step(&repository(), 60), Step::Start(Mode::Due));
}

#[test]
fn a_repository_that_was_never_maintained_is_due_at_once() {
    let never = Observed {
        last: None,
        ..repository()
    };
    assert_eq!(step(&never, 0), Step::Start(Mode::Due));
}

#[test]
fn a_job_that_anybody_has_begun_is_waited_for_and_no_other_is_made() {
    let busy = Observed {
        jobs: vec![running("velero-began-it", 100)],
        asked: Some("full".into()),
        ..repository()
    };
    let waiting = Step::WaitFor {
        job: "velero-began-it".into(),
        since: at(100),
        look_again: at(120),
        silences: 0,
    };
    assert_eq!(step(&busy, 101), waiting);
}

#[test]
fn a_job_that_takes_long_is_spoken_of_ever_more_seldom() {
    let busy = Observed {
        jobs: vec![running("slow", 0)],
        ..repository()
    };
    let next = |minute| match step(&busy, minute) {
        Step::WaitFor {
            look_again, silences, ..
        } => (look_again, silences),
        other => panic!("{other:?}"),
    };
    assert_eq!(next(19), (at(20), 0));
    assert_eq!(next(20), (at(60), 1));
    assert_eq!(next(60), (at(140), 2));
    let (much_later, _) = next(60 * 24 * 7);
    assert!(much_later <= at(60 * 24 * 7 + 12 * 60), "{much_later}");
}

#[test]
fn a_job_that_ended_is_written_down_once_and_its_success_counts_from_its_end() {
    let ended = Observed {
        jobs: vec![succeeded("one", 60)],
        ..repository()
    };
    let plan = decide(&ended, at(62));
    let record = plan.record.expect("it is new");
    assert_eq!(record.last, Some(at(61)));
    assert_eq!(plan.step, Step::Rest { until: at(121) });
    let run = &record.recent[0];
    assert_eq!(run.result, Some(Outcome::Succeeded));
    assert_eq!(run.start_timestamp.as_ref().unwrap().0, at(60));
    assert_eq!(run.complete_timestamp.as_ref().unwrap().0, at(61));
    let written = Observed {
        recent: record.recent,
        last: record.last,
        ..ended
    };
    assert_eq!(decide(&written, at(63)).record, None);
}

#[test]
fn a_failure_is_written_down_with_its_reason_and_tried_again_five_minutes_after_it_began() {
    let observed = Observed {
        jobs: vec![failed("one", 60)],
        ..repository()
    };
    let plan = decide(&observed, at(61));
    let record = plan.record.expect("it is new");
    assert_eq!(record.last, Some(at(0)), "nothing was maintained");
    assert_eq!(record.recent[0].result, Some(Outcome::Failed));
    assert_eq!(record.recent[0].message, "no space");
    assert_eq!(plan.step, Step::Rest { until: at(65) });
    assert_eq!(step(&observed, 65), Step::Start(Mode::Due));
}

#[test]
fn what_is_asked_for_begins_at_once_whatever_the_frequency_or_the_last_failure_says() {
    let asked = |word: &str| Observed {
        asked: Some(word.into()),
        jobs: vec![failed("one", 0)],
        ..repository()
    };
    assert_eq!(step(&asked("quick"), 1), Step::Start(Mode::Quick));
    assert_eq!(step(&asked("full"), 1), Step::Start(Mode::Full));
    let Step::Refuse(why) = step(&asked("now!"), 1) else {
        panic!("it is refused");
    };
    assert!(why.contains("\"now!\"") && why.contains("quick"), "{why}");
}

#[test]
fn two_runs_never_begin_in_one_second_because_the_history_could_not_tell_them_apart() {
    let asked = Observed {
        asked: Some("full".into()),
        jobs: vec![succeeded("one", 1)],
        ..repository()
    };
    let second = SignedDuration::from_secs(1);
    let half = SignedDuration::from_millis(500);
    let soon = decide(&asked, at(1) + half).step;
    assert_eq!(
        soon,
        Step::Rest {
            until: at(1) + second
        }
    );
    assert_eq!(decide(&asked, at(1) + second).step, Step::Start(Mode::Full));
}

#[test]
fn a_read_only_location_is_not_maintained_and_says_so_to_who_asks() {
    let read_only = Observed {
        read_only: true,
        last: None,
        ..repository()
    };
    assert_eq!(step(&read_only, 100), Step::Leave);
    let asked = Observed {
        asked: Some("full".into()),
        ..read_only
    };
    assert!(matches!(step(&asked, 100), Step::Refuse(why) if why.contains("read-only")));
}

#[test]
fn only_the_latest_jobs_are_kept_and_one_that_runs_always_is() {
    let jobs: Vec<_> = (1..=5)
        .map(|number| succeeded(&format!("job-{number}"), number * 60))
        .chain([running("job-6", 360)])
        .collect();
    let removed = |keep| {
        let observed = Observed {
            jobs: jobs.clone(),
            keep,
            ..repository()
        };
        decide(&observed, at(361)).remove
    };
    assert_eq!(removed(3), ["job-1", "job-2"]);
    assert_eq!(removed(9), Vec::<String>::new());
    assert_eq!(removed(0).len(), 5, "the one that runs stays");
}

#[test]
fn the_history_has_three_entries_and_kept_jobs_that_are_older_do_not_come_back_into_it() {
    let jobs: Vec<_> = (1..=6)
        .map(|number| succeeded(&format!("job-{number}"), number * 60))
        .collect();
    let observed = Observed {
        jobs,
        keep: 10,
        ..repository()
    };
    let Plan { record, .. } = decide(&observed, at(370));
    let record = record.expect("they are new");
    assert_eq!(record.recent.len(), 3);
    assert_eq!(record.recent[0].start_timestamp.as_ref().unwrap().0, at(240));
    let again = Observed {
        recent: record.recent.clone(),
        last: record.last,
        ..observed
    };
    assert_eq!(decide(&again, at(371)).record, None);
    assert!(!history::wants(&record.recent, at(60)));
    assert!(history::wants(&record.recent, at(420)));
}

#[test]
fn each_run_counts_once_and_in_every_bucket_that_it_fits() {
    let metrics = MaintenanceMetrics::default();
    let run = |outcome, minutes| history::entry(outcome, at(0), Some(at(minutes)), "");
    metrics.note("shop-default-kopia", &run(Outcome::Succeeded, 7));
    metrics.note("shop-default-kopia", &run(Outcome::Failed, 1));
    let not_begun = history::entry(Outcome::Failed, at(0), None, "no Deployment");
    metrics.note("shop-default-kopia", &not_begun);
    let all = metrics.all();
    let counted = &all["shop-default-kopia"];
    assert_eq!((counted.success, counted.failure), (1, 2));
    assert_eq!(counted.at_most, [1, 1, 2, 2, 2, 2, 2, 2, 2]);
    assert_eq!((counted.timed, counted.seconds), (2, 480));
    metrics.forget("shop-default-kopia");
    assert!(metrics.all().is_empty());
}

fn shop() -> BackupRepository {
    serde_json::from_value(json!({
        "metadata": {"name": "shop-default-kopia", "namespace": "velero"},
        "spec": {"volumeNamespace": "shop", "backupStorageLocation": "default", "repositoryType": "kopia",
            "maintenanceFrequency": "1h0m0s"},
    }))
    .unwrap()
}

fn server() -> Deployment {
    serde_json::from_value(json!({"metadata": {"name": "velero"}, "spec": {"selector": {}, "template": {
        "metadata": {"labels": {"deploy": "velero", "azure.workload.identity/use": "true"},
            "annotations": {"iam.amazonaws.com/role": "backup", "prometheus.io/port": "8085"}},
        "spec": {
            "serviceAccountName": "velero", "imagePullSecrets": [{"name": "pull"}], "securityContext": {"fsGroup": 7},
            "volumes": [{"name": "scratch", "emptyDir": {}}],
            "containers": [{"name": "velero", "image": "velero/velero:v1", "args": ["server", "--features=EnableCSI"],
                "resources": {"limits": {"memory": "1Gi"}}, "env": [{"name": "VELERO_SCRATCH_DIR", "value": "/scratch"}],
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                "securityContext": {"readOnlyRootFilesystem": true}}],
        }}}}))
    .unwrap()
}

fn built(mode: Mode, configuration: &JobConfiguration) -> Value {
    let repository = shop();
    let new = NewJob {
        repository: &repository,
        mode,
        configuration,
        log_level: "debug",
        log_format: "json",
    };
    serde_json::to_value(new.build(&server(), at(1))).unwrap()
}

#[test]
fn a_job_is_veleros_to_the_letter_and_inherits_what_the_server_has() {
    let job = built(Mode::Due, &JobConfiguration::default());
    assert_eq!(job["metadata"]["name"], "shop-default-kopia-maintain-job-60000");
    assert_eq!(
        job["metadata"]["labels"],
        json!({"velero.io/repo-name": "shop-default-kopia"})
    );
    assert_eq!(job["spec"]["backoffLimit"], 0);
    let template = &job["spec"]["template"];
    assert_eq!(
        template["metadata"],
        json!({"name": "velero-repo-maintenance-pod",
            "labels": {"velero.io/repo-name": "shop-default-kopia", "azure.workload.identity/use": "true"},
            "annotations": {"iam.amazonaws.com/role": "backup"}})
    );
    let container = &template["spec"]["containers"][0];
    assert_eq!(container["command"], json!(["/velero"]));
    assert_eq!(
        container["args"],
        json!([
            "repo-maintenance",
            "--repo-name=shop",
            "--repo-type=kopia",
            "--backup-storage-location=default",
            "--log-level=debug",
            "--log-format=json"
        ])
    );
    assert_eq!(container["name"], "velero-repo-maintenance-container");
    assert_eq!(container["image"], "velero/velero:v1");
    assert_eq!(container["terminationMessagePolicy"], "FallbackToLogsOnError");
    assert_eq!(
        container["securityContext"],
        json!({"readOnlyRootFilesystem": true})
    );
    assert_eq!(container["env"][0]["name"], "VELERO_SCRATCH_DIR");
    assert!(
        container.get("resources").is_none_or(Value::is_null),
        "{container}"
    );
    let pod = &template["spec"];
    assert_eq!(pod["serviceAccountName"], "velero");
    assert_eq!(pod["restartPolicy"], "Never");
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "pull"}]));
    assert_eq!(pod["securityContext"], json!({"fsGroup": 7}));
    assert_eq!(pod["volumes"][0]["name"], "scratch");
}

#[test]
fn a_job_that_was_asked_for_says_its_mode_after_veleros_arguments() {
    let job = built(Mode::Full, &JobConfiguration::default());
    let args = &job["spec"]["template"]["spec"]["containers"][0]["args"];
    assert_eq!(args[6], "--mode=full");
    assert_eq!(job["metadata"]["annotations"], json!({MAINTAIN_NOW: "full"}));
}

#[test]
fn a_repository_with_a_long_name_has_a_job_and_a_label_all_the_same() {
    let long = "n".repeat(60);
    assert_eq!(job::name(&long, at(1)), "repo-maintain-job-60000");
    assert_eq!(name_or_hash(&long), long);
    assert_eq!(name_or_hash(&"n".repeat(64)).len(), 56);
}

#[test]
fn values_that_cannot_be_right_cost_only_themselves_and_are_said() {
    let data = [
        (
            "global".to_owned(),
            json!({"keepLatestMaintenanceJobs": -1, "priorityClassName": "low", "podLabels": {"a": "b", "c d": "e"},
                "loadAffinity": [{"nodeSelector": {"matchLabels": {"pool": "a"}}}], "what": 1})
            .to_string(),
        ),
        (
            "shop-default-kopia".to_owned(),
            json!({"podResources": {"cpuRequest": "many"}, "podLabels": {"x": "y"}}).to_string(),
        ),
        ("other-default-kopia".to_owned(), "{".to_owned()),
    ];
    let (read, refused) = configuration::read(&data.into(), "shop-default-kopia");
    assert_eq!((read.keep, read.pod_resources), (None, None));
    assert_eq!(read.priority_class_name, "low");
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    assert_eq!(read.pod_labels, labels);
    assert_eq!(read.load_affinity.unwrap().requirements()[0].key, "pool");
    let mut keys: Vec<_> = refused.iter().map(|refused| refused.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "global.keepLatestMaintenanceJobs",
            "global.podLabels.c d",
            "global.what",
            "shop-default-kopia.podLabels",
            "shop-default-kopia.podResources.cpuRequest",
        ]
    );
}

fn job_of(status: Value) -> Job {
    serde_json::from_value(json!({"metadata": {"name": "j"}, "status": status})).unwrap()
}

fn pod_that_ended(state: Value) -> Pod {
    serde_json::from_value(
        json!({"status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "",
        "ready": false, "restartCount": 0, "state": {"terminated": state}}]}}),
    )
    .unwrap()
}

#[test]
fn a_job_has_ended_by_its_counts_or_by_its_conditions() {
    assert_eq!(ended(&job_of(json!({"active": 1}))), Ended::NotYet);
    assert_eq!(
        ended(&job_of(
            json!({"succeeded": 1, "completionTime": "1970-01-01T00:05:00Z"})
        )),
        Ended::Succeeded(Some(at(5)))
    );
    assert_eq!(ended(&job_of(json!({"failed": 1}))), Ended::Failed(None));
    let past_its_deadline = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded",
        "lastTransitionTime": "1970-01-01T00:05:00Z"}]});
    assert_eq!(ended(&job_of(past_its_deadline)), Ended::Failed(Some(at(5))));
}

#[test]
fn the_reason_of_a_failure_is_what_the_pod_said_last() {
    let job = job_of(json!({"failed": 1}));
    let said = json!({"exitCode": 1, "finishedAt": "1970-01-01T00:05:00Z",
        "message": "level=error\nRepo maintenance error: no space left\n"});
    assert_eq!(
        reason(&job, "j", &[pod_that_ended(said)]),
        ("no space left".to_owned(), Some(at(5)))
    );
}

#[test]
fn a_pod_that_was_killed_or_never_came_is_not_passed_over_in_silence() {
    let job = job_of(json!({"failed": 1}));
    let killed = pod_that_ended(json!({"exitCode": 137, "reason": "OOMKilled"}));
    let (why, _) = reason(&job, "j", &[killed]);
    assert!(why.contains("137") && why.contains("OOMKilled"), "{why}");
    let other = pod_that_ended(json!({"exitCode": 2, "message": "error: unexpected argument '--mode'"}));
    let (why, _) = reason(&job, "j", &[other]);
    assert!(why.ends_with("unexpected argument '--mode'"), "{why}");
    let late = job_of(
        json!({"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded",
        "message": "Job was active longer than specified deadline"}]}),
    );
    let (why, _) = reason(&late, "j", &[]);
    assert_eq!(
        why,
        "Repo maintenance failed but result is not retrievable, err: no pod found for job j; DeadlineExceeded: Job was active longer than specified deadline"
    );
}

#[test]
fn what_a_pod_waits_for_is_said_in_kubernetes_words() {
    let pod = |status: Value| -> Option<String> {
        let pod: Pod = serde_json::from_value(json!({ "status": status })).unwrap();
        pod_waits_for(&pod)
    };
    let unscheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available"}]});
    assert_eq!(
        pod(unscheduled).as_deref(),
        Some("Unschedulable: 0/3 nodes are available")
    );
    let no_image = json!({"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff"}}}]});
    assert_eq!(pod(no_image).as_deref(), Some("ImagePullBackOff"));
    let runs = json!({"conditions": [{"type": "PodScheduled", "status": "True"}], "containerStatuses": [{"name": "c",
        "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}}]});
    assert_eq!(pod(runs), None);
}
