//! Keeping a snapshot in the storage while its objects go from the cluster (velero-behaviour.md 4.2; upstream
//! `DeleteReadyVolumeSnapshot` in `pkg/util/csi/volume_snapshot.go`).
//!
//! ```text
//! content to Retain ──(what knows of the handle is written elsewhere)──► content deleted ──► VolumeSnapshot deleted
//! ```
//! Why the storage's snapshot outlives this: the csi-snapshotter deletes it only for a content that is being deleted *and*
//! has the policy `Delete`, both read from one state of the object. [`retain`] says yes only when the API server answered
//! with `Retain` on a content that nobody was deleting; every later state has `Retain`, too. [`release`] deletes that very
//! state. Otherwise than Velero, which goes on when the policy could not be changed.

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::snapshot::{self, SnapshotError, failed, gone_is_fine};
use crate::types::{DeletionPolicy, VolumeSnapshot, VolumeSnapshotContent};

/// States of a content in a row that changed between reading and deleting.
const TRIES: usize = 10;

/// Makes sure that the storage's snapshot outlives its content. `None`: nobody can say that any more, because the content
/// is gone, or was being deleted with the policy `Delete`.
///
/// # Errors
/// [`SnapshotError::Api`]; nothing is known then, and it can be done again.
pub async fn retain(client: &Client, content: &str) -> Result<Option<VolumeSnapshotContent>, SnapshotError> {
    let api: Api<VolumeSnapshotContent> = Api::all(client.clone());
    let named = || format!("VolumeSnapshotContent {content}");
    let found = api.get_opt(content).await;
    let Some(before) = found.map_err(|source| failed("read", named(), source))? else {
        return Ok(None);
    };
    if before.spec.deletion_policy == DeletionPolicy::Retain {
        return Ok(Some(before));
    }
    if before.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let patch = json!({"spec": {"deletionPolicy": DeletionPolicy::Retain.as_str()}});
    match api
        .patch(content, &PatchParams::default(), &Patch::Merge(&patch))
        .await
    {
        Ok(after) => Ok(Some(after).filter(is_safe)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(source) => Err(failed("set the deletion policy of", named(), source)),
    }
}

/// The answer to our patch: kept, and nobody had begun to delete it while it was not.
fn is_safe(after: &VolumeSnapshotContent) -> bool {
    after.spec.deletion_policy == DeletionPolicy::Retain && after.metadata.deletion_timestamp.is_none()
}

/// Deletes the objects of a snapshot that [`retain`] has kept. Those that are gone already are fine.
///
/// # Errors
/// [`SnapshotError::NotRetained`] when somebody took the policy back: then nothing is deleted. [`SnapshotError::Api`].
pub async fn release(
    client: &Client,
    namespace: &str,
    snapshot: &str,
    content: &str,
) -> Result<(), SnapshotError> {
    release_content(client, content).await?;
    snapshot::delete(client, namespace, snapshot).await
}

/// Deletes a content that [`retain`] has kept, and no VolumeSnapshot. One that is gone already is fine.
///
/// # Errors
/// As [`release`].
pub async fn release_content(client: &Client, content: &str) -> Result<(), SnapshotError> {
    let api: Api<VolumeSnapshotContent> = Api::all(client.clone());
    let named = || format!("VolumeSnapshotContent {content}");
    let mut tries = 0;
    loop {
        let found = api.get_opt(content).await;
        let found = found.map_err(|source| failed("read", named(), source))?;
        let Some(found) = found.filter(|found| found.metadata.deletion_timestamp.is_none()) else {
            return Ok(());
        };
        if found.spec.deletion_policy != DeletionPolicy::Retain {
            return Err(SnapshotError::NotRetained { object: named() });
        }
        let this_state = DeleteParams {
            preconditions: Some(Preconditions {
                uid: found.uid(),
                resource_version: found.resource_version(),
            }),
            ..DeleteParams::default()
        };
        tries += 1;
        match gone_is_fine(api.delete(content, &this_state).await) {
            Ok(()) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => {}
            Err(source) => return Err(failed("delete", named(), source)),
        }
    }
}

/// Labels the objects of a snapshot that stay in the cluster. Those that are gone already are fine.
///
/// # Errors
/// [`SnapshotError::Api`].
pub async fn label(
    client: &Client,
    namespace: &str,
    snapshot: &str,
    content: &str,
    (key, value): (&str, &str),
) -> Result<(), SnapshotError> {
    let (params, patch) = (
        PatchParams::default(),
        Patch::Merge(json!({"metadata": {"labels": {key: value}}})),
    );
    let contents: Api<VolumeSnapshotContent> = Api::all(client.clone());
    gone_is_fine(contents.patch(content, &params, &patch).await)
        .map_err(|source| failed("label", format!("VolumeSnapshotContent {content}"), source))?;
    let snapshots: Api<VolumeSnapshot> = Api::namespaced(client.clone(), namespace);
    gone_is_fine(snapshots.patch(snapshot, &params, &patch).await)
        .map_err(|source| failed("label", format!("VolumeSnapshot {namespace}/{snapshot}"), source))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn a_content_is_kept_only_when_nobody_had_begun_to_delete_it() {
        let mut content = VolumeSnapshotContent::default();
        content.spec.deletion_policy = DeletionPolicy::Retain;
        assert!(is_safe(&content));
        content.metadata.deletion_timestamp = Some(Time("2026-11-21T22:00:00Z".parse().unwrap()));
        assert!(!is_safe(&content));
        content.metadata.deletion_timestamp = None;
        content.spec.deletion_policy = DeletionPolicy::Delete;
        assert!(!is_safe(&content));
    }
}
