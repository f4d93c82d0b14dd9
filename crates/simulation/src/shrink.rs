//! The shortest history that still breaks the same invariant: operations are left out, in halves at first, one by one at
//! last (delta debugging).

use crate::checks::Invariant;
use crate::history::{Plan, Report, play};
use crate::operation::Operation;

/// A history as short as it was found.
pub struct Shrunk {
    pub report: Report,
    /// Histories that were played for it.
    pub tries: usize,
}

/// Leaves out operations for as long as `invariant` stays broken; plays at most `most` histories.
pub fn shrink(found: Report, invariant: Invariant, most: usize) -> Shrunk {
    let seed = found.seed;
    let breaks = |operations: &[Operation]| {
        let report = play(seed, &Plan::Given(operations.to_vec()));
        let same = report.violations.iter().any(|it| it.invariant == invariant);
        same.then_some(report)
    };
    let operations = found.operations.clone();
    let mut tries = 0;
    let mut best = found;
    let mut kept = operations;
    let mut size = kept.len().div_ceil(2);
    while size > 0 && tries < most {
        let mut place = 0;
        let mut shorter = false;
        while place < kept.len() && tries < most {
            let mut fewer = kept.clone();
            fewer.drain(place..(place + size).min(kept.len()));
            tries += 1;
            match breaks(&fewer) {
                Some(report) => {
                    (kept, best, shorter) = (fewer, report, true);
                }
                None => place += size,
            }
        }
        // At one by one it goes on for as long as that helps: what was needed may not be any more.
        size = match size {
            1 if shorter => 1,
            1 => 0,
            size => size.div_ceil(2),
        };
    }
    Shrunk { report: best, tries }
}
