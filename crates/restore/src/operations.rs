//! The operations that outlive a run: the DataDownloads of a Restore, found by their operation id.

use caravel_api::labels;
use caravel_api::phase::DataMovementPhase;
use caravel_api::v2alpha1::DataDownload;
use caravel_item_action::{ActionError, OperationProgress, UNITS_BYTES};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

/// The DataDownloads of an operation; one, unless somebody meddled.
pub async fn find(
    client: &Client,
    namespace: &str,
    operation_id: &str,
) -> Result<Vec<DataDownload>, kube::Error> {
    let downloads: Api<DataDownload> = Api::namespaced(client.clone(), namespace);
    let selector = format!("{}={operation_id}", labels::ASYNC_OPERATION_ID);
    Ok(downloads
        .list(&ListParams::default().labels(&selector))
        .await?
        .items)
}

/// How far a DataDownload is, in Velero's words (velero-behaviour.md 4.1 "Progress").
pub fn progress(download: &DataDownload) -> OperationProgress {
    let status = download.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    let (completed, error) = match &phase {
        DataMovementPhase::Completed => (true, String::new()),
        DataMovementPhase::Failed => (true, or(status.message, "DataDownload failed")),
        DataMovementPhase::Canceled => (true, or(status.message, "DataDownload is canceled")),
        _ => (false, String::new()),
    };
    let bytes = status.progress.unwrap_or_default();
    OperationProgress {
        completed,
        error,
        n_completed: bytes.bytes_done,
        n_total: bytes.total_bytes,
        operation_units: UNITS_BYTES.to_owned(),
        description: phase.to_string(),
        started: status.start_timestamp.map(|time| time.0),
        updated: status.completion_timestamp.map(|time| time.0),
    }
}

/// The DataDownload was deleted under the restore.
pub fn gone(operation_id: &str) -> ActionError {
    ActionError::new(format!(
        "the DataDownload of operation {operation_id} does not exist any more"
    ))
}

/// Asks for the end of an operation: `spec.cancel=true` on its DataDownload. Nothing to do when there is none.
pub async fn cancel(client: &Client, namespace: &str, operation_id: &str) -> Result<(), kube::Error> {
    let downloads: Api<DataDownload> = Api::namespaced(client.clone(), namespace);
    for download in find(client, namespace, operation_id).await? {
        if !download.spec.cancel {
            let patch = json!({"spec": {"cancel": true}});
            downloads
                .patch(
                    &download.name_any(),
                    &PatchParams::default(),
                    &Patch::Merge(&patch),
                )
                .await?;
        }
    }
    Ok(())
}

fn or(message: String, otherwise: &str) -> String {
    if message.is_empty() {
        otherwise.to_owned()
    } else {
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn download(status: serde_json::Value) -> DataDownload {
        serde_json::from_value(json!({"apiVersion": "velero.io/v2alpha1", "kind": "DataDownload",
            "metadata": {"name": "r1-x"}, "spec": {}, "status": status}))
        .unwrap()
    }

    #[test]
    fn an_operation_ends_with_its_download_and_carries_its_reason() {
        for (status, completed, error) in [
            (json!({}), false, ""),
            (json!({"phase": "Accepted"}), false, ""),
            (json!({"phase": "Canceling"}), false, ""),
            (json!({"phase": "SomebodyElses"}), false, ""),
            (json!({"phase": "Completed"}), true, ""),
            (
                json!({"phase": "Failed", "message": "no space left"}),
                true,
                "no space left",
            ),
            (json!({"phase": "Canceled"}), true, "DataDownload is canceled"),
        ] {
            let progress = progress(&download(status.clone()));
            assert_eq!(
                (progress.completed, progress.error.as_str()),
                (completed, error),
                "{status}"
            );
        }
    }

    #[test]
    fn bytes_and_phase_are_what_describe_shows() {
        let progress = progress(&download(
            json!({"phase": "InProgress", "progress": {"bytesDone": 3, "totalBytes": 9}}),
        ));
        assert_eq!((progress.n_completed, progress.n_total), (3, 9));
        assert_eq!(
            (progress.operation_units.as_str(), progress.description.as_str()),
            ("Bytes", "InProgress")
        );
    }
}
