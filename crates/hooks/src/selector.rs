//! Which pods a hook of a spec is for: namespaces, resources, labels.

use std::collections::BTreeMap;

use globset::{Glob, GlobMatcher};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

use crate::{InvalidHooks, text};

/// The selector of one entry of `spec.hooks.resources`.
#[derive(Clone, Debug, Default)]
pub struct HookSelector {
    namespaces: Names,
    resources: Names,
    labels: Option<Selector>,
}

impl HookSelector {
    /// Lists as a spec has them: `*` or nothing takes all, excludes win, names may be globs. `hook` is for the error.
    ///
    /// # Errors
    /// [`InvalidHooks`]: the label selector is none.
    pub fn new(
        hook: &str,
        namespaces: (&[String], &[String]),
        resources: (&[String], &[String]),
        labels: Option<&LabelSelector>,
    ) -> Result<Self, InvalidHooks> {
        let labels = labels
            .map(|labels| Selector::try_from(labels.clone()))
            .transpose()
            .map_err(|error| InvalidHooks::new(hook, format!("labelSelector: {error}")))?;
        Ok(Self {
            namespaces: Names::new(namespaces),
            resources: Names::new(resources),
            labels,
        })
    }

    #[cfg(test)]
    pub(crate) fn set_labels(&mut self, labels: Option<Selector>) {
        self.labels = labels;
    }

    /// `resource` is the `resource.group`; hooks exist for `pods` only.
    pub fn applies_to(&self, resource: &str, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.namespaces.include(namespace)
            && self.resources.include(resource)
            && self
                .labels
                .as_ref()
                .is_none_or(|selector| selector.matches(labels))
    }

    /// True for a pod that this selects, as if it were in `namespace`.
    pub fn takes(&self, pod: &Value, namespace: &str) -> bool {
        self.applies_to("pods", namespace, &labels_of(pod))
    }

    /// True for a pod that this selects where it is.
    pub fn takes_here(&self, pod: &Value) -> bool {
        self.takes(pod, text(pod, "/metadata/namespace"))
    }
}

fn labels_of(pod: &Value) -> BTreeMap<String, String> {
    let labels = pod.pointer("/metadata/labels").and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[derive(Clone, Debug, Default)]
struct Names {
    includes: Vec<Pattern>,
    excludes: Vec<Pattern>,
}

impl Names {
    fn new((includes, excludes): (&[String], &[String])) -> Self {
        Self {
            includes: includes.iter().map(|name| Pattern::new(name)).collect(),
            excludes: excludes.iter().map(|name| Pattern::new(name)).collect(),
        }
    }

    fn include(&self, name: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        !any(&self.excludes) && (self.includes.is_empty() || any(&self.includes))
    }
}

#[derive(Clone, Debug)]
enum Pattern {
    Name(String),
    Glob(GlobMatcher),
}

impl Pattern {
    /// What does not parse as a glob matches itself.
    fn new(text: &str) -> Self {
        let glob = text
            .contains(['*', '?', '['])
            .then(|| Glob::new(text).ok())
            .flatten();
        glob.map_or_else(
            || Self::Name(text.to_owned()),
            |glob| Self::Glob(glob.compile_matcher()),
        )
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(text) => text == name,
            Self::Glob(glob) => glob.is_match(name),
        }
    }
}
