//! What a Backup selects: namespaces and resources (velero-behaviour.md 3.3). Pure: the cluster's state is passed in.
//!
//! Upstream: `pkg/util/collections/includes_excludes.go`, `pkg/util/wildcard`.

use std::collections::BTreeSet;

use caravel_api::v1::BackupSpec;
use globset::{GlobBuilder, GlobMatcher};

/// The namespaces of a backup, patterns expanded against those that exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceFilter {
    /// `None`: all.
    included: Option<BTreeSet<String>>,
    excluded: BTreeSet<String>,
}

/// What is wrong with, or odd about, the namespaces of a spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceNotes {
    /// Included by plain name and not there: an error of the backup.
    pub missing: Vec<String>,
    /// Patterns that match no namespace: a warning of the backup.
    pub empty_patterns: Vec<String>,
}

impl NamespaceFilter {
    /// Expands the spec's lists against the existing namespaces. Assumes [`spec_errors`] found nothing.
    pub fn new(
        included: &[String],
        excluded: &[String],
        existing: &BTreeSet<String>,
    ) -> (Self, NamespaceNotes) {
        let mut notes = NamespaceNotes::default();
        let all = included.is_empty() || included.iter().any(|name| name == "*");
        let included_names = (!all).then(|| {
            let mut names = BTreeSet::new();
            for entry in included {
                let found = expand(entry, existing);
                if is_pattern(entry) {
                    if found.is_empty() {
                        notes.empty_patterns.push(entry.clone());
                    }
                } else if !existing.contains(entry) {
                    notes.missing.push(entry.clone());
                }
                names.extend(found);
            }
            names
        });
        let excluded = excluded
            .iter()
            .flat_map(|entry| expand(entry, existing))
            .collect();
        let filter = Self {
            included: included_names,
            excluded,
        };
        (filter, notes)
    }

    pub fn includes(&self, namespace: &str) -> bool {
        self.included
            .as_ref()
            .is_none_or(|names| names.contains(namespace))
            && !self.excluded.contains(namespace)
    }

    /// True when nothing is left out.
    pub fn is_everything(&self) -> bool {
        self.included.is_none() && self.excluded.is_empty()
    }

    /// The namespaces to list one by one; `None`: list the whole cluster at once.
    pub fn to_list(&self) -> Option<Vec<String>> {
        let included = self.included.as_ref()?;
        Some(included.difference(&self.excluded).cloned().collect())
    }

    /// As the log says it.
    pub fn describe(&self) -> (String, String) {
        let join = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
        let included = self.included.as_ref().map_or_else(|| "*".to_owned(), join);
        let excluded = if self.excluded.is_empty() {
            "<none>".to_owned()
        } else {
            join(&self.excluded)
        };
        (included, excluded)
    }
}

fn is_pattern(entry: &str) -> bool {
    entry.contains(['*', '?', '['])
}

fn expand(entry: &str, existing: &BTreeSet<String>) -> BTreeSet<String> {
    if !is_pattern(entry) {
        return BTreeSet::from([entry.to_owned()]);
    }
    match pattern(entry) {
        Some(glob) => existing
            .iter()
            .filter(|name| glob.is_match(name))
            .cloned()
            .collect(),
        None => BTreeSet::new(),
    }
}

fn pattern(entry: &str) -> Option<GlobMatcher> {
    Some(
        GlobBuilder::new(entry)
            .literal_separator(false)
            .build()
            .ok()?
            .compile_matcher(),
    )
}

/// Which group-resources a backup takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceFilter {
    rule: Rule,
    all_namespaces: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// `includedResources`, `excludedResources`, `includeClusterResources`.
    Old { resources: Lists, cluster: Option<bool> },
    /// The four scoped lists.
    Scoped { namespaced: Lists, cluster: Lists },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lists {
    included: BTreeSet<String>,
    excluded: BTreeSet<String>,
}

impl Lists {
    fn new(included: &[String], excluded: &[String], resolve: &impl Fn(&str) -> String) -> Self {
        let resolved = |names: &[String]| names.iter().map(|name| resolve(name)).collect();
        Self {
            included: resolved(included),
            excluded: resolved(excluded),
        }
    }
    fn names(&self, resource: &str) -> bool {
        self.included.contains("*") || self.included.contains(resource)
    }
    fn excludes(&self, resource: &str) -> bool {
        self.excluded.contains("*") || self.excluded.contains(resource)
    }
    fn includes(&self, resource: &str) -> bool {
        (self.included.is_empty() || self.names(resource)) && !self.excludes(resource)
    }
    fn takes_all(&self) -> bool {
        (self.included.is_empty() || self.included.contains("*")) && self.excluded.is_empty()
    }
}

impl ResourceFilter {
    /// `resolve` turns a spec's word (`deploy`, `Deployment`, `deployments.apps`) into `deployments.apps`; unknown words
    /// come back unchanged.
    pub fn new(spec: &BackupSpec, namespaces: &NamespaceFilter, resolve: impl Fn(&str) -> String) -> Self {
        let rule = if uses_old_filters(spec) {
            Rule::Old {
                resources: Lists::new(&spec.included_resources, &spec.excluded_resources, &resolve),
                cluster: spec.include_cluster_resources,
            }
        } else {
            Rule::Scoped {
                namespaced: Lists::new(
                    &spec.included_namespace_scoped_resources,
                    &spec.excluded_namespace_scoped_resources,
                    &resolve,
                ),
                cluster: Lists::new(
                    &spec.included_cluster_scoped_resources,
                    &spec.excluded_cluster_scoped_resources,
                    &resolve,
                ),
            }
        };
        Self {
            rule,
            all_namespaces: namespaces.is_everything(),
        }
    }

    /// True when the resource is listed as a whole.
    pub fn collects(&self, resource: &str, namespaced: bool) -> bool {
        match (&self.rule, namespaced) {
            (Rule::Old { resources, .. }, true) => resources.includes(resource),
            (Rule::Old { resources, cluster }, false) => {
                resources.includes(resource) && cluster.unwrap_or(self.all_namespaces)
            }
            (Rule::Scoped { namespaced, .. }, true) => namespaced.includes(resource),
            (Rule::Scoped { namespaced, cluster }, false) => {
                !cluster.excludes(resource)
                    && (cluster.names(resource)
                        || (cluster.included.is_empty()
                            && namespaced.takes_all_but_ours()
                            && self.all_namespaces))
            }
        }
    }

    /// True when an item that another item brings along may be taken (PV of a PVC, ClusterRole of a ServiceAccount).
    pub fn follows(&self, resource: &str, namespaced: bool) -> bool {
        match (&self.rule, namespaced) {
            (_, true) => self.collects(resource, true),
            (Rule::Old { resources, cluster }, false) => {
                *cluster != Some(false) && resources.includes(resource)
            }
            (Rule::Scoped { cluster, .. }, false) => !cluster.excludes(resource),
        }
    }

    /// Whether CRDs of the backed up custom resources come along without being asked for.
    pub fn adds_crds(&self) -> bool {
        let crds = "customresourcedefinitions.apiextensions.k8s.io";
        let untouched = |lists: &Lists| !lists.included.contains(crds) && !lists.excludes(crds);
        match &self.rule {
            Rule::Old { resources, cluster } => untouched(resources) && *cluster != Some(false),
            Rule::Scoped { cluster, .. } => untouched(cluster),
        }
    }
}

impl Lists {
    /// [`Lists::takes_all`], the snapshot objects apart, which the server itself excludes.
    fn takes_all_but_ours(&self) -> bool {
        let mut rest = self.clone();
        rest.excluded
            .retain(|resource| !SNAPSHOT_RESOURCES.contains(&resource.as_str()));
        rest.takes_all()
    }
}

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

/// What is wrong with the filters of a spec, in Velero's sense; empty when nothing is.
pub fn spec_errors(spec: &BackupSpec) -> Vec<String> {
    let mut errors = Vec::new();
    let scoped = [
        &spec.included_cluster_scoped_resources,
        &spec.excluded_cluster_scoped_resources,
        &spec.included_namespace_scoped_resources,
        &spec.excluded_namespace_scoped_resources,
    ];
    if uses_old_filters(spec) && scoped.iter().any(|list| !list.is_empty()) {
        errors.push(
            "included-resources, excluded-resources and include-cluster-resources are old filter parameters. \
             include-cluster-scoped-resources, exclude-cluster-scoped-resources, include-namespace-scoped-resources and \
             exclude-namespace-scoped-resources are new filter parameters. They cannot be used together"
                .to_owned(),
        );
    }
    if spec.label_selector.is_some() && !spec.or_label_selectors.is_empty() {
        errors.push(
            "encountered labelSelector as well as orLabelSelectors in backup spec, only one can be specified"
                .to_owned(),
        );
    }
    let pairs = [
        (
            "included/excluded resource",
            &spec.included_resources,
            &spec.excluded_resources,
        ),
        (
            "cluster-scoped included/excluded resource",
            &spec.included_cluster_scoped_resources,
            &spec.excluded_cluster_scoped_resources,
        ),
        (
            "namespace-scoped included/excluded resource",
            &spec.included_namespace_scoped_resources,
            &spec.excluded_namespace_scoped_resources,
        ),
        (
            "included/excluded namespace",
            &spec.included_namespaces,
            &spec.excluded_namespaces,
        ),
    ];
    for (what, included, excluded) in pairs {
        errors.extend(list_errors(what, included, excluded));
    }
    for entry in spec.included_namespaces.iter().chain(&spec.excluded_namespaces) {
        if entry != "*" && !legal_pattern(entry) {
            errors.push(format!(
                "Invalid included/excluded namespace lists: {entry:?} is not a namespace or a pattern of *, ? and [...]"
            ));
        }
    }
    errors
}

fn list_errors(what: &str, included: &[String], excluded: &[String]) -> Vec<String> {
    let mut errors = Vec::new();
    if included.len() > 1 && included.iter().any(|entry| entry == "*") {
        errors.push(format!(
            "Invalid {what} lists: includes list must either contain '*' only, or a non-empty list of items"
        ));
    }
    // Excluding every cluster-scoped resource is how "none of them" is said.
    if excluded.iter().any(|entry| entry == "*") && !what.contains("resource") {
        errors.push(format!("Invalid {what} lists: excludes list cannot contain '*'"));
    }
    for entry in excluded
        .iter()
        .filter(|entry| entry.as_str() != "*" && included.contains(entry))
    {
        errors.push(format!(
            "Invalid {what} lists: excludes list cannot contain an item in the includes list: {entry}"
        ));
    }
    errors
}

fn legal_pattern(entry: &str) -> bool {
    let forbidden = entry.contains("**") || entry.contains(['|', '(', ')', '!', '{', '}', ',', '/', ' ']);
    !entry.is_empty() && !forbidden && !entry.contains("[]") && pattern(entry).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn existing() -> BTreeSet<String> {
        names(&["shop", "shop-test", "bank"]).into_iter().collect()
    }

    fn namespaces(included: &[&str], excluded: &[&str]) -> (NamespaceFilter, NamespaceNotes) {
        NamespaceFilter::new(&names(included), &names(excluded), &existing())
    }

    fn resources(spec: &BackupSpec, included: &[&str]) -> ResourceFilter {
        ResourceFilter::new(spec, &namespaces(included, &[]).0, str::to_owned)
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
