//! The filter policies of a resource policy, resolved: which objects of which kinds are taken, in namespaces that a
//! policy names and among cluster-scoped kinds that it names (upstream `pkg/backup/backup.go`, `resolve…FilterPolic…`).
//! They take the place of the Backup's or Restore's own label selectors there.

use std::collections::BTreeMap;
use std::sync::Arc;

use globset::GlobMatcher;
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

use super::lists::Lists;
use super::wildcard;
use crate::{Policies, ResourceKindFilter, text};

/// What a policy says of an item that was listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// No policy is about it: the own selectors of the Backup or Restore decide.
    Silent,
    Take,
    Leave,
}

/// All filter policies of a backup or restore.
#[derive(Clone, Debug, Default)]
pub struct KindFilters {
    namespaced: Vec<NamespacePolicy>,
    cluster: BTreeMap<String, Arc<KindFilter>>,
}

#[derive(Clone, Debug)]
struct NamespacePolicy {
    patterns: Vec<(String, Option<GlobMatcher>)>,
    kinds: BTreeMap<String, Arc<KindFilter>>,
    others: Option<Arc<KindFilter>>,
}

#[derive(Clone, Debug)]
struct KindFilter {
    /// Any of these; none: every object.
    selectors: Vec<Selector>,
    names: Lists,
}

impl KindFilter {
    fn takes(&self, item: &Value) -> bool {
        let labels = item
            .pointer("/metadata/labels")
            .and_then(|labels| serde_json::from_value(labels.clone()).ok())
            .unwrap_or_default();
        let labelled =
            self.selectors.is_empty() || self.selectors.iter().any(|selector| selector.matches(&labels));
        labelled && self.names.includes(name(item))
    }
}

impl KindFilters {
    /// `resolve` gives a kind's group-resource; unknown ones stay as they are.
    ///
    /// # Errors
    /// A label selector that is none, or two words for one kind.
    pub fn new(policies: &Policies, resolve: impl Fn(&str) -> String) -> Result<Self, String> {
        let mut filters = Self::default();
        for policy in &policies.namespaced_filters {
            let mut built = NamespacePolicy {
                patterns: policy
                    .namespaces
                    .iter()
                    .map(|pattern| {
                        let glob = wildcard::is_pattern(pattern).then(|| wildcard::matcher(pattern));
                        (pattern.clone(), glob.flatten())
                    })
                    .collect(),
                kinds: BTreeMap::new(),
                others: None,
            };
            for filter in &policy.resource_filters {
                let resolved = Arc::new(resolved(filter)?);
                if filter.is_catch_all() {
                    built.others = Some(resolved);
                } else {
                    add(&mut built.kinds, filter, &resolved, &resolve)?;
                }
            }
            filters.namespaced.push(built);
        }
        let cluster = policies.cluster_scoped_filter.iter();
        for filter in cluster.flat_map(|policy| &policy.resource_filters) {
            let resolved = Arc::new(resolved(filter)?);
            add(&mut filters.cluster, filter, &resolved, &resolve)?;
        }
        Ok(filters)
    }

    /// True when a policy may have a word about the resource: its lists are then not narrowed by labels.
    pub fn concerns(&self, resource: &str, namespaced: bool) -> bool {
        if namespaced {
            !self.namespaced.is_empty()
        } else {
            self.cluster.contains_key(resource)
        }
    }

    /// No policy is about anything.
    pub fn is_empty(&self) -> bool {
        self.namespaced.is_empty() && self.cluster.is_empty()
    }

    /// About an item that was listed. A kind that the namespace's policy does not name is left out.
    pub fn of_listed(&self, resource: &str, item: &Value) -> Word {
        self.of_any(&[resource], item)
    }

    /// [`Self::of_listed`] for an item whose kind a policy may name in several ways: the first that it does counts.
    pub fn of_any(&self, kinds: &[&str], item: &Value) -> Word {
        let filter = match self.filter(kinds, namespace(item)) {
            None => return Word::Silent,
            Some(filter) => filter,
        };
        if filter.is_some_and(|filter| filter.takes(item)) {
            Word::Take
        } else {
            Word::Leave
        }
    }

    /// About an item that another one brings along: only its name can keep it out, since what a volume needs must not be
    /// lost because nobody listed its kind.
    pub fn keeps_out(&self, resource: &str, item: &Value) -> bool {
        let filter = self.filter(&[resource], namespace(item)).flatten();
        filter.is_some_and(|filter| !filter.names.includes(name(item)))
    }

    /// Outer `None`: no policy. A namespace's own name counts before patterns, then the first policy does.
    fn filter(&self, kinds: &[&str], namespace: &str) -> Option<Option<&KindFilter>> {
        if namespace.is_empty() {
            return named(&self.cluster, kinds).map(Some);
        }
        let exact =
            |policy: &&NamespacePolicy| policy.patterns.iter().any(|(pattern, _)| pattern == namespace);
        let glob = |policy: &&NamespacePolicy| {
            let globs = policy.patterns.iter().filter_map(|(_, glob)| glob.as_ref());
            globs.into_iter().any(|glob| glob.is_match(namespace))
        };
        let policy = self
            .namespaced
            .iter()
            .find(exact)
            .or_else(|| self.namespaced.iter().find(glob))?;
        Some(named(&policy.kinds, kinds).or(policy.others.as_deref()))
    }
}

fn add(
    kinds: &mut BTreeMap<String, Arc<KindFilter>>,
    filter: &ResourceKindFilter,
    resolved: &Arc<KindFilter>,
    resolve: &impl Fn(&str) -> String,
) -> Result<(), String> {
    for word in &filter.kinds {
        let kind = resolve(word);
        if kinds.insert(kind.clone(), Arc::clone(resolved)).is_some() {
            return Err(format!(
                "ambiguous policy: {word:?} is another word for {kind:?}, which it names already"
            ));
        }
    }
    Ok(())
}

fn named<'a>(filters: &'a BTreeMap<String, Arc<KindFilter>>, kinds: &[&str]) -> Option<&'a KindFilter> {
    kinds
        .iter()
        .find_map(|kind| filters.get(*kind))
        .map(|filter| &**filter)
}

fn name(item: &Value) -> &str {
    text(item, "/metadata/name")
}

fn namespace(item: &Value) -> &str {
    text(item, "/metadata/namespace")
}

fn resolved(filter: &ResourceKindFilter) -> Result<KindFilter, String> {
    let wanted = filter
        .label_selector
        .iter()
        .filter(|selector| !selector.is_empty());
    let selectors = wanted
        .chain(&filter.or_label_selectors)
        .map(|selector| selector.selector());
    Ok(KindFilter {
        selectors: selectors.collect::<Result<_, _>>()?,
        names: Lists::new(&filter.names, &filter.excluded_names),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Document;

    fn filters(yaml: &str) -> KindFilters {
        let policies = Policies::build(Document::read(yaml).unwrap()).unwrap();
        KindFilters::new(&policies, |kind| format!("{}s", kind.to_lowercase())).unwrap()
    }

    fn item(namespace: &str, name: &str, app: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": namespace, "labels": {"app": app}}})
    }

    const POLICIES: &str = "version: v1\nnamespacedFilterPolicies:\n\
        - namespaces: [\"shop-*\"]\n  resourceFilters:\n  - kinds: [Pod]\n    labelSelector: {matchLabels: {app: web}}\n    names: [\"a*\"]\n\
        - namespaces: [shop-all]\n  resourceFilters:\n  - kinds: [\"*\"]\n";

    #[test]
    fn in_a_namespace_with_a_policy_only_its_kinds_labels_and_names_are_taken() {
        let filters = filters(POLICIES);
        assert_eq!(
            filters.of_listed("pods", &item("shop-1", "a1", "web")),
            Word::Take
        );
        assert_eq!(
            filters.of_listed("pods", &item("shop-1", "b1", "web")),
            Word::Leave
        );
        assert_eq!(
            filters.of_listed("pods", &item("shop-1", "a1", "db")),
            Word::Leave
        );
        assert_eq!(
            filters.of_listed("secrets", &item("shop-1", "a1", "web")),
            Word::Leave
        );
        assert_eq!(
            filters.of_listed("secrets", &item("bank", "a1", "web")),
            Word::Silent
        );
    }

    #[test]
    fn a_namespaces_own_name_counts_before_patterns() {
        assert_eq!(
            filters(POLICIES).of_listed("secrets", &item("shop-all", "z", "x")),
            Word::Take
        );
    }

    #[test]
    fn what_an_item_brings_along_is_kept_out_only_by_name() {
        let filters = filters(POLICIES);
        assert!(!filters.keeps_out("persistentvolumeclaims", &item("shop-1", "data", "db")));
        assert!(filters.keeps_out("pods", &item("shop-1", "b1", "web")));
    }
}
