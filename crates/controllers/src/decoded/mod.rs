//! Objects that may not decode: one bad object among many must not stop a watch, a list or a command.
//!
//! The API server checks an object against its CRD, and the CRD promises less than our types need: `ttl: soon` is a
//! string to the one and no duration to the other. Velero's own informers stop at such an object (client-go logs
//! `failed to list`, and no controller of the kind moves any more). Here it is set apart:
//!
//! ```text
//! list, watch ──► Decoded<K> ─┬─ Object(K)             to whoever asked
//!                             └─ Bad(Undecodable)      a warning with its name and field, and, from the controller
//!                                                      of its kind, the refusal in its status (`refusal.rs`)
//! ```
//! Kin: kube's `DeserializeGuard`, which forgets the object and so cannot say the field or decide on the phase.
//! An object without a `spec` is not bad: `caravel-api` reads it as an empty one.

mod refusal;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::core::{DynamicResourceScope, ObjectList, Request};
use kube::{Api, Resource};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

pub(crate) use refusal::refuse;

/// An object of kind `K`, or what came in its place.
#[derive(Clone, Debug)]
pub enum Decoded<K> {
    /// It decodes.
    Object(K),
    /// It does not.
    Bad(Box<Undecodable>),
}

/// An object that does not decode into its type.
#[derive(Clone, Debug)]
pub struct Undecodable {
    /// `Backup`.
    pub kind: String,
    pub metadata: ObjectMeta,
    /// Field and reason: `spec.ttl: invalid duration "soon": …`.
    pub why: String,
    /// As the API server has it.
    object: Value,
}

impl Undecodable {
    fn new<K>(object: Value, error: &serde_json::Error) -> Result<Self, serde_json::Error>
    where
        K: Resource + DeserializeOwned,
        K::DynamicType: Default,
    {
        let metadata = object
            .get("metadata")
            .map_or_else(|| Ok(ObjectMeta::default()), ObjectMeta::deserialize)?;
        let why = match culprit::<K>(&object) {
            Some(field) => format!("{field}: {error}"),
            None => error.to_string(),
        };
        Ok(Self {
            // Not from the object: lists of built-in kinds leave it out.
            kind: K::kind(&K::DynamicType::default()).into_owned(),
            metadata,
            why,
            object,
        })
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Tells the log whose object is passed over.
    pub fn warn(&self) {
        tracing::warn!(
            kind = %self.kind,
            namespace = self.metadata.namespace.as_deref().unwrap_or_default(),
            name = self.name(),
            why = %self.why,
            "object cannot be read and is passed over until it is corrected or deleted"
        );
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let slash = if namespace.is_empty() { "" } else { "/" };
        write!(
            f,
            "{} {namespace}{slash}{} cannot be read: {}",
            self.kind,
            self.name(),
            self.why
        )
    }
}

/// The narrowest field without which the object decodes; None when there is none.
fn culprit<K: DeserializeOwned>(object: &Value) -> Option<String> {
    let mut path: Vec<String> = Vec::new();
    // Goes down as long as taking out one child cures it; objects are a few levels deep.
    loop {
        let at = path.iter().try_fold(object, |value, key| value.get(key))?;
        let child = at
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
            .find(|key| {
                let mut without = object.clone();
                path.iter()
                    .try_fold(&mut without, |value, key| value.get_mut(key))
                    .and_then(Value::as_object_mut)
                    .is_some_and(|map| map.remove(*key).is_some())
                    && K::deserialize(&without).is_ok()
            });
        match child {
            Some(child) => path.push(child.clone()),
            None if path.is_empty() => return None,
            None => return Some(path.join(".")),
        }
    }
}

impl<'de, K> Deserialize<'de> for Decoded<K>
where
    K: Resource + DeserializeOwned,
    K::DynamicType: Default,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text and not a tree: nearly every object decodes, and each event of each watch comes through here.
        // (An event names its type before its object, as the API server writes it; serde hands on no text otherwise.)
        let text = <Box<RawValue>>::deserialize(deserializer)?;
        match serde_json::from_str(text.get()) {
            Ok(decoded) => Ok(Self::Object(decoded)),
            Err(_) => Self::from_tree(&text).map_err(D::Error::custom),
        }
    }
}

impl<K> Decoded<K>
where
    K: Resource + DeserializeOwned,
    K::DynamicType: Default,
{
    /// The long way, for an object that does not decode: its tree tells which field it is.
    fn from_tree(text: &RawValue) -> Result<Self, serde_json::Error> {
        let object: Value = serde_json::from_str(text.get())?;
        match K::deserialize(&object) {
            Ok(decoded) => Ok(Self::Object(decoded)),
            Err(error) => Undecodable::new::<K>(object, &error).map(|bad| Self::Bad(Box::new(bad))),
        }
    }
}

/// The same resource as `K`. Its scope is left open, so that it can stand in for kinds of either scope.
impl<K: Resource> Resource for Decoded<K> {
    type DynamicType = K::DynamicType;
    type Scope = DynamicResourceScope;

    fn kind(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dynamic)
    }
    fn group(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::group(dynamic)
    }
    fn version(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::version(dynamic)
    }
    fn plural(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dynamic)
    }
    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Object(object) => object.meta(),
            Self::Bad(bad) => &bad.metadata,
        }
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Object(object) => object.meta_mut(),
            Self::Bad(bad) => &mut bad.metadata,
        }
    }
}

/// The API of `api`'s objects, as [`Decoded`] ones.
pub(crate) fn api<K>(api: Api<K>) -> Api<Decoded<K>>
where
    K: Resource,
    K::DynamicType: Default,
{
    let namespace = api.namespace().map(str::to_owned);
    let (client, dynamic) = (api.into_client(), K::DynamicType::default());
    match namespace {
        Some(namespace) => Api::namespaced_with(client, &namespace, &dynamic),
        None => Api::all_with(client, &dynamic),
    }
}

/// Lists the objects that can be read; beside them, those that cannot.
///
/// # Errors
/// The API server cannot be asked.
pub async fn list<K>(api: &Api<K>, params: &ListParams) -> Result<(Vec<K>, Vec<Undecodable>), kube::Error>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug,
    K::DynamicType: Default,
{
    let request = Request::new(api.resource_url())
        .list(params)
        .map_err(kube::Error::BuildRequest)?;
    let client = api.clone().into_client();
    let list = client.request::<ObjectList<Decoded<K>>>(request).await?;
    let (mut objects, mut bad) = (Vec::new(), Vec::new());
    for item in list.items {
        match item {
            Decoded::Object(object) => objects.push(object),
            Decoded::Bad(undecodable) => bad.push(*undecodable),
        }
    }
    Ok((objects, bad))
}

/// Reads one object; `None` when it does not exist.
///
/// # Errors
/// The API server cannot be asked.
pub async fn get<K>(api: &Api<K>, name: &str) -> Result<Option<Decoded<K>>, kube::Error>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug,
    K::DynamicType: Default,
{
    let request = Request::new(api.resource_url())
        .get(name, &Default::default())
        .map_err(kube::Error::BuildRequest)?;
    match api.clone().into_client().request::<Decoded<K>>(request).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 && status.reason == "NotFound" => Ok(None),
        Err(error) => Err(error),
    }
}
