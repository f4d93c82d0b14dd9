//! `data-mover restore`: a snapshot becomes the content of an empty volume.

use caravel_api::v2alpha1::DataDownload;
use caravel_repository::Repository;
use caravel_uploader::{CancelToken, Progress, RestoreRequest};

use crate::backup::{number, with_causes};
use crate::protocol::{LastWord, RestoreResult};
use crate::run::Settings;

/// Key of `spec.dataMoverConfig`: files written at the same time.
const PARALLEL_FILES: &str = "ParallelFilesDownload";
/// Key of `spec.dataMoverConfig`: leave runs of zeros unwritten.
const SPARSE: &str = "WriteSparseFiles";

pub(crate) fn download(
    repository: &Repository,
    object: &DataDownload,
    settings: &Settings,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<LastWord, String> {
    let config = &object.spec.data_mover_config;
    let request = RestoreRequest {
        snapshot_id: object.spec.snapshot_id.clone(),
        path: settings.volume.clone(),
        mode: settings.volume_mode,
        sparse: config.get(SPARSE).is_some_and(|wish| wish == "true"),
        parallel_files: number(config, PARALLEL_FILES),
        synced: settings.volumes.outlive_the_machine(),
        rules: caravel_uploader::RestoreRules::default(),
    };
    let target = &object.spec.target_volume;
    let outcome = caravel_uploader::restore(repository, &request, progress, cancel)
        .map_err(|error| with_causes(&format!("restoring {}/{}", target.namespace, target.pvc), &error))?;
    Ok(LastWord::Restored(RestoreResult {
        target: settings.access_point(),
        total_bytes: outcome.total_bytes,
    }))
}
