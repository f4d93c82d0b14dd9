//! What a Backup selects: namespaces and resources (velero-behaviour.md 3.3). Pure: the cluster's state is passed in.
//!
//! Upstream: `pkg/util/collections/includes_excludes.go`, `pkg/util/wildcard`.

mod namespaces;
mod resources;
mod validate;

use caravel_api::v1::BackupSpec;

pub use caravel_resource_policies::{KindFilters, Lists, Names, Word, wildcard};
pub use namespaces::{NamespaceFilter, NamespaceNotes};
pub use resources::ResourceFilter;
pub use validate::{list_errors, namespace_errors, scoped_errors, spec_errors};

/// Never collected by themselves: the CSI actions bring them along where they are wanted.
pub const SNAPSHOT_RESOURCES: [&str; 2] = [
    "volumesnapshots.snapshot.storage.k8s.io",
    "volumesnapshotcontents.snapshot.storage.k8s.io",
];

/// True when the spec uses the filters from before the scoped ones.
pub fn uses_old_filters(spec: &BackupSpec) -> bool {
    !spec.included_resources.is_empty()
        || !spec.excluded_resources.is_empty()
        || spec.include_cluster_resources.is_some()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn existing() -> BTreeSet<String> {
        names(&["shop", "shop-test", "bank"]).into_iter().collect()
    }

    fn namespaces(included: &[&str], excluded: &[&str]) -> (NamespaceFilter, NamespaceNotes) {
        NamespaceFilter::new(&names(included), &names(excluded), &existing()).unwrap()
    }

    fn resources(spec: &BackupSpec, included: &[&str]) -> ResourceFilter {
        ResourceFilter::new(spec, &namespaces(included, &[]).0, |word| {
            Some((word.to_owned(), word.starts_with("volumesnapshots.")))
        })
    }

    #[test]
    fn patterns_are_expanded_against_the_existing_namespaces() {
        let (filter, notes) = namespaces(&["shop*", "none-*", "gone"], &["*-test"]);
        assert!(filter.includes("shop") && !filter.includes("shop-test") && !filter.includes("bank"));
        assert_eq!(notes.missing, ["gone"]);
        assert_eq!(notes.empty_patterns, ["none-*"]);
    }

    #[test]
    fn no_list_or_a_star_means_all_namespaces() {
        for included in [vec![], vec!["*"]] {
            let (filter, _) = namespaces(&included, &[]);
            assert!(filter.is_everything() && filter.includes("bank") && filter.to_list().is_none());
        }
        assert!(!namespaces(&["*"], &["bank"]).0.is_everything());
    }

    #[test]
    fn cluster_resources_come_only_with_all_namespaces_unless_asked_for() {
        let pv = "persistentvolumes";
        let plain = BackupSpec::default();
        assert!(resources(&plain, &["*"]).collects(pv, false));
        assert!(!resources(&plain, &["shop"]).collects(pv, false));
        assert!(
            resources(&plain, &["shop"]).follows(pv, false),
            "the PV of a selected PVC comes along"
        );
        let all = BackupSpec {
            include_cluster_resources: Some(true),
            ..BackupSpec::default()
        };
        assert!(resources(&all, &["shop"]).collects(pv, false));
        let none = BackupSpec {
            include_cluster_resources: Some(false),
            ..BackupSpec::default()
        };
        assert!(!resources(&none, &["*"]).collects(pv, false));
        assert!(!resources(&none, &["shop"]).follows(pv, false));
    }

    #[test]
    fn the_servers_own_exclusion_of_snapshots_does_not_stop_cluster_resources() {
        let spec = BackupSpec {
            excluded_namespace_scoped_resources: names(&[SNAPSHOT_RESOURCES[0]]),
            excluded_cluster_scoped_resources: names(&[SNAPSHOT_RESOURCES[1]]),
            ..BackupSpec::default()
        };
        let filter = resources(&spec, &[]);
        assert!(filter.collects("clusterroles.rbac.authorization.k8s.io", false));
        assert!(
            !filter.collects(SNAPSHOT_RESOURCES[0], true) && !filter.collects(SNAPSHOT_RESOURCES[1], false)
        );
    }

    #[test]
    fn old_and_new_filters_together_are_refused() {
        let spec = BackupSpec {
            included_resources: names(&["pods"]),
            included_cluster_scoped_resources: names(&["persistentvolumes"]),
            ..BackupSpec::default()
        };
        assert_eq!(spec_errors(&spec).len(), 1);
    }

    #[test]
    fn contradictory_lists_and_bad_patterns_are_refused() {
        let spec = |included: &[&str], excluded: &[&str]| BackupSpec {
            included_namespaces: names(included),
            excluded_namespaces: names(excluded),
            ..BackupSpec::default()
        };
        assert!(spec_errors(&spec(&["*"], &[])).is_empty());
        assert!(spec_errors(&spec(&["shop-*", "b[ae]nk"], &["test?"])).is_empty());
        for (included, excluded) in [
            (&["*", "shop"][..], &[][..]),
            (&["shop"], &["shop"]),
            (&["shop"], &["*"]),
            (&["a**"], &[]),
            (&["a[]"], &[]),
        ] {
            assert!(
                !spec_errors(&spec(included, excluded)).is_empty(),
                "{included:?} {excluded:?}"
            );
        }
    }
}
