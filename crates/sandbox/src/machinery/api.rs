//! Few words over `kube::Api`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::request::{self, Request};
use kube::core::{Selector, SelectorExt};
use kube::{Client, Resource};
use serde::Serialize;
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

/// A JSON merge patch. The object that the server answers with is not read: hardly anybody wants it.
pub async fn merge<K: Clone + Resource>(api: &Api<K>, name: &str, patch: &Value) -> Answer<()> {
    let patch = Patch::Merge(patch);
    let request = Request::new(api.resource_url()).patch(name, &PatchParams::default(), &patch);
    send(api, request).await
}

/// A JSON merge patch of the status; as [`merge`].
pub async fn merge_status<K: Clone + Resource>(api: &Api<K>, name: &str, patch: &Value) -> Answer<()> {
    let patch = Patch::Merge(patch);
    let path = Request::new(api.resource_url());
    let request = path.patch_subresource("status", name, &PatchParams::default(), &patch);
    send(api, request).await
}

/// Creates an object, of which nobody wants to know what the server made of it.
pub async fn create<K: Clone + Resource + Serialize>(api: &Api<K>, object: &K) -> Answer<()> {
    let object = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let request = Request::new(api.resource_url()).create(&PostParams::default(), object);
    send(api, request).await
}

async fn send<K: Clone + Resource>(
    api: &Api<K>,
    request: Result<http::Request<Vec<u8>>, request::Error>,
) -> Answer<()> {
    let request = request.map_err(kube::Error::BuildRequest)?;
    let client = api.clone().into_client();
    client.request_text(request).await.map(drop)
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
