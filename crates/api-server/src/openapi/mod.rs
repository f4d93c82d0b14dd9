//! OpenAPI v3: what kubectl explains, and asks before it leaves validation to the server.
//!
//! One document for each group and version. Built-in kinds are described by `k8s-openapi` (`builtin.rs`), kinds of
//! definitions by their own schemas (`custom.rs`); `paths.rs` says which requests there are.
//! Source: `k8s.io/kube-openapi` of v0.34, `pkg/handler3`; documents of a Kubernetes 1.34.4.

mod builtin;
mod custom;
mod paths;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::kind::Kind;

/// Where schemas stand in a document.
const COMPONENTS: &str = "#/components/schemas/";

/// `/openapi/v3`: the documents, each with a hash that changes with it.
pub fn index(kinds: &[Kind]) -> Value {
    let versions: BTreeSet<(&str, &str)> = kinds
        .iter()
        .map(|kind| (kind.group.as_str(), kind.version.as_str()))
        .collect();
    let paths: Map<String, Value> = versions
        .into_iter()
        .map(|(group, version)| {
            let path = path_of(group, version);
            let url = format!("/openapi/v3/{path}?hash={}", hash(kinds, group, version));
            (path, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// `/openapi/v3/api/v1`, `/openapi/v3/apis/<group>/<version>`; `None`: not served. Takes milliseconds and gives up
/// to a megabyte: keep it by its [`hash`].
pub fn document(kinds: &[Kind], group: &str, version: &str) -> Option<Value> {
    let of_version = kinds_of(kinds, group, version);
    let is_custom = of_version.first()?.custom.is_some();
    let mut schemas: BTreeMap<String, Value> = of_version
        .iter()
        .filter(|kind| kind.custom.is_some())
        .flat_map(|kind| custom::schemas(kind))
        .collect();
    let paths = paths::of(&of_version, group, version);
    let mut wanted = BTreeSet::new();
    collect_references(&paths, &mut wanted);
    schemas
        .values()
        .for_each(|schema| collect_references(schema, &mut wanted));
    wanted.extend(
        of_version
            .iter()
            .filter(|kind| kind.custom.is_none())
            .filter_map(|kind| builtin::name(kind)),
    );
    add_built_in(wanted, &mut schemas);
    let info = if is_custom {
        json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"})
    } else {
        json!({"title": "Kubernetes", "version": "1.34"})
    };
    Some(json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}))
}

/// Changes whenever the document does: for its URL, its `ETag`, and who keeps it.
pub fn hash(kinds: &[Kind], group: &str, version: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    for kind in kinds_of(kinds, group, version) {
        let names = (
            &kind.group,
            &kind.version,
            &kind.plural,
            &kind.kind,
            &kind.list_kind,
        );
        hash.update(format!("{names:?} {:?} {}", kind.scope, kind.status_subresource));
        if let Some(custom) = &kind.custom {
            hash.update(custom.open_api.to_string());
        }
    }
    hex::encode_upper(hash.finalize())
}

fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

fn kinds_of<'a>(kinds: &'a [Kind], group: &str, version: &str) -> Vec<&'a Kind> {
    kinds
        .iter()
        .filter(|kind| kind.group == group && kind.version == version)
        .collect()
}

/// The name of a kind's schema, `io.k8s.api.core.v1.Pod`.
fn schema_name(kind: &Kind) -> Option<String> {
    if kind.custom.is_some() {
        Some(custom::name(kind))
    } else {
        builtin::name(kind)
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("{COMPONENTS}{name}")})
}

/// Adds built-in schemas and all that they refer to.
fn add_built_in(mut wanted: BTreeSet<String>, schemas: &mut BTreeMap<String, Value>) {
    while let Some(name) = wanted.pop_first() {
        if schemas.contains_key(&name) {
            continue;
        }
        if let Some(schema) = builtin::schema(&name) {
            collect_references(schema, &mut wanted);
            schemas.insert(name, schema.clone());
        }
    }
}

fn collect_references(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str().and_then(|text| text.strip_prefix(COMPONENTS)) {
                    Some(name) if key == "$ref" => {
                        names.insert(name.to_owned());
                    }
                    _ => collect_references(value, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, names)),
        _ => {}
    }
}

/// The schema of a kind's list; with the schemas of its apiVersion and kind.
fn list_schema(kind: &Kind, name: &str, [api_version, of_kind]: &[Value; 2]) -> Value {
    let conventions = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";
    json!({
        "description": format!("{} is a list of {}", kind.list_kind, kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": api_version,
            "kind": of_kind,
            "metadata": {
                "description": format!("Standard list metadata. More info: {conventions}#types-kinds"),
                "allOf": [reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta")],
            },
            "items": {
                "description": format!("List of {}. More info: {conventions}", kind.plural),
                "type": "array",
                "items": reference(name),
            },
        },
        "x-kubernetes-group-version-kind": [
            {"group": kind.group, "version": kind.version, "kind": kind.list_kind},
        ],
    })
}
