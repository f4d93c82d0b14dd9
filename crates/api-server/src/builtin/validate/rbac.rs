//! Roles and bindings. Source: `pkg/apis/rbac/validation`.

use serde_json::Value;

use super::{Errors, list, name, text};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn role(kind: &str, object: &Value, errors: &mut Errors) {
    for (place, rule) in list(object, "/rules").iter().enumerate() {
        let path = format!("rules[{place}]");
        let has = |field: &str| !list(rule, &format!("/{field}")).is_empty();
        if !has("verbs") {
            errors.required(format!("{path}.verbs"), "verbs must contain at least one value");
        }
        if has("nonResourceURLs") {
            if kind == "Role" {
                let why = "namespaced rules cannot apply to non-resource URLs";
                errors.invalid(format!("{path}.nonResourceURLs"), &rule["nonResourceURLs"], why);
            }
            if has("apiGroups") || has("resources") || has("resourceNames") {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                errors.invalid(format!("{path}.nonResourceURLs"), &rule["nonResourceURLs"], why);
            }
            continue;
        }
        if !has("apiGroups") {
            errors.required(
                format!("{path}.apiGroups"),
                "resource rules must supply at least one api group",
            );
        }
        if !has("resources") {
            errors.required(
                format!("{path}.resources"),
                "resource rules must supply at least one resource",
            );
        }
    }
}

pub(super) fn binding(kind: &str, object: &Value, errors: &mut Errors) {
    let group = text(object, "/roleRef/apiGroup");
    if group != GROUP {
        errors.not_supported("roleRef.apiGroup", group, &[GROUP]);
    }
    let kinds: &[&str] = if kind == "RoleBinding" {
        &["Role", "ClusterRole"]
    } else {
        &["ClusterRole"]
    };
    let named = text(object, "/roleRef/kind");
    if !kinds.contains(&named) {
        errors.not_supported("roleRef.kind", named, kinds);
    }
    let role = text(object, "/roleRef/name");
    if role.is_empty() {
        errors.required("roleRef.name", "");
    } else {
        for why in name::path_segment(role) {
            errors.invalid("roleRef.name", role, &why);
        }
    }
    for (place, subject) in list(object, "/subjects").iter().enumerate() {
        subject_of(kind, subject, &format!("subjects[{place}]"), errors);
    }
}

fn subject_of(kind: &str, subject: &Value, path: &str, errors: &mut Errors) {
    let (named, group) = (text(subject, "/name"), text(subject, "/apiGroup"));
    if named.is_empty() {
        errors.required(format!("{path}.name"), "");
    }
    match text(subject, "/kind") {
        "ServiceAccount" => {
            if !named.is_empty() {
                for why in name::subdomain(named) {
                    errors.invalid(format!("{path}.name"), named, &why);
                }
            }
            if !group.is_empty() {
                errors.not_supported(format!("{path}.apiGroup"), group, &[""]);
            }
            if kind == "ClusterRoleBinding" && text(subject, "/namespace").is_empty() {
                errors.required(format!("{path}.namespace"), "");
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.not_supported(format!("{path}.apiGroup"), group, &[GROUP]);
            }
        }
        other => errors.not_supported(
            format!("{path}.kind"),
            other,
            &["ServiceAccount", "User", "Group"],
        ),
    }
}
