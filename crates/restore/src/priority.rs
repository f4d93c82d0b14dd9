//! In which order resources come back: velero-behaviour.md 8.2 (Velero's `pkg/types/priority.go` and the default of
//! `--restore-resource-priorities`). What is neither high nor low comes in between, alphabetically.

use std::collections::BTreeSet;

/// Resources that come first and last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priorities {
    /// First, in this order.
    pub high: Vec<String>,
    /// Last, in this order.
    pub low: Vec<String>,
}

/// The default order of Velero 1.18. Claims come before pods, so that a pod finds its claim; `datauploads.velero.io`
/// comes before claims, because the claim's item action needs the DataUploadResult.
const HIGH: &[&str] = &[
    "customresourcedefinitions",
    "namespaces",
    "storageclasses",
    "volumesnapshotclass.snapshot.storage.k8s.io",
    "volumesnapshotcontents.snapshot.storage.k8s.io",
    "volumesnapshots.snapshot.storage.k8s.io",
    "datauploads.velero.io",
    "persistentvolumes",
    "persistentvolumeclaims",
    "clusterroles",
    "roles",
    "serviceaccounts",
    "clusterrolebindings",
    "rolebindings",
    "secrets",
    "configmaps",
    "limitranges",
    "priorityclasses",
    "pods",
    "replicasets.apps",
    "clusterclasses.cluster.x-k8s.io",
    "endpoints",
    "services",
];

const LOW: &[&str] = &[
    "clusterbootstraps.run.tanzu.vmware.com",
    "clusters.cluster.x-k8s.io",
    "clusterresourcesets.addons.cluster.x-k8s.io",
    "apps.kappctrl.k14s.io",
    "packageinstalls.packaging.carvel.dev",
];

impl Default for Priorities {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            high: owned(HIGH),
            low: owned(LOW),
        }
    }
}

/// `--restore-resource-priorities` has more than one `-`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "multiple priority separator \"-\" found; what stands before the one `-` comes first, what stands after it comes last"
)]
pub struct TwoSeparators;

impl std::str::FromStr for Priorities {
    type Err = TwoSeparators;

    /// `high1,high2,-,low1`. An empty text has neither.
    fn from_str(text: &str) -> Result<Self, TwoSeparators> {
        let mut names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let high = names
            .by_ref()
            .take_while(|name| *name != "-")
            .map(str::to_owned)
            .collect();
        let low: Vec<String> = names.map(str::to_owned).collect();
        if low.iter().any(|name| name == "-") {
            return Err(TwoSeparators);
        }
        Ok(Self { high, low })
    }
}

/// The names in `--restore-resource-priorities` are what a user types (`clusterroles`, `volumesnapshotclass…`), so
/// they go through the cluster's discovery: `resolve` gives the full `resource.group`, or `None` when the cluster does
/// not serve it; the name is then kept as it stands.
pub fn resolved(priorities: &Priorities, resolve: impl Fn(&str) -> Option<String>) -> Priorities {
    let full = |names: &[String]| {
        names
            .iter()
            .map(|name| resolve(name).unwrap_or_else(|| name.clone()))
            .collect()
    };
    Priorities {
        high: full(&priorities.high),
        low: full(&priorities.low),
    }
}

/// The order for one run: high, then every other resource of the backup alphabetically, then low. High and low names
/// are listed even when the backup has none of them; the caller finds nothing there.
pub fn ordered<'a>(priorities: &Priorities, in_backup: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let placed: BTreeSet<&str> = priorities
        .high
        .iter()
        .chain(&priorities.low)
        .map(String::as_str)
        .collect();
    let between: BTreeSet<&str> = in_backup
        .into_iter()
        .filter(|name| !placed.contains(name))
        .collect();
    let mut order = priorities.high.clone();
    order.extend(between.into_iter().map(str::to_owned));
    order.extend(priorities.low.iter().cloned());
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_come_after_data_uploads_and_before_pods_and_unknown_kinds_after_services() {
        let order = ordered(
            &Priorities::default(),
            ["widgets.example.com", "pods", "deployments.apps", "services"],
        );
        let at = |name: &str| order.iter().position(|entry| entry == name).expect("listed");
        assert!(at("datauploads.velero.io") < at("persistentvolumeclaims"));
        assert!(at("persistentvolumeclaims") < at("pods"));
        assert!(at("pods") < at("services"));
        assert!(at("services") < at("deployments.apps"));
        assert!(at("deployments.apps") < at("widgets.example.com"));
        assert!(at("widgets.example.com") < at("clusters.cluster.x-k8s.io"));
        assert_eq!(order.iter().filter(|entry| *entry == "pods").count(), 1);
    }

    #[test]
    fn short_priority_names_take_the_group_that_the_cluster_serves() {
        let priorities = Priorities {
            high: vec!["clusterroles".into(), "nothing".into()],
            low: vec![],
        };
        let full = resolved(&priorities, |name| {
            (name == "clusterroles").then(|| "clusterroles.rbac.authorization.k8s.io".to_owned())
        });
        assert_eq!(full.high, ["clusterroles.rbac.authorization.k8s.io", "nothing"]);
    }
}
