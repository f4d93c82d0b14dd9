//! Flags of `velero install` about the platform: kubelets that keep their folders elsewhere, OpenShift, identities of a
//! cloud's workloads, priority classes.
//!
//! Mirrors the flags of the same names of `pkg/cmd/cli/install/install.go` (1.18.3). Two differences on purpose: no host
//! path is mounted unless it is asked for, since data movement needs none; and `--namespace-annotations` is an addition,
//! for OpenShift's `openshift.io/node-selector`, which must be there before the DaemonSet is.
//!
//! What each pod may do and why is `docs/security.md`.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use caravel_api::labels::{COMPONENT, COMPONENT_VELERO};
use serde_json::{Value, json};

use super::super::failure::{Failure, Outcome};
use super::super::flags::{boolean, map};
use super::objects::SERVICE_ACCOUNT;

/// Where a kubelet keeps its folders unless it was told otherwise.
const KUBELET_ROOT: &str = "/var/lib/kubelet";
/// The user that pods run as that need no root; any but root does.
const UNPRIVILEGED_USER: i64 = 65532;

/// The flags.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PlatformArgs {
    /// The kubelet's root folder, whose pods and plug-ins the node agent mounts [default: none is mounted].
    #[arg(long, value_name = "FOLDER")]
    pub kubelet_root_dir: Option<String>,
    /// Mount no host path into the node agent; =false mounts those below /var/lib/kubelet [default: true].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub node_agent_disable_host_path: Option<bool>,
    /// Run the node agent in privileged mode.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub privileged_node_agent: Option<bool>,
    /// Annotations of the server's and the node agent's pods: key1=value1,key2=value2.
    #[arg(long, value_name = "KEY=VALUE")]
    pub pod_annotations: Vec<String>,
    /// Labels of the server's and the node agent's pods: key1=value1,key2=value2.
    #[arg(long, value_name = "KEY=VALUE")]
    pub pod_labels: Vec<String>,
    /// Annotations of the ServiceAccounts: key1=value1,key2=value2.
    #[arg(long, value_name = "KEY=VALUE")]
    pub sa_annotations: Vec<String>,
    /// ServiceAccount of server and node agent, with rights that you gave it; `velero` is then not created.
    #[arg(long, value_name = "NAME")]
    pub service_account_name: Option<String>,
    /// Annotations of the namespace, set also where it exists (OpenShift: openshift.io/node-selector=).
    #[arg(long, value_name = "KEY=VALUE")]
    pub namespace_annotations: Vec<String>,
    /// Priority class of the server.
    #[arg(long, value_name = "NAME")]
    pub server_priority_class_name: Option<String>,
    /// Priority class of the node agent.
    #[arg(long, value_name = "NAME")]
    pub node_agent_priority_class_name: Option<String>,
}

/// The flags, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Platform {
    /// The kubelet's root folder where it is to be mounted.
    pub kubelet_root: Option<String>,
    /// Whether the node agent runs in privileged mode.
    pub privileged_node_agent: bool,
    pod_annotations: BTreeMap<String, String>,
    pod_labels: BTreeMap<String, String>,
    /// Of the ServiceAccounts that `install` makes.
    pub service_account_annotations: BTreeMap<String, String>,
    own_service_account: Option<String>,
    /// Of the namespace.
    pub namespace_annotations: BTreeMap<String, String>,
    /// Of the server; empty: none.
    pub server_priority_class: String,
    /// Of the node agent; empty: none.
    pub node_agent_priority_class: String,
}

impl Platform {
    /// Checks the flags; what the user should know about them is added to `notes`.
    pub fn from_args(args: &PlatformArgs, notes: &mut Vec<String>) -> Outcome<Self> {
        let read = |flag: &str, values: &[String]| {
            map(values).map_err(|why| Failure::usage(format!("--{flag}: {why}")))
        };
        let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let platform = Self {
            kubelet_root: kubelet_root(args)?,
            privileged_node_agent: args.privileged_node_agent.unwrap_or(false),
            pod_annotations: read("pod-annotations", &args.pod_annotations)?,
            pod_labels: read("pod-labels", &args.pod_labels)?,
            service_account_annotations: read("sa-annotations", &args.sa_annotations)?,
            own_service_account: named(&args.service_account_name),
            namespace_annotations: read("namespace-annotations", &args.namespace_annotations)?,
            server_priority_class: named(&args.server_priority_class_name).unwrap_or_default(),
            node_agent_priority_class: named(&args.node_agent_priority_class_name).unwrap_or_default(),
        };
        notes.extend(platform.notes());
        Ok(platform)
    }

    /// The ServiceAccount of server and node agent.
    pub fn service_account(&self) -> &str {
        self.own_service_account.as_deref().unwrap_or(SERVICE_ACCOUNT)
    }

    /// Whether `install` makes that account and gives it its rights.
    pub fn makes_service_account(&self) -> bool {
        self.own_service_account.is_none()
    }

    /// Labels of a pod: ours, the user's over them, and over both those that it is found by.
    pub fn labels(&self, found_by: &[(&str, &str)]) -> Value {
        let mut labels = BTreeMap::from([(COMPONENT, COMPONENT_VELERO)]);
        labels.extend(
            self.pod_labels
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        );
        labels.extend(found_by.iter().copied());
        json!(labels)
    }

    /// Annotations of a pod: these, and the user's over them. None where there are none.
    pub fn annotations(&self, ours: &[(&str, &str)]) -> Option<Value> {
        let mut annotations: BTreeMap<&str, &str> = ours.iter().copied().collect();
        let said = self.pod_annotations.iter();
        annotations.extend(said.map(|(key, value)| (key.as_str(), value.as_str())));
        (!annotations.is_empty()).then(|| json!(annotations))
    }

    /// Host paths belong to root, and a privileged container is root's.
    pub fn node_agent_is_root(&self) -> bool {
        self.privileged_node_agent || self.kubelet_root.is_some()
    }

    /// What the node agent's container may do.
    pub fn node_agent_security(&self) -> Value {
        if self.node_agent_is_root() {
            json!({"privileged": self.privileged_node_agent, "readOnlyRootFilesystem": true})
        } else {
            unprivileged()
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(root) = &self.kubelet_root {
            notes.push(format!(
                "{root}/pods and {root}/plugins are mounted into the node agent, which runs as root for it. Data movement \
                 does without; only file system backup reads them, which this version does not have yet."
            ));
        }
        if self.privileged_node_agent {
            notes.push(
                "--privileged-node-agent: the node agent runs privileged. Its data movement needs no privilege, for block \
                 devices neither: leave the flag out unless a policy of the platform asks for it."
                    .into(),
            );
        }
        if let (Some(name), false) = (
            &self.own_service_account,
            self.service_account_annotations.is_empty(),
        ) {
            notes.push(format!(
                "--sa-annotations are set on ServiceAccount velero-data-mover only: {name} is yours, annotate it yourself."
            ));
        }
        notes
    }
}

/// What a container may do that needs no power at all: server, and node agent without host paths.
pub fn unprivileged() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "runAsUser": UNPRIVILEGED_USER,
    })
}

/// The kubelet's folder, cleaned as Go's `filepath.Join` does; None where nothing of it is to be mounted.
fn kubelet_root(args: &PlatformArgs) -> Outcome<Option<String>> {
    let folder = args
        .kubelet_root_dir
        .as_deref()
        .filter(|folder| !folder.is_empty());
    let folder = match (folder, args.node_agent_disable_host_path) {
        (Some(_), Some(true)) => {
            return Err(Failure::usage(
                "cannot use both --kubelet-root-dir and --node-agent-disable-host-path: nothing of the folder is mounted",
            )
            .next("leave out --kubelet-root-dir: data movement needs no host path"));
        }
        (None, None | Some(true)) => return Ok(None),
        (None, Some(false)) => KUBELET_ROOT,
        (Some(folder), _) => folder,
    };
    let path = Path::new(folder);
    let plain = |part: &Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    // The root itself would hand the node's whole file system over.
    if !path.is_absolute() || !path.components().all(|part| plain(&part)) || path.parent().is_none() {
        return Err(Failure::usage(format!(
            "--kubelet-root-dir {folder}: not an absolute path of a folder below /"
        ))
        .next("kubelet's own flag --root-dir says where it is; Kubernetes' default is /var/lib/kubelet"));
    }
    let cleaned: std::path::PathBuf = path.components().collect();
    Ok(Some(cleaned.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(args: PlatformArgs) -> Outcome<(Platform, Vec<String>)> {
        let mut notes = Vec::new();
        Ok((Platform::from_args(&args, &mut notes)?, notes))
    }

    fn root(folder: &str) -> PlatformArgs {
        PlatformArgs {
            kubelet_root_dir: Some(folder.into()),
            ..PlatformArgs::default()
        }
    }

    #[test]
    fn no_host_path_is_mounted_unless_one_is_asked_for() {
        let (platform, notes) = checked(PlatformArgs::default()).ok().unwrap();
        assert_eq!((platform.kubelet_root, notes.len()), (None, 0));
        let (platform, notes) = checked(PlatformArgs {
            node_agent_disable_host_path: Some(false),
            ..PlatformArgs::default()
        })
        .ok()
        .unwrap();
        assert_eq!(platform.kubelet_root.as_deref(), Some("/var/lib/kubelet"));
        assert!(notes[0].contains("/var/lib/kubelet/pods"), "{notes:?}");
    }

    #[test]
    fn the_kubelets_folder_is_cleaned_and_must_be_a_folder_of_the_node() {
        let (platform, _) = checked(root("/var/vcap//data/kubelet/")).ok().unwrap();
        assert_eq!(platform.kubelet_root.as_deref(), Some("/var/vcap/data/kubelet"));
        for folder in ["kubelet", "/", "/var/../etc", "./x"] {
            let refusal = checked(root(folder)).expect_err(folder).to_string();
            assert!(refusal.contains("--kubelet-root-dir"), "{refusal}");
        }
        let both = PlatformArgs {
            node_agent_disable_host_path: Some(true),
            ..root("/opt/kubelet")
        };
        let refusal = checked(both).expect_err("a contradiction").to_string();
        assert!(refusal.contains("--node-agent-disable-host-path"), "{refusal}");
    }

    #[test]
    fn a_label_that_a_pod_is_found_by_is_nobody_elses() {
        let (platform, _) = checked(PlatformArgs {
            pod_labels: vec!["deploy=mine,team=storage,component=x".into()],
            ..PlatformArgs::default()
        })
        .ok()
        .unwrap();
        assert_eq!(
            platform.labels(&[("deploy", "velero")]),
            json!({"component": "x", "deploy": "velero", "team": "storage"})
        );
    }

    #[test]
    fn the_openshift_annotation_has_an_empty_value() {
        let (platform, _) = checked(PlatformArgs {
            namespace_annotations: vec!["openshift.io/node-selector=".into()],
            ..PlatformArgs::default()
        })
        .ok()
        .unwrap();
        assert_eq!(platform.namespace_annotations["openshift.io/node-selector"], "");
    }
}
