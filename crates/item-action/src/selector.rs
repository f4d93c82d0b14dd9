//! Which items an action wants, and how an item is named.

use std::collections::BTreeMap;
use std::fmt;

use kube::core::{Selector, SelectorExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One item. The JSON names are Go's untagged ones (`Group`, `Resource`, `Namespace`, `Name`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ResourceIdentifier {
    /// Empty for the core group.
    pub group: String,
    /// Plural, lower case: `persistentvolumeclaims`.
    pub resource: String,
    /// Empty for cluster-scoped items.
    pub namespace: String,
    pub name: String,
}

impl ResourceIdentifier {
    pub fn new(
        group: impl Into<String>,
        resource: impl Into<String>,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            group: group.into(),
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// `deployments.apps`, or `pods` for the core group.
    pub fn group_resource(&self) -> String {
        group_resource(&self.group, &self.resource)
    }
}

/// `resource.group`, or `resource` for the core group: the spelling of filters and of the tarball.
pub(crate) fn group_resource(group: &str, resource: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    }
}

impl fmt::Display for ResourceIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.group_resource(), self.name)
        } else {
            write!(f, "{} {}/{}", self.group_resource(), self.namespace, self.name)
        }
    }
}

/// The items an action is called for; empty includes mean all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceSelector {
    pub included_namespaces: Vec<String>,
    pub excluded_namespaces: Vec<String>,
    /// `persistentvolumeclaims`, `deployments.apps`.
    pub included_resources: Vec<String>,
    pub excluded_resources: Vec<String>,
    /// Of the item's own labels; `None`: any.
    pub labels: Option<Selector>,
}

impl ResourceSelector {
    /// A selector for some resources in all namespaces.
    pub fn resources(resources: &[&str]) -> Self {
        Self {
            included_resources: resources.iter().map(|resource| (*resource).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// True when the action wants this item, whose JSON is `object`.
    pub fn matches(&self, item: &ResourceIdentifier, object: &Value) -> bool {
        let resource = item.group_resource();
        // A selector for some namespaces wants nothing that is in none.
        let namespace_wanted = if item.namespace.is_empty() {
            includes(&self.included_namespaces, "*") && self.excluded_namespaces.is_empty()
        } else {
            includes(&self.included_namespaces, &item.namespace)
                && !names(&self.excluded_namespaces, &item.namespace)
        };
        namespace_wanted
            && includes(&self.included_resources, &resource)
            && !names(&self.excluded_resources, &resource)
            && self
                .labels
                .as_ref()
                .is_none_or(|wanted| wanted.matches(&labels(object)))
    }
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object.pointer("/metadata/labels").cloned().unwrap_or_default();
    serde_json::from_value(labels).unwrap_or_default()
}

fn includes(list: &[String], word: &str) -> bool {
    list.is_empty() || names(list, word)
}

fn names(list: &[String], word: &str) -> bool {
    list.iter().any(|entry| entry == "*" || entry == word)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_matches_by_group_resource() {
        let selector = ResourceSelector::resources(&["persistentvolumeclaims", "deployments.apps"]);
        let web = |group: &str| ResourceIdentifier::new(group, "deployments", "shop", "web");
        assert!(selector.matches(&web("apps"), &json!({})));
        assert!(!selector.matches(&web("extensions"), &json!({})));
        let pod = ResourceIdentifier::new("", "pods", "shop", "web");
        assert!(ResourceSelector::default().matches(&pod, &json!({})));
    }

    #[test]
    fn a_selector_may_want_labels() {
        let selector = ResourceSelector {
            labels: Some([("app", "web")].into_iter().collect()),
            ..ResourceSelector::default()
        };
        let pod = ResourceIdentifier::new("", "pods", "shop", "web");
        assert!(selector.matches(&pod, &json!({"metadata": {"labels": {"app": "web"}}})));
        assert!(!selector.matches(&pod, &json!({"metadata": {"labels": {"app": "db"}}})));
        assert!(!selector.matches(&pod, &json!({"metadata": {}})));
    }

    #[test]
    fn identifiers_have_gos_untagged_names_in_json() {
        let id = ResourceIdentifier::new("velero.io", "datauploads", "velero", "b1-x");
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(
            json,
            r#"{"Group":"velero.io","Resource":"datauploads","Namespace":"velero","Name":"b1-x"}"#
        );
    }
}
