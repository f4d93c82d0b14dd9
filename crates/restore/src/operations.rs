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

/// The operation of the download that goes on, or is done: what an earlier attempt of a Restore has left. One that failed,
/// or is told to end, is made anew.
pub fn going_on(former: &[DataDownload]) -> Option<String> {
    let goes_on = |download: &&DataDownload| {
        let phase = download.phase();
        let is_over = matches!(
            phase,
            DataMovementPhase::Failed | DataMovementPhase::Canceled | DataMovementPhase::Canceling
        );
        let is_done = phase == DataMovementPhase::Completed;
        !is_over && (is_done || !download.spec.cancel) && download.metadata.deletion_timestamp.is_none()
    };
    let going = former.iter().filter(goes_on);
    let first = going.max_by_key(|download| download.phase() == DataMovementPhase::Completed)?;
    first.labels().get(labels::ASYNC_OPERATION_ID).cloned()
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
    fn a_download_of_an_earlier_attempt_is_used_unless_it_failed_or_is_told_to_end() {
        let former = |phase: &str, id: &str| {
            let mut download = download(json!({"phase": phase}));
            download
                .labels_mut()
                .insert(labels::ASYNC_OPERATION_ID.to_owned(), id.to_owned());
            download
        };
        for phase in ["New", "Accepted", "Prepared", "InProgress", "Completed"] {
            assert_eq!(
                going_on(&[former(phase, "dd-1")]).as_deref(),
                Some("dd-1"),
                "{phase}"
            );
        }
        for phase in ["Failed", "Canceled", "Canceling"] {
            assert_eq!(going_on(&[former(phase, "dd-1")]), None, "{phase}");
            let both = [former(phase, "dd-1"), former("InProgress", "dd-2")];
            assert_eq!(going_on(&both).as_deref(), Some("dd-2"), "{phase}");
        }
        let mut told = former("InProgress", "dd-1");
        told.spec.cancel = true;
        assert_eq!(going_on(&[told]), None);
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
