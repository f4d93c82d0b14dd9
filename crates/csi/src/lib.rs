//! Only speaker of snapshot.storage.k8s.io.
//!
//! [`types`] are the API objects, [`classes`] chooses the VolumeSnapshotClass (pure), [`snapshot`] takes, awaits and
//! removes snapshots, [`keep`] keeps one in the storage without its objects, [`in_storage`] deletes such a one, [`secrets`]
//! are what a driver needs for it, [`driver`] says whether the cluster has it. Uses none of our crates (style.md 3).

pub mod classes;
pub mod driver;
pub mod in_storage;
pub mod keep;
pub mod secrets;
pub mod snapshot;
pub mod types;

pub use types::{
    DeletionPolicy, SnapshotStatusError, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent,
    VolumeSnapshotContentSource, VolumeSnapshotContentSpec, VolumeSnapshotContentStatus,
    VolumeSnapshotSource, VolumeSnapshotSpec, VolumeSnapshotStatus,
};
