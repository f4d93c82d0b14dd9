//! `data-mover backup`: the volume becomes a snapshot, under the names that Velero gives it (kopia-format.md 13.3).

use std::collections::BTreeMap;
use std::error::Error;

use caravel_api::labels;
use caravel_api::v2alpha1::DataUpload;
use caravel_repository::{Compressor, Repository, SnapshotSource};
use caravel_uploader::{
    CancelToken, DEFAULT_CHECKPOINT_INTERVAL, Progress, UploadOutcome, UploadRequest, UploadRules,
};
use kube::ResourceExt;

use crate::protocol::{BackupResult, LastWord, LeftOut};
use crate::run::Settings;

/// Who asks: part of the source path, and a tag that a parent snapshot must have too.
const REQUESTER: &str = "snapshot-data-upload-download";
/// Key of `spec.dataMoverConfig`: files read at the same time.
const PARALLEL_FILES: &str = "ParallelFilesUpload";
/// What compresses where `enableCompression` says so: `zstd-fastest`, as Kopia does its own metadata. It is faster than most
/// networks, and what it leaves is seldom worth the time of a stronger one.
const COMPRESSOR: Compressor = Compressor::ZSTD_FASTEST;

pub(crate) fn upload(
    repository: &Repository,
    object: &DataUpload,
    settings: &Settings,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<LastWord, String> {
    let request = request(object, settings);
    let outcome = caravel_uploader::upload(repository, &request, progress, cancel).map_err(|error| {
        with_causes(
            &format!(
                "backing up {}/{}",
                object.spec.source_namespace, object.spec.source_pvc
            ),
            &error,
        )
    })?;
    Ok(LastWord::BackedUp(result(outcome, settings)))
}

fn request(object: &DataUpload, settings: &Settings) -> UploadRequest {
    let spec = &object.spec;
    let mut tags = BTreeMap::from([
        ("snapshot-requester".to_owned(), REQUESTER.to_owned()),
        ("snapshot-uploader".to_owned(), "kopia".to_owned()),
    ]);
    if let Some(operation) = object.labels().get(labels::ASYNC_OPERATION_ID) {
        tags.insert(labels::ASYNC_OPERATION_ID.to_owned(), operation.clone());
    }
    let last_part = settings
        .volume_path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    UploadRequest {
        path: settings.volume.clone(),
        mode: settings.volume_mode,
        root_name: last_part.unwrap_or_default(),
        source: SnapshotSource {
            host: "default".into(),
            user_name: "default".into(),
            path: format!("{REQUESTER}/kopia/{}/{}", spec.source_namespace, spec.source_pvc),
        },
        tags,
        description: "Kopia Uploader".into(),
        pins: vec!["velero-pin".into()],
        parallel_files: number(&spec.data_mover_config, PARALLEL_FILES),
        checkpoint_interval: DEFAULT_CHECKPOINT_INTERVAL,
        rules: UploadRules {
            compressor: settings.enable_compression.then_some(COMPRESSOR),
            ..UploadRules::default()
        },
    }
}

fn result(outcome: UploadOutcome, settings: &Settings) -> BackupResult {
    BackupResult {
        snapshot_id: outcome.snapshot_id,
        empty_snapshot: outcome.empty,
        source: settings.access_point(),
        total_bytes: outcome.total_bytes,
        incremental_bytes: outcome.incremental_bytes,
        left_out: LeftOut::of(outcome.left_out.into_iter().map(|entry| (entry.path, entry.what))),
    }
}

/// A positive number of `spec.dataMoverConfig`.
pub(crate) fn number(config: &BTreeMap<String, String>, key: &str) -> Option<usize> {
    config.get(key)?.parse().ok().filter(|number| *number > 0)
}

/// An error with those of its causes whose words are not in it yet.
pub(crate) fn with_causes(doing: &str, error: &dyn Error) -> String {
    let mut text = format!("{doing}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use caravel_uploader::VolumeMode;

    #[test]
    fn a_snapshot_is_listed_where_velero_looks_for_it() {
        let object: DataUpload = serde_json::from_value(serde_json::json!({
            "apiVersion": "velero.io/v2alpha1", "kind": "DataUpload",
            "metadata": {"name": "b-1", "labels": {"velero.io/async-operation-id": "du-1.2"}},
            "spec": {"sourceNamespace": "odd", "sourcePVC": "fs", "dataMoverConfig": {"ParallelFilesUpload": "3"}}
        }))
        .unwrap();
        let settings = Settings {
            namespace: "velero".into(),
            name: "b-1".into(),
            volume_path: "/9be0907d".into(),
            volume: "/var/sandbox/pods/1/volumes/data".into(),
            volume_mode: VolumeMode::Filesystem,
            volumes: std::sync::Arc::new(crate::NodeVolumes),
            node: "n".into(),
            location: String::new(),
            credentials: crate::ProcessCredentials::default(),
            password_file: "/repository/password".into(),
            termination_log: "/dev/termination-log".into(),
            stores: std::sync::Arc::new(caravel_backup_store::NetworkStores),
            environment: caravel_repository::Environment::system(),
            enable_compression: false,
            cache: None,
        };
        let request = request(&object, &settings);
        assert_eq!(request.source.path, "snapshot-data-upload-download/kopia/odd/fs");
        assert_eq!(request.tags["velero.io/async-operation-id"], "du-1.2");
        assert_eq!(request.root_name, "9be0907d");
        assert_eq!(request.path, settings.volume);
        assert_eq!(request.parallel_files, Some(3));
        assert_eq!(request.rules.compressor, None);
        let compressing = Settings {
            enable_compression: true,
            ..settings
        };
        let compressor = super::request(&object, &compressing).rules.compressor;
        assert_eq!(compressor.unwrap().name(), "zstd-fastest");
    }
}
