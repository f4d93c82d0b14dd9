//! What a Kubernetes API answers: one list of checks, run on a real cluster (`cargo xtask e2e conformance`) and on the
//! sandbox (`cargo test -p caravel-sandbox`). Both must give the same answers; real Kubernetes is the judge.

use std::path::PathBuf;

use anyhow::Result;
use futures::future::BoxFuture;
use kube::Client;

/// The API that is asked.
#[derive(Clone)]
pub struct World {
    /// As an administrator.
    pub client: Client,
    /// For the checks that run kubectl; `None` leaves them out.
    pub kubeconfig: Option<PathBuf>,
    /// Made for this check, deleted after it.
    pub namespace: String,
    /// A StorageClass that provisions, for the checks on volumes; `None` leaves them out.
    pub storage_class: Option<String>,
    /// A VolumeSnapshotClass of the same driver.
    pub snapshot_class: Option<String>,
}

/// One check: a sentence about the API, and the code that finds out.
#[derive(Clone, Copy)]
pub struct Check {
    /// `a_stale_resource_version_is_a_conflict`.
    pub name: &'static str,
    pub run: fn(World) -> BoxFuture<'static, Result<()>>,
}
