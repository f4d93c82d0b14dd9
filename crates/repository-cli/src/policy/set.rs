//! `velero kopia policy set`: how long snapshots are kept. Flags whose meaning this version would not honour when it takes a
//! snapshot (compression, ignore rules) are not there yet; Kopia sets them.

use super::{Target, target_text};
use crate::{
    app::App,
    failure::{Failure, Outcome},
};

/// Say how many snapshots are kept.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// So many of the newest; `inherit` takes it back, here and below.
    #[arg(long, value_name = "N", value_parser = kept)]
    keep_latest: Option<Kept>,
    /// So many of different hours.
    #[arg(long, value_name = "N", value_parser = kept)]
    keep_hourly: Option<Kept>,
    /// So many of different days.
    #[arg(long, value_name = "N", value_parser = kept)]
    keep_daily: Option<Kept>,
    /// So many of different weeks.
    #[arg(long, value_name = "N", value_parser = kept)]
    keep_weekly: Option<Kept>,
    /// So many of different months.
    #[arg(long, value_name = "N", value_parser = kept)]
    keep_monthly: Option<Kept>,
    /// So many of different years.
    #[arg(long, value_name = "N", value_parser = kept)]
    keep_annual: Option<Kept>,
}

/// A number, or what the less specific policies say.
#[derive(Clone, Copy, Debug)]
struct Kept(Option<i64>);

fn kept(text: &str) -> Result<Kept, String> {
    match text {
        "inherit" => Ok(Kept(None)),
        number => match number.parse::<u32>() {
            Ok(number) => Ok(Kept(Some(number.into()))),
            Err(_) => Err("it is a number, or inherit".into()),
        },
    }
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let target = args.target.read(&app.connected()?)?;
    let repository = app.open_to_write()?;
    let mut policy = repository
        .policy(&target)?
        .map(|record| record.policy)
        .unwrap_or_default();
    let retention = &mut policy.retention;
    let mut changed = false;
    for (wish, member) in [
        (args.keep_latest, &mut retention.keep_latest),
        (args.keep_hourly, &mut retention.keep_hourly),
        (args.keep_daily, &mut retention.keep_daily),
        (args.keep_weekly, &mut retention.keep_weekly),
        (args.keep_monthly, &mut retention.keep_monthly),
        (args.keep_annual, &mut retention.keep_annual),
    ] {
        if let Some(Kept(number)) = wish {
            changed |= *member != number;
            *member = number;
        }
    }
    if !changed {
        return Err(Failure::usage("nothing to change: no flag says anything new")
            .next("velero kopia policy show --help"));
    }
    repository.set_policy(&target, &policy)?;
    app.console
        .say(format!("The policy of {} is set.", target_text(&target)));
    Ok(())
}
