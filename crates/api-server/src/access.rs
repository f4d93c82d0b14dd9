//! Who may do what: Role-based access control as `k8s.io/kubernetes` v1.34 decides it,
//! `plugin/pkg/auth/authorizer/rbac/rbac.go` and `pkg/registry/rbac/validation/rule.go`.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use crate::error::{ApiError, Reason};
use crate::request::{Query, ResourcePath};
use crate::store::{Key, Resource, Store};
use crate::user::User;

const GROUP: &str = "rbac.authorization.k8s.io";

/// What a caller wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Resource(Attributes),
    Path { verb: String, path: String },
}

/// An action on a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Attributes {
    /// Of a request.
    pub(crate) fn of(method: &Method, path: &ResourcePath, query: &Query) -> Self {
        let named = path.name.is_some();
        let verb = match (method.as_str(), named) {
            ("GET" | "HEAD", _) if query.flag("watch") => "watch",
            ("GET" | "HEAD", true) => "get",
            ("GET" | "HEAD", false) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "delete",
            ("DELETE", false) => "deletecollection",
            _ => "",
        };
        let is_namespace = path.group.is_empty() && path.plural == "namespaces";
        let namespace = if is_namespace { &path.name } else { &path.namespace };
        Self {
            verb: verb.to_owned(),
            group: path.group.clone(),
            resource: path.plural.clone(),
            subresource: path.subresource.clone().unwrap_or_default(),
            namespace: namespace.clone().unwrap_or_default(),
            name: path.name.clone().unwrap_or_default(),
        }
    }

    /// `pods`, `pods/log`.
    fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

impl Action {
    /// The refusal, in Kubernetes' words.
    pub(crate) fn refused(&self, user: &User) -> ApiError {
        let who = &user.name;
        match self {
            Self::Path { verb, path } => ApiError::generic(
                Reason::Forbidden,
                format!("forbidden: User \"{who}\" cannot {verb} path \"{path}\""),
            ),
            Self::Resource(wanted) => {
                let place = if wanted.namespace.is_empty() {
                    "at the cluster scope".to_owned()
                } else {
                    format!("in the namespace \"{}\"", wanted.namespace)
                };
                let why = format!(
                    "User \"{who}\" cannot {} resource \"{}\" in API group \"{}\" {place}",
                    wanted.verb,
                    wanted.full_resource(),
                    wanted.group
                );
                ApiError::forbidden(&wanted.group, &wanted.resource, &wanted.name, &why)
            }
        }
    }
}

/// Whether roles and bindings allow it.
pub(crate) fn allowed(store: &Store, user: &User, action: &Action) -> bool {
    if user.groups.iter().any(|group| group == "system:masters") {
        return true;
    }
    match action {
        Action::Resource(wanted) => rules(store, user, &wanted.namespace)
            .iter()
            .any(|rule| rule_allows(rule, wanted)),
        Action::Path { verb, path } => rules(store, user, "")
            .iter()
            .any(|rule| has(rule, "verbs", verb) && paths_match(rule, path)),
    }
}

/// All rules that apply to a user, those of a namespace's bindings included.
pub(crate) fn rules(store: &Store, user: &User, namespace: &str) -> Vec<Value> {
    let mut bindings = store.list(&kind("clusterrolebindings"), None);
    if !namespace.is_empty() {
        bindings.extend(store.list(&kind("rolebindings"), Some(namespace)));
    }
    let mut rules = Vec::new();
    for binding in bindings {
        let subjects = binding["subjects"].as_array().map_or(&[][..], Vec::as_slice);
        let home = binding["metadata"]["namespace"].as_str().unwrap_or_default();
        if subjects.iter().any(|subject| is_subject(subject, home, user)) {
            rules.extend(rules_of_role(store, &binding["roleRef"], home));
        }
    }
    rules
}

/// What a member of `system:masters` may do, as a rule.
pub(crate) fn everything() -> Vec<Value> {
    vec![
        json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
        json!({"verbs": ["*"], "nonResourceURLs": ["*"]}),
    ]
}

fn kind(plural: &str) -> Resource {
    (GROUP.to_owned(), plural.to_owned())
}

fn rules_of_role(store: &Store, reference: &Value, namespace: &str) -> Vec<Value> {
    let name = reference["name"].as_str().unwrap_or_default();
    let role = match reference["kind"].as_str() {
        Some("ClusterRole") => store.get(&kind("clusterroles"), &Key::new(None, name)),
        Some("Role") => store.get(&kind("roles"), &Key::new(Some(namespace), name)),
        _ => None,
    };
    let Some(role) = role else {
        return Vec::new();
    };
    let mut rules = role["rules"].as_array().cloned().unwrap_or_default();
    let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array();
    for selector in selectors.into_iter().flatten() {
        for other in store.list(&kind("clusterroles"), None) {
            if !Arc::ptr_eq(&other, role) && has_labels(&other, &selector["matchLabels"]) {
                rules.extend(other["rules"].as_array().cloned().unwrap_or_default());
            }
        }
    }
    rules
}

fn has_labels(object: &Value, wanted: &Value) -> bool {
    wanted.as_object().is_some_and(|wanted| {
        wanted
            .iter()
            .all(|(key, value)| &object["metadata"]["labels"][key] == value)
    })
}

fn is_subject(subject: &Value, home: &str, user: &User) -> bool {
    let name = subject["name"].as_str().unwrap_or_default();
    match subject["kind"].as_str() {
        Some("User") => name == "*" || name == user.name,
        Some("Group") => user.groups.iter().any(|group| group == name),
        Some("ServiceAccount") => {
            let namespace = subject["namespace"].as_str().unwrap_or(home);
            user.name == format!("system:serviceaccount:{namespace}:{name}")
        }
        _ => false,
    }
}

fn rule_allows(rule: &Value, wanted: &Attributes) -> bool {
    has(rule, "verbs", &wanted.verb)
        && has(rule, "apiGroups", &wanted.group)
        && resource_matches(rule, wanted)
        && name_matches(rule, &wanted.name)
}

/// Whether a rule's list holds a word or `*`.
fn has(rule: &Value, list: &str, word: &str) -> bool {
    rule[list]
        .as_array()
        .is_some_and(|words| words.iter().any(|one| one == word || one == "*"))
}

fn resource_matches(rule: &Value, wanted: &Attributes) -> bool {
    let full = wanted.full_resource();
    let any = format!("*/{}", wanted.subresource);
    rule["resources"].as_array().is_some_and(|list| {
        list.iter()
            .filter_map(Value::as_str)
            .any(|one| one == "*" || one == full || (!wanted.subresource.is_empty() && one == any))
    })
}

fn name_matches(rule: &Value, name: &str) -> bool {
    match rule["resourceNames"].as_array() {
        Some(names) if !names.is_empty() => names.iter().any(|one| one == name),
        _ => true,
    }
}

fn paths_match(rule: &Value, path: &str) -> bool {
    rule["nonResourceURLs"].as_array().is_some_and(|list| {
        list.iter().filter_map(Value::as_str).any(|one| {
            one == path
                || one
                    .strip_suffix('*')
                    .is_some_and(|beginning| path.starts_with(beginning))
        })
    })
}

/// Roles and bindings a cluster begins with, as far as our work meets them.
/// Source: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go`.
pub(crate) fn bootstrap() -> Vec<Value> {
    let discovery = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ];
    let public = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let role = |name: &str, rules: Value| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": rules,
            "metadata": {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
                "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}},
        })
    };
    let binding = |name: &str, groups: &[&str]| {
        let subjects: Vec<Value> = groups
            .iter()
            .map(|group| json!({"kind": "Group", "apiGroup": GROUP, "name": group}))
            .collect();
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "subjects": subjects,
            "metadata": {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
                "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
        })
    };
    vec![
        role("cluster-admin", json!(everything())),
        role(
            "system:discovery",
            json!([{"verbs": ["get"], "nonResourceURLs": discovery}]),
        ),
        role(
            "system:public-info-viewer",
            json!([{"verbs": ["get"], "nonResourceURLs": public}]),
        ),
        role(
            "system:basic-user",
            json!([
                {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
                 "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
                {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
            ]),
        ),
        binding("cluster-admin", &["system:masters"]),
        binding("system:discovery", &["system:authenticated"]),
        binding("system:basic-user", &["system:authenticated"]),
        binding(
            "system:public-info-viewer",
            &["system:authenticated", "system:unauthenticated"],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(objects: &[(&str, Value)]) -> Store {
        let mut store = Store::default();
        for (plural, object) in objects {
            store.put(&kind(plural), object.clone());
        }
        store
    }

    fn wants(verb: &str, resource: &str, namespace: &str) -> Action {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Action::Resource(Attributes {
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            ..Attributes::default()
        })
    }

    #[test]
    fn a_role_binding_gives_its_role_in_its_namespace_only() {
        let store = store(&[
            (
                "roles",
                json!({"metadata": {"namespace": "shop", "name": "reader"},
                    "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "pods/log"]}]}),
            ),
            (
                "rolebindings",
                json!({"metadata": {"namespace": "shop", "name": "reader"},
                    "subjects": [{"kind": "ServiceAccount", "name": "web"}],
                    "roleRef": {"kind": "Role", "name": "reader"}}),
            ),
        ]);
        let web = User::service_account("shop", "web");
        assert!(allowed(&store, &web, &wants("get", "pods", "shop")));
        assert!(allowed(&store, &web, &wants("get", "pods/log", "shop")));
        assert!(!allowed(&store, &web, &wants("get", "pods/exec", "shop")));
        assert!(!allowed(&store, &web, &wants("get", "pods", "other")));
        assert!(!allowed(&store, &web, &wants("list", "pods", "shop")));
        let other = User::service_account("other", "web");
        assert!(!allowed(&store, &other, &wants("get", "pods", "shop")));
    }

    #[test]
    fn masters_need_no_role() {
        assert!(allowed(
            &Store::default(),
            &User::administrator(),
            &wants("delete", "nodes", "")
        ));
    }
}
