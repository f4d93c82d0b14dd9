//! `velero kopia index recover`: the index again, from what the packs say of themselves. Works when no index blob can be read.

use caravel_repository::{
    OpenOptions,
    recover::{self, IndexRecovery},
};

use crate::{
    app::App,
    console::Counting,
    failure::{Failure, Outcome},
};

/// Rebuild the index from the packs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Packs whose names start so; may be repeated [default: all].
    #[arg(long, value_name = "LETTERS")]
    blob_prefixes: Vec<String>,
    /// Write what was found; without it, it is only counted.
    #[arg(long)]
    commit: bool,
    /// Delete index blobs that cannot be read, after the new index is written.
    #[arg(long, requires = "commit")]
    delete_damaged: bool,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let connected = app.connected()?;
    if args.commit && connected.readonly {
        return Err(
            Failure::new("the repository is connected read-only; nothing was changed")
                .next("velero kopia repository connect --help    (without --readonly)"),
        );
    }
    let standard = IndexRecovery::default();
    let recovery = IndexRecovery {
        prefixes: match args.blob_prefixes.is_empty() {
            true => standard.prefixes,
            false => args.blob_prefixes.clone(),
        },
        commit: args.commit,
        delete_damaged: args.delete_damaged,
    };
    let (storage, password) = (app.storage(&connected.storage)?, app.password()?);
    let options = OpenOptions {
        username: connected.username,
        hostname: connected.hostname,
    };
    let found = app.console.watch(
        "Recovering the index",
        Counting::Things,
        || (0, 0),
        || {
            let environment = app.environment.clone();
            app.wait(recover::packs(
                storage,
                &password,
                options,
                &recovery,
                environment,
            ))
        },
    )?;
    for (name, error) in found.failed.iter().chain(&found.damaged) {
        app.console.say(format!("blob {name}: {error}"));
    }
    let (packs, contents) = (found.packs, found.contents);
    app.console.say(match found.committed {
        true => format!("Recovered {contents} contents from {packs} packs, and wrote the index."),
        false => {
            format!("Found {contents} contents in {packs} packs, but not committed. Re-run with --commit")
        }
    });
    match found.failed.len() {
        0 => Ok(()),
        lost => Err(Failure::new(format!(
            "{lost} packs say nothing of their contents; they are named above"
        ))
        .next("velero kopia snapshot verify    (says which files are lost)")),
    }
}
