//! `velero.io/v2alpha1`: DataUpload and DataDownload.

mod data_download;
mod data_upload;

pub use crate::data_upload_result::DataUploadResult;
pub use crate::phase::{
    DataMovementPhase, DataMovementPhase as DataUploadPhase, DataMovementPhase as DataDownloadPhase, NodeOs,
};
pub use crate::progress::DataMoveOperationProgress;
pub use data_download::*;
pub use data_upload::*;
