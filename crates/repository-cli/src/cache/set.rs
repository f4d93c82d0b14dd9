//! `velero kopia cache set`: of this connection.

use crate::{
    app::App,
    caching::Flags,
    config_file,
    failure::{Failure, Outcome},
};

/// Say where the cache is, and how large it may be.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let mut connected = app.connected()?;
    let mut caching = app.caching()?;
    let before = caching.clone();
    args.flags.apply(&mut caching)?;
    // Of a connection that kept nothing so far, the usual settings are a change too.
    if caching == before && connected.caching.is_some() {
        return Err(
            Failure::usage("nothing to change: no flag says anything new").next("velero kopia cache info")
        );
    }
    let sweeps = caching.clone();
    connected.caching = Some(caching);
    config_file::write(&app.config_file()?, &connected)?;
    app.console
        .say("The cache's settings are changed, for commands from now on.");
    let folder = sweeps.cache_directory.clone();
    let swept = sweeps.engine().map(|settings| settings.sweep()).transpose();
    swept.map_err(|error| {
        Failure::new(format!("cannot make {} smaller: {error}", folder.display()))
            .next("velero kopia cache clear")
    })?;
    Ok(())
}
