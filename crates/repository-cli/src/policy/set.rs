//! `velero kopia policy set`: what a policy says of its own; the rest it takes from less specific ones. Members that only
//! Kopia's own scheduler, actions and logs use are kept as they are.

use caravel_repository::policy::Policy;

use super::{Target, flags, target_text};
use crate::{
    app::App,
    failure::{Failure, Outcome},
};

/// Change a policy. A value may be `inherit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Whether less specific policies apply too.
    #[arg(long, value_name = "BOOL")]
    inherit: Option<bool>,
    #[command(flatten)]
    retention: flags::Retention,
    #[command(flatten)]
    files: flags::Files,
    #[command(flatten)]
    errors: flags::Errors,
    #[command(flatten)]
    compression: flags::Compression,
    #[command(flatten)]
    upload: flags::Upload,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let target = args.target.read(&app.connected()?)?;
    let repository = app.open_to_write()?;
    let mut policy = repository
        .policy(&target)?
        .map(|record| record.policy)
        .unwrap_or_default();
    if !args.apply(&mut policy) {
        return Err(
            Failure::usage("nothing to change: no flag says anything").next("velero kopia policy set --help")
        );
    }
    repository.set_policy(&target, &policy)?;
    app.console
        .say(format!("The policy of {} is set.", target_text(&target)));
    Ok(())
}

impl Args {
    /// Whether any flag was given.
    fn apply(&self, policy: &mut Policy) -> bool {
        let mut given = false;
        if let Some(inherit) = self.inherit {
            policy.no_parent = !inherit;
            given = true;
        }
        given |= self.retention.apply(&mut policy.retention);
        given |= self.files.apply(&mut policy.files);
        given |= self.errors.apply(&mut policy.error_handling);
        given |= self.compression.apply(policy);
        given | self.upload.apply(&mut policy.upload)
    }
}
