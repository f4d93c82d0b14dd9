//! Creating one object, with the answers that the API server may give: created, exists, try again, no
//! (velero-behaviour.md 8.3 item 7).

use std::time::Duration;

use caravel_api::labels;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams, Request};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::Value;

use crate::discovery::ServedResource;
use crate::existing::{Existing, compare, update_patch};
use crate::group_resource::known;
use crate::own::Own;

/// Who writes, in managed fields.
pub(crate) const FIELD_MANAGER: &str = "velero-server";
/// Waits between tries while the API server is busy or a namespace's parts are not ready; 6.3 s in all.
const RETRY_WAITS_MS: &[u64] = &[100, 200, 500, 1500, 4000];

/// What happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// New.
    Done,
    /// An earlier attempt of this Restore made it, or a try whose answer was lost.
    Own,
    /// It existed as it is in the backup.
    Same,
    /// It existed and differs; left alone.
    Different,
    /// It existed and was merged, or updated.
    Merged,
    /// It existed, and the API server refused the update. Labels say all the same that a restore was here.
    NotUpdated(String),
}

/// `spec.existingResourcePolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExistingPolicy {
    /// What exists is left alone.
    Keep,
    /// What exists becomes what the backup has: fields that the backup does not have go.
    Update,
}

impl From<&str> for ExistingPolicy {
    fn from(word: &str) -> Self {
        if word == "update" {
            Self::Update
        } else {
            Self::Keep
        }
    }
}

/// Creates `object` (namespace already mapped). The object's own API version is used: that is what its fields are
/// written for. Secrets' contents are in no error: the API server's messages name fields, not values. `own`: None where
/// the object cannot be this Restore's from before.
///
/// One request where all is well: nobody looks before, and what the API server answers to a creation is not read, since it
/// says nothing that is not known. Only where the object exists it is looked at.
pub async fn create(
    client: &Client,
    served: &ServedResource,
    namespace: &str,
    object: &Value,
    policy: ExistingPolicy,
    own: Option<&Own>,
) -> Result<Creation, kube::Error> {
    let api = api(client, served, namespace, object);
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let mut waits = RETRY_WAITS_MS.iter();
    let mut may_be_ours = own.is_some_and(|own| own.is_again);
    loop {
        match post(client, api.resource_url(), body.clone()).await {
            Ok(()) => return Ok(Creation::Done),
            Err(error) if means_exists(&error, object) => {
                let name = object
                    .pointer("/metadata/name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                // Not there after all: the refusal was about something else (a node port in use, say).
                let Some(live) = api.get_opt(name).await? else {
                    return Err(error);
                };
                let live = to_value(&live)?;
                if may_be_ours && own.is_some_and(|own| own.made(&live)) {
                    return Ok(Creation::Own);
                }
                return settle_existing(&api, served, &live, object, policy).await;
            }
            Err(error) if is_transient(&error) => match waits.next() {
                Some(wait) => {
                    // It may have been done all the same.
                    may_be_ours = true;
                    tokio::time::sleep(Duration::from_millis(*wait)).await;
                }
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
}

/// Sends the JSON of an object as it is. The client's own `create` would take it apart into typed metadata twice.
async fn post(client: &Client, path: &str, body: Vec<u8>) -> Result<(), kube::Error> {
    let params = PostParams {
        dry_run: false,
        field_manager: Some(FIELD_MANAGER.into()),
    };
    let request = Request::new(path)
        .create(&params, body)
        .map_err(kube::Error::BuildRequest)?;
    client.request_text(request).await.map(drop)
}

async fn settle_existing(
    api: &Api<DynamicObject>,
    served: &ServedResource,
    live: &Value,
    wanted: &Value,
    policy: ExistingPolicy,
) -> Result<Creation, kube::Error> {
    let name = live
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let is_service_account = served.group_resource.is(known::SERVICE_ACCOUNTS);
    match compare(live, wanted, is_service_account) {
        Existing::Same if policy == ExistingPolicy::Update => {
            label(api, name, wanted).await?;
            Ok(Creation::Same)
        }
        Existing::Same => Ok(Creation::Same),
        Existing::Different if policy == ExistingPolicy::Update => update(api, name, live, wanted).await,
        Existing::Different => Ok(Creation::Different),
        Existing::Patch(patch) => {
            api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                .await?;
            Ok(Creation::Merged)
        }
    }
}

/// A refusal leaves the object as it is, labels apart: it is a warning, and the restore goes on.
async fn update(
    api: &Api<DynamicObject>,
    name: &str,
    live: &Value,
    wanted: &Value,
) -> Result<Creation, kube::Error> {
    let patch = Patch::Merge(update_patch(live, wanted));
    match api.patch(name, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(Creation::Merged),
        Err(kube::Error::Api(status)) if !matches!(status.code, 429 | 500..) => {
            label(api, name, wanted).await?;
            Ok(Creation::NotUpdated(status.message))
        }
        Err(error) => Err(error),
    }
}

/// Says on an object which restore was here last.
async fn label(api: &Api<DynamicObject>, name: &str, wanted: &Value) -> Result<(), kube::Error> {
    let of = |key: &str| {
        wanted
            .pointer("/metadata/labels")
            .and_then(|labels| labels.get(key))
            .cloned()
    };
    let labels =
        [labels::BACKUP_NAME, labels::RESTORE_NAME].map(|key| (key.to_owned(), of(key).unwrap_or_default()));
    let patch = serde_json::json!({"metadata": {"labels": serde_json::Map::from_iter(labels)}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map(drop)
}

/// Writes who set which field; the values are those of the backup.
pub async fn set_managed_fields(
    client: &Client,
    served: &ServedResource,
    namespace: &str,
    object: &Value,
    fields: &Value,
) -> Result<(), kube::Error> {
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let patch = serde_json::json!({"metadata": {"managedFields": fields}});
    api(client, served, namespace, object)
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map(drop)
}

/// The API for one object: its resource, in the version that the object is written in.
pub fn api(client: &Client, served: &ServedResource, namespace: &str, object: &Value) -> Api<DynamicObject> {
    let mut resource: ApiResource = served.api_resource();
    if let Some(api_version) = object.get("apiVersion").and_then(Value::as_str) {
        resource.api_version = api_version.to_owned();
        resource.version = api_version.rsplit('/').next().unwrap_or(api_version).to_owned();
    }
    if served.namespaced {
        Api::namespaced_with(client.clone(), namespace, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    }
}

fn to_value(object: &DynamicObject) -> Result<Value, kube::Error> {
    serde_json::to_value(object).map_err(kube::Error::SerdeError)
}

/// 409 AlreadyExists; and for a Service 422 with no other cause than "provided port is already allocated", which one
/// that exists under this very name is answered with (Velero's `isAlreadyExistsError`).
pub fn means_exists(error: &kube::Error, object: &Value) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status
        .details
        .as_ref()
        .map(|details| &details.causes[..])
        .unwrap_or_default();
    let only_ports = !causes.is_empty()
        && causes
            .iter()
            .all(|cause| cause.message.contains("provided port is already allocated"));
    status.reason == "AlreadyExists"
        || (status.reason == "Invalid" && object["kind"] == "Service" && only_ports)
}

/// Worth another try: the server is busy or away, or a new namespace's default ServiceAccount is not there yet.
fn is_transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            matches!(status.code, 429 | 500 | 502 | 503 | 504)
                || (status.code == 403 && status.message.contains("error looking up service account"))
        }
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}
