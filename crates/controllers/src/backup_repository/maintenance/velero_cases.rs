//! Velero's own table tests of maintenance Jobs (`pkg_repository_maintenance`, `pkg_util_velero`) and of the history
//! (`pkg_controller`).

use std::collections::BTreeMap;

use caravel_api::v1::{BackupRepository, BackupRepositoryMaintenanceStatus};
use caravel_cases::{Case, each, same};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::configuration::{self, JobConfiguration, KEPT};
use super::decide::{JobState, MaintenanceJob, Mode, Observed, decide};
use super::job::{NewJob, name, tolerations};
use super::result::{self, Ended};
use super::{history, job};

fn read<T: serde::de::DeserializeOwned + Default>(value: &Value) -> T {
    if value.is_null() {
        return T::default();
    }
    serde_json::from_value(value.clone()).unwrap()
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// The repository of Velero's tests, where a case brings none.
fn repository(value: &Value) -> BackupRepository {
    if value.is_null() {
        read(&json!({"metadata": {"name": "test-123", "namespace": "velero"},
            "spec": {"volumeNamespace": "test-123", "repositoryType": "kopia", "backupStorageLocation": "test-location"}}))
    } else {
        read(value)
    }
}

/// A Job for this Deployment, as `buildJob` makes it.
fn built(deployment: &Value, of: &Value, said: &Value) -> Job {
    let data = BTreeMap::from([("global".to_owned(), said.to_string())]);
    let (configuration, _) = configuration::read(&data, "");
    let repository = repository(of);
    let new = NewJob {
        repository: &repository,
        mode: Mode::Due,
        configuration: &configuration,
        log_level: "info",
        log_format: "text",
    };
    new.build(&read::<Deployment>(deployment), now())
}

/// Null, `{}` and `[]` say the same.
fn same_or_empty(ours: &Value, wanted: &Value) -> Result<(), String> {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    if empty(ours) && empty(wanted) {
        Ok(())
    } else {
        same(ours, wanted)
    }
}

#[test]
fn a_job_is_named_as_velero_names_it() {
    each("pkg_repository_maintenance/TestGenerateJobName.json", |case| {
        let ours = name(case.input("repo").as_str().unwrap_or_default(), now());
        let start = case.want("expectedStart").as_str().unwrap_or_default();
        same(&(ours.starts_with(start) && ours.len() <= 63), &true)
    });
}

#[test]
fn a_job_is_built_as_velero_builds_it() {
    each("pkg_repository_maintenance/TestBuildJob.json", |case| {
        let wants_error = case.want("expectedError") == true;
        // Without a Deployment there is nothing to build from: `Maintenance::make` ends before.
        if wants_error {
            return same(&case.input("deploy").is_null(), &true);
        }
        let job = built(
            case.input("deploy"),
            case.input("backupRepository"),
            case.input("m"),
        );
        let job = serde_json::to_value(job).unwrap();
        let template = &job["spec"]["template"];
        let container = &template["spec"]["containers"][0];
        let begins = case.want("expectedJobName").as_str().unwrap_or_default();
        let ours = job["metadata"]["name"].as_str().unwrap_or_default();
        same(&ours.contains(begins), &true)?;
        for (field, ours) in [
            ("expectedEnv", &container["env"]),
            ("expectedEnvFrom", &container["envFrom"]),
            ("expectedSecurityContext", &container["securityContext"]),
            ("expectedPodSecurityContext", &template["spec"]["securityContext"]),
            ("expectedImagePullSecrets", &template["spec"]["imagePullSecrets"]),
            ("expectedPodLabel", &template["metadata"]["labels"]),
            ("expectedPodAnnotation", &template["metadata"]["annotations"]),
        ] {
            same_or_empty(ours, case.want(field)).map_err(|why| format!("{field}: {why}"))?;
        }
        let resources = json!({"limits": {"cpu": "200m", "memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}});
        same(&container["resources"], &resources)
    });
}

#[test]
fn a_job_has_the_priority_class_that_is_said() {
    for file in [
        "pkg_repository_maintenance/TestBuildJobWithPriorityClassName.json",
        "pkg_repository_maintenance/TestGetPriorityClassName.json",
    ] {
        each(file, |case| {
            let of_config = &case.input("config")["priorityClassName"];
            let said = [case.input("priorityClassName"), of_config]
                .into_iter()
                .find_map(Value::as_str)
                .unwrap_or_default();
            let job = built(&Value::Null, &Value::Null, &json!({"priorityClassName": said}));
            let pod = job.spec.unwrap().template.spec.unwrap();
            same(
                &json!(pod.priority_class_name.unwrap_or_default()),
                case.want("expectedValue"),
            )
        });
    }
}

#[test]
fn a_job_tolerates_what_veleros_tolerates() {
    for file in [
        "pkg_repository_maintenance/TestBuildTolerationsForMaintenanceJob.json",
        "pkg_repository_maintenance/TestBuildJobWithTolerationsInheritance.json",
    ] {
        each(file, |case| {
            let server: Vec<_> = read(case.input("deploymentTolerations"));
            let ours = serde_json::to_value(tolerations(&server)).unwrap();
            same(&ours, case.want("expectedTolerations"))
        });
    }
}

/// What was read, as the case writes it.
fn as_json(read: &JobConfiguration) -> Value {
    let resources = read.pod_resources.clone().unwrap_or_default();
    let mut of_pod = serde_json::Map::new();
    for (list, resource, name) in [
        (&resources.limits, "cpu", "cpuLimit"),
        (&resources.requests, "cpu", "cpuRequest"),
        (&resources.limits, "memory", "memoryLimit"),
        (&resources.requests, "memory", "memoryRequest"),
    ] {
        if let Some(quantity) = list.as_ref().and_then(|list| list.get(resource)) {
            of_pod.insert(name.into(), json!(quantity));
        }
    }
    let mut all = json!({});
    if let Some(affinity) = &read.load_affinity {
        all["loadAffinity"] =
            json!([{"nodeSelector": affinity.node_selector, "storageClass": affinity.storage_class}]);
    }
    if !of_pod.is_empty() {
        all["podResources"] = of_pod.into();
    }
    if let Some(keep) = read.keep {
        all["keepLatestMaintenanceJobs"] = json!(keep);
    }
    if !read.priority_class_name.is_empty() {
        all["priorityClassName"] = json!(read.priority_class_name);
    }
    for (name, map) in [
        ("podLabels", &read.pod_labels),
        ("podAnnotations", &read.pod_annotations),
    ] {
        if !map.is_empty() {
            all[name] = json!(map);
        }
    }
    all
}

#[test]
fn the_configmap_says_what_it_says_to_velero() {
    each("pkg_repository_maintenance/TestGetJobConfig.json", |case| {
        let data: BTreeMap<String, String> = read(&case.input("repoJobConfig")["data"]);
        let (ours, refused) = configuration::read(&data, "test-default-kopia");
        if !case.want("expectedError").is_null() {
            return same(
                &(refused.is_empty(), ours == JobConfiguration::default()),
                &(false, true),
            );
        }
        same_or_empty(&as_json(&ours), case.want("expectedConfig"))
    });
}

/// Velero's server does not start where a ConfigMap is wrong; ours refuses what is wrong of it, and says so.
#[test]
fn a_configmap_that_velero_refuses_is_refused() {
    each("pkg_util_kube/TestVerifyJsonConfigs.json", |case| {
        let data: BTreeMap<String, String> = read(&case.input("configMap")["data"]);
        let (_, refused) = configuration::read(&data, "other");
        same(&!refused.is_empty(), &(case.want("expectedErr") != ""))
    });
}

#[test]
fn as_many_jobs_are_kept_as_velero_keeps() {
    each(
        "pkg_repository_maintenance/TestGetKeepLatestMaintenanceJobs.json",
        |case| {
            let data: BTreeMap<String, String> = read(&case.input("configMap")["data"]);
            let (ours, refused) = configuration::read(&data, "test-ns-default-kopia");
            same(&!refused.is_empty(), &(case.want("expectError") == true))?;
            same(&json!(ours.keep.unwrap_or(KEPT)), case.want("expectedValue"))
        },
    );
    each(
        "pkg_controller/TestDeleteOldMaintenanceJobWithConfigMap.json",
        |case| {
            let data: BTreeMap<String, String> = read(&case.input("repoMaintenanceJob")["data"]);
            let (said, _) = configuration::read(&data, "test-ns-default-kopia");
            let jobs: Vec<Job> = read(case.input("maintenanceJobs"));
            let jobs: Vec<_> = jobs.iter().map(|job| facts(job, &[])).collect();
            let count = jobs.len();
            let removed = decide(&observed(jobs, said.keep.unwrap_or(KEPT)), now()).remove;
            same(&json!(count - removed.len()), case.want("expectedKeptJobs"))
        },
    );
}

fn observed(jobs: Vec<MaintenanceJob>, keep: usize) -> Observed {
    Observed {
        jobs,
        recent: Vec::new(),
        last: Some(now()),
        frequency: super::super::DEFAULT_MAINTENANCE_FREQUENCY,
        asked: None,
        read_only: false,
        keep,
    }
}

/// As `Maintenance::facts`, without an API server.
fn facts(job: &Job, pods: &[Pod]) -> MaintenanceJob {
    let name = job.metadata.name.clone().unwrap_or_default();
    let state = match result::ended(job) {
        Ended::NotYet => JobState::Running,
        Ended::Succeeded(at) => JobState::Succeeded { at },
        Ended::Failed(at) => {
            let of_job = |pod: &&Pod| {
                let labels = pod.metadata.labels.as_ref();
                labels.and_then(|labels| labels.get("job-name")) == Some(&name)
            };
            let of_job: Vec<Pod> = pods.iter().filter(of_job).cloned().collect();
            let (message, ended) = result::reason(job, &name, &of_job);
            JobState::Failed {
                at: ended.or(at),
                message,
            }
        }
    };
    let created = job.metadata.creation_timestamp.as_ref();
    MaintenanceJob {
        name,
        created: created.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        state,
    }
}

#[test]
fn jobs_of_a_repository_that_ended_become_its_history() {
    const NAME: &str = "label with more than 63 characters should be modified";
    each(
        "pkg_repository_maintenance/TestWaitAllJobsComplete.json",
        |case| {
            // An API server that does not know Jobs is an error of `Context::list`, looked at again with backoff.
            let objects = case
                .input("kubeClientObj")
                .as_array()
                .cloned()
                .unwrap_or_default();
            let is_job = |object: &&Value| object["$type"] == "v1.Job";
            let of_repository =
                |object: &&Value| object["metadata"]["labels"]["velero.io/repo-name"] == json!(NAME);
            let pods: Vec<Pod> = objects
                .iter()
                .filter(|object| !is_job(object))
                .map(read)
                .collect();
            let mut jobs: Vec<MaintenanceJob> = objects
                .iter()
                .filter(is_job)
                .filter(of_repository)
                .map(|job| facts(&read::<Job>(job), &pods))
                .collect();
            jobs.sort_by_key(|job| job.created);
            let is_running = jobs.iter().any(|job| job.state == JobState::Running);
            let record = decide(&observed(jobs, KEPT), now()).record;
            let ours = record.map(|record| record.recent).unwrap_or_default();
            // Where Velero's wait ends in an error, ours goes on and nothing is written.
            let still = case.want("expectedError").as_str().unwrap_or_default();
            same(&is_running, &still.contains("deadline exceeded"))?;
            same_or_empty(&json!(ours), case.want("expectedStatus"))
        },
    );
}

#[test]
fn a_job_is_over_when_velero_says_so() {
    each("pkg_repository_maintenance/TestWaitForJobComplete.json", |case| {
        let job = json!({"metadata": {"name": "test-job"}, "status": case.input("jobStatus")});
        let has_ended = result::ended(&read::<Job>(&job)) != Ended::NotYet;
        // The cases about the log give the Job's end in time to the clock of the test.
        let counts = case.input("jobStatus").as_object();
        let is_ended = counts.is_some_and(|status| !status.is_empty());
        same(&has_ended, &is_ended)
    });
}

fn runs(value: &Value) -> Vec<BackupRepositoryMaintenanceStatus> {
    read(value)
}

#[test]
fn histories_are_joined_as_velero_joins_them() {
    each("pkg_controller/TestConsolidateHistory.json", |case| {
        let ours = history::with(&runs(case.input("cur")), &runs(case.input("coming")));
        same_or_empty(&json!(ours), case.want("expected"))
    });
}

#[test]
fn a_run_is_added_to_a_full_history_as_velero_adds_it() {
    each("pkg_controller/TestUpdateRepoMaintenanceHistory.json", |case| {
        let wanted = runs(case.want("expectedHistory"));
        let recent = runs(&case.input("backupRepo")["status"]["recentMaintenance"]);
        let newest = wanted.last().cloned().unwrap_or_default();
        let ours = history::with(&recent, &[newest]).unwrap_or_default();
        same(&ours, &wanted)
    });
}

#[test]
fn the_last_maintenance_is_found_in_the_history_as_velero_finds_it() {
    each(
        "pkg_controller/TestGetLastMaintenanceTimeFromHistory.json",
        |case| {
            let wanted: Timestamp = case
                .want("expected")
                .as_str()
                .unwrap_or_default()
                .parse::<Timestamp>()
                .map_err(|error| format!("{error}"))?;
            let ours = history::last_success(&runs(case.input("history")));
            // The case's history has lost its fractions.
            let whole = wanted - SignedDuration::from_nanos(i64::from(wanted.subsec_nanosecond()));
            same(&ours, &Some(whole))
        },
    );
}

/// What a Job inherits of the Deployment, where the Job has it.
fn inherited(case: &Case, pointer: &str) -> Value {
    let deployment = match case.input("deploy") {
        Value::Null => case.input("deployment"),
        deployment => deployment,
    };
    let job = serde_json::to_value(built(deployment, &Value::Null, &json!({}))).unwrap();
    job["spec"]["template"]
        .pointer(pointer)
        .cloned()
        .unwrap_or_default()
}

#[test]
fn what_a_job_inherits_of_the_server_is_what_velero_takes() {
    for (file, pointer, want) in [
        (
            "pkg_util_velero/TestGetContainerSecurityContextsFromVeleroServer.json",
            "/spec/containers/0/securityContext",
            "want",
        ),
        (
            "pkg_util_velero/TestGetEnvFromSourcesFromVeleroServer.json",
            "/spec/containers/0/envFrom",
            "expected",
        ),
        (
            "pkg_util_velero/TestGetEnvVarsFromVeleroServer.json",
            "/spec/containers/0/env",
            "want",
        ),
        (
            "pkg_util_velero/TestGetImagePullSecretsFromVeleroServer.json",
            "/spec/imagePullSecrets",
            "want",
        ),
        (
            "pkg_util_velero/TestGetPodSecurityContextsFromVeleroServer.json",
            "/spec/securityContext",
            "want",
        ),
        (
            "pkg_util_velero/TestGetServiceAccountFromVeleroServer.json",
            "/spec/serviceAccountName",
            "want",
        ),
        (
            "pkg_util_velero/TestGetVeleroServerImage.json",
            "/spec/containers/0/image",
            "want",
        ),
        (
            "pkg_util_velero/TestGetVolumeMountsFromVeleroServer.json",
            "/spec/containers/0/volumeMounts",
            "want",
        ),
        (
            "pkg_util_velero/TestGetVolumesFromVeleroServer.json",
            "/spec/volumes",
            "want",
        ),
    ] {
        each(file, |case| {
            same_or_empty(&inherited(case, pointer), case.want(want))
        });
    }
}

#[test]
fn one_label_of_the_server_is_looked_up_as_velero_does() {
    each("pkg_util_velero/TestGetVeleroServerLabelValue.json", |case| {
        let deployment: Deployment = read(case.input("deployment"));
        let template = deployment.spec.map(|spec| spec.template).unwrap_or_default();
        let labels = template.metadata.unwrap_or_default().labels;
        let ours = job::inherited(labels.as_ref(), "fake-key").map(|(_, value)| value);
        same(&json!(ours.unwrap_or_default()), case.want("expected"))
    });
}
