//! `velero kopia index epoch list`.

use caravel_repository::epoch::report::EpochBlobs;

use crate::{app::App, failure::Outcome, units};

/// List the epochs of the index.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_: &Args, app: &App) -> Outcome {
    let report = app.open()?.epochs()?;
    let console = &app.console;
    console.line(format!("Current Epoch: {}", report.write_epoch))?;
    if let Some(started) = report.started {
        console.line(format!("Epoch Started  {}", units::time(started)))?;
    }
    let first = report.ranges.last().map_or(0, |range| range.last + 1);
    for epoch in (first..=report.write_epoch).rev() {
        if let Some(found) = at(&report.uncompacted, epoch) {
            console.line(uncompacted(found))?;
        }
        if let Some(found) = at(&report.compacted, epoch) {
            console.line(format!("{epoch}: {} single-epoch {}", when(found), blobs(found)))?;
        }
    }
    for range in &report.ranges {
        console.line(format!("{}-{}: range, {}", range.first, range.last, blobs(range)))?;
    }
    console.flush()
}

fn at(epochs: &[EpochBlobs], epoch: u64) -> Option<&EpochBlobs> {
    epochs.iter().find(|found| found.first == epoch)
}

fn uncompacted(epoch: &EpochBlobs) -> String {
    let span = epoch.times().map_or(0, |(first, last)| {
        // Whole seconds, rounded.
        (last.as_nanosecond() - first.as_nanosecond() + 500_000_000) / 1_000_000_000
    });
    let last = epoch
        .times()
        .map_or_else(String::new, |(_, last)| units::time(last));
    let span = units::duration(i64::try_from(span).unwrap_or(0).saturating_mul(1_000_000_000));
    format!(
        "{} {} ... {last}, {}, span {span}",
        epoch.first,
        when(epoch),
        blobs(epoch)
    )
}

fn when(epoch: &EpochBlobs) -> String {
    epoch
        .times()
        .map_or_else(String::new, |(first, _)| units::time(first))
}

fn blobs(epoch: &EpochBlobs) -> String {
    format!(
        "{} blobs, {}",
        epoch.blobs.len(),
        units::bytes(epoch.total_length())
    )
}
