//! Secrets that a driver needs for its snapshots: they go into a backup with the objects that name them, else an encrypted
//! or credentialed snapshot could be neither read nor deleted in another cluster.
//!
//! Velero looks for the annotations `csi.storage.k8s.io/snapshotter…-secret-…` (`pkg/util/csi/volume_snapshot.go`). What
//! the external-snapshotter really writes on a content is `snapshot.storage.kubernetes.io/deletion-secret-…`, and what an
//! administrator writes are parameters of the class: both count here, too.

use std::collections::BTreeSet;

use serde_json::Value;

/// Prefixes of `…-name` and `…-namespace`, as annotations of a VolumeSnapshotContent.
const OF_CONTENT: [&str; 2] = [
    "csi.storage.k8s.io/snapshotter-secret",
    "snapshot.storage.kubernetes.io/deletion-secret",
];
/// As annotation of a VolumeSnapshotClass.
const OF_CLASS: [&str; 1] = ["csi.storage.k8s.io/snapshotter-list-secret"];
/// As parameters of a VolumeSnapshotClass.
const IN_PARAMETERS: [&str; 2] = [
    "csi.storage.k8s.io/snapshotter-secret",
    "csi.storage.k8s.io/snapshotter-list-secret",
];

/// Namespace and name of a Secret.
pub type SecretName = (String, String);

/// Those that a VolumeSnapshotContent names.
pub fn of_content(content: &Value) -> BTreeSet<SecretName> {
    named(content.pointer("/metadata/annotations"), &OF_CONTENT)
}

/// Those that a VolumeSnapshotClass names by annotation.
pub fn of_class(class: &Value) -> BTreeSet<SecretName> {
    named(class.pointer("/metadata/annotations"), &OF_CLASS)
}

/// Those that a VolumeSnapshotClass names in its parameters. A template (`${volumesnapshot.name}`) names none by itself.
pub fn of_class_parameters(class: &Value) -> BTreeSet<SecretName> {
    named(class.get("parameters"), &IN_PARAMETERS)
}

fn named(map: Option<&Value>, prefixes: &[&str]) -> BTreeSet<SecretName> {
    let text = |key: String| {
        let value = map?.get(&key)?.as_str()?;
        (!value.is_empty() && !value.contains("${")).then(|| value.to_owned())
    };
    let secret = |prefix: &&str| {
        let namespace = text(format!("{prefix}-namespace"))?;
        Some((namespace, text(format!("{prefix}-name"))?))
    };
    prefixes.iter().filter_map(secret).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(namespace: &str, name: &str) -> BTreeSet<SecretName> {
        [(namespace.to_owned(), name.to_owned())].into()
    }

    #[test]
    fn a_contents_secret_is_found_under_veleros_name_and_under_the_snapshotters() {
        for prefix in OF_CONTENT {
            let annotations =
                json!({format!("{prefix}-name"): "key", format!("{prefix}-namespace"): "vault"});
            let content = json!({"metadata": {"annotations": annotations}});
            assert_eq!(of_content(&content), one("vault", "key"), "{prefix}");
        }
        let half =
            json!({"metadata": {"annotations": {"csi.storage.k8s.io/snapshotter-secret-name": "key"}}});
        assert!(of_content(&half).is_empty());
        assert!(of_content(&json!({})).is_empty());
    }

    #[test]
    fn a_classs_parameters_name_secrets_unless_they_are_templates() {
        let class = |name: &str| {
            json!({"parameters": {"csi.storage.k8s.io/snapshotter-secret-name": name,
                "csi.storage.k8s.io/snapshotter-secret-namespace": "vault"}})
        };
        assert_eq!(of_class_parameters(&class("key")), one("vault", "key"));
        assert!(of_class_parameters(&class("${volumesnapshot.name}")).is_empty());
        assert!(of_class(&class("key")).is_empty());
    }
}
