//! The cluster as the exposer reaches it: reads that know absence, writes that know repetition.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::core::ClusterResourceScope;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ExposerError;

/// A client and the namespace that temporary objects live in (the installation's own).
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    pub namespace: String,
}

impl Cluster {
    /// The API of a kind in our namespace.
    pub(crate) fn ours<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The API of a kind in any namespace.
    pub(crate) fn in_namespace<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The API of a kind without namespaces.
    pub(crate) fn wide<K>(&self) -> Api<K>
    where
        K: Resource<Scope = ClusterResourceScope>,
        K::DynamicType: Default,
    {
        Api::all(self.client.clone())
    }
}

/// Reads an object; absence is not an error.
pub(crate) async fn get<K>(api: &Api<K>, name: &str) -> Result<Option<K>, ExposerError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    if name.is_empty() {
        return Ok(None);
    }
    api.get_opt(name)
        .await
        .map_err(|error| failed::<K>("get", name, error))
}

/// The objects of a kind that a label selector picks.
pub(crate) async fn list<K>(api: &Api<K>, selector: &str) -> Result<Vec<K>, ExposerError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    let found = api.list(&ListParams::default().labels(selector)).await;
    found
        .map(|list| list.items)
        .map_err(|error| failed::<K>("list", selector, error))
}

/// Creates an object; one that exists already is fine, since names belong to the movement.
pub(crate) async fn create<K>(api: &Api<K>, object: &K) -> Result<(), ExposerError>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
    K::DynamicType: Default,
{
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(failed::<K>(
            "create",
            object.meta().name.as_deref().unwrap_or_default(),
            error,
        )),
    }
}

/// Merge-patches an object. With `metadata.resourceVersion` in the patch, a change in between is a conflict.
pub(crate) async fn patch<K>(api: &Api<K>, name: &str, patch: &Value) -> Result<(), ExposerError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map(drop)
        .map_err(|error| failed::<K>("patch", name, error))
}

/// Deletes exactly this object (by UID) at once; one that is gone or replaced is fine.
pub(crate) async fn delete<K>(api: &Api<K>, meta: &ObjectMeta) -> Result<(), ExposerError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    if meta.deletion_timestamp.is_some() {
        return Ok(());
    }
    let name = meta.name.as_deref().unwrap_or_default();
    let only_this = Preconditions {
        uid: meta.uid.clone(),
        resource_version: None,
    };
    match api
        .delete(
            name,
            &DeleteParams::default().preconditions(only_this).grace_period(0),
        )
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(failed::<K>("delete", name, error)),
    }
}

fn failed<K>(operation: &'static str, name: &str, error: kube::Error) -> ExposerError
where
    K: Resource,
    K::DynamicType: Default,
{
    ExposerError::Api {
        operation,
        object: format!("{} {name}", K::kind(&K::DynamicType::default())),
        error: Box::new(error),
    }
}

/// Whether this object is owned by the movement with this UID.
pub(crate) fn is_owned_by(meta: &ObjectMeta, uid: &str) -> bool {
    meta.owner_references
        .iter()
        .flatten()
        .any(|owner| owner.uid == uid)
}
