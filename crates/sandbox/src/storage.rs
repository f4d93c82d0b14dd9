//! Volumes and snapshots: what kube-controller-manager's volume controllers, the CSI sidecars, the snapshot-controller
//! and the kubelet's volume manager do, over the project's CSI driver in its folder mode, called in process.
//!
//! ```text
//!   watches ─► cluster (caches) ─► queue ─► claim, volume, snapshot, content: decide ─► bind, provision, cut: act
//!                                                                                         │         │
//!   kubelet ─► Volumes::publish ──────────────────────────────────► csi ◄─────────────────┘      API server
//! ```
//! `decide` is a plain function of the caches; acting is idempotent, so that a start finds the work of an earlier run.
//! Versions that it behaves like: Kubernetes 1.34, external-provisioner v5, external-resizer v1, external-snapshotter v8.
//!
//! Not here: topology, volume populators, group snapshots, VolumeAttributesClass, CSI secrets, VolumeAttachment objects.

use std::path::PathBuf;
use std::sync::Arc;

use caravel_api_server::Clock;
use caravel_csi_driver::Driver;
use kube::Client;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

mod bind;
mod claim;
mod cluster;
mod content;
mod controller;
mod csi;
mod cut;
mod events;
mod faults;
mod install;
mod matching;
mod protection;
mod provision;
mod quantity;
mod queue;
mod snapshot;
mod volume;
mod volumes;

pub use faults::{CsiFault, CsiRules};

/// The writer's lock of a volume, by the folder that a program sees: held during a change that a snapshot must show whole.
pub use caravel_csi_driver::{Writers, Writing};
pub use install::{InstallError, install};
pub use volumes::{PublishError, Volumes};

/// The StorageClass that [`install`] makes the default.
pub const STORAGE_CLASS: &str = "sandbox-csi";
/// The VolumeSnapshotClass of [`install`].
pub const SNAPSHOT_CLASS: &str = "sandbox-csi-snapshot";
/// Name of the driver.
pub const DRIVER: &str = "csi.sandbox.caravel.dev";

/// How the storage is set up.
#[derive(Clone)]
pub struct Settings {
    /// The driver's name, as StorageClasses and PersistentVolumes have it; usually [`DRIVER`].
    pub driver_name: String,
    /// Folder of pods; a pod's volumes appear under `<uid>/volumes`.
    pub pods: PathBuf,
    /// Dates events, statuses and errors.
    pub clock: Arc<dyn Clock>,
    /// What goes wrong with the driver's calls.
    pub faults: Arc<CsiRules>,
}

/// A running storage.
pub struct Storage {
    /// For the kubelets.
    pub volumes: Volumes,
    /// Ends after the `shutdown` token is set.
    pub controllers: JoinHandle<()>,
}

/// Starts the controllers on the current runtime.
pub fn spawn(client: Client, driver: Driver, settings: Settings, shutdown: CancellationToken) -> Storage {
    let csi = csi::Csi::new(driver, settings.faults.clone());
    let volumes = Volumes::new(client.clone(), csi.clone(), settings.pods.clone());
    let controller = controller::Controller::new(client, csi, settings);
    Storage {
        volumes,
        controllers: tokio::spawn(controller.run(shutdown)),
    }
}

#[cfg(test)]
mod tests;
