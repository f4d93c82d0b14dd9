//! The Job of a check. Pure. It inherits from the server's Deployment what reaches the bucket and the API: image, environment,
//! volumes, account. It is no maintenance Job: it has not their label.

use std::collections::BTreeMap;

use caravel_api::labels::{COMPONENT, COMPONENT_VELERO};
use caravel_api::v1::BackupRepository;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use kube::ResourceExt;
use kube::api::ObjectMeta;

/// On the pod: the Job's name.
pub(super) const LABEL: &str = "velero.io/repo-check";
const CONTAINER: &str = "velero-repo-check";
/// Longest name of a Job: it becomes a label of its pods.
const LONGEST_NAME: usize = 63;
/// A Job that nobody takes away goes by itself after so many seconds.
const KEPT_SECS: i32 = 3600;
/// What clouds need on a pod to give it rights.
const INHERITED_LABEL: &str = "azure.workload.identity/use";
const INHERITED_ANNOTATION: &str = "iam.amazonaws.com/role";

/// The Job for one check of `repository`.
pub(super) fn build(
    repository: &BackupRepository,
    server: &Deployment,
    read_percent: f64,
    now: Timestamp,
) -> Job {
    let template = server.spec.as_ref().map(|spec| spec.template.clone());
    let template = template.unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    let pod = template.spec.unwrap_or_default();
    let container = pod.containers.first().cloned().unwrap_or_default();
    let name = name(&repository.name_any(), now);
    let component = [(COMPONENT.to_owned(), COMPONENT_VELERO.to_owned())];
    let mut labels: BTreeMap<String, String> = [(LABEL.to_owned(), name.clone())].into();
    labels.extend(inherited(meta.labels, INHERITED_LABEL));
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: repository.namespace(),
            labels: Some(component.into()),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            ttl_seconds_after_finished: Some(KEPT_SECS),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(inherited(meta.annotations, INHERITED_ANNOTATION).collect()),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    containers: vec![own_container(container, repository, read_percent)],
                    restart_policy: Some("Never".into()),
                    service_account_name: pod.service_account_name,
                    security_context: pod.security_context,
                    volumes: pod.volumes,
                    image_pull_secrets: pod.image_pull_secrets,
                    tolerations: pod.tolerations,
                    node_selector: pod.node_selector,
                    ..PodSpec::default()
                }),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// What `crates/velero/src/repo_check.rs` reads.
fn own_container(server: Container, repository: &BackupRepository, read_percent: f64) -> Container {
    let spec = &repository.spec;
    Container {
        name: CONTAINER.into(),
        image: server.image,
        image_pull_policy: Some("IfNotPresent".into()),
        command: Some(vec!["/velero".into()]),
        args: Some(vec![
            "repo-check".into(),
            format!("--repo-name={}", spec.volume_namespace),
            format!("--backup-storage-location={}", spec.backup_storage_location),
            format!("--read-percent={read_percent}"),
        ]),
        env: server.env,
        env_from: server.env_from,
        volume_mounts: server.volume_mounts,
        security_context: server.security_context,
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        ..Container::default()
    }
}

fn name(repository: &str, now: Timestamp) -> String {
    let milliseconds = now.as_millisecond();
    let whole = format!("{repository}-check-{milliseconds}");
    if whole.len() > LONGEST_NAME {
        format!("repo-check-{milliseconds}")
    } else {
        whole
    }
}

fn inherited(
    from: Option<BTreeMap<String, String>>,
    key: &'static str,
) -> impl Iterator<Item = (String, String)> {
    from.into_iter()
        .flatten()
        .filter(move |(name, value)| name == key && !value.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn repository(name: &str) -> BackupRepository {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "velero"},
            "spec": {"volumeNamespace": "shop", "backupStorageLocation": "default"}}))
        .unwrap()
    }

    #[test]
    fn the_job_reaches_what_the_server_reaches_and_is_no_maintenance_job() {
        let server: Deployment = serde_json::from_value(json!({"spec": {"selector": {}, "template": {
            "metadata": {"labels": {"azure.workload.identity/use": "true", "deploy": "velero"}},
            "spec": {"serviceAccountName": "velero", "volumes": [{"name": "cloud-credentials"}],
                "containers": [{"name": "velero", "image": "velero/velero:1", "args": ["server"],
                    "env": [{"name": "VELERO_NAMESPACE", "value": "velero"}],
                    "volumeMounts": [{"name": "cloud-credentials", "mountPath": "/credentials"}]}]}}}}))
        .unwrap();
        let now: Timestamp = "2026-11-22T02:00:00Z".parse().unwrap();
        let job = build(&repository("shop-default-kopia"), &server, 2.5, now);
        let name = "shop-default-kopia-check-1795312800000";
        assert_eq!(job.name_any(), name);
        assert!(!job.labels().contains_key("velero.io/repo-name"));
        let template = serde_json::to_value(job.spec.unwrap().template).unwrap();
        assert_eq!(
            template["metadata"]["labels"],
            json!({"azure.workload.identity/use": "true", "velero.io/repo-check": name})
        );
        let spec = &template["spec"];
        assert_eq!(
            (&spec["serviceAccountName"], &spec["restartPolicy"]),
            (&json!("velero"), &json!("Never"))
        );
        let container = &spec["containers"][0];
        assert_eq!(container["image"], "velero/velero:1");
        assert_eq!(container["env"][0]["name"], "VELERO_NAMESPACE");
        assert_eq!(
            container["args"],
            json!([
                "repo-check",
                "--repo-name=shop",
                "--backup-storage-location=default",
                "--read-percent=2.5"
            ])
        );
    }

    #[test]
    fn a_long_name_is_left_out_of_the_job_s() {
        let now: Timestamp = "2026-11-22T02:00:00Z".parse().unwrap();
        assert!(name(&"n".repeat(60), now).starts_with("repo-check-"));
    }
}
