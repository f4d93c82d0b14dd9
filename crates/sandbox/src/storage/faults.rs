//! What can go wrong with the CSI driver, on purpose and by rule.
//!
//! A rule's operation is the call's CSI name (`CreateVolume`, `DeleteVolume`, `ControllerExpandVolume`, `CreateSnapshot`,
//! `DeleteSnapshot`, `ListSnapshots`, `NodePublishVolume`, `NodeUnpublishVolume`); its name is that of the volume asked for
//! (`pvc-<uid>`) in `CreateVolume`, else the handle: of the volume, in `CreateSnapshot` too, or of the snapshot.

use std::time::Duration;

use caravel_api_server::faults::RuleSet;
use tonic::Code;

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CsiFault {
    /// It is not done and fails with this code and message.
    Fail(Code, String),
    /// It is done, and then nothing is heard: `Unavailable`.
    LostAnswer,
    /// It is done after this time; after 60 s nobody waits any more (`DeadlineExceeded`).
    Slow(Duration),
    /// The storage is full: `ResourceExhausted`, nothing is done.
    DiskFull,
    /// Of `CreateSnapshot`: the snapshot is cut, but not ready to use for so long.
    NotReadyFor(Duration),
}

/// Faults of a driver by rule. Share it in an `Arc`, and change it while the sandbox runs.
pub type CsiRules = RuleSet<CsiFault>;
