//! Every write to a DataUpload's or DataDownload's phase and result, as one enum and one merge patch.
//!
//! The patch carries `metadata.resourceVersion`: a conflict means that somebody else has written in between, and the
//! caller observes again. That is how two nodes never own one movement. The data mover itself patches nothing but
//! `status.progress` (crates/data-mover/src/progress.rs).

use caravel_api::labels;
use caravel_api::v2alpha1::DataMovementPhase;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::state::{Ending, Facts};
use super::{FINALIZER, announce};

/// Value of the label of a place that is only reserved. Not `true`: that is what Velero's agents count, and ours are not
/// exposed yet.
pub const RESERVED: &str = "reserved";

/// One change of an object's own fields.
#[derive(Clone, Debug, PartialEq)]
pub enum Transition {
    /// Stays New, but has a place in the queue of those in preparation, for this node to accept it (`place.rs`).
    Reserve { node: String },
    /// The place is given back.
    GiveBack,
    /// New → Accepted by this node, with the finalizer.
    Accept { node: String, at: Timestamp },
    /// Accepted → Prepared on the node the data mover pod runs on.
    Prepare { node: String },
    /// Prepared → InProgress.
    Start { at: Timestamp, node_os: String },
    /// InProgress → Canceling: the data mover sees it and stops.
    Cancel,
    /// Any → its end.
    Finish {
        ending: Ending,
        at: Timestamp,
        message: String,
        result: Option<Moved>,
    },
    /// Says in `status.message` what is waited for.
    Tell { message: String },
    /// Sets `spec.cancel`, because the object is being deleted.
    AskToCancel { message: String },
    /// Lets go of a finished object whose temporary objects are gone.
    DropFinalizer,
}

/// What a completed data mover hands over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moved {
    /// Kopia's manifest id, for uploads.
    pub snapshot_id: Option<String>,
    /// The volume's path or device in the data mover pod, for uploads.
    pub path: Option<String>,
    /// Bytes of the volume's content; both progress numbers become this.
    pub total_bytes: u64,
    /// Bytes that were not in the parent snapshot, for uploads.
    pub incremental_bytes: Option<u64>,
}

impl Transition {
    /// The merge patch of this transition on the object these facts were read from.
    pub fn patch(&self, facts: &Facts) -> Value {
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".into(), json!(facts.resource_version));
        let mut status = Map::new();
        let mut spec = Map::new();
        // What was waited for is over.
        if announce::is_waiting(&facts.message) && !matches!(self, Self::DropFinalizer) {
            status.insert("message".into(), Value::Null);
        }
        match self {
            Self::Reserve { node } => {
                status.insert("acceptedByNode".into(), json!(node));
                metadata.insert("labels".into(), json!({ labels::EXPOSE_ON_GOING: RESERVED }));
            }
            Self::GiveBack => {
                status.insert("acceptedByNode".into(), Value::Null);
                metadata.insert("labels".into(), json!({ labels::EXPOSE_ON_GOING: null }));
            }
            Self::Accept { node, at } => {
                status.insert("phase".into(), phase(&DataMovementPhase::Accepted));
                status.insert("acceptedByNode".into(), json!(node));
                status.insert("acceptedTimestamp".into(), time(*at));
                metadata.insert("labels".into(), json!({ labels::EXPOSE_ON_GOING: "true" }));
                hold(&mut metadata, facts);
            }
            Self::Prepare { node } => {
                status.insert("phase".into(), phase(&DataMovementPhase::Prepared));
                status.insert("node".into(), json!(node));
            }
            Self::Start { at, node_os } => {
                status.insert("phase".into(), phase(&DataMovementPhase::InProgress));
                status.insert("startTimestamp".into(), time(*at));
                if !node_os.is_empty() {
                    status.insert("nodeOS".into(), json!(node_os));
                }
                metadata.insert("labels".into(), json!({ labels::EXPOSE_ON_GOING: null }));
            }
            Self::Cancel => {
                status.insert("phase".into(), phase(&DataMovementPhase::Canceling));
            }
            Self::Finish {
                ending,
                at,
                message,
                result,
            } => {
                status.insert("phase".into(), phase(&ending.phase()));
                status.insert("completionTimestamp".into(), time(*at));
                if !message.is_empty() {
                    status.insert("message".into(), json!(message));
                }
                if let Some(moved) = result {
                    write_result(&mut status, moved);
                }
                // One that ends without ever having been accepted has a source snapshot to clean up all the same.
                if !facts.deleting {
                    hold(&mut metadata, facts);
                }
                metadata.insert("labels".into(), json!({ labels::EXPOSE_ON_GOING: null }));
            }
            Self::Tell { message } => {
                status.insert("message".into(), json!(message));
            }
            Self::AskToCancel { message } => {
                spec.insert("cancel".into(), json!(true));
                status.insert("message".into(), json!(message));
            }
            Self::DropFinalizer => {
                let kept: Vec<_> = facts
                    .finalizers
                    .iter()
                    .filter(|name| *name != FINALIZER)
                    .collect();
                metadata.insert("finalizers".into(), json!(kept));
            }
        }
        let mut patch = Map::new();
        patch.insert("metadata".into(), Value::Object(metadata));
        if !spec.is_empty() {
            patch.insert("spec".into(), Value::Object(spec));
        }
        if !status.is_empty() {
            patch.insert("status".into(), Value::Object(status));
        }
        Value::Object(patch)
    }
}

/// Adds our finalizer, if it is not there.
fn hold(metadata: &mut Map<String, Value>, facts: &Facts) {
    if !facts.has_finalizer() {
        let mut finalizers = facts.finalizers.clone();
        finalizers.push(FINALIZER.into());
        metadata.insert("finalizers".into(), json!(finalizers));
    }
}

fn write_result(status: &mut Map<String, Value>, moved: &Moved) {
    if let Some(id) = &moved.snapshot_id {
        status.insert("snapshotID".into(), json!(id));
    }
    if let Some(path) = &moved.path {
        status.insert("path".into(), json!(path));
    }
    if let Some(bytes) = moved.incremental_bytes {
        status.insert("incrementalBytes".into(), json!(bytes));
    }
    status.insert(
        "progress".into(),
        json!({ "totalBytes": moved.total_bytes, "bytesDone": moved.total_bytes }),
    );
}

fn phase(phase: &DataMovementPhase) -> Value {
    json!(phase.as_str())
}

/// Kubernetes' times have whole seconds.
fn time(at: Timestamp) -> Value {
    json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
