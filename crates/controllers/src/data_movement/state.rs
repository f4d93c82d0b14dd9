//! What a DataUpload or DataDownload says about itself, as one state that owns what must exist there.
//!
//! The wire has a phase string and a dozen optional fields; [`State::parse`] turns them into meaning once, so that
//! nothing after it asks "is this set in this phase?". An object whose fields contradict its phase becomes
//! [`State::Malformed`] and is decided on openly. Source: velero-behaviour.md 5.2; transitions: `transition.rs`.

use caravel_api::v2alpha1::DataMovementPhase;
use jiff::Timestamp;

/// The fields of spec, status and metadata that both directions share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`: every write of phase and result carries it.
    pub resource_version: String,
    /// The whole `metadata.finalizers`.
    pub finalizers: Vec<String>,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Value of the label `velero.io/expose-on-going`; empty without it.
    pub expose_on_going: String,
    /// `spec.cancel`.
    pub cancel: bool,
    /// `spec.datamover`; empty or `velero` is ours.
    pub datamover: String,
    /// `spec.backupStorageLocation`.
    pub backup_storage_location: String,
    /// `spec.sourceNamespace`: with the location it names the repository.
    pub source_namespace: String,
    /// `spec.operationTimeout`.
    pub operation_timeout: std::time::Duration,
    /// `status.phase`.
    pub phase: DataMovementPhase,
    /// `status.message`.
    pub message: String,
    /// `status.acceptedByNode`; of a New one: who has reserved its place in the queue.
    pub accepted_by: String,
    /// `status.acceptedTimestamp`.
    pub accepted_at: Option<Timestamp>,
    /// `status.node`.
    pub node: String,
    /// `status.startTimestamp`.
    pub started_at: Option<Timestamp>,
    /// `status.completionTimestamp`.
    pub completed_at: Option<Timestamp>,
}

impl Facts {
    /// Whether the built-in data mover is asked for; others are left to their own controllers.
    pub fn is_ours(&self) -> bool {
        self.datamover.is_empty() || self.datamover == "velero"
    }

    /// Whether it has a place in the queue of those in preparation, be it only reserved (`place.rs`).
    pub fn is_in_preparation(&self) -> bool {
        let may_be = matches!(
            self.phase,
            DataMovementPhase::New | DataMovementPhase::Accepted | DataMovementPhase::Prepared
        );
        may_be && !self.expose_on_going.is_empty()
    }

    /// Whether our finalizer holds the object until its temporary objects are gone.
    pub fn has_finalizer(&self) -> bool {
        self.finalizers
            .iter()
            .any(|finalizer| finalizer == super::FINALIZER)
    }
}

/// How a movement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Completed,
    Failed,
    Canceled,
}

impl Ending {
    /// The phase that says so.
    pub fn phase(self) -> DataMovementPhase {
        match self {
            Self::Completed => DataMovementPhase::Completed,
            Self::Failed => DataMovementPhase::Failed,
            Self::Canceled => DataMovementPhase::Canceled,
        }
    }
}

/// Where a movement stands. Each state that is not an end names what wakes it.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Nobody has taken it. Wakes: its creation; for a download, its target PVC.
    New,
    /// A node exposes the volume. Wakes: the temporary objects, the repository, the prepare deadline.
    Accepted { by: String, since: Timestamp },
    /// The data mover pod runs on a node, and waits. Wakes: the repository, a free slot, the prepare deadline.
    Prepared { node: String, since: Timestamp },
    /// The data mover moves. Wakes: its final Event, its pod.
    InProgress { node: String, started: Timestamp },
    /// The data mover has been asked to stop. Wakes: its final Event, its pod, the cancel deadline.
    Canceling { node: String, started: Timestamp },
    /// The end; what is left is to delete the temporary objects.
    Finished { ending: Ending, at: Option<Timestamp> },
    /// A phase of a newer version: not touched.
    Unknown { phase: String },
    /// Fields contradict the phase.
    Malformed { why: String },
}

impl State {
    /// Reads the state out of an object's fields.
    pub fn parse(facts: &Facts) -> Self {
        let malformed = |field: &str| Self::Malformed {
            why: format!("phase {} without {field}", facts.phase),
        };
        match &facts.phase {
            DataMovementPhase::New => Self::New,
            DataMovementPhase::Accepted => match facts.accepted_at {
                None => malformed("status.acceptedTimestamp"),
                Some(_) if facts.accepted_by.is_empty() => malformed("status.acceptedByNode"),
                Some(since) => Self::Accepted {
                    by: facts.accepted_by.clone(),
                    since,
                },
            },
            DataMovementPhase::Prepared => match facts.accepted_at {
                None => malformed("status.acceptedTimestamp"),
                Some(_) if facts.node.is_empty() => malformed("status.node"),
                Some(since) => Self::Prepared {
                    node: facts.node.clone(),
                    since,
                },
            },
            DataMovementPhase::InProgress | DataMovementPhase::Canceling => match facts.started_at {
                None => malformed("status.startTimestamp"),
                Some(_) if facts.node.is_empty() => malformed("status.node"),
                Some(started) if facts.phase == DataMovementPhase::InProgress => Self::InProgress {
                    node: facts.node.clone(),
                    started,
                },
                Some(started) => Self::Canceling {
                    node: facts.node.clone(),
                    started,
                },
            },
            DataMovementPhase::Completed => Self::Finished {
                ending: Ending::Completed,
                at: facts.completed_at,
            },
            DataMovementPhase::Failed => Self::Finished {
                ending: Ending::Failed,
                at: facts.completed_at,
            },
            DataMovementPhase::Canceled => Self::Finished {
                ending: Ending::Canceled,
                at: facts.completed_at,
            },
            DataMovementPhase::Other(phase) => Self::Unknown { phase: phase.clone() },
        }
    }

    /// The node that acts on this state at once; others step in only after a grace. None: any node.
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::Accepted { by, .. } => Some(by),
            Self::Prepared { node, .. } | Self::InProgress { node, .. } | Self::Canceling { node, .. } => {
                Some(node)
            }
            Self::New | Self::Finished { .. } | Self::Unknown { .. } | Self::Malformed { .. } => None,
        }
    }
}
