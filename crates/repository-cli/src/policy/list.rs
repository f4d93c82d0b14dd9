//! `velero kopia policy list`.

use caravel_repository::policy::{Policy, PolicyTarget};
use serde::Serialize;

use super::target_text;
use crate::{app::App, failure::Outcome, json};

/// List policies.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// JSON, with Kopia's names.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed<'a> {
    id: &'a str,
    target: &'a PolicyTarget,
    #[serde(flatten)]
    policy: &'a Policy,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let mut policies = app.open()?.policies()?;
    policies.sort_by_key(|record| target_text(&record.target));
    if args.json {
        let listed = policies.iter().map(|record| Listed {
            id: record.id.as_str(),
            target: &record.target,
            policy: &record.policy,
        });
        json::list(&app.console, listed)?;
        return app.console.flush();
    }
    for record in &policies {
        app.console
            .line(format!("{} {}", record.id, target_text(&record.target)))?;
    }
    app.console.flush()
}
