//! Only one that creates data mover pods and temporary volumes.
//!
//! A snapshot becomes a volume that a pod can read ([`snapshot`]); an empty volume becomes one that a pod can fill
//! ([`restore`], perhaps with a [`cache_volume`] beside it) and that is then handed to its target PVC ([`rebind`]); at the
//! end everything temporary goes ([`clean_up`]). Objects, names, labels and owners are Velero's (velero-behaviour.md 5.3, 5.4).
//!
//! Each of the four is a ladder of idempotent steps: read what exists, decide on the next step (a pure function from
//! the observation to [`Next`]), take it. Nothing here waits: the caller's watches wake it, and its deadlines end it,
//! so a node agent that restarts goes on where the objects say. The data mover pod is built in [`mover_pod`] and read
//! in [`pod_state`]; what an administrator may say about all of it is [`settings`].

mod api;
pub mod cache_volume;
pub mod clean_up;
mod error;
mod inherited;
pub mod mover_pod;
pub mod pod_state;
pub mod rebind;
pub mod restore;
pub mod settings;
pub mod snapshot;
#[cfg(test)]
mod velero_cases;

use std::time::Duration;

pub use api::Cluster;
pub use cache_volume::CacheVolume;
pub use error::ExposerError;
pub use mover_pod::{DataMoverPod, LocationMount, Verb};
pub use pod_state::PodState;
pub use settings::Settings;

/// What the ladder asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Take this step.
    Do(Step),
    /// Somebody else has to act first.
    Wait {
        /// For what, with the newest reason known: `PVC velero/b1-x to be bound (ProvisioningFailed: …)`.
        what: String,
        /// A limit of its own, counted from acceptance; without one the prepare timeout governs.
        within: Option<Duration>,
    },
    /// It can never succeed.
    Impossible { why: String },
    /// All of it is there (or, cleaning up, gone).
    Done,
}

impl Next {
    /// Waiting without a limit of its own.
    pub(crate) fn wait(what: impl Into<String>) -> Self {
        Self::Wait {
            what: what.into(),
            within: None,
        }
    }

    pub(crate) fn impossible(why: impl Into<String>) -> Self {
        Self::Impossible { why: why.into() }
    }
}

/// One idempotent change of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Backup: VolumeSnapshotContent and VolumeSnapshot of our own on the same storage snapshot; the source's is retained.
    CreateBackupSnapshot,
    /// Backup: delete the source VolumeSnapshot and its content, now that ours owns the storage snapshot.
    ReleaseSource,
    /// Backup: the PVC from our VolumeSnapshot.
    CreateBackupPvc,
    /// Restore: the PVC to fill.
    CreateRestorePvc,
    /// Restore: the PVC for the data mover's cache.
    CreateCachePvc,
    /// Both: the data mover pod.
    CreateMoverPod,
    /// Rebind: note on the DataDownload which PersistentVolume is handed over, and its reclaim policy.
    RecordVolume,
    /// Rebind: reclaim policy Retain.
    RetainVolume,
    /// Rebind: delete the pod and the restore PVC, and the cache PVC with them.
    DeleteRestorePvc,
    /// Rebind: the PersistentVolume now names the target PVC.
    OfferVolume,
    /// Rebind: the target PVC now names the PersistentVolume.
    ClaimVolume,
    /// Rebind: the reclaim policy as it was.
    RestoreReclaimPolicy,
    /// Clean-up: delete the pod, and its PVCs with their volumes.
    DeletePodAndPvc,
    /// Clean-up: delete the PersistentVolume of a rebind that failed.
    DeleteVolume,
    /// Clean-up: delete our VolumeSnapshot, and with it the storage snapshot.
    DeleteBackupSnapshot,
    /// Clean-up: delete a source VolumeSnapshot that was never released.
    DeleteSource,
}
