//! Only speaker of snapshot.storage.k8s.io.
//!
//! [`types`] are the API objects, [`classes`] chooses the VolumeSnapshotClass (pure), [`snapshot`] takes, awaits, keeps
//! and removes snapshots. Uses none of our crates (style.md 3).

pub mod classes;
pub mod snapshot;
pub mod types;

pub use types::{
    DeletionPolicy, SnapshotStatusError, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent,
    VolumeSnapshotContentSource, VolumeSnapshotContentSpec, VolumeSnapshotContentStatus,
    VolumeSnapshotSource, VolumeSnapshotSpec, VolumeSnapshotStatus,
};
