//! What an administrator may say about data mover pods and their temporary volumes.
//!
//! The keys of the node agent's ConfigMap that concern exposing, as plain values; `crates/controllers/src/
//! node_agent_configuration/` reads them. Whoever exposes takes them as they are at that moment: a pod or PVC that
//! exists already keeps what it was made with. Source: velero-behaviour.md 5.7, Velero v1.18.3 `pkg/types/node_agent.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Settings of one node agent; the default is what Velero does without a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `loadAffinity`: where data mover pods may run.
    pub load_affinity: Vec<LoadAffinity>,
    /// `backupPVC`, by the source PVC's storage class.
    pub backup_pvc: BTreeMap<String, BackupPvc>,
    /// `restorePVC`.
    pub restore_pvc: RestorePvc,
    /// `cachePVC`; none: data movers keep no copies of what they read.
    pub cache_pvc: Option<CachePvc>,
    /// `podResources`; none: the pods are BestEffort.
    pub pod_resources: Option<ResourceRequirements>,
    /// `priorityClassName`; empty: the cluster's default.
    pub priority_class_name: String,
    /// `podLabels`: in place of those that are inherited for clouds.
    pub pod_labels: BTreeMap<String, String>,
    /// `podAnnotations`: likewise.
    pub pod_annotations: BTreeMap<String, String>,
}

/// One entry of `loadAffinity`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadAffinity {
    /// The nodes.
    pub node_selector: LabelSelector,
    /// For volumes of this class only; empty: for all others.
    pub storage_class: String,
}

/// One entry of `backupPVC`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BackupPvc {
    /// Class of the backup PVC; empty: the source's.
    pub storage_class: String,
    /// ReadOnlyMany instead of ReadWriteOnce.
    pub read_only: bool,
    /// SELinux type `spc_t`, so that nothing is relabelled; only of a read-only PVC.
    pub spc_no_relabeling: bool,
    /// Annotations of the backup PVC.
    pub annotations: BTreeMap<String, String>,
}

/// `restorePVC`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestorePvc {
    /// A volume of a delayed-binding class is made wherever the data mover pod runs, without waiting for the
    /// application's pod.
    pub ignore_delay_binding: bool,
}

/// `cachePVC`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachePvc {
    /// Class of the cache PVC.
    pub storage_class: String,
    /// Snapshots that are known to be smaller, in MiB, are restored without one.
    pub resident_threshold_mb: u64,
}

impl Settings {
    /// What is said about backup PVCs of volumes of this class, with the class that they get.
    pub fn backup_pvc(&self, source_class: &str) -> BackupPvc {
        let mut said = self.backup_pvc.get(source_class).cloned().unwrap_or_default();
        if said.storage_class.is_empty() {
            source_class.clone_into(&mut said.storage_class);
        }
        said
    }

    /// The nodes for volumes of this class: the first entry of the class, else the first without one.
    pub fn affinity(&self, storage_class: &str) -> Option<&LoadAffinity> {
        let mut all = self.load_affinity.iter();
        let of_class = all.find(|entry| entry.storage_class == storage_class);
        of_class.or_else(|| {
            self.load_affinity
                .iter()
                .find(|entry| entry.storage_class.is_empty())
        })
    }
}

impl LoadAffinity {
    /// The same as a pod says it; labels come before expressions.
    pub fn requirements(&self) -> Vec<NodeSelectorRequirement> {
        let labels = self.node_selector.match_labels.iter().flatten();
        let labels = labels.map(|(key, value)| NodeSelectorRequirement {
            key: key.clone(),
            operator: "In".into(),
            values: Some(vec![value.clone()]),
        });
        let expressions = self.node_selector.match_expressions.iter().flatten();
        let expressions = expressions.map(|expression| NodeSelectorRequirement {
            key: expression.key.clone(),
            operator: expression.operator.clone(),
            values: expression.values.clone(),
        });
        labels.chain(expressions).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(label: &str, storage_class: &str) -> LoadAffinity {
        LoadAffinity {
            node_selector: LabelSelector {
                match_labels: Some(BTreeMap::from([(label.to_owned(), "yes".to_owned())])),
                match_expressions: None,
            },
            storage_class: storage_class.into(),
        }
    }

    #[test]
    fn the_first_entry_of_a_class_counts_and_else_the_first_without_one() {
        let settings = Settings {
            load_affinity: vec![
                entry("a", "fast"),
                entry("b", "fast"),
                entry("c", ""),
                entry("d", ""),
                entry("e", "slow"),
            ],
            ..Settings::default()
        };
        for (class, label) in [("fast", "a"), ("slow", "e"), ("other", "c"), ("", "c")] {
            let found = settings.affinity(class).unwrap().requirements();
            assert_eq!(found[0].key, label, "{class}");
        }
        assert!(Settings::default().affinity("fast").is_none());
    }

    #[test]
    fn a_backup_pvc_keeps_its_sources_class_unless_another_is_said() {
        let settings = Settings {
            backup_pvc: BTreeMap::from([
                (
                    "fast".to_owned(),
                    BackupPvc {
                        storage_class: "cheap".into(),
                        ..BackupPvc::default()
                    },
                ),
                (
                    "slow".to_owned(),
                    BackupPvc {
                        read_only: true,
                        ..BackupPvc::default()
                    },
                ),
            ]),
            ..Settings::default()
        };
        assert_eq!(settings.backup_pvc("fast").storage_class, "cheap");
        assert_eq!(settings.backup_pvc("slow").storage_class, "slow");
        assert!(settings.backup_pvc("slow").read_only);
        assert_eq!(settings.backup_pvc("other").storage_class, "other");
    }
}
