//! What lies in the storage behind our own cluster's CSI driver, looked at past Kubernetes.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::Cluster;

/// Handles of the snapshots that the storage of our own cluster has.
pub fn snapshots_in_storage(cluster: &Cluster) -> Result<Vec<String>> {
    let facts = cluster.facts();
    let (root, process) = facts
        .root
        .as_ref()
        .zip(facts.mounts_pid)
        .context("the storage can only be looked into on our own cluster")?;
    let store = PathBuf::from(format!("/proc/{process}/root{}/csi/store", root.display()));
    anyhow::ensure!(
        store.is_dir(),
        "{} is not where the CSI driver keeps its volumes",
        store.display()
    );
    let folder = store.join("snapshots");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        // Before the first snapshot there is no such folder.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let mut handles = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        handles.extend(name.strip_suffix(".json").map(str::to_owned));
    }
    handles.sort();
    Ok(handles)
}
