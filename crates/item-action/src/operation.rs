//! How far an asynchronous operation of an action is.

/// Unit word of Velero's data movement operations.
pub const UNITS_BYTES: &str = "Bytes";

/// What an action answers when asked for the progress of one of its operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationProgress {
    /// True when the operation has ended, well or badly.
    pub completed: bool,
    /// Why it failed; empty when it did not.
    pub error: String,
    /// In units of `operation_units`.
    pub n_completed: i64,
    pub n_total: i64,
    /// [`UNITS_BYTES`] for data movement.
    pub operation_units: String,
    /// Free text; the phase for data movement.
    pub description: String,
    pub started: Option<jiff::Timestamp>,
    pub updated: Option<jiff::Timestamp>,
}
