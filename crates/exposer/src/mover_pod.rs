//! The data mover pod: what it inherits from the node agent's DaemonSet, and what it may do.
//!
//! Velero's shape (velero-behaviour.md 5.3: one container named like its volume, the CR's UID) with less power: it
//! runs as root inside its container but keeps only the capabilities that reading or restoring owners and modes
//! needs, its root file system is read-only, no host path is mounted, and it uses the ServiceAccount
//! `velero-data-mover` when there is one. The repository password and the location's own credential are mounted
//! files; the location itself (no secret) is the variable `CARAVEL_LOCATION`.

use std::collections::BTreeMap;
use std::time::Duration;

use caravel_api::labels;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, EnvVar, NodeAffinity, NodeSelector, NodeSelectorRequirement,
    NodeSelectorTerm, PersistentVolumeClaimVolumeSource, Pod, PodOS, PodSpec, SELinuxOptions,
    SecretVolumeSource, SecurityContext, Toleration, TopologySpreadConstraint, Volume, VolumeDevice,
    VolumeMount,
};
use k8s_openapi::api::core::v1::{KeyToPath, PodSecurityContext};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::api::ObjectMeta;

use crate::cache_volume::{self, CACHE_FOLDER, CACHE_LIMIT_VARIABLE, CACHE_VOLUME, CacheVolume};
use crate::settings::{LoadAffinity, Settings};

/// Folder of the mounted repository password.
pub const REPOSITORY_FOLDER: &str = "/repository";
/// Folder of the location's own credential, where the location names one.
pub const CREDENTIAL_FOLDER: &str = "/location-credential";
/// The variables by which a data mover finds it, whichever store the location is in; the agent's own are replaced, so that
/// its credential is never taken for the location's.
const CREDENTIAL_VARIABLES: [&str; 3] = [
    "AWS_SHARED_CREDENTIALS_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AZURE_CREDENTIALS_FILE",
];
/// Secret with the repository password.
const PASSWORD_SECRET: &str = "velero-repo-credentials";
/// Its keys, and the files they become. The second one is there while the password is being changed.
const PASSWORD_FILES: [(&str, &str); 2] = [
    ("repository-password", "password"),
    ("repository-password-next", "password-next"),
];
/// The variable with the location's JSON.
pub const LOCATION_VARIABLE: &str = "CARAVEL_LOCATION";
/// The variable of a backup that compresses, `true`: its account may not read BackupRepositories.
pub const COMPRESSION_VARIABLE: &str = "CARAVEL_ENABLE_COMPRESSION";

/// Tolerations, labels and annotations that clouds need on every pod (velero-behaviour.md section 0).
const INHERITED_TOLERATIONS: &[&str] = &["kubernetes.azure.com/scalesetpriority", "CriticalAddonsOnly"];
const INHERITED_LABEL: &str = "azure.workload.identity/use";
const INHERITED_ANNOTATION: &str = "iam.amazonaws.com/role";

/// What the data mover does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Backup,
    Restore,
}

/// How the data mover reaches the bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocationMount {
    /// JSON of `caravel_backup_store::Location`; no secret.
    pub json: String,
    /// Secret and key of the location's own credential; None: what the node agent has.
    pub credential: Option<(String, String)>,
}

/// One data mover pod to be.
#[derive(Clone, Debug)]
pub struct DataMoverPod<'a> {
    pub verb: Verb,
    /// The DataUpload's or DataDownload's name; the pod's and the PVC's too.
    pub name: &'a str,
    pub namespace: &'a str,
    /// Its UID: names the container, the volume and the path.
    pub uid: &'a str,
    pub owner: OwnerReference,
    /// `Block` or `Filesystem`.
    pub volume_mode: &'a str,
    pub resource_timeout: Duration,
    pub location: &'a LocationMount,
    /// Whether a backup compresses: the repository's `enableCompression`.
    pub enable_compression: bool,
    /// The volume for its cache.
    pub cache: Option<&'a CacheVolume>,
    /// `velero-data-mover` when it exists; else the node agent's.
    pub service_account: Option<&'a str>,
    /// The node that the target volume was placed for.
    pub on_node: Option<&'a str>,
    /// Where the source volume can be reached from (local volumes of a delayed-binding class).
    pub topology: Option<&'a NodeSelector>,
    /// Nodes that cannot take the volume.
    pub not_on_nodes: &'a [String],
    /// Class of the volume: which entry of `loadAffinity` counts.
    pub storage_class: &'a str,
    /// The PVC may only be read (ReadOnlyMany), by the volume's own word.
    pub read_only: bool,
    /// SELinux must not relabel the volume.
    pub no_relabeling: bool,
    pub settings: &'a Settings,
    /// `priorityClassName`, where there is such a class.
    pub priority_class: Option<&'a str>,
}

impl DataMoverPod<'_> {
    /// The pod, inheriting from the node agent's DaemonSet.
    pub fn build(&self, node_agent: &DaemonSet) -> Pod {
        let template = node_agent
            .spec
            .as_ref()
            .map(|spec| spec.template.clone())
            .unwrap_or_default();
        let meta = template.metadata.unwrap_or_default();
        let agent = template.spec.unwrap_or_default();
        let agent_container = agent.containers.first().cloned().unwrap_or_default();
        let (mut volumes, mut mounts) = self.inherited_volumes(&agent, &agent_container);
        volumes.push(self.data_volume());
        volumes.extend(self.cache.map(|_| self.cache_volume()));
        self.add_secrets(&mut volumes, &mut mounts);
        let (group, name_label) = match self.verb {
            Verb::Backup => (labels::EXPOSER_POD_GROUP_SNAPSHOT, labels::DATA_UPLOAD),
            Verb::Restore => (labels::EXPOSER_POD_GROUP_GENERIC_RESTORE, labels::DATA_DOWNLOAD),
        };
        let mut pod_labels = BTreeMap::from([
            (name_label.to_owned(), labels::label_value(self.name)),
            (labels::EXPOSER_POD_GROUP.to_owned(), group.to_owned()),
        ]);
        let said = &self.settings.pod_labels;
        if said.is_empty() {
            inherit(&mut pod_labels, meta.labels.as_ref(), INHERITED_LABEL);
        }
        // Our own labels are how the pod is found again: nobody replaces them.
        for (key, value) in said {
            pod_labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let mut annotations = self.settings.pod_annotations.clone();
        if annotations.is_empty() {
            inherit(&mut annotations, meta.annotations.as_ref(), INHERITED_ANNOTATION);
        }
        Pod {
            metadata: ObjectMeta {
                name: Some(self.name.into()),
                namespace: Some(self.namespace.into()),
                labels: Some(pod_labels),
                annotations: Some(annotations),
                owner_references: Some(vec![self.owner.clone()]),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                containers: vec![self.container(&agent_container, mounts)],
                volumes: Some(volumes),
                restart_policy: Some("Never".into()),
                termination_grace_period_seconds: Some(0),
                service_account_name: self
                    .service_account
                    .map(str::to_owned)
                    .or(agent.service_account_name),
                image_pull_secrets: agent.image_pull_secrets,
                dns_policy: agent.dns_policy,
                dns_config: agent.dns_config,
                priority_class_name: self.priority_class.map(str::to_owned),
                os: Some(PodOS { name: "linux".into() }),
                security_context: Some(PodSecurityContext {
                    run_as_user: Some(0),
                    se_linux_options: self.no_relabeling.then(|| SELinuxOptions {
                        type_: Some("spc_t".into()),
                        ..SELinuxOptions::default()
                    }),
                    ..PodSecurityContext::default()
                }),
                topology_spread_constraints: Some(vec![spread(group)]),
                affinity: Some(self.affinity()),
                node_selector: self
                    .on_node
                    .map(|node| BTreeMap::from([("kubernetes.io/hostname".into(), node.into())])),
                tolerations: Some(tolerations(agent.tolerations)),
                ..PodSpec::default()
            }),
            ..Pod::default()
        }
    }

    /// The path of the volume, or of its device, in the pod.
    fn volume_path(&self) -> String {
        format!("/{}", self.uid)
    }

    fn is_block(&self) -> bool {
        self.volume_mode == "Block"
    }

    fn container(&self, agent: &Container, mut mounts: Vec<VolumeMount>) -> Container {
        let (verb, flag) = match self.verb {
            Verb::Backup => ("backup", "data-upload"),
            Verb::Restore => ("restore", "data-download"),
        };
        let mut args = vec![
            format!("--volume-path={}", self.volume_path()),
            format!("--volume-mode={}", self.volume_mode),
            format!("--{flag}={}", self.name),
            format!(
                "--resource-timeout={}",
                caravel_api::Duration(self.resource_timeout)
            ),
        ];
        if self.cache.is_some() {
            args.push(format!("--cache-volume-path={CACHE_FOLDER}"));
            mounts.push(VolumeMount {
                name: CACHE_VOLUME.into(),
                mount_path: CACHE_FOLDER.into(),
                ..VolumeMount::default()
            });
        }
        let is_log = |arg: &&String| arg.starts_with("--log-level=") || arg.starts_with("--log-format=");
        args.extend(agent.args.iter().flatten().filter(is_log).cloned());
        if !self.is_block() {
            mounts.push(VolumeMount {
                name: self.uid.into(),
                mount_path: self.volume_path(),
                // A backup never writes to the volume, whatever its access mode.
                read_only: (self.verb == Verb::Backup).then_some(true),
                ..VolumeMount::default()
            });
        }
        let device = VolumeDevice {
            name: self.uid.into(),
            device_path: self.volume_path(),
        };
        Container {
            name: self.uid.into(),
            image: agent.image.clone(),
            image_pull_policy: Some("Never".into()),
            command: Some(vec!["/velero".into(), "data-mover".into(), verb.into()]),
            args: Some(args),
            env: Some(self.environment(agent)),
            env_from: agent.env_from.clone(),
            volume_mounts: Some(mounts),
            volume_devices: self.is_block().then(|| vec![device]),
            security_context: Some(self.security()),
            resources: self.settings.pod_resources.clone(),
            termination_message_path: Some("/dev/termination-log".into()),
            ..Container::default()
        }
    }

    fn environment(&self, agent: &Container) -> Vec<EnvVar> {
        let variable = |name: &str, value: String| EnvVar {
            name: name.into(),
            value: Some(value),
            value_from: None,
        };
        let mut own = vec![variable(LOCATION_VARIABLE, self.location.json.clone())];
        if let Some((_, key)) = &self.location.credential {
            let file = format!("{CREDENTIAL_FOLDER}/{key}");
            own.extend(CREDENTIAL_VARIABLES.map(|name| variable(name, file.clone())));
        }
        if self.enable_compression {
            own.push(variable(COMPRESSION_VARIABLE, "true".into()));
        }
        if let Some(cache) = self.cache {
            own.push(variable(CACHE_LIMIT_VARIABLE, cache.limit_mb.to_string()));
        }
        let mut all: Vec<_> = agent.env.clone().unwrap_or_default();
        all.retain(|inherited| !own.iter().any(|variable| variable.name == inherited.name));
        all.extend(own);
        all
    }

    /// The agent's volumes without host paths, and without its credential where the location has its own.
    fn inherited_volumes(&self, agent: &PodSpec, container: &Container) -> (Vec<Volume>, Vec<VolumeMount>) {
        let own_credential = self.location.credential.is_some();
        let volumes: Vec<_> = agent
            .volumes
            .iter()
            .flatten()
            .filter(|volume| volume.host_path.is_none())
            .filter(|volume| !(own_credential && volume.name == "cloud-credentials"))
            .cloned()
            .collect();
        let is_kept = |mount: &&VolumeMount| volumes.iter().any(|volume| volume.name == mount.name);
        let mounts = container
            .volume_mounts
            .iter()
            .flatten()
            .filter(is_kept)
            .cloned()
            .collect();
        (volumes, mounts)
    }

    fn data_volume(&self) -> Volume {
        Volume {
            name: self.uid.into(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: self.name.into(),
                read_only: self.read_only.then_some(true),
            }),
            ..Volume::default()
        }
    }

    fn cache_volume(&self) -> Volume {
        Volume {
            name: CACHE_VOLUME.into(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: cache_volume::claim_name(self.name),
                read_only: None,
            }),
            ..Volume::default()
        }
    }

    fn add_secrets(&self, volumes: &mut Vec<Volume>, mounts: &mut Vec<VolumeMount>) {
        let mut add =
            |name: &str, secret: &str, files: &[(&str, &str)], optional: Option<bool>, folder: &str| {
                let item = |(key, path): &(&str, &str)| KeyToPath {
                    key: (*key).into(),
                    path: (*path).into(),
                    mode: None,
                };
                volumes.push(Volume {
                    name: name.into(),
                    secret: Some(SecretVolumeSource {
                        secret_name: Some(secret.into()),
                        default_mode: Some(0o400),
                        items: Some(files.iter().map(item).collect()),
                        optional,
                    }),
                    ..Volume::default()
                });
                mounts.push(VolumeMount {
                    name: name.into(),
                    mount_path: folder.into(),
                    read_only: Some(true),
                    ..VolumeMount::default()
                });
            };
        // Optional for the second key's sake; without the first one the data mover says what is missing.
        add(
            "repository-password",
            PASSWORD_SECRET,
            &PASSWORD_FILES,
            Some(true),
            REPOSITORY_FOLDER,
        );
        if let Some((secret, key)) = &self.location.credential {
            add(
                "location-credential",
                secret,
                &[(key.as_str(), key.as_str())],
                None,
                CREDENTIAL_FOLDER,
            );
        }
    }

    /// Root without the powers of root that moving files does not need.
    fn security(&self) -> SecurityContext {
        let keep: &[&str] = match self.verb {
            // Read what others may not read, without changing its access time.
            Verb::Backup => &["DAC_READ_SEARCH", "FOWNER"],
            // Give files their owners, modes with setuid and setgid, and times, in folders closed to all.
            Verb::Restore => &["CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID"],
        };
        SecurityContext {
            allow_privilege_escalation: Some(false),
            privileged: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_user: Some(0),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".into()]),
                add: Some(keep.iter().map(|name| (*name).to_owned()).collect()),
            }),
            ..SecurityContext::default()
        }
    }

    /// `loadAffinity`, and Linux, and not where the volume cannot go; each within the volume's topology. Where the node is
    /// chosen already, `loadAffinity` has no say.
    fn affinity(&self) -> Affinity {
        let not_in = |key: &str, values: Vec<String>| NodeSelectorRequirement {
            key: key.into(),
            operator: "NotIn".into(),
            values: Some(values),
        };
        let said = self
            .settings
            .affinity(self.storage_class)
            .filter(|_| self.on_node.is_none());
        let mut requirements = said.map(LoadAffinity::requirements).unwrap_or_default();
        requirements.push(not_in("kubernetes.io/os", vec!["windows".into()]));
        if !self.not_on_nodes.is_empty() {
            requirements.push(not_in("kubernetes.io/hostname", self.not_on_nodes.to_vec()));
        }
        let mut terms = self
            .topology
            .map(|topology| topology.node_selector_terms.clone())
            .unwrap_or_default();
        if terms.is_empty() {
            terms.push(NodeSelectorTerm::default());
        }
        for term in &mut terms {
            term.match_expressions
                .get_or_insert_default()
                .extend(requirements.iter().cloned());
        }
        Affinity {
            node_affinity: Some(NodeAffinity {
                required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                    node_selector_terms: terms,
                }),
                ..NodeAffinity::default()
            }),
            ..Affinity::default()
        }
    }
}

/// Data mover pods of one kind spread over the nodes where they can.
fn spread(group: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".into(),
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(LabelSelector {
            match_labels: Some(BTreeMap::from([(labels::EXPOSER_POD_GROUP.into(), group.into())])),
            ..LabelSelector::default()
        }),
        ..TopologySpreadConstraint::default()
    }
}

fn tolerations(all: Option<Vec<Toleration>>) -> Vec<Toleration> {
    let is_inherited = |toleration: &Toleration| {
        toleration
            .key
            .as_deref()
            .is_some_and(|key| INHERITED_TOLERATIONS.contains(&key))
    };
    all.into_iter().flatten().filter(is_inherited).collect()
}

fn inherit(into: &mut BTreeMap<String, String>, from: Option<&BTreeMap<String, String>>, key: &str) {
    if let Some(value) = from.and_then(|all| all.get(key)) {
        into.insert(key.into(), value.clone());
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod velero_cases;
