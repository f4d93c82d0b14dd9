//! What the server serves, as clients ask it: `/api`, `/apis`, a group, a version's resources, and all of it in one
//! answer (aggregated discovery v2, which kubectl asks first).
//! Source: Kubernetes v1.34, `k8s.io/apiserver/pkg/endpoints/discovery` and `k8s.io/api/apidiscovery/v2`; the
//! priorities of groups from `pkg/controlplane/apiserver/apis.go`.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::builtin::kinds::{rules, subresources};
use crate::kind::{Kind, Scope};

/// The media type of [`aggregated`], after which clients must ask and which the answer must carry.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Built-in groups in the order in which Kubernetes lists them; groups of definitions follow by name.
const GROUPS: [&str; 21] = [
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
];

/// Verbs of a built-in resource.
const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
/// The same in the order that custom resources have them.
const CUSTOM_VERBS: [&str; 8] = [
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];

/// `/api`: the versions of the core group. `address` is where the server listens, `127.0.0.1:6443`.
pub fn versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`: all named groups.
pub fn groups(kinds: &[Kind]) -> Value {
    let groups: Vec<Value> = group_names(kinds)
        .into_iter()
        .filter_map(|name| described(kinds, name))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`; `None`: no such group.
pub fn group(kinds: &[Kind], name: &str) -> Option<Value> {
    let mut group = described(kinds, name)?;
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Some(group)
}

/// `/api/<version>` and `/apis/<group>/<version>`; `None`: not served.
pub fn resources(kinds: &[Kind], group: &str, version: &str) -> Option<Value> {
    let of_version = kinds_of(kinds, group, version);
    let first = of_version.first()?;
    let mut list = json!({"kind": "APIResourceList", "groupVersion": first.api_version()});
    // Kubernetes leaves it out for the core group only.
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    let resources: Vec<Value> = of_version.into_iter().flat_map(with_subresources).collect();
    list["resources"] = resources.into();
    Some(list)
}

/// `/api` (`core`) or `/apis` in one answer, of the media type [`AGGREGATED`].
pub fn aggregated(kinds: &[Kind], core: bool) -> Value {
    let names = if core { vec![""] } else { group_names(kinds) };
    let items: Vec<Value> = names
        .into_iter()
        .map(|group| {
            let versions: Vec<Value> = version_names(kinds, group)
                .into_iter()
                .map(|version| {
                    let resources: Vec<Value> = kinds_of(kinds, group, version)
                        .into_iter()
                        .map(aggregated_resource)
                        .collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.is_empty() {
                json!({})
            } else {
                json!({"name": group})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    })
}

/// Versions as Kubernetes prefers them: stable before beta before alpha, then the higher number.
pub fn version_names<'a>(kinds: &'a [Kind], group: &str) -> Vec<&'a str> {
    let mut versions: Vec<&str> = kinds
        .iter()
        .filter(|kind| kind.group == group)
        .map(|kind| kind.version.as_str())
        .collect();
    versions.sort_by_key(|version| (Reverse(priority(version)), *version));
    versions.dedup();
    versions
}

/// Of `v2beta1`: (1, 2, 1); names of another form come last, by name.
fn priority(version: &str) -> Option<(u32, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    let end = rest
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(rest.len());
    let (major, rest) = rest.split_at(end);
    let major = major.parse().ok()?;
    if rest.is_empty() {
        return Some((2, major, 0));
    }
    let (level, minor) = match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
        (Some(minor), _) => (1, minor),
        (_, Some(minor)) => (0, minor),
        _ => return None,
    };
    Some((level, major, minor.parse().ok()?))
}

/// The groups besides the core group.
fn group_names(kinds: &[Kind]) -> Vec<&str> {
    let known: BTreeMap<&str, usize> = GROUPS.into_iter().zip(0..).collect();
    let place = |name: &str| known.get(name).copied().unwrap_or(GROUPS.len());
    let mut names: Vec<&str> = kinds
        .iter()
        .map(|kind| kind.group.as_str())
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_by_key(|name| (place(name), *name));
    names.dedup();
    names
}

fn described(kinds: &[Kind], name: &str) -> Option<Value> {
    let versions: Vec<Value> = version_names(kinds, name)
        .into_iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    let preferred = versions.first().filter(|_| !name.is_empty())?.clone();
    Some(json!({"name": name, "versions": versions, "preferredVersion": preferred}))
}

fn kinds_of<'a>(kinds: &'a [Kind], group: &str, version: &str) -> Vec<&'a Kind> {
    let mut found: Vec<&Kind> = kinds
        .iter()
        .filter(|kind| kind.group == group && kind.version == version)
        .collect();
    found.sort_by_key(|kind| kind.plural.as_str());
    found
}

/// What may be done with a resource.
pub(crate) fn verbs(kind: &Kind) -> Vec<&'static str> {
    if kind.custom.is_some() {
        return CUSTOM_VERBS.to_vec();
    }
    if rules(kind).create_only {
        return vec!["create"];
    }
    let is_namespaces = kind.group.is_empty() && kind.plural == "namespaces";
    VERBS
        .into_iter()
        .filter(|verb| !is_namespaces || *verb != "deletecollection")
        .collect()
}

/// A subresource: what may be done with it, and the kind that is sent or answered.
pub(crate) struct Subresource {
    pub(crate) name: &'static str,
    pub(crate) verbs: &'static [&'static str],
    /// Group, version and kind, if not those of the resource.
    pub(crate) other: Option<(&'static str, &'static str, &'static str)>,
}

/// The subresources of a kind, by name.
pub(crate) fn subresources_of(kind: &Kind) -> Vec<Subresource> {
    let read_write: &[&str] = &["get", "patch", "update"];
    let mut names: Vec<&'static str> = subresources(kind).to_vec();
    if kind.status_subresource {
        names.push("status");
    }
    names.sort_unstable();
    names.dedup();
    if kind.custom.is_some() {
        // Of custom kinds Kubernetes tells status first, then scale.
        names.reverse();
    }
    names
        .into_iter()
        .map(|name| {
            let (verbs, other): (&[&str], _) = match name {
                "attach" => (&["create", "get"], Some(("", "v1", "PodAttachOptions"))),
                "binding" => (&["create"], Some(("", "v1", "Binding"))),
                "eviction" => (&["create"], Some(("policy", "v1", "Eviction"))),
                "exec" => (&["create", "get"], Some(("", "v1", "PodExecOptions"))),
                "finalize" => (&["update"], None),
                "log" => (&["get"], None),
                "portforward" => (&["create", "get"], Some(("", "v1", "PodPortForwardOptions"))),
                "scale" => (read_write, Some(("autoscaling", "v1", "Scale"))),
                "token" => (&["create"], Some(("authentication.k8s.io", "v1", "TokenRequest"))),
                _ => (read_write, None),
            };
            Subresource { name, verbs, other }
        })
        .collect()
}

fn with_subresources(kind: &Kind) -> Vec<Value> {
    let mut resource = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.is_namespaced(), "kind": kind.kind,
        "verbs": verbs(kind),
    });
    if let Some(fields) = resource.as_object_mut() {
        add_names(fields, kind);
        if !rules(kind).create_only {
            fields.insert("storageVersionHash".to_owned(), storage_version_hash(kind).into());
        }
    }
    let mut all = vec![resource];
    for sub in subresources_of(kind) {
        let mut resource = json!({
            "name": format!("{}/{}", kind.plural, sub.name), "singularName": "", "namespaced": kind.is_namespaced(),
            "kind": kind.kind, "verbs": sub.verbs,
        });
        if let Some((group, version, other)) = sub.other {
            resource["kind"] = other.into();
            // Said only where it is not that of the list.
            if group != kind.group {
                resource["group"] = group.into();
                resource["version"] = version.into();
            }
        }
        all.push(resource);
    }
    all
}

fn aggregated_resource(kind: &Kind) -> Value {
    // Kubernetes leaves group and version of built-in kinds empty: they are those of the list.
    let own = |name: &str| match kind.custom {
        Some(_) => json!({"group": kind.group, "version": kind.version, "kind": name}),
        None => json!({"group": "", "version": "", "kind": name}),
    };
    let mut resource = json!({
        "resource": kind.plural, "responseKind": own(&kind.kind), "singularResource": kind.singular,
        "scope": if kind.scope == Scope::Namespaced { "Namespaced" } else { "Cluster" }, "verbs": verbs(kind),
    });
    let subresources: Vec<Value> = subresources_of(kind)
        .into_iter()
        .map(|sub| {
            let response = match sub.other {
                Some((group, version, other)) if group != kind.group => {
                    json!({"group": group, "version": version, "kind": other})
                }
                Some((_, _, other)) => own(other),
                None => own(&kind.kind),
            };
            json!({"subresource": sub.name, "responseKind": response, "verbs": sub.verbs})
        })
        .collect();
    if let Some(fields) = resource.as_object_mut() {
        add_names(fields, kind);
        if !subresources.is_empty() {
            fields.insert("subresources".to_owned(), subresources.into());
        }
    }
    resource
}

fn add_names(resource: &mut Map<String, Value>, kind: &Kind) {
    for (field, names) in [
        ("shortNames", &kind.short_names),
        ("categories", &kind.categories),
    ] {
        if !names.is_empty() {
            resource.insert(field.to_owned(), names.as_slice().into());
        }
    }
}

/// Changes when objects are kept in another version. Events of both groups are one resource.
fn storage_version_hash(kind: &Kind) -> String {
    let stored = match kind.group.as_str() {
        "events.k8s.io" => format!("/{}/{}", kind.version, kind.kind),
        group => format!("{group}/{}/{}", kind.version, kind.kind),
    };
    STANDARD.encode(&Sha256::digest(stored)[..8])
}
