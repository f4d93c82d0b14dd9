//! `velero kopia repository set-parameters`: what can be changed while a repository is in use.

use caravel_repository::ParameterChange;

use super::retention::Retention;
use crate::{
    app::App,
    failure::{Failure, Outcome},
    units,
};

/// Change parameters of the repository.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A pack is full at so many MiB: 10 to 120.
    #[arg(long, value_name = "MB")]
    max_pack_size_mb: Option<usize>,
    /// How old a list of epochs may be.
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    epoch_refresh_frequency: Option<i64>,
    /// An epoch lasts at least so long.
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    epoch_min_duration: Option<i64>,
    /// How long index blobs are kept beside what they were merged into.
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    epoch_cleanup_safety_margin: Option<i64>,
    /// An epoch ends with so many index blobs.
    #[arg(long, value_name = "N")]
    epoch_advance_on_count: Option<i64>,
    /// An epoch ends with so many MiB of index blobs.
    #[arg(long, value_name = "MB")]
    epoch_advance_on_size_mb: Option<i64>,
    /// How many index blobs are deleted at the same time.
    #[arg(long, value_name = "N")]
    epoch_delete_parallelism: Option<i64>,
    /// So many epochs are merged into a range.
    #[arg(long, value_name = "N")]
    epoch_checkpoint_frequency: Option<i64>,
    #[command(flatten)]
    retention: Retention,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open_to_write()?;
    let mebibytes = |count: i64| count.checked_mul(1 << 20).unwrap_or(i64::MAX);
    let before = repository.format_options().epochs;
    let mut epochs = before.clone();
    for (wish, member) in [
        (args.epoch_refresh_frequency, &mut epochs.epoch_refresh_frequency),
        (args.epoch_min_duration, &mut epochs.min_epoch_duration),
        (
            args.epoch_cleanup_safety_margin,
            &mut epochs.cleanup_safety_margin,
        ),
        (
            args.epoch_advance_on_count,
            &mut epochs.epoch_advance_on_count_threshold,
        ),
        (
            args.epoch_advance_on_size_mb.map(mebibytes),
            &mut epochs.epoch_advance_on_total_size_bytes_threshold,
        ),
        (args.epoch_delete_parallelism, &mut epochs.delete_parallelism),
        (
            args.epoch_checkpoint_frequency,
            &mut epochs.full_checkpoint_frequency,
        ),
    ] {
        *member = wish.unwrap_or(*member);
    }
    let change = ParameterChange {
        max_pack_size: args.max_pack_size_mb.map(|size| size.saturating_mul(1 << 20)),
        epochs: (epochs != before).then_some(epochs),
        retention: args.retention.change(repository.format_options().retention)?,
    };
    if change.max_pack_size.is_none() && change.epochs.is_none() && change.retention.is_none() {
        return Err(Failure::usage("nothing to change: no flag says anything new")
            .next("velero kopia repository status"));
    }
    if !before.enabled && change.epochs.is_some() {
        return Err(Failure::new("this repository has no epochs; nothing was changed")
            .next("kopia repository upgrade --help    (Kopia itself gives it epochs)"));
    }
    repository.set_parameters(&change)?;
    app.console
        .say("The parameters are set. Other clients see them when they connect again.");
    Ok(())
}
