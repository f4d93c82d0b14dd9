//! How to reach a cluster and what it offers, as JSON: all that scenarios know about where they run.
//!
//! `cluster up` writes it for our own cluster; `cargo xtask e2e --kubeconfig … --s3-url …` writes one for any other.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Environment variable with the file's path, set by `cargo xtask e2e`.
pub const VARIABLE: &str = "CARAVEL_E2E";

/// One cluster, its classes and its object store.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Kubeconfig of an administrator.
    pub kubeconfig: PathBuf,
    /// An address of the node that pods reach.
    pub node_address: String,
    /// StorageClass whose volumes can be snapshotted.
    pub storage_class: String,
    /// The same with WaitForFirstConsumer, where there is one.
    pub storage_class_waiting: Option<String>,
    /// VolumeSnapshotClass of the driver.
    pub snapshot_class: String,
    /// The CSI driver's name.
    pub driver: String,
    /// The product's image, as `install --image` gets it.
    pub image: String,
    /// An image with busybox, for applications.
    pub application_image: String,
    /// The object store.
    pub s3: S3,
    /// The cluster's own folder; only our cluster has one.
    pub root: Option<PathBuf>,
    /// A process inside the cluster's mount namespace; only our cluster has one.
    pub mounts_pid: Option<i32>,
    /// The `velero` command to drive; a freshly built one when missing.
    pub velero: Option<PathBuf>,
    /// The real Velero, for the scenarios that compare; its images are loaded.
    #[serde(default)]
    pub peer: Option<Peer>,
}

/// The real Velero.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Its command.
    pub velero: PathBuf,
    /// Its server's image.
    pub image: String,
    /// The image of its object store plug-in.
    pub plugin_image: String,
}

/// An S3 server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3 {
    /// With scheme and port, as `s3Url` of a location.
    pub url: String,
    /// Its region.
    pub region: String,
    /// A bucket that exists.
    pub bucket: String,
    /// The authority that signed its certificate, where it is not a public one.
    pub ca_file: Option<PathBuf>,
    /// An authority that did not.
    pub other_ca_file: Option<PathBuf>,
    /// An AWS shared credentials file.
    pub credentials_file: PathBuf,
    /// Where the server keeps its buckets, when that can be looked into.
    pub folder: Option<PathBuf>,
}

impl Facts {
    /// Reads the file that `CARAVEL_E2E` names, else the one of our own cluster.
    pub fn read() -> Result<Self> {
        let path = std::env::var_os(VARIABLE)
            .map_or_else(|| crate::places::cluster_root().join("facts.json"), PathBuf::from);
        Self::read_from(&path)
    }

    /// Reads one file.
    pub fn read_from(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| {
            format!(
                "no cluster: {} is missing. `cargo xtask cluster up` makes one, `cargo xtask e2e` uses it",
                path.display()
            )
        })?;
        serde_json::from_slice(&bytes).with_context(|| format!("{} is not a facts file", path.display()))
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}
