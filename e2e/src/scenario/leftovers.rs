//! What a scenario must not leave behind: temporary objects, snapshots in the storage, mounts, open multipart uploads.
//!
//! `cargo xtask e2e` looks before and after each scenario that the product takes part in ([`Leftovers::before`],
//! [`Leftovers::none`]). What a backup keeps on purpose is none: its snapshots without data movement, and the objects of a
//! restore. Things go a moment after the scenario has ended, so that there is a deadline.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::storage::snapshots_in_storage;
use super::{Cluster, Kind, NAMESPACE, until};

/// Temporary objects of canceled movements must be gone after half of it.
const DEADLINE: Duration = Duration::from_secs(60);
/// Where a kubelet mounts the volumes of pods.
const PODS: &str = "/var/lib/kubelet/pods/";

/// What was there before a scenario.
pub struct Leftovers {
    snapshots: BTreeSet<String>,
    volumes: BTreeSet<String>,
}

impl Leftovers {
    /// Looks before a scenario.
    pub fn before(cluster: &Cluster) -> Result<Self> {
        Ok(Self {
            snapshots: snapshots_in_storage(cluster)?.into_iter().collect(),
            volumes: ended_volumes(&cluster.list(Kind::PERSISTENT_VOLUME, "", "")?)
                .into_iter()
                .collect(),
        })
    }

    /// Fails with everything that is left after a scenario.
    pub fn none(&self, cluster: &Cluster) -> Result<()> {
        until("a cluster without anything left over", DEADLINE, || {
            let left = self.left(cluster)?;
            Ok(if left.is_empty() {
                Ok(())
            } else {
                Err(left.join("; "))
            })
        })
    }

    fn left(&self, cluster: &Cluster) -> Result<Vec<String>> {
        let mut left = temporary_objects(cluster)?;
        let backups = cluster.list(Kind::BACKUP, "", "").unwrap_or_default();
        let found = snapshots_in_storage(cluster)?;
        left.extend(snapshots_left(&self.snapshots, &found, &backups));
        let volumes = ended_volumes(&cluster.list(Kind::PERSISTENT_VOLUME, "", "")?);
        let new = volumes
            .into_iter()
            .filter(|volume| !self.volumes.contains(volume));
        left.extend(new.map(|volume| format!("volume {volume} that no claim holds")));
        left.extend(mounts_of_no_pod(cluster)?);
        left.extend(open_uploads(cluster)?);
        Ok(left)
    }
}

/// Pods, claims, snapshots and contents that data movement and deletion make for a while.
fn temporary_objects(cluster: &Cluster) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for (kind, label) in [
        (Kind::POD, "velero.io/data-upload"),
        (Kind::POD, "velero.io/data-download"),
    ] {
        left.extend(
            cluster
                .list(kind, "", label)?
                .iter()
                .map(|object| called(kind, object)),
        );
    }
    for kind in [Kind::PERSISTENT_VOLUME_CLAIM, Kind::VOLUME_SNAPSHOT] {
        let found = cluster.list(kind, NAMESPACE, "").unwrap_or_default();
        left.extend(found.iter().map(|object| called(kind, object)));
    }
    let contents = cluster
        .list(Kind::VOLUME_SNAPSHOT_CONTENT, "", "")
        .unwrap_or_default();
    let temporary = contents.iter().filter(|content| is_temporary(content));
    left.extend(temporary.map(|content| called(Kind::VOLUME_SNAPSHOT_CONTENT, content)));
    Ok(left)
}

/// One that was moved to Velero's namespace, or made only so that the driver deletes its snapshot.
fn is_temporary(content: &Value) -> bool {
    let name = content["metadata"]["name"].as_str().unwrap_or_default();
    content["spec"]["volumeSnapshotRef"]["namespace"] == NAMESPACE || name.starts_with("velero-delete-")
}

/// Snapshots in the storage that are new and more than backups keep on purpose.
fn snapshots_left(before: &BTreeSet<String>, now: &[String], backups: &[Value]) -> Vec<String> {
    let kept: u64 = backups
        .iter()
        .filter_map(|backup| backup["status"]["csiVolumeSnapshotsCompleted"].as_u64())
        .sum();
    let new: Vec<&String> = now.iter().filter(|handle| !before.contains(*handle)).collect();
    if new.len() as u64 <= kept {
        return Vec::new();
    }
    let told = new
        .iter()
        .map(|handle| handle.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    vec![format!(
        "{} new snapshots in the storage ({told}), and backups keep {kept}",
        new.len()
    )]
}

/// Volumes whose claim is gone and that did not go with it.
fn ended_volumes(volumes: &[Value]) -> Vec<String> {
    volumes
        .iter()
        .filter(|volume| matches!(super::phase(volume), "Released" | "Failed" | "Available"))
        // What somebody wants to keep stays; a temporary volume is kept only while it is handed over.
        .filter(|volume| volume["spec"]["persistentVolumeReclaimPolicy"] != "Retain")
        .filter_map(|volume| volume["metadata"]["name"].as_str().map(str::to_owned))
        .collect()
}

/// Volumes that are mounted for pods that the API server does not know.
fn mounts_of_no_pod(cluster: &Cluster) -> Result<Vec<String>> {
    let Some(process) = cluster.facts().mounts_pid else {
        return Ok(Vec::new());
    };
    let table = format!("/proc/{process}/mounts");
    let table = fs::read_to_string(&table).with_context(|| format!("cannot read {table}"))?;
    let pods = cluster.list(Kind::POD, "", "")?;
    let known: BTreeSet<&str> = pods
        .iter()
        .filter_map(|pod| pod["metadata"]["uid"].as_str())
        .collect();
    Ok(mounts_of_others(&table, &known))
}

fn mounts_of_others(table: &str, known: &BTreeSet<&str>) -> Vec<String> {
    let targets = table.lines().filter_map(|line| line.split(' ').nth(1));
    targets
        .filter_map(|target| {
            let below = target.strip_prefix(PODS)?;
            let pod = below.split('/').next()?;
            (below.contains("/volumes/kubernetes.io~csi/") && !known.contains(pod))
                .then(|| format!("mount {target} of a pod that is gone"))
        })
        .collect()
}

/// Multipart uploads that nobody has ended: folders that the S3 server keeps in each bucket.
fn open_uploads(cluster: &Cluster) -> Result<Vec<String>> {
    let Some(buckets) = &cluster.facts().s3.folder else {
        return Ok(Vec::new());
    };
    let mut open = Vec::new();
    for bucket in folders(buckets)? {
        let uploads = buckets.join(&bucket).join(".sgwtmp/multipart");
        for object in folders(&uploads)? {
            for upload in folders(&uploads.join(&object))? {
                open.push(format!("multipart upload {upload} in bucket {bucket}"));
            }
        }
    }
    Ok(open)
}

/// Names of the folders in a folder; none where there is no such folder.
fn folders(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", folder.display())),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        // It may have gone since it was listed, which is as it should be.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

fn called(kind: Kind, object: &Value) -> String {
    let metadata = &object["metadata"];
    let word = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
    format!("{} {}/{}", kind.name(), word("namespace"), word("name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_snapshot_that_no_backup_keeps_is_left_over() {
        let before = BTreeSet::from(["old".to_owned()]);
        let now = ["old".to_owned(), "new".to_owned()];
        let keeps = |count: u64| {
            vec![
                json!({"status": {"csiVolumeSnapshotsCompleted": count}}),
                json!({"status": {}}),
            ]
        };
        assert!(snapshots_left(&before, &now, &keeps(1)).is_empty());
        let left = snapshots_left(&before, &now, &keeps(0));
        assert!(left[0].contains("(new)"), "{left:?}");
        assert!(snapshots_left(&before, &now[..1], &[]).is_empty());
    }

    #[test]
    fn a_mount_of_a_pod_that_is_gone_is_left_over_and_others_are_not() {
        let table = "/dev/loop1 /var/lib/kubelet/pods/here/volumes/kubernetes.io~csi/pvc-1/mount ext4 rw 0 0\n\
            /dev/loop2 /var/lib/kubelet/pods/gone/volumes/kubernetes.io~csi/pvc-2/mount ext4 rw 0 0\n\
            tmpfs /var/lib/kubelet/pods/gone/volumes/kubernetes.io~projected/token tmpfs rw 0 0\n\
            proc /proc proc rw 0 0\n";
        let left = mounts_of_others(table, &BTreeSet::from(["here"]));
        assert_eq!(left.len(), 1);
        assert!(left[0].contains("pvc-2"), "{left:?}");
    }

    #[test]
    fn a_volume_that_was_given_back_and_did_not_go_is_left_over() {
        let volume = |name: &str, phase: &str, policy: &str| json!({"metadata": {"name": name}, "spec": {"persistentVolumeReclaimPolicy": policy}, "status": {"phase": phase}});
        let volumes = [
            volume("bound", "Bound", "Delete"),
            volume("kept", "Released", "Retain"),
            volume("left", "Released", "Delete"),
        ];
        assert_eq!(ended_volumes(&volumes), ["left"]);
    }

    #[test]
    fn a_content_of_veleros_namespace_and_one_that_only_deletes_are_temporary() {
        let content = |name: &str, namespace: &str| json!({"metadata": {"name": name}, "spec": {"volumeSnapshotRef": {"namespace": namespace}}});
        assert!(is_temporary(&content("x", NAMESPACE)));
        assert!(is_temporary(&content("velero-delete-x", "shop")));
        assert!(!is_temporary(&content("x", "shop")));
    }
}
