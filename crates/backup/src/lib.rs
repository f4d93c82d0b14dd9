//! Reads the cluster; creates only snapshots and DataUploads.
//!
//! ```text
//! Backup spec ──► filter ──► collect (discovery, LIST in pages) ──► run: item actions ──► tarball
//!                                                   └─ PVCs at once: snapshot ► DataUpload (item_actions/pvc.rs)
//! ```
//! [`run`] writes the tarball and the log into files and returns everything that goes into the bucket; the backup
//! controller uploads it and writes phases. [`preflight`] says before that which volumes no method would save.

pub mod cluster;
pub mod collect;
pub mod discovery;
pub mod filter;
pub mod hooks;
pub mod item_actions;
pub mod log;
pub mod preflight;
pub mod run;
mod spool;
#[cfg(test)]
mod velero_cases;
pub mod volume_choice;
pub mod volumes;

pub use caravel_resource_policies as resource_policies;
pub use run::{Outcome, Request, run};
