//! Deleting a snapshot that only a backup knows of, and seeing that it is gone (velero-behaviour.md 4.5; upstream
//! `internal/delete/actions/csi/volumesnapshotcontent_action.go`).
//!
//! ```text
//! the content is still there ──────────────► policy Delete, deleted with its VolumeSnapshot ──┐
//! else: temporary content of the handle ─► the driver has looked ─► deleted ──────────────────┴─► finalizer off = gone
//! ```
//! Only the csi-snapshotter takes the finalizer off, after the driver has deleted. It asks the driver only when the
//! content's *status* has the handle: Velero waits two seconds for that, and looks no further; a driver that is slower, away
//! or missing leaves the snapshot in the storage for ever, and nobody is told. Here the status is seen before the content is
//! deleted, and the deletion is over when the content is gone. A driver answers "deleted" for what is deleted already.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::snapshot::{self, SnapshotError, content_error, failed, gone_is_fine, until};
use crate::types::{
    DeletionPolicy, VolumeSnapshotContent, VolumeSnapshotContentSource, VolumeSnapshotContentSpec,
};

/// The csi-snapshotter's own: goes when the storage has deleted. Ours to put on, else the content could be gone before it
/// was ever looked at.
pub const BOUND_PROTECTION: &str = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection";
/// Marks of the controllers on the content as it was backed up; the second one would keep it from being deleted.
const MARKS: [&str; 2] = [
    "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted",
    "snapshot.storage.kubernetes.io/volumesnapshot-being-created",
];
/// States of a content in a row that changed between reading and deleting.
const TRIES: usize = 10;

/// Deletes the snapshot of `content` (as a backup has it) in the storage. `temporary`: name of the temporary content, the
/// same for each try, so that a later one goes on.
///
/// # Errors
/// [`SnapshotError::NoHandle`]; [`SnapshotError::TimedOut`] with the driver's last error when it is not gone `within` this
/// time; [`SnapshotError::NoSnapshotApi`]; [`SnapshotError::Api`]. It can be done again.
pub async fn delete(
    client: &Client,
    content: &VolumeSnapshotContent,
    temporary: &str,
    within: Duration,
) -> Result<(), SnapshotError> {
    let object = format!("storage snapshot of VolumeSnapshotContent {}", content.name_any());
    let Some(handle) = content.handle() else {
        return Err(SnapshotError::NoHandle {
            content: content.name_any(),
        });
    };
    let api: Api<VolumeSnapshotContent> = Api::all(client.clone());
    let mut stage = Stage {
        reason: "the API server has not answered".to_owned(),
        unseen: false,
    };
    let steps = async {
        if let Some(original) = original(&api, content, handle).await? {
            stage.reason = "its VolumeSnapshotContent is not gone".to_owned();
            if original.spec.source.snapshot_handle.is_some() {
                // Made by hand of a handle: as the temporary one, it is of no use before the driver has looked at it.
                seen_by_the_driver(&api, &original, &object, &mut stage.reason).await?;
                delete_by_handle(&api, &original, handle).await?;
                delete_bound_snapshot(client, &original).await?;
            } else {
                delete_original(client, &api, &original).await?;
            }
            return gone(&api, &original.name_any(), &mut stage.reason).await;
        }
        let wanted = temporary_content(content, handle, temporary);
        create(&api, &wanted).await?;
        stage.unseen = true;
        seen_by_the_driver(&api, &wanted, &object, &mut stage.reason).await?;
        stage.unseen = false;
        delete_by_handle(&api, &wanted, handle).await?;
        gone(&api, temporary, &mut stage.reason).await
    };
    match tokio::time::timeout(within, steps).await {
        Ok(done) => done,
        Err(_) => {
            if stage.unseen {
                withdraw(&api, temporary).await;
            }
            Err(SnapshotError::TimedOut {
                object: format!("{object} ({handle} of driver {})", content.spec.driver),
                goal: "deleted",
                after: within,
                reason: stage.reason,
            })
        }
    }
}

/// How far a deletion is.
struct Stage {
    reason: String,
    /// No driver has looked at the temporary content: to take it away deletes nothing.
    unseen: bool,
}

/// The very content that was backed up, if its cluster still has it and nobody deletes it.
async fn original(
    api: &Api<VolumeSnapshotContent>,
    content: &VolumeSnapshotContent,
    handle: &str,
) -> Result<Option<VolumeSnapshotContent>, SnapshotError> {
    let name = content.name_any();
    let found = match api.get_opt(&name).await {
        Ok(found) => found,
        Err(source) => return Err(failed("read", format!("VolumeSnapshotContent {name}"), source)),
    };
    Ok(found.filter(|found| is_original(found, content, handle)))
}

/// The same object of the same storage snapshot; what was made anew under its name is somebody else's.
fn is_original(found: &VolumeSnapshotContent, backed_up: &VolumeSnapshotContent, handle: &str) -> bool {
    found.handle() == Some(handle)
        && found.spec.driver == backed_up.spec.driver
        && found.uid() == backed_up.uid()
        && found.metadata.deletion_timestamp.is_none()
}

async fn delete_original(
    client: &Client,
    api: &Api<VolumeSnapshotContent>,
    content: &VolumeSnapshotContent,
) -> Result<(), SnapshotError> {
    let name = content.name_any();
    let deleted = snapshot::set_deletion_policy(client, &name, DeletionPolicy::Delete).await;
    match deleted {
        Err(error) if error.is_not_found() => return Ok(()),
        deleted => deleted?,
    }
    delete_bound_snapshot(client, content).await?;
    gone_is_fine(api.delete(&name, &DeleteParams::default()).await)
        .map_err(|source| failed("delete", format!("VolumeSnapshotContent {name}"), source))
}

/// Deletes what is left of the objects of a snapshot that is in the storage no more: a content, and the VolumeSnapshot that it
/// is bound to. Those that are gone already are fine.
///
/// # Errors
/// [`SnapshotError::Api`].
pub async fn delete_objects(client: &Client, content: &VolumeSnapshotContent) -> Result<(), SnapshotError> {
    delete_bound_snapshot(client, content).await?;
    snapshot::delete_content(client, &content.name_any()).await
}

/// Deletes the VolumeSnapshot that a content is bound to, and no other that has its name: none where it is bound to none.
///
/// # Errors
/// [`SnapshotError::Api`].
pub async fn delete_bound_snapshot(
    client: &Client,
    content: &VolumeSnapshotContent,
) -> Result<(), SnapshotError> {
    let of = &content.spec.volume_snapshot_ref;
    let uid = of.uid.clone().filter(|uid| !uid.is_empty());
    let (Some(namespace), Some(name), Some(uid)) = (&of.namespace, &of.name, uid) else {
        return Ok(());
    };
    let api: Api<crate::types::VolumeSnapshot> = Api::namespaced(client.clone(), namespace);
    let same = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match gone_is_fine(api.delete(name, &same).await) {
        Ok(()) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(source) => Err(failed(
            "delete",
            format!("VolumeSnapshot {namespace}/{name}"),
            source,
        )),
    }
}

/// A content that stands for a snapshot of the storage, whatever is left of its objects. Needs no class, and is bound to a
/// VolumeSnapshot that never is.
pub fn temporary_content(content: &VolumeSnapshotContent, handle: &str, name: &str) -> VolumeSnapshotContent {
    let uid = content.uid().unwrap_or_default();
    let mut annotations: BTreeMap<String, String> = content.annotations().clone();
    annotations.retain(|key, _| !MARKS.contains(&key.as_str()));
    let mut temporary = VolumeSnapshotContent::new(
        name,
        VolumeSnapshotContentSpec {
            volume_snapshot_ref: ObjectReference {
                api_version: Some("snapshot.storage.k8s.io/v1".to_owned()),
                kind: Some("VolumeSnapshot".to_owned()),
                namespace: Some(format!("ns-{uid}")),
                name: Some(format!("name-{uid}")),
                ..ObjectReference::default()
            },
            deletion_policy: DeletionPolicy::Delete,
            driver: content.spec.driver.clone(),
            volume_snapshot_class_name: None,
            source: VolumeSnapshotContentSource {
                volume_handle: None,
                snapshot_handle: Some(handle.to_owned()),
            },
            source_volume_mode: content.spec.source_volume_mode.clone(),
        },
    );
    temporary.metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: content.metadata.labels.clone(),
        annotations: Some(annotations),
        finalizers: Some(vec![BOUND_PROTECTION.to_owned()]),
        ..ObjectMeta::default()
    };
    temporary
}

async fn create(
    api: &Api<VolumeSnapshotContent>,
    wanted: &VolumeSnapshotContent,
) -> Result<(), SnapshotError> {
    match api.create(&PostParams::default(), wanted).await {
        Ok(_) => Ok(()),
        // An earlier try made it; what it is is looked at before it is deleted.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(SnapshotError::NoSnapshotApi),
        Err(source) => Err(failed(
            "create",
            format!("VolumeSnapshotContent {}", wanted.name_any()),
            source,
        )),
    }
}

/// Waits until the csi-snapshotter of the driver has found the snapshot, or said that it does not.
async fn seen_by_the_driver(
    api: &Api<VolumeSnapshotContent>,
    wanted: &VolumeSnapshotContent,
    object: &str,
    reason: &mut String,
) -> Result<(), SnapshotError> {
    let (driver, name) = (&wanted.spec.driver, wanted.name_any());
    let looked = until(
        api.clone(),
        &name,
        object,
        reason,
        |content: &VolumeSnapshotContent| {
            let status = content.status.as_ref();
            let has_handle = status.is_some_and(|status| status.snapshot_handle.is_some());
            if has_handle || content_error(content).is_some() || content.metadata.deletion_timestamp.is_some()
            {
                return Ok(());
            }
            Err(format!(
                "no csi-snapshotter of driver {driver} looks at its VolumeSnapshotContent; does driver {driver} run in this cluster?"
            ))
        },
    );
    match looked.await {
        // An earlier try has deleted it meanwhile.
        Ok(_) | Err(SnapshotError::Deleted { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Deletes the very state of a content made by hand whose status has the handle.
async fn delete_by_handle(
    api: &Api<VolumeSnapshotContent>,
    wanted: &VolumeSnapshotContent,
    handle: &str,
) -> Result<(), SnapshotError> {
    let name = wanted.name_any();
    let named = || format!("VolumeSnapshotContent {name}");
    let mut tries = 0;
    loop {
        tries += 1;
        let found = api.get_opt(&name).await;
        let found = found.map_err(|source| failed("read", named(), source))?;
        let Some(mut found) = found.filter(|found| found.metadata.deletion_timestamp.is_none()) else {
            return Ok(());
        };
        if found.spec.source.snapshot_handle.as_deref() != Some(handle)
            || found.spec.driver != wanted.spec.driver
        {
            return Err(SnapshotError::NotOurs { object: named() });
        }
        let status = found.status.as_ref();
        if status.is_none_or(|status| status.snapshot_handle.as_deref() != Some(handle)) {
            // The driver does not find it: gone already, or not to be listed. It is told to delete all the same.
            let patch = Patch::Merge(json!({"status": {"snapshotHandle": handle}}));
            let patched = api.patch_status(&name, &PatchParams::default(), &patch).await;
            found = patched.map_err(|source| failed("write the status of", named(), source))?;
        }
        if !goes_with_the_snapshot(&found) {
            let patch = json!({"metadata": {"finalizers": [BOUND_PROTECTION]},
                "spec": {"deletionPolicy": DeletionPolicy::Delete.as_str()}});
            let patched = api
                .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                .await;
            found = patched.map_err(|source| failed("set the deletion policy of", named(), source))?;
        }
        let this_state = DeleteParams {
            preconditions: Some(Preconditions {
                uid: found.uid(),
                resource_version: found.resource_version(),
            }),
            ..DeleteParams::default()
        };
        match gone_is_fine(api.delete(&name, &this_state).await) {
            Ok(()) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => {}
            Err(source) => return Err(failed("delete", named(), source)),
        }
    }
}

/// Whether the content, once deleted, is gone only when the storage's snapshot is.
fn goes_with_the_snapshot(content: &VolumeSnapshotContent) -> bool {
    let is_held = content.finalizers().iter().any(|name| name == BOUND_PROTECTION);
    is_held && content.spec.deletion_policy == DeletionPolicy::Delete
}

/// Waits until a content that is being deleted is gone.
async fn gone(
    api: &Api<VolumeSnapshotContent>,
    name: &str,
    reason: &mut String,
) -> Result<(), SnapshotError> {
    let mut states = watcher::watch_object(api.clone(), name).default_backoff().boxed();
    while let Some(state) = states.next().await {
        match state {
            Ok(None) => return Ok(()),
            Ok(Some(content)) => {
                *reason = match content_error(&content).and_then(|error| error.message.as_deref()) {
                    Some(message) => format!("the driver says: {message}"),
                    None => format!(
                        "driver {} has not deleted it; look at its csi-snapshotter's log",
                        content.spec.driver
                    ),
                };
            }
            Err(error) => {
                tracing::warn!(name, %error, "watch broke, it is started again");
                *reason = format!("the API server could not be watched: {error}");
            }
        }
    }
    Err(SnapshotError::Deleted {
        object: format!("watch of VolumeSnapshotContent {name}"),
    })
}

/// Takes the temporary content away without touching the storage. Best effort: it does no harm, and the next try finds it.
async fn withdraw(api: &Api<VolumeSnapshotContent>, name: &str) {
    let kept = json!({"metadata": {"finalizers": null}, "spec": {"deletionPolicy": DeletionPolicy::Retain.as_str()}});
    let withdrawn = async {
        api.patch(name, &PatchParams::default(), &Patch::Merge(&kept))
            .await?;
        api.delete(name, &DeleteParams::default()).await
    };
    if let Err(error) = withdrawn.await {
        tracing::warn!(name, %error, "a temporary VolumeSnapshotContent stays; the next try to delete the snapshot uses it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::VolumeSnapshotContentStatus;

    fn backed_up() -> VolumeSnapshotContent {
        let mut content = VolumeSnapshotContent::default();
        content.metadata.name = Some("snapcontent-1".into());
        content.metadata.uid = Some("61bcaa09".into());
        content.metadata.annotations = Some(
            [
                (MARKS[1].to_owned(), "yes".to_owned()),
                (
                    "snapshot.storage.kubernetes.io/deletion-secret-name".to_owned(),
                    "key".to_owned(),
                ),
            ]
            .into(),
        );
        content.spec.driver = "disk.example.com".into();
        content.spec.deletion_policy = DeletionPolicy::Retain;
        content.spec.volume_snapshot_class_name = Some("fast".into());
        content.spec.source.volume_handle = Some("volume-1".into());
        content.spec.source_volume_mode = Some("Block".into());
        content.status = Some(VolumeSnapshotContentStatus {
            snapshot_handle: Some("snap-1".into()),
            ..Default::default()
        });
        content
    }

    #[test]
    fn the_temporary_content_names_the_snapshot_its_secret_and_no_class_and_cannot_go_unseen() {
        let made = serde_json::to_value(temporary_content(&backed_up(), "snap-1", "vsc-1")).unwrap();
        assert_eq!(
            made["spec"],
            json!({"deletionPolicy": "Delete", "driver": "disk.example.com", "source": {"snapshotHandle": "snap-1"},
                "sourceVolumeMode": "Block", "volumeSnapshotRef": {"apiVersion": "snapshot.storage.k8s.io/v1",
                    "kind": "VolumeSnapshot", "namespace": "ns-61bcaa09", "name": "name-61bcaa09"}})
        );
        assert_eq!(
            made["metadata"],
            json!({"name": "vsc-1", "finalizers": [BOUND_PROTECTION],
                "annotations": {"snapshot.storage.kubernetes.io/deletion-secret-name": "key"}})
        );
    }

    #[test]
    fn only_the_very_content_that_was_backed_up_is_the_original() {
        let was = backed_up();
        assert!(is_original(&was, &was, "snap-1"));
        let mut other = was.clone();
        other.metadata.uid = Some("made-anew".into());
        assert!(!is_original(&other, &was, "snap-1"));
        let mut other = was.clone();
        other.spec.driver = "other.example.com".into();
        assert!(!is_original(&other, &was, "snap-1"));
        assert!(!is_original(&was, &was, "snap-2"));
    }
}
