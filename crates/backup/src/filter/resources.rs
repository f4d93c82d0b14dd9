//! Which group-resources a backup takes (upstream `GlobalIncludesExcludes`, `ScopeIncludesExcludes`).

use caravel_api::v1::BackupSpec;

use super::{Lists, Names};
use super::{NamespaceFilter, SNAPSHOT_RESOURCES, uses_old_filters};
use crate::resource_policies::IncludeExcludePolicy;

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

/// What discovery knows of a word in a list: its `deployments.apps`, and whether it is namespaced. `None`: unknown.
pub trait Resolve: Fn(&str) -> Option<(String, bool)> {}
impl<F: Fn(&str) -> Option<(String, bool)>> Resolve for F {}

const NAMESPACES: &str = "namespaces";
const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";

impl ResourceFilter {
    /// Words that discovery does not know stay as they are, so that a list of unknown words does not become the list of
    /// everything. A word of the wrong scope is dropped from a scoped list.
    pub fn new(spec: &BackupSpec, namespaces: &NamespaceFilter, resolve: impl Resolve) -> Self {
        let any = |words: &[String]| {
            resolved(words, |word| {
                Some(resolve(word).map_or_else(|| word.to_owned(), |(name, _)| name))
            })
        };
        let scoped =
            |words: &[String], namespaced| resolved(words, |word| in_scope(&resolve, word, namespaced));
        let rule = if uses_old_filters(spec) {
            Rule::Old {
                resources: Lists {
                    included: any(&spec.included_resources),
                    excluded: any(&without_star(&spec.excluded_resources)),
                },
                cluster: spec.include_cluster_resources,
            }
        } else {
            Rule::Scoped {
                namespaced: Lists {
                    included: scoped(&spec.included_namespace_scoped_resources, true),
                    excluded: scoped(&spec.excluded_namespace_scoped_resources, true),
                },
                cluster: Lists {
                    included: scoped(&spec.included_cluster_scoped_resources, false),
                    excluded: scoped(&spec.excluded_cluster_scoped_resources, false),
                },
            }
        };
        Self {
            rule,
            all_namespaces: namespaces.is_everything(),
        }
    }

    /// Adds the lists of a resource policy, which give way to the spec's own; the policy's exclusions come first.
    pub fn combine(&mut self, policy: &IncludeExcludePolicy, resolve: impl Resolve) {
        let Rule::Scoped { namespaced, cluster } = &mut self.rule else {
            return;
        };
        let sides = [
            (
                namespaced,
                true,
                &policy.included_namespace_scoped_resources,
                &policy.excluded_namespace_scoped_resources,
            ),
            (
                cluster,
                false,
                &policy.included_cluster_scoped_resources,
                &policy.excluded_cluster_scoped_resources,
            ),
        ];
        for (lists, scope, included, excluded) in sides {
            let open =
                |lists: &Lists, name: &str| !lists.included.matches(name) && !lists.excluded.matches(name);
            for name in excluded.iter().filter_map(|word| in_scope(&resolve, word, scope)) {
                if open(lists, &name) {
                    lists.excluded.insert(name);
                }
            }
            for name in included.iter().filter_map(|word| in_scope(&resolve, word, scope)) {
                if open(lists, &name) {
                    lists.included.insert(name);
                }
            }
        }
    }

    /// True when the resource is listed as a whole. For `namespaces`: Namespace objects may be taken at all.
    pub fn collects(&self, resource: &str, namespaced: bool) -> bool {
        match (&self.rule, namespaced) {
            (Rule::Old { resources, .. }, true) => resources.includes(resource),
            (Rule::Old { resources, cluster }, false) => {
                let wanted = match cluster {
                    Some(wanted) => *wanted,
                    None => self.all_namespaces || resource == NAMESPACES,
                };
                wanted && resources.includes(resource)
            }
            (Rule::Scoped { namespaced, .. }, true) => namespaced.includes(resource),
            (Rule::Scoped { namespaced, cluster }, false) => {
                if cluster.excluded.matches(resource) {
                    return false;
                }
                let unsaid = cluster.included.is_empty() && without_ours(cluster).excluded.is_empty();
                let everything = unsaid && self.all_namespaces && without_ours(namespaced).is_everything();
                everything || cluster.included.matches(resource) || resource == NAMESPACES
            }
        }
    }

    /// True when an item that another item brings along may be taken (PV of a PVC, ClusterRole of a ServiceAccount).
    /// Cluster-scoped ones are held back only by what is excluded.
    pub fn follows(&self, resource: &str, namespaced: bool) -> bool {
        match (&self.rule, namespaced) {
            (_, true) => self.collects(resource, true),
            (Rule::Old { resources, cluster }, false) => match cluster {
                Some(wanted) => *wanted && !resources.excluded.matches(resource),
                None => resources.includes(resource),
            },
            (Rule::Scoped { cluster, .. }, false) => !cluster.excluded.matches(resource),
        }
    }

    /// Whether CRDs of the backed up custom resources come along without being asked for.
    pub fn adds_crds(&self) -> bool {
        self.follows(CRDS, false) && !self.collects(CRDS, false)
    }

    /// The four scoped lists: namespaced included and excluded, cluster-scoped included and excluded.
    #[cfg(test)]
    pub(crate) fn scoped(&self) -> Option<[Vec<&str>; 4]> {
        let Rule::Scoped { namespaced, cluster } = &self.rule else {
            return None;
        };
        let lists = [
            &namespaced.included,
            &namespaced.excluded,
            &cluster.included,
            &cluster.excluded,
        ];
        Some(lists.map(|names| names.iter().collect()))
    }

    #[cfg(test)]
    pub(crate) fn scoped_includes(&self, resource: &str, in_namespaces: bool) -> bool {
        match &self.rule {
            Rule::Scoped { namespaced, .. } if in_namespaces => namespaced.includes(resource),
            Rule::Scoped { cluster, .. } => cluster.includes(resource),
            Rule::Old { .. } => false,
        }
    }
}

fn resolved(words: &[String], resolve: impl Fn(&str) -> Option<String>) -> Names {
    let names = words.iter().filter_map(|word| match &**word {
        "*" => Some("*".to_owned()),
        word => resolve(word),
    });
    names.collect()
}

fn in_scope(resolve: &impl Resolve, word: &str, namespaced: bool) -> Option<String> {
    match resolve(word) {
        None => Some(word.to_owned()),
        Some((name, scope)) => (scope == namespaced).then_some(name),
    }
}

/// `*` means nothing in the old list of excluded resources.
fn without_star(words: &[String]) -> Vec<String> {
    words.iter().filter(|word| *word != "*").cloned().collect()
}

/// The snapshot objects apart, which the server itself excludes: a backup of everything stays one of everything.
fn without_ours(lists: &Lists) -> Lists {
    let excluded = lists
        .excluded
        .iter()
        .filter(|name| !SNAPSHOT_RESOURCES.contains(name));
    Lists {
        included: lists.included.clone(),
        excluded: excluded.collect(),
    }
}
