//! What of a backup a Restore asks for: namespaces, resources, cluster scope, labels (velero-behaviour.md 8.1, 8.3
//! item 1; Velero's `pkg/util/collections/includes_excludes.go`). Pure; [`crate::plan`] applies it to a tarball.

use std::collections::BTreeMap;

use caravel_api::v1::RestoreSpec;
use caravel_resource_policies::{KindFilters, Policies, Word};
use globset::{Glob, GlobMatcher};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

use crate::discovery::Discovered;
use crate::group_resource::{GroupResource, known};

/// Never restored, whatever a Restore says; naming one in `includedResources` is refused. They are put into
/// `spec.excludedResources` of the Restore, as Velero does.
pub const NEVER_RESTORABLE: &[&str] = &[
    "nodes",
    "events",
    "events.events.k8s.io",
    "backups.velero.io",
    "restores.velero.io",
    "resticrepositories.velero.io",
    "csinodes.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "backuprepositories.velero.io",
];

/// A list to take and a list to leave out; a name may be a glob (`team-*`).
#[derive(Clone, Debug, Default)]
pub struct IncludesExcludes {
    includes: Vec<Pattern>,
    excludes: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    /// `None` for plain text and for what does not parse as a glob: then it matches itself.
    glob: Option<GlobMatcher>,
}

impl Pattern {
    fn new(text: &str) -> Self {
        let is_glob = text.contains(['*', '?', '[']);
        let glob = is_glob
            .then(|| Glob::new(text).ok())
            .flatten()
            .map(|glob| glob.compile_matcher());
        Self {
            text: text.to_owned(),
            glob,
        }
    }

    fn matches(&self, name: &str) -> bool {
        self.glob
            .as_ref()
            .map_or(self.text == name, |glob| glob.is_match(name))
    }
}

impl IncludesExcludes {
    /// Plain lists. An empty include list takes everything.
    pub fn new<'a>(
        includes: impl IntoIterator<Item = &'a str>,
        excludes: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            includes: includes.into_iter().map(Pattern::new).collect(),
            excludes: excludes.into_iter().map(Pattern::new).collect(),
        }
    }

    /// True when `name` is included and not excluded.
    pub fn includes(&self, name: &str) -> bool {
        if self.excludes.iter().any(|pattern| pattern.matches(name)) {
            return false;
        }
        self.includes.is_empty() || self.includes.iter().any(|pattern| pattern.matches(name))
    }

    /// True when nothing is filtered at all; decides whether cluster-scoped objects come along by default.
    pub fn everything(&self) -> bool {
        let takes_all = self.includes.is_empty() || self.includes.iter().any(|pattern| pattern.text == "*");
        takes_all && self.excludes.is_empty()
    }
}

/// Why an include and exclude list cannot be used; the texts become validation errors.
///
/// Source: Velero `ValidateIncludesExcludes`: `*` stands alone, an exclude of `*` is meaningless, nothing is in both.
pub fn list_errors(what: &str, includes: &[String], excludes: &[String]) -> Vec<String> {
    let mut errors = Vec::new();
    if includes.len() > 1 && includes.iter().any(|name| name == "*") {
        errors.push(format!("Invalid included/excluded {what} lists: includes list must either contain '*' only, or a non-empty list of items"));
    }
    if excludes.iter().any(|name| name == "*") {
        errors.push(format!(
            "Invalid included/excluded {what} lists: excludes list cannot contain '*'"
        ));
    }
    for name in excludes.iter().filter(|name| includes.contains(name)) {
        errors.push(format!(
            "Invalid included/excluded {what} lists: excludes list cannot contain an item in the includes list: {name}"
        ));
    }
    errors
}

/// Everything a Restore filters by.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Of the names in the backup, before namespace mapping.
    pub namespaces: IncludesExcludes,
    /// Full `resource.group` names.
    pub resources: IncludesExcludes,
    /// `spec.includeClusterResources`.
    pub cluster_resources: Option<bool>,
    /// Any of them must match; empty takes everything.
    pub labels: Vec<Selector>,
    /// Of `spec.resourcePolicy`; they stand in for the labels where they have a word.
    pub kinds: KindFilters,
    /// Old name to new name.
    pub namespace_mapping: BTreeMap<String, String>,
}

/// A label selector of the Restore or of its policy does not parse.
#[derive(Debug, thiserror::Error)]
#[error("what the restore selects cannot be understood: {0}; fix its label selectors or its resource policy")]
pub struct InvalidSelector(String);

impl Selection {
    /// Reads the Restore's fields. Resource names go through discovery; names the cluster does not know are kept, so
    /// that they select nothing instead of everything.
    pub fn from_spec(
        spec: &RestoreSpec,
        policies: Option<&Policies>,
        discovered: &Discovered,
    ) -> Result<Self, InvalidSelector> {
        let namespaces = IncludesExcludes::new(
            spec.included_namespaces.iter().map(String::as_str),
            spec.excluded_namespaces.iter().map(String::as_str),
        );
        let labels = spec
            .label_selector
            .iter()
            .chain(&spec.or_label_selectors)
            .map(parse_selector)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            namespaces,
            resources: resource_lists(&spec.included_resources, &spec.excluded_resources, discovered),
            cluster_resources: spec.include_cluster_resources,
            labels,
            kinds: kinds(policies, discovered)?,
            namespace_mapping: spec.namespace_mapping.clone(),
        })
    }

    /// Does this resource take part? DataUploads always do: they carry what the claims need.
    pub fn takes_resource(&self, group_resource: &GroupResource) -> bool {
        group_resource.is(known::DATA_UPLOADS) || self.resources.includes(&group_resource.to_string())
    }

    /// Do objects without a namespace take part? With a subset of namespaces they come only as companions of others.
    pub fn takes_cluster_scope(&self) -> bool {
        self.cluster_resources
            .unwrap_or_else(|| self.namespaces.everything())
    }

    /// Does this object of a resource that takes part take part? A policy may name a kind that the cluster does not
    /// know yet; then its own word counts.
    pub fn takes_object(&self, group_resource: &GroupResource, object: &Value) -> bool {
        let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
        match self.kinds.of_any(&[&group_resource.to_string(), &kind], object) {
            Word::Take => true,
            Word::Leave => false,
            Word::Silent => {
                let labels = labels_of(object);
                self.labels.is_empty() || self.labels.iter().any(|selector| selector.matches(&labels))
            }
        }
    }

    /// True when an object must be read to know whether it takes part.
    pub fn looks_at_objects(&self) -> bool {
        !self.kinds.is_empty() || self.labels.iter().any(|selector| !selector.selects_all())
    }

    /// Where objects of this namespace of the backup go.
    pub fn target_namespace<'a>(&'a self, namespace: &'a str) -> &'a str {
        self.namespace_mapping
            .get(namespace)
            .map_or(namespace, String::as_str)
    }
}

/// Words of the policy go through discovery too; what it does not know is compared with the objects' own kinds.
fn kinds(policies: Option<&Policies>, discovered: &Discovered) -> Result<KindFilters, InvalidSelector> {
    let resolve = |word: &str| match discovered.resolve(word) {
        Some(served) => served.group_resource.to_string(),
        None => word.to_lowercase(),
    };
    let kinds = policies.map(|policies| KindFilters::new(policies, resolve));
    Ok(kinds.transpose().map_err(InvalidSelector)?.unwrap_or_default())
}

fn labels_of(object: &Value) -> BTreeMap<String, String> {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn parse_selector(selector: &LabelSelector) -> Result<Selector, InvalidSelector> {
    Selector::try_from(selector.clone()).map_err(|error| InvalidSelector(error.to_string()))
}

/// `*` among the includes means all of them; `*` among the excludes means nothing (Velero ignores it).
pub(crate) fn resource_lists(
    includes: &[String],
    excludes: &[String],
    discovered: &Discovered,
) -> IncludesExcludes {
    let full = |name: &String| match discovered.resolve(name) {
        Some(served) => served.group_resource.to_string(),
        None => name.clone(),
    };
    let includes: Vec<String> = if includes.iter().any(|name| name == "*") {
        vec![]
    } else {
        includes.iter().map(full).collect()
    };
    let never = NEVER_RESTORABLE.iter().map(|name| (*name).to_owned());
    let excludes: Vec<String> = excludes
        .iter()
        .filter(|name| *name != "*")
        .map(full)
        .chain(never)
        .collect();
    IncludesExcludes::new(
        includes.iter().map(String::as_str),
        excludes.iter().map(String::as_str),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(spec: &RestoreSpec) -> Selection {
        Selection::from_spec(spec, None, &Discovered::default()).expect("valid selection")
    }

    #[test]
    fn namespaces_are_taken_by_name_or_glob_and_excludes_win() {
        let lists = IncludesExcludes::new(["team-*", "shop"], ["team-b"]);
        for (name, taken) in [
            ("team-a", true),
            ("team-b", false),
            ("shop", true),
            ("shops", false),
        ] {
            assert_eq!(lists.includes(name), taken, "{name}");
        }
    }

    #[test]
    fn cluster_scope_comes_along_only_with_all_namespaces_unless_asked_for() {
        let all = RestoreSpec {
            included_namespaces: vec!["*".into()],
            ..Default::default()
        };
        let some = RestoreSpec {
            included_namespaces: vec!["shop".into()],
            ..Default::default()
        };
        let asked = RestoreSpec {
            include_cluster_resources: Some(true),
            ..some.clone()
        };
        let refused = RestoreSpec {
            include_cluster_resources: Some(false),
            ..all.clone()
        };
        for (spec, taken) in [(all, true), (some, false), (asked, true), (refused, false)] {
            assert_eq!(selection(&spec).takes_cluster_scope(), taken, "{spec:?}");
        }
    }

    #[test]
    fn nodes_and_events_are_never_taken_even_when_named() {
        let spec = RestoreSpec {
            included_resources: vec!["nodes".into(), "pods".into()],
            ..Default::default()
        };
        let selection = selection(&spec);
        assert!(!selection.takes_resource(&GroupResource::parse("nodes")));
        assert!(!selection.takes_resource(&GroupResource::parse("events.events.k8s.io")));
        assert!(selection.takes_resource(&GroupResource::parse("pods")));
    }

    #[test]
    fn data_uploads_take_part_whatever_the_resource_filter_says() {
        let spec = RestoreSpec {
            included_resources: vec!["pods".into()],
            ..Default::default()
        };
        assert!(selection(&spec).takes_resource(&GroupResource::parse("datauploads.velero.io")));
    }

    #[test]
    fn contradicting_lists_are_named() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(list_errors("namespace", &list(&["*", "a"]), &[]).len(), 1);
        assert_eq!(list_errors("namespace", &[], &list(&["*"])).len(), 1);
        let both = list_errors("namespace", &list(&["a"]), &list(&["a"]));
        assert!(both[0].ends_with("includes list: a"), "{both:?}");
        assert!(list_errors("namespace", &list(&["a"]), &list(&["b"])).is_empty());
    }
}
