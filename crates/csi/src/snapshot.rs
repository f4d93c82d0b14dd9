//! Taking, keeping and removing snapshots; `wait` awaits them.
//!
//! Who does what: we create the VolumeSnapshot; the snapshot-controller makes its VolumeSnapshotContent and binds
//! both; the csi-snapshotter sidecar calls the driver and writes `snapshotHandle` (the snapshot is cut, the
//! application may go on) and later `readyToUse` (volumes can be made from it).

#[cfg(test)]
mod tests;
mod wait;

use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::types::{
    DeletionPolicy, SnapshotStatusError, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent,
};
pub(crate) use wait::until;
pub use wait::{wait_for_handle, wait_ready};

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
    /// Another try ends the same way.
    #[error("PersistentVolumeClaim {claim} was deleted before {object} was cut by the storage")]
    ClaimGone { claim: String, object: String },
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

pub(crate) fn content_error(content: &VolumeSnapshotContent) -> Option<&SnapshotStatusError> {
    content.status.as_ref()?.error.as_ref()
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
