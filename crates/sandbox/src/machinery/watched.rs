//! An object of any kind, as a watch of every kind can afford it: its metadata is read, the rest stays text.
//!
//! Each change in the cluster comes through here once for each watch; most listeners look at kind and name and go on. (kube's
//! `DynamicObject` builds the tree of the whole object, and a second one to read a typed object from it.)

use std::borrow::Cow;
use std::collections::BTreeMap;

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
    /// The whole object; `None` of one whose end was noticed by its absence.
    text: Option<Box<RawValue>>,
}

impl Watched {
    /// One of which only the metadata is left.
    pub fn missing(metadata: ObjectMeta) -> Self {
        Self { metadata, text: None }
    }

    /// The object with a type, or those fields of it that the type has; `None` when it does not read.
    pub fn parse<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.text.as_ref()?.get()).ok()
    }
}

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Box<RawValue>>::deserialize(deserializer)?;
        let head: Head = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        Ok(Self {
            metadata: head.metadata.into(),
            text: Some(text),
        })
    }
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    metadata: Metadata,
}

/// [`ObjectMeta`] as far as controllers read it: all but `managedFields`, which is the longest part of most objects.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    generate_name: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    name: Option<String>,
    namespace: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    uid: Option<String>,
}

impl From<Metadata> for ObjectMeta {
    fn from(read: Metadata) -> Self {
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
        assert_eq!(watched.parse::<Pod>().as_ref(), Some(&typed));
        typed.metadata.managed_fields = None;
        assert_eq!(watched.metadata, typed.metadata);
    }

    #[test]
    fn an_object_that_is_missing_has_metadata_and_nothing_else() {
        let missing = Watched::missing(ObjectMeta::default());
        assert!(missing.parse::<serde_json::Value>().is_none());
    }
}
