//! The objects of snapshots that stay in the storage, where they stay in the cluster, too (`--csi-snapshot-objects`).
//!
//! ```text
//! backup made here ─────────────► its VolumeSnapshot and VolumeSnapshotContent are kept   ─┐ Retain, until the backup is
//! backup of the bucket's ─sync──► a VolumeSnapshotContent that stands for its snapshot     ┘ deleted or has expired
//! ```
//! All of them have the backup's labels and `velero.io/exclude-from-backup=true`: they are Velero's own, so that no other
//! backup of their namespace takes them along, and by that mark they are told from what a restore has made, or a backup that
//! is at work. Which snapshots a backup has, they do not say: that stands in the bucket alone.

use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_csi::{VolumeSnapshot, VolumeSnapshotContent, in_storage, keep, snapshot};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use crate::reconcile::Error;

/// What becomes of the objects of snapshots that stay in the storage: the server's `--csi-snapshot-objects`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotObjects {
    /// They go when the backup has ended, as in Velero 1.18: only the backup knows of its snapshots.
    #[default]
    Remove,
    /// They stay, with the policy `Retain`, until the backup is deleted, and other clusters get a content of each snapshot,
    /// as in Velero 1.7.
    Keep,
}

/// The label by which an object is one of these; its value.
pub(crate) const MARK: (&str, &str) = (labels::EXCLUDE_FROM_BACKUP, "true");

/// The UIDs that a backup's objects may name: that of the Backup, and of the one that was saved. A Backup that was synced
/// back into its own cluster has a new one.
pub(crate) fn uids(backup: &Backup, saved: Option<&Backup>) -> Vec<String> {
    let mut uids: Vec<String> = [backup.uid(), saved.and_then(ResourceExt::uid)]
        .into_iter()
        .flatten()
        .filter(|uid| !uid.is_empty())
        .collect();
    uids.dedup();
    uids
}

/// The contents that are a backup's in this cluster, and that nobody deletes; none in a cluster without snapshots.
pub(crate) async fn contents(
    client: &Client,
    uids: &[String],
) -> Result<Vec<VolumeSnapshotContent>, kube::Error> {
    let contents: Api<VolumeSnapshotContent> = Api::all(client.clone());
    let mut found = marked(&contents, uids).await?;
    found.retain(|content| content.metadata.deletion_timestamp.is_none());
    Ok(found)
}

/// Deletes the objects of a backup that is no more, and none of its snapshots: whoever took the backup away has dealt with
/// those, or keeps them.
pub(crate) async fn release(client: &Client, backup: &Backup) -> Result<(), Error> {
    let uids = uids(backup, None);
    let snapshots: Api<VolumeSnapshot> = Api::all(client.clone());
    for kept in marked(&snapshots, &uids).await? {
        let (namespace, name) = (kept.namespace().unwrap_or_default(), kept.name_any());
        match snapshot::bound_content(&kept) {
            Some(content) => {
                keep::retain(client, content).await?;
                keep::release(client, &namespace, &name, content).await?;
            }
            None => snapshot::delete(client, &namespace, &name).await?,
        }
    }
    for content in contents(client, &uids).await? {
        release_content(client, &content).await?;
    }
    Ok(())
}

/// Deletes a content, and the VolumeSnapshot that somebody has bound to it, but not the storage's snapshot.
pub(crate) async fn release_content(client: &Client, content: &VolumeSnapshotContent) -> Result<(), Error> {
    if keep::retain(client, &content.name_any()).await?.is_some() {
        keep::release_content(client, &content.name_any()).await?;
    }
    Ok(in_storage::delete_bound_snapshot(client, content).await?)
}

async fn marked<K>(objects: &Api<K>, uids: &[String]) -> Result<Vec<K>, kube::Error>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    let (key, value) = MARK;
    let selector = format!("{} in ({}),{key}={value}", labels::BACKUP_UID, uids.join(","));
    match objects.list(&ListParams::default().labels(&selector)).await {
        Ok(found) => Ok(found.items),
        // A cluster without snapshots.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
