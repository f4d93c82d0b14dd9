//! An object of any kind, as a watch of every kind can afford it: its metadata is read, the rest stays text.
//!
//! Each change in the cluster comes through here once for each watch; most listeners look at kind and name and go on. (kube's
//! `DynamicObject` builds the tree of the whole object, and a second one to read a typed object from it.)

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::api::ApiResource;
use kube::core::DynamicResourceScope;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object of a kind that is known at run time only.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Without the owners of fields.
    pub metadata: ObjectMeta,
    /// The whole object without the owners of its fields; `None` of one whose end was noticed by its absence.
    text: Option<String>,
    /// [`Self::node`], once somebody asked.
    node: OnceLock<Option<String>>,
}

impl Watched {
    /// One of which only the metadata is left.
    pub fn missing(metadata: ObjectMeta) -> Self {
        Self {
            metadata,
            text: None,
            node: OnceLock::new(),
        }
    }

    /// The object with a type, or those fields of it that the type has; `None` when it does not read.
    pub fn parse<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.text.as_ref()?).ok()
    }

    /// Of a pod: the node that it was placed on. Every kubelet asks of every change.
    pub fn node(&self) -> Option<&str> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Spec {
            node_name: Option<String>,
        }
        #[derive(Deserialize)]
        struct Placed {
            spec: Spec,
        }
        let read = || self.parse::<Placed>()?.spec.node_name;
        let node = self.node.get_or_init(read).as_deref();
        node.filter(|name| !name.is_empty())
    }
}

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Box<RawValue>>::deserialize(deserializer)?;
        let (metadata, text) = read(text.get()).map_err(D::Error::custom)?;
        Ok(Self {
            metadata: metadata.into(),
            text: Some(text),
            node: OnceLock::new(),
        })
    }
}

/// An object of type `K` without the owners of its fields, which are the longest part of most objects.
#[derive(Debug, Clone)]
pub struct Ownerless<K>(pub K);

impl<'de, K: DeserializeOwned> Deserialize<'de> for Ownerless<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Box<RawValue>>::deserialize(deserializer)?;
        let (_, text) = read(text.get()).map_err(D::Error::custom)?;
        serde_json::from_str(&text).map(Self).map_err(D::Error::custom)
    }
}

/// The object's metadata, and its text with `null` in the place of the owners of fields.
fn read(text: &str) -> Result<(Metadata<'_>, String), serde_json::Error> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow, default)]
        metadata: Metadata<'a>,
    }
    let Head { metadata } = serde_json::from_str(text)?;
    let owners = metadata.managed_fields.map(RawValue::get);
    // They are a part of `text`: serde_json borrows what it is asked to leave as it is.
    let start = owners.and_then(|owners| (owners.as_ptr() as usize).checked_sub(text.as_ptr() as usize));
    let cut = match (owners, start) {
        (Some(owners), Some(start)) => match (text.get(..start), text.get(start + owners.len()..)) {
            (Some(before), Some(after)) => format!("{before}null{after}"),
            _ => text.to_owned(),
        },
        _ => text.to_owned(),
    };
    Ok((metadata, cut))
}

/// [`ObjectMeta`] as far as controllers read it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata<'a> {
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    generate_name: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    #[serde(borrow)]
    managed_fields: Option<&'a RawValue>,
    name: Option<String>,
    namespace: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    uid: Option<String>,
}

impl From<Metadata<'_>> for ObjectMeta {
    fn from(read: Metadata<'_>) -> Self {
        Self {
            annotations: read.annotations,
            creation_timestamp: read.creation_timestamp,
            deletion_grace_period_seconds: read.deletion_grace_period_seconds,
            deletion_timestamp: read.deletion_timestamp,
            finalizers: read.finalizers,
            generate_name: read.generate_name,
            generation: read.generation,
            labels: read.labels,
            managed_fields: None,
            name: read.name,
            namespace: read.namespace,
            owner_references: read.owner_references,
            resource_version: read.resource_version,
            self_link: None,
            uid: read.uid,
        }
    }
}

impl<K: kube::Resource> kube::Resource for Ownerless<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &K::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }
    fn group(of: &K::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }
    fn version(of: &K::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }
    fn plural(of: &K::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }
    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

impl kube::Resource for Watched {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }
    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }
    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }
    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }
    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::core::WatchEvent;
    use serde_json::json;

    use super::*;

    fn pod() -> serde_json::Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "db", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 2,
                "labels": {"app": "db"}, "annotations": {"a": "b"}, "finalizers": ["f"],
                "creationTimestamp": "2026-01-02T03:04:05Z", "deletionTimestamp": "2026-01-02T03:04:06Z",
                "deletionGracePeriodSeconds": 30, "generateName": "d",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "o"}],
                "managedFields": [{"manager": "m", "operation": "Update"}],
            },
            "spec": {"nodeName": "one", "containers": []},
        })
    }

    #[test]
    fn the_metadata_is_that_of_the_typed_object_but_for_the_owners_of_fields() {
        // In an API server's order: the type, then the object.
        let event = format!(r#"{{"type":"ADDED","object":{}}}"#, pod());
        let Ok(WatchEvent::Added(watched)) = serde_json::from_str::<WatchEvent<Watched>>(&event) else {
            panic!("{event}");
        };
        let mut typed: Pod = serde_json::from_value(pod()).unwrap();
        assert!(typed.metadata.managed_fields.take().is_some());
        assert_eq!(watched.metadata, typed.metadata);
        assert_eq!(watched.parse::<Pod>().as_ref(), Some(&typed));
        let ownerless: Ownerless<Pod> = serde_json::from_str(&pod().to_string()).unwrap();
        assert_eq!(ownerless.0, typed);
    }

    #[test]
    fn an_object_without_owners_of_fields_is_left_as_it_is() {
        for object in [
            json!({"metadata": {"name": "a"}}),
            json!({"spec": {}}),
            json!({"metadata": {"managedFields": null}}),
        ] {
            let text = object.to_string();
            assert_eq!(read(&text).unwrap().1, text);
        }
    }

    #[test]
    fn an_object_that_is_missing_has_metadata_and_nothing_else() {
        let missing = Watched::missing(ObjectMeta::default());
        assert!(missing.parse::<serde_json::Value>().is_none());
    }
}
