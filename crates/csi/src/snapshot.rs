//! Taking, awaiting, keeping and removing snapshots. Every wait is a watch with a deadline and a readable reason.
//!
//! Who does what: we create the VolumeSnapshot; the snapshot-controller makes its VolumeSnapshotContent and binds
//! both; the csi-snapshotter sidecar calls the driver and writes `snapshotHandle` (the snapshot is cut, the
//! application may go on) and later `readyToUse` (volumes can be made from it).

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::types::{
    DeletionPolicy, SnapshotStatusError, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent,
};

/// Why a snapshot could not be taken, kept or removed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("cannot {operation} {object}: {source}")]
    Api {
        operation: &'static str,
        object: String,
        source: Box<kube::Error>,
    },
    /// Retry is possible; the reason says what was still missing.
    #[error("{object} is not {goal} after {}: {reason}", seconds(.after))]
    TimedOut {
        object: String,
        goal: &'static str,
        after: Duration,
        reason: String,
    },
    #[error("{object} was deleted while it was waited for")]
    Deleted { object: String },
    #[error(
        "the cluster has no VolumeSnapshot API (snapshot.storage.k8s.io/v1); install the external-snapshotter's CRDs and its snapshot-controller"
    )]
    NoSnapshotApi,
    /// Deleting it would delete the storage's snapshot.
    #[error(
        "{object} does not say Retain any more, somebody changed its deletion policy: it is not deleted, because the snapshot would go with it"
    )]
    NotRetained { object: String },
    #[error(
        "VolumeSnapshotContent {content} has no snapshot handle: which snapshot of the storage it was is not known"
    )]
    NoHandle { content: String },
    #[error(
        "{object} stands for another snapshot than the one that is to be deleted; delete that object by hand"
    )]
    NotOurs { object: String },
}

impl SnapshotError {
    /// True when the API server says that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(&**source, kube::Error::Api(status) if status.code == 404))
    }
}

fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs())
}

/// A snapshot that the driver has cut.
#[derive(Clone, Debug)]
pub struct TakenSnapshot {
    pub snapshot: VolumeSnapshot,
    pub content: VolumeSnapshotContent,
    /// The storage's own name of the snapshot.
    pub handle: String,
}

/// All VolumeSnapshotClasses.
///
/// # Errors
/// [`SnapshotError::NoSnapshotApi`] when the CRDs are missing, else [`SnapshotError::Api`].
pub async fn classes(client: &Client) -> Result<Vec<VolumeSnapshotClass>, SnapshotError> {
    let api: Api<VolumeSnapshotClass> = Api::all(client.clone());
    match api.list(&Default::default()).await {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(SnapshotError::NoSnapshotApi),
        Err(source) => Err(failed("list", "VolumeSnapshotClasses".to_owned(), source)),
    }
}

/// Creates a VolumeSnapshot; the driver is then asked by the snapshot-controller.
///
/// # Errors
/// [`SnapshotError::Api`].
pub async fn create(
    client: &Client,
    namespace: &str,
    snapshot: &VolumeSnapshot,
) -> Result<VolumeSnapshot, SnapshotError> {
    let api: Api<VolumeSnapshot> = Api::namespaced(client.clone(), namespace);
    let name = snapshot
        .metadata
        .name
        .as_deref()
        .or(snapshot.metadata.generate_name.as_deref())
        .unwrap_or_default();
    api.create(&PostParams::default(), snapshot)
        .await
        .map_err(|source| failed("create", format!("VolumeSnapshot {namespace}/{name}"), source))
}

/// Waits until the driver has cut the snapshot: bound, and the content has a handle. The volume may change again.
///
/// # Errors
/// [`SnapshotError::TimedOut`] with what was missing and the driver's last error; [`SnapshotError::Deleted`].
pub async fn wait_for_handle(
    client: &Client,
    namespace: &str,
    name: &str,
    timeout: Duration,
) -> Result<TakenSnapshot, SnapshotError> {
    wait(client, namespace, name, timeout, "cut by the storage", |_, _| {
        Ok(())
    })
    .await
}

/// Waits until volumes can be made from the snapshot.
///
/// # Errors
/// As [`wait_for_handle`].
pub async fn wait_ready(
    client: &Client,
    namespace: &str,
    name: &str,
    timeout: Duration,
) -> Result<TakenSnapshot, SnapshotError> {
    wait(
        client,
        namespace,
        name,
        timeout,
        "ready to use",
        |_, content| match content.status.as_ref().and_then(|status| status.ready_to_use) {
            Some(true) => Ok(()),
            _ => Err(format!(
                "the driver has not finished the snapshot{}",
                last_error(content_error(content))
            )),
        },
    )
    .await
}

/// Keeps or deletes the storage's snapshot when the content goes.
///
/// # Errors
/// [`SnapshotError::Api`].
pub async fn set_deletion_policy(
    client: &Client,
    content: &str,
    policy: DeletionPolicy,
) -> Result<(), SnapshotError> {
    let api: Api<VolumeSnapshotContent> = Api::all(client.clone());
    let patch = json!({"spec": {"deletionPolicy": policy.as_str()}});
    api.patch(content, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map(drop)
        .map_err(|source| {
            failed(
                "set the deletion policy of",
                format!("VolumeSnapshotContent {content}"),
                source,
            )
        })
}

/// Keeps the storage's snapshot when the content goes.
///
/// # Errors
/// [`SnapshotError::Api`].
pub async fn retain(client: &Client, content: &str) -> Result<(), SnapshotError> {
    set_deletion_policy(client, content, DeletionPolicy::Retain).await
}

/// Deletes a VolumeSnapshot; one that is gone already is fine. Its content follows if the policy is `Delete`.
///
/// # Errors
/// [`SnapshotError::Api`].
pub async fn delete(client: &Client, namespace: &str, name: &str) -> Result<(), SnapshotError> {
    let api: Api<VolumeSnapshot> = Api::namespaced(client.clone(), namespace);
    gone_is_fine(api.delete(name, &DeleteParams::default()).await)
        .map_err(|source| failed("delete", format!("VolumeSnapshot {namespace}/{name}"), source))
}

/// Deletes a VolumeSnapshotContent; one that is gone already is fine.
///
/// # Errors
/// [`SnapshotError::Api`].
pub async fn delete_content(client: &Client, name: &str) -> Result<(), SnapshotError> {
    let api: Api<VolumeSnapshotContent> = Api::all(client.clone());
    gone_is_fine(api.delete(name, &DeleteParams::default()).await)
        .map_err(|source| failed("delete", format!("VolumeSnapshotContent {name}"), source))
}

/// Removes a snapshot wherever it got to, with the storage's snapshot: policy to `Delete`, then the VolumeSnapshot.
///
/// # Errors
/// [`SnapshotError::Api`].
pub async fn delete_with_content(client: &Client, namespace: &str, name: &str) -> Result<(), SnapshotError> {
    let api: Api<VolumeSnapshot> = Api::namespaced(client.clone(), namespace);
    let found = api
        .get_opt(name)
        .await
        .map_err(|source| failed("read", format!("VolumeSnapshot {namespace}/{name}"), source))?;
    if let Some(content) = found.as_ref().and_then(bound_content) {
        match set_deletion_policy(client, content, DeletionPolicy::Delete).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    delete(client, namespace, name).await
}

/// The name of the content that a snapshot is bound to.
pub fn bound_content(snapshot: &VolumeSnapshot) -> Option<&str> {
    snapshot
        .status
        .as_ref()?
        .bound_volume_snapshot_content_name
        .as_deref()
}

async fn wait<F>(
    client: &Client,
    namespace: &str,
    name: &str,
    timeout: Duration,
    goal: &'static str,
    enough: F,
) -> Result<TakenSnapshot, SnapshotError>
where
    F: Fn(&VolumeSnapshot, &VolumeSnapshotContent) -> Result<(), String>,
{
    let object = format!("VolumeSnapshot {namespace}/{name}");
    let mut reason = "the snapshot-controller has not looked at it; is it running?".to_owned();
    let steps = async {
        let snapshots: Api<VolumeSnapshot> = Api::namespaced(client.clone(), namespace);
        let (snapshot, content_name) = until(
            snapshots,
            name,
            &object,
            &mut reason,
            |snapshot: &VolumeSnapshot| {
                bound_content(snapshot).map(str::to_owned).ok_or_else(|| {
                    let error = snapshot.status.as_ref().and_then(|status| status.error.as_ref());
                    format!(
                        "it is not bound to a VolumeSnapshotContent; is the snapshot-controller running?{}",
                        last_error(error)
                    )
                })
            },
        )
        .await?;
        let contents: Api<VolumeSnapshotContent> = Api::all(client.clone());
        let (content, handle) = until(
            contents,
            &content_name,
            &object,
            &mut reason,
            |content: &VolumeSnapshotContent| {
                let handle = content
                    .status
                    .as_ref()
                    .and_then(|status| status.snapshot_handle.clone());
                let handle = handle.filter(|handle| !handle.is_empty()).ok_or_else(|| {
                    format!(
                        "driver {} has not reported a snapshot; look at the csi-snapshotter's log{}",
                        content.spec.driver,
                        last_error(content_error(content))
                    )
                })?;
                enough(&snapshot, content).map(|()| handle)
            },
        )
        .await?;
        Ok(TakenSnapshot {
            snapshot,
            content,
            handle,
        })
    };
    match tokio::time::timeout(timeout, steps).await {
        Ok(taken) => taken,
        Err(_) => Err(SnapshotError::TimedOut {
            object,
            goal,
            after: timeout,
            reason,
        }),
    }
}

/// Watches one object until `look` finds what it wants; what is missing goes to `reason`.
pub(crate) async fn until<K, T>(
    api: Api<K>,
    name: &str,
    object: &str,
    reason: &mut String,
    look: impl Fn(&K) -> Result<T, String>,
) -> Result<(K, T), SnapshotError>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut states = watcher::watch_object(api, name).default_backoff().boxed();
    let mut seen = false;
    while let Some(state) = states.next().await {
        match state {
            Ok(Some(found)) => {
                seen = true;
                match look(&found) {
                    Ok(wanted) => return Ok((found, wanted)),
                    Err(missing) => *reason = missing,
                }
            }
            Ok(None) if seen => {
                return Err(SnapshotError::Deleted {
                    object: object.to_owned(),
                });
            }
            Ok(None) => *reason = format!("{name} does not exist yet"),
            Err(error) => {
                tracing::warn!(object, %error, "watch broke, it is started again");
                *reason = format!("the API server could not be watched: {error}");
            }
        }
    }
    Err(SnapshotError::Deleted {
        object: object.to_owned(),
    })
}

pub(crate) fn content_error(content: &VolumeSnapshotContent) -> Option<&SnapshotStatusError> {
    content.status.as_ref()?.error.as_ref()
}

fn last_error(error: Option<&SnapshotStatusError>) -> String {
    match error.and_then(|error| error.message.as_deref()) {
        Some(message) => format!(". Last error: {message}"),
        None => String::new(),
    }
}

pub(crate) fn gone_is_fine<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

pub(crate) fn failed(operation: &'static str, object: String, source: kube::Error) -> SnapshotError {
    SnapshotError::Api {
        operation,
        object,
        source: Box::new(source),
    }
}

/// The name of a snapshot, for messages: `shop/velero-data-x7k2p`.
pub fn display_name(snapshot: &VolumeSnapshot) -> String {
    format!(
        "{}/{}",
        snapshot.namespace().unwrap_or_default(),
        snapshot.name_any()
    )
}
