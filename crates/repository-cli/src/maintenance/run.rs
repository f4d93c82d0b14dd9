//! `velero kopia maintenance run`: with Kopia's waiting times, safe beside other writers. What is done is printed.

use caravel_repository::maintenance::{MaintenanceOptions, Mode, Outcome as Ended, Safety};
use clap::ValueEnum;

use crate::{
    app::{App, Sight},
    console::Counting,
    failure::{Failure, Outcome},
};

/// Maintain the repository.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also find and remove what no snapshot needs, whether it is due or not.
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// Only keep the index small, whether it is due or not.
    #[arg(long)]
    quick: bool,
    /// Also when another client owns maintenance.
    #[arg(long)]
    force: bool,
    /// Waiting times. `none` loses data unless nobody else uses the repository.
    #[arg(long, value_enum, default_value = "full")]
    safety: Waiting,
    /// Print what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Waiting {
    Full,
    None,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let options = MaintenanceOptions {
        mode: match (args.full, args.quick) {
            (true, _) => Mode::Full,
            (_, true) => Mode::Quick,
            _ => Mode::Auto,
        },
        force: args.force,
        safety: match args.safety {
            Waiting::Full => Safety::full(),
            Waiting::None => Safety::none(),
        },
        lock_file: Some(app.maintenance_lock()?),
    };
    if args.dry_run {
        let plan = app.open_seeing(Sight::Storage)?.plan_maintenance(&options)?;
        app.console.raw(plan.to_string().as_bytes())?;
        return app.console.flush();
    }
    let repository = app.open_to_write()?;
    let watched = app.console.watch(
        "Maintaining",
        Counting::Things,
        || (0, 0),
        || repository.run_maintenance(&options),
    );
    match watched? {
        Ended::Done(plan) => {
            app.console.raw(plan.to_string().as_bytes())?;
            app.console.flush()
        }
        Ended::NotDue => {
            app.console
                .say("Maintenance is not due; --full or --quick runs it all the same.");
            Ok(())
        }
        Ended::RunningElsewhere => Err(Failure::new(
            "another process of this machine maintains the repository; nothing was done",
        )
        .next("the same command again, when that has ended")),
    }
}
