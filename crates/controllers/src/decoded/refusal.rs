//! What is written to an object that does not decode, where its kind's status can hold it.
//!
//! Only the controller of the kind writes it, and only while nothing has begun: a Backup that runs goes on, whatever
//! was made of its spec meanwhile. A location or repository can be corrected and is looked at again then; for the
//! others the refusal is the end, as for any other failed validation.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Decoded, Undecodable};
use crate::reconcile::{chain, is_conflict};

/// The watch waits for the write, so the write must end.
const DEADLINE: Duration = Duration::from_secs(30);

/// The status that refuses the object; None when there is nothing to write.
pub(super) fn status(bad: &Undecodable, now: Timestamp) -> Option<Value> {
    let why = &bad.why;
    let field = |path: &str| {
        bad.object
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let untouched = matches!(field("/status/phase"), "" | "New");
    let says_so = field("/status/message") == *why;
    match bad.kind.as_str() {
        "Backup" if untouched || matches!(field("/status/phase"), "Queued" | "ReadyToStart") => {
            Some(json!({"phase": "FailedValidation", "validationErrors": [why]}))
        }
        "Restore" if untouched => Some(json!({"phase": "FailedValidation", "validationErrors": [why]})),
        // Other data movers may know what we do not.
        "DataUpload" | "DataDownload" if untouched && matches!(field("/spec/datamover"), "" | "velero") => {
            let at = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            Some(json!({"phase": "Failed", "message": why, "completionTimestamp": at}))
        }
        "BackupStorageLocation" if field("/status/phase") != "Unavailable" || !says_so => {
            Some(json!({"phase": "Unavailable", "message": why}))
        }
        "BackupRepository" if field("/status/phase") != "NotReady" || !says_so => {
            Some(json!({"phase": "NotReady", "message": why}))
        }
        _ => None,
    }
}

/// Writes the refusal. What fails here comes again with the next event of the object, or the next list.
pub(crate) async fn refuse<K>(api: Api<Decoded<K>>, bad: Box<Undecodable>, now: Timestamp)
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
    K::DynamicType: Default,
{
    let Some(status) = status(&bad, now) else { return };
    let patch = json!({
        "metadata": { "resourceVersion": bad.metadata.resource_version },
        "status": status,
    });
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    match tokio::time::timeout(DEADLINE, api.patch(bad.name(), &params, &patch)).await {
        Ok(Ok(_)) => {
            tracing::info!(kind = %bad.kind, name = bad.name(), phase = %status["phase"], "object is refused");
        }
        // Another node agent was first, or the user is correcting it.
        Ok(Err(error)) if is_conflict(&error) => {}
        Ok(Err(error)) => {
            tracing::warn!(kind = %bad.kind, name = bad.name(), error = %chain(&error), "object cannot be refused");
        }
        Err(_) => {
            tracing::warn!(kind = %bad.kind, name = bad.name(), "object cannot be refused: the API server does not answer");
        }
    }
}
