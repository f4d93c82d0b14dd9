//! `velero kopia maintenance set`.

use crate::{
    app::App,
    failure::{Failure, Outcome},
    units,
};

/// Say who maintains the repository, and how often.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The only client that maintains, as USER@HOST; `me` is this one.
    #[arg(long, value_name = "USER@HOST")]
    owner: Option<String>,
    /// Whether quick maintenance is done.
    #[arg(long, value_name = "BOOL")]
    enable_quick: Option<bool>,
    /// Whether full maintenance is done.
    #[arg(long, value_name = "BOOL")]
    enable_full: Option<bool>,
    /// Time between quick ones, as 1h30m.
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    quick_interval: Option<i64>,
    /// Time between full ones, as 24h.
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    full_interval: Option<i64>,
    /// Whether full maintenance locks what is under retention for the whole period again.
    #[arg(long, value_name = "BOOL")]
    extend_object_locks: Option<bool>,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let connected = app.connected()?;
    let repository = app.open_to_write()?;
    let mut parameters = repository.maintenance_parameters()?;
    let before = parameters.clone();
    if let Some(owner) = &args.owner {
        parameters.owner = match owner.as_str() {
            "me" => format!("{}@{}", connected.username, connected.hostname),
            other if other.contains('@') => other.to_owned(),
            other => return Err(Failure::usage(format!("--owner {other:?} is not USER@HOST"))),
        };
    }
    for (cycle, enable, interval) in [
        (&mut parameters.quick, args.enable_quick, args.quick_interval),
        (&mut parameters.full, args.enable_full, args.full_interval),
    ] {
        cycle.enabled = enable.unwrap_or(cycle.enabled);
        cycle.interval = interval.unwrap_or(cycle.interval);
    }
    parameters.extend_object_locks = args.extend_object_locks.unwrap_or(before.extend_object_locks);
    if parameters == before {
        return Err(Failure::usage("nothing to change: no flag says anything new")
            .next("velero kopia maintenance info"));
    }
    repository.set_maintenance_parameters(&parameters)?;
    app.console.say("Maintenance parameters are set.");
    if parameters.extend_object_locks && !parameters.full.enabled {
        app.console
            .say("Object locks will not be extended: that is done by full maintenance, which is disabled.");
    }
    Ok(())
}
