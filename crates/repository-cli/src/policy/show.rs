//! `velero kopia policy show`: what all policies that apply to a target say together.

use caravel_repository::policy::PolicyTarget;

use super::{Target, target_text};
use crate::{app::App, failure::Outcome, json};

/// Print the policy that applies.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// JSON, with Kopia's names.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let target = args.target.read(&app.connected()?)?;
    let effective = app.open()?.effective_policy(&target)?;
    let console = &app.console;
    if args.json {
        json::print(console, &effective.policy)?;
        return console.flush();
    }
    let (retention, defined) = (&effective.policy.retention, &effective.defined_at);
    console.line(format!("Policy for {}:", target_text(&target)))?;
    console.line("Retention:")?;
    let from = |from: &PolicyTarget| {
        if *from == target {
            "defined for this target".to_owned()
        } else {
            format!("inherited from {}", target_text(from))
        }
    };
    for (name, kept, at) in [
        ("Annual snapshots:", retention.keep_annual, &defined.keep_annual),
        (
            "Monthly snapshots:",
            retention.keep_monthly,
            &defined.keep_monthly,
        ),
        ("Weekly snapshots:", retention.keep_weekly, &defined.keep_weekly),
        ("Daily snapshots:", retention.keep_daily, &defined.keep_daily),
        ("Hourly snapshots:", retention.keep_hourly, &defined.keep_hourly),
        ("Latest snapshots:", retention.keep_latest, &defined.keep_latest),
    ] {
        let kept = kept.map_or_else(|| "-".to_owned(), |kept| kept.to_string());
        console.line(format!("  {name:<28}{kept:>7}   ({})", from(at)))?;
    }
    let document = serde_json::to_string(&effective.policy).unwrap_or_default();
    console.line("Everything:")?;
    console.line(json::indent(&document))?;
    console.flush()
}
