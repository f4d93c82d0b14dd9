//! `velero kopia manifest delete`: also of snapshots, so it wants to be asked for twice, as Kopia does.

use caravel_repository::ManifestId;
use clap::ValueEnum;

use super::show;
use crate::{
    app::App,
    failure::{Failure, Outcome},
};

/// Delete manifests, whatever they are.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names of manifests.
    #[arg(required = true, value_name = "ID")]
    items: Vec<ManifestId>,
    /// Confirms it: a deleted policy or setting cannot be brought back.
    #[arg(long, value_enum)]
    dangerous_commands: Option<Enabled>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Enabled {
    Enabled,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open_to_write()?;
    let found = show::find(&repository, &args.items)?;
    if args.dangerous_commands.is_none() {
        for manifest in &found {
            let kind = manifest.labels.get("type").map_or("?", String::as_str);
            app.console.say(format!("would delete {kind} {}", manifest.id));
        }
        return Err(
            Failure::usage("nothing was deleted: this may lose a snapshot or a setting for good")
                .next("velero kopia manifest delete --dangerous-commands=enabled …"),
        );
    }
    let writer = repository.write()?;
    for manifest in &found {
        writer.delete_manifest(&manifest.id);
    }
    writer.commit()?;
    for manifest in &found {
        app.console.say(format!("Deleted manifest {}.", manifest.id));
    }
    Ok(())
}
