//! Velero's custom resources. No client, no tokio: anyone's controller can import it.
//!
//! A file per kind in [`v1`] and [`v2alpha1`]; the words they use in [`phase`] and [`labels`]; what a BackupRepository is
//! configured with in [`repository_config`]; the CRDs in [`schema`].
//! Types are for reading and for creating. Status and labels are changed with merge patches of single fields, so
//! fields that this version does not know are never lost; a whole object is never written back.
//! No Velero CRD has the status subresource: patch the main resource, never `/status`.

mod data_upload_result;
mod duration;
pub mod labels;
pub mod phase;
mod progress;
pub mod repository_config;
pub mod schema;
pub mod v1;
pub mod v2alpha1;
mod wire;

pub use data_upload_result::DataUploadResult;
pub use duration::{Duration, InvalidDuration};
pub use labels::label_value;
pub use repository_config::RepositoryConfig;
pub use schema::crds;
