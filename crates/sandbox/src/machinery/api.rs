//! Few words over `kube::Api`.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::api::{Api, Patch, PatchParams};
use kube::core::{Selector, SelectorExt};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What the API server answers.
pub type Answer<T> = Result<T, kube::Error>;

/// `client.of::<Pod>("shop")`, `client.wide::<Node>()`.
pub trait Kinds {
    /// Objects of this namespace.
    fn of<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>;
    /// Objects without a namespace, or those of all namespaces.
    fn wide<K: Resource<DynamicType = ()>>(&self) -> Api<K>;
}

impl Kinds for Client {
    fn of<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.clone(), namespace)
    }

    fn wide<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.clone())
    }
}

/// The object is not there.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Somebody else was first: the object has changed, or exists already.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// A deletion or a patch of something that is gone, or was changed meanwhile, is no failure: the change that did it
/// wakes the controller again.
pub fn settled<T>(answer: Answer<T>) -> Answer<()> {
    match answer {
        Err(error) if !is_not_found(&error) && !is_conflict(&error) => Err(error),
        _ => Ok(()),
    }
}

/// A JSON merge patch.
pub async fn merge<K>(api: &Api<K>, name: &str, patch: &Value) -> Answer<K>
where
    K: Clone + DeserializeOwned + Debug,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
}

/// A JSON merge patch of the status.
pub async fn merge_status<K>(api: &Api<K>, name: &str, patch: &Value) -> Answer<K>
where
    K: Clone + DeserializeOwned + Debug,
{
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
}

/// Whether the labels fit the selector; one that cannot be read fits nothing.
pub fn fits(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let none = BTreeMap::new();
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels.unwrap_or(&none)))
}

/// A time to the second: `metav1.Time` has no fractions.
pub fn time(now: jiff::Timestamp) -> Time {
    Time(jiff::Timestamp::from_second(now.as_second()).unwrap_or(now))
}
