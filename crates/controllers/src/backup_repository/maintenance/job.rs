//! The maintenance Job, with Velero's names to the letter, so that each finds the other's. Pure.
//!
//! One container that is never tried again; image, environment, volumes, account and security come from the server's
//! Deployment. Two things are ours: Linux nodes only (Velero's image is there for Windows too, and so its pods tolerate
//! Windows nodes), and `--mode` on a Job that somebody asked for. Source: Velero v1.18.3 `buildJob` in
//! `pkg/repository/maintenance/maintenance.go` and `pkg/util/velero/velero.go`; velero-behaviour.md 6.1.

use std::collections::BTreeMap;

use caravel_api::labels::{MAINTAIN_NOW, REPO_NAME, name_or_hash};
use caravel_api::v1::BackupRepository;
use caravel_exposer::settings::LoadAffinity;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Affinity, Container, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec,
    PodTemplateSpec, Toleration,
};
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::configuration::JobConfiguration;
use super::decide::Mode;

/// Longest name of a Job: it becomes a label of its pods.
const LONGEST_NAME: usize = 63;
const POD: &str = "velero-repo-maintenance-pod";
const CONTAINER: &str = "velero-repo-maintenance-container";
/// What clouds need on every pod (velero-behaviour.md section 0), in Velero's order.
const INHERITED_TOLERATIONS: [&str; 2] = ["kubernetes.azure.com/scalesetpriority", "CriticalAddonsOnly"];
const INHERITED_LABEL: &str = "azure.workload.identity/use";
const INHERITED_ANNOTATION: &str = "iam.amazonaws.com/role";

/// One Job to be.
pub(super) struct NewJob<'a> {
    pub repository: &'a BackupRepository,
    pub mode: Mode,
    pub configuration: &'a JobConfiguration,
    pub log_level: &'a str,
    pub log_format: &'a str,
}

/// `<repository>-maintain-job-<milliseconds>`, without the repository where that would be too long.
pub(super) fn name(repository: &str, now: Timestamp) -> String {
    let milliseconds = now.as_millisecond();
    let whole = format!("{repository}-maintain-job-{milliseconds}");
    if whole.len() > LONGEST_NAME {
        format!("repo-maintain-job-{milliseconds}")
    } else {
        whole
    }
}

impl NewJob<'_> {
    /// The Job, inheriting from the server's Deployment.
    pub fn build(&self, server: &Deployment, now: Timestamp) -> Job {
        let template = server.spec.as_ref().map(|spec| spec.template.clone());
        let template = template.unwrap_or_default();
        let meta = template.metadata.unwrap_or_default();
        let pod = template.spec.unwrap_or_default();
        let container = pod.containers.first().cloned().unwrap_or_default();
        let repository = self.repository.name_any();
        let own = BTreeMap::from([(REPO_NAME.to_owned(), name_or_hash(&repository))]);
        // What somebody asked for is told apart from what was due.
        let asked = match self.mode {
            Mode::Due => None,
            Mode::Quick => Some("quick"),
            Mode::Full => Some("full"),
        };
        Job {
            metadata: ObjectMeta {
                name: Some(name(&repository, now)),
                namespace: self.repository.namespace(),
                labels: Some(own.clone()),
                annotations: asked.map(|mode| [(MAINTAIN_NOW.to_owned(), mode.to_owned())].into()),
                ..ObjectMeta::default()
            },
            spec: Some(JobSpec {
                backoff_limit: Some(0),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        name: Some(POD.into()),
                        labels: Some(self.labels(own, meta.labels.as_ref())),
                        annotations: Some(self.annotations(meta.annotations.as_ref())),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(PodSpec {
                        containers: vec![self.container(container)],
                        restart_policy: Some("Never".into()),
                        service_account_name: pod.service_account_name,
                        security_context: pod.security_context,
                        volumes: pod.volumes,
                        image_pull_secrets: pod.image_pull_secrets,
                        tolerations: Some(tolerations(pod.tolerations.as_deref().unwrap_or_default())),
                        affinity: Some(affinity(self.configuration.load_affinity.as_ref())),
                        priority_class_name: Some(self.configuration.priority_class_name.clone())
                            .filter(|name| !name.is_empty()),
                        ..PodSpec::default()
                    }),
                },
                ..JobSpec::default()
            }),
            status: None,
        }
    }

    fn container(&self, server: Container) -> Container {
        Container {
            name: CONTAINER.into(),
            image: server.image,
            image_pull_policy: Some("IfNotPresent".into()),
            command: Some(vec!["/velero".into()]),
            args: Some(self.arguments()),
            env: server.env,
            env_from: server.env_from,
            volume_mounts: server.volume_mounts,
            security_context: server.security_context,
            resources: self.configuration.pod_resources.clone(),
            termination_message_policy: Some("FallbackToLogsOnError".into()),
            ..Container::default()
        }
    }

    /// What `crates/velero/src/repo_maintenance.rs` reads, and Velero's own command.
    fn arguments(&self) -> Vec<String> {
        let spec = &self.repository.spec;
        let kind = spec.repository_type.as_ref();
        let mut arguments = vec![
            "repo-maintenance".to_owned(),
            format!("--repo-name={}", spec.volume_namespace),
            format!(
                "--repo-type={}",
                kind.map_or_else(|| "kopia".to_owned(), ToString::to_string)
            ),
            format!("--backup-storage-location={}", spec.backup_storage_location),
            format!("--log-level={}", self.log_level),
            format!("--log-format={}", self.log_format),
        ];
        arguments.extend(self.mode.argument().map(str::to_owned));
        arguments
    }

    /// Our own label is how the pod is found again: nobody replaces it.
    fn labels(
        &self,
        mut own: BTreeMap<String, String>,
        server: Option<&BTreeMap<String, String>>,
    ) -> BTreeMap<String, String> {
        let said = &self.configuration.pod_labels;
        if said.is_empty() {
            own.extend(inherited(server, INHERITED_LABEL));
        }
        for (key, value) in said {
            own.entry(key.clone()).or_insert_with(|| value.clone());
        }
        own
    }

    fn annotations(&self, server: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
        if self.configuration.pod_annotations.is_empty() {
            inherited(server, INHERITED_ANNOTATION).into_iter().collect()
        } else {
            self.configuration.pod_annotations.clone()
        }
    }
}

/// One of the server's labels or annotations, where it has a value.
pub(super) fn inherited(from: Option<&BTreeMap<String, String>>, key: &str) -> Option<(String, String)> {
    let value = from?.get(key).filter(|value| !value.is_empty())?;
    Some((key.to_owned(), value.clone()))
}

/// Velero's toleration of Windows nodes, and the first of each kind that clouds need.
pub(super) fn tolerations(server: &[Toleration]) -> Vec<Toleration> {
    let windows = Toleration {
        key: Some("os".into()),
        operator: Some("Equal".into()),
        value: Some("windows".into()),
        effect: Some("NoSchedule".into()),
        ..Toleration::default()
    };
    let first = |key: &&str| {
        let mut of_key = server.iter().filter(|it| it.key.as_deref() == Some(*key));
        of_key.next().cloned()
    };
    let inherited = INHERITED_TOLERATIONS.iter().filter_map(first);
    std::iter::once(windows).chain(inherited).collect()
}

/// `loadAffinity`, on Linux.
fn affinity(said: Option<&LoadAffinity>) -> Affinity {
    let mut requirements = said.map(LoadAffinity::requirements).unwrap_or_default();
    requirements.push(NodeSelectorRequirement {
        key: "kubernetes.io/os".into(),
        operator: "NotIn".into(),
        values: Some(vec!["windows".into()]),
    });
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![NodeSelectorTerm {
                    match_expressions: Some(requirements),
                    ..NodeSelectorTerm::default()
                }],
            }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    }
}
