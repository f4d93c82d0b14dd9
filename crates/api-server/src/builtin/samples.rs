//! Kinds for the tests of this crate's pure parts.

use crate::kind::{Kind, Scope};

/// A built-in kind, `v1`.
pub(crate) fn kind(group: &str, name: &str) -> Kind {
    let cluster = [
        "Namespace",
        "Node",
        "PersistentVolume",
        "StorageClass",
        "ClusterRole",
        "ClusterRoleBinding",
    ];
    Kind {
        group: group.into(),
        version: "v1".into(),
        kind: name.into(),
        list_kind: format!("{name}List"),
        plural: format!("{}s", name.to_lowercase()),
        singular: name.to_lowercase(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope: if cluster.contains(&name) {
            Scope::Cluster
        } else {
            Scope::Namespaced
        },
        status_subresource: true,
        stored: true,
        generation: true,
        custom: None,
    }
}

/// What a CustomResourceDefinition with this schema adds.
pub(crate) fn custom(open_api: serde_json::Value) -> crate::kind::Custom {
    let schema = crate::schema::Schema::parse(&open_api).expect("a good schema");
    crate::kind::Custom {
        open_api,
        schema,
        columns: Vec::new(),
        preserve_unknown_fields: false,
        scale: None,
        selectable_fields: Vec::new(),
    }
}
