//! `velero kopia repository change-password`: only the settings are sealed anew, no data is.

use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    app::App,
    failure::{Failure, Outcome},
    secret,
};

/// Change the password. The old one opens the repository no more, wherever it is kept.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The new password; asked for twice on a terminal when it is not given.
    #[arg(long, env = "KOPIA_NEW_PASSWORD", hide_env_values = true, value_parser = secret, value_name = "PASSWORD")]
    new_password: Option<SecretString>,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open_to_write()?;
    let password = match &args.new_password {
        Some(password) => password.clone(),
        None => ask(app)?,
    };
    repository.change_password(&password)?;
    app.console
        .say("The password is changed. Clients that are at work must open the repository again.");
    app.console.say(
        "A repository of Velero's is opened with the password in the Secret velero-repo-credentials: change it there too.",
    );
    Ok(())
}

fn ask(app: &App) -> Outcome<SecretString> {
    let nobody = || {
        Failure::usage("the new password is nowhere, and there is no terminal to ask on; nothing was changed")
            .next("KOPIA_NEW_PASSWORD=… velero kopia repository change-password")
    };
    let first = app.console.ask_secret("New password: ").ok_or_else(nobody)?;
    let again = app.console.ask_secret("The same again: ").ok_or_else(nobody)?;
    let first = SecretString::from(first);
    if first.expose_secret() != again {
        return Err(Failure::usage("the two passwords differ; nothing was changed"));
    }
    Ok(first)
}
