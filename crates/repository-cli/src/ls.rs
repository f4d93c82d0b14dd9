//! `velero kopia ls`: what is in a directory of a snapshot.

use caravel_repository::{DirectoryEntry, EntryType, Repository};

use crate::{
    app::App,
    failure::{Failure, Outcome},
    place, units,
};

/// List a directory of a snapshot.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Snapshot or directory, and a path below it: ID[/PATH].
    #[arg(value_name = "ID[/PATH]")]
    object_path: String,
    /// Mode, size, time and object of each.
    #[arg(short, long)]
    long: bool,
    /// Sizes for people.
    #[arg(long)]
    human_readable: bool,
    /// Everything below, too.
    #[arg(short, long)]
    recursive: bool,
    /// The object of each.
    #[arg(short = 'o', long)]
    show_object_id: bool,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open()?;
    let entry = place::find(&repository, &args.object_path)?;
    if entry.kind != EntryType::Directory {
        return Err(Failure::new(format!("{} is not a directory", args.object_path))
            .next(format!("velero kopia show {}", args.object_path)));
    }
    let prefix = match args.recursive && !args.long {
        true => format!("{}/", args.object_path.trim_end_matches('/')),
        false => String::new(),
    };
    let listing = Listing {
        args,
        app,
        repository: &repository,
    };
    listing.directory(&entry, &prefix, 0)?;
    app.console.flush()
}

struct Listing<'a> {
    args: &'a Args,
    app: &'a App,
    repository: &'a Repository,
}

impl Listing<'_> {
    fn directory(&self, entry: &DirectoryEntry, prefix: &str, level: usize) -> Outcome {
        let directory = place::directory(self.repository, entry, level)?;
        for child in &directory.entries {
            self.line(child, prefix)?;
            if self.args.recursive && child.kind == EntryType::Directory {
                self.directory(child, &format!("{prefix}{}/", child.name), level + 1)?;
            }
        }
        let errors = directory
            .summary
            .map(|summary| summary.errors)
            .unwrap_or_default();
        for error in errors {
            self.app
                .console
                .say(format!("not in the snapshot: {}: {}", error.path, error.error));
        }
        Ok(())
    }

    fn line(&self, child: &DirectoryEntry, prefix: &str) -> Outcome {
        let args = self.args;
        let slash =
            child.kind == EntryType::Directory && (args.recursive || args.long || args.show_object_id);
        let name = format!("{prefix}{}{}", child.name, if slash { "/" } else { "" });
        let object = child.object.to_string();
        let console = &self.app.console;
        if args.long {
            let size = units::bytes_or_raw(place::size(child), args.human_readable);
            let (mode, time) = (place::mode_text(child), units::time(child.mtime));
            console.line(format!("{mode} {size:>12} {time} {object:<34} {name}"))
        } else if args.show_object_id {
            console.line(format!("{object:<34} {name}"))
        } else {
            console.line(name)
        }
    }
}
