//! `velero kopia blob gc`: packs and session markers that nothing refers to. Maintenance does the same with the rest.

use caravel_repository::maintenance::Safety;
use clap::ValueEnum;

use crate::{
    app::{App, Sight},
    failure::Outcome,
    units,
};

/// Find packs that nothing refers to, and delete them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `yes` deletes what was found; without it, it is only counted.
    #[arg(long, value_enum, default_value = "no", value_name = "YES")]
    delete: Answer,
    /// Only blobs whose name starts with this.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "LETTERS")]
    prefix: String,
    /// Waiting times. `none` loses data unless nobody else uses the repository.
    #[arg(long, value_enum, default_value = "full")]
    safety: Waiting,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Answer {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Waiting {
    Full,
    None,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let delete = args.delete == Answer::Yes;
    let repository = match delete {
        true => app.open_to_write()?,
        false => app.open_seeing(Sight::Storage)?,
    };
    let safety = match args.safety {
        Waiting::Full => Safety::full(),
        Waiting::None => Safety::none(),
    };
    let found = repository.collect_packs(&safety, &args.prefix, delete)?;
    let (count, size) = (
        found.unreferenced_pack_count,
        units::bytes(found.unreferenced_total_size),
    );
    app.console.line(format!(
        "{} {count} unreferenced blobs ({size}).",
        if delete { "Deleted" } else { "Found" }
    ))?;
    app.console.line(format!(
        "Kept {} ({}) that are too young or of a session at work.",
        found.retained_pack_count,
        units::bytes(found.retained_total_size)
    ))?;
    if !delete && count > 0 {
        app.console.say("Pass --delete=yes to delete.");
    }
    app.console.flush()
}
