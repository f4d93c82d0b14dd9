//! Bad input of issue 7, each on the whole system: a clear phase and message, nothing left, nothing lost.
//!
//! | bad input | here | elsewhere |
//! |---|---|---|
//! | snapshot class of another driver | ✓ | `csi/src/classes.rs`; real cluster: `e2e/tests/csi_snapshot.rs` |
//! | a snapshot that becomes an error | ✓ | `exposer/src/snapshot/tests.rs` |
//! | content without handle | | `restore/src/tests/snapshots.rs`, `exposer/src/snapshot/tests.rs` |
//! | a driver that hangs | ✓ taking, ✓ deleting | |
//! | a PVC deleted while being exposed | ✓ | `simulation/src/operation.rs` (movers, movements) |
//! | a repository locked or newer | | `repository/src/format/tests.rs`, `repository/tests/refusals.rs` |
//! | a repository's folder with somebody's objects | ✓ | `backup-repository/src/tests.rs` |
//! | a read-only bucket | ✓ (takes nothing) | `controllers/src/backup/decide.rs`, `repository/tests/refusals.rs` |
//! | a wrong namespace in a result map | | `restore/src/item_actions/moved_claim.rs` |
//! | hostile names | | `backup-store/src/tarball/tests.rs`, `uploader/src/tests.rs` |

use caravel_simulation::{BadInput, Plan, play};

#[test]
fn what_is_wrong_is_said_and_leaves_nothing() {
    let mut seen = Vec::new();
    for bad in BadInput::ALL {
        let report = play(1, &Plan::BadInput(bad));
        seen.extend(report.violations.iter().map(|it| format!("{bad:?}: {it}")));
    }
    assert!(seen.is_empty(), "{seen:#?}");
}
