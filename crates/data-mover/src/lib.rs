//! Opens the exposed volume and the repository, runs the uploader, reports.
//!
//! This is what runs in a data mover pod: `velero data-mover backup|restore`. Only one that imports both `api` and
//! `repository`.
//!
//! ```text
//! volume.rs     refuses a path that is no volume (guarantee 1); the seam of the node's volumes
//! movement.rs   its own DataUpload or DataDownload: waits by watch for InProgress, sees a cancel
//! store.rs      CARAVEL_LOCATION + mounted password and credential → opened repository
//! cache.rs      a restore's cache volume → where the engine keeps copies of what it reads
//! backup.rs, restore.rs   run the uploader on a blocking thread
//! progress.rs   merge-patches status.progress, at most once a second
//! report.rs     the last word: termination message and final Event
//! protocol.rs   the words of it, shared with the node agent (crates/controllers/src/data_movement/)
//! ```
//! Phase and result are the node agent's to write. Source: velero-behaviour.md 5.5, decisions.md 1 and 2.

mod backup;
mod cache;
mod movement;
mod progress;
pub mod protocol;
mod report;
mod restore;
mod run;
mod store;
pub mod volume;

pub use cache::CacheVolume;
pub use caravel_backup_store::ProcessCredentials;
pub use caravel_uploader::VolumeMode;
pub use run::{Exit, Settings, backup, restore};
pub use volume::{NodeVolumes, NotAVolume, Volumes};
