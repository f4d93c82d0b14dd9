//! `velero kopia policy …`. Here: whose policy a user means.

mod delete;
mod flags;
mod list;
mod set;
mod show;

use caravel_repository::policy::PolicyTarget;
use clap::Subcommand;

use crate::{
    app::App,
    config_file::Connected,
    failure::{Failure, Outcome},
    snapshot::source,
};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    #[command(visible_alias = "ls")]
    List(list::Args),
    #[command(visible_alias = "get")]
    Show(show::Args),
    Set(Box<set::Args>),
    #[command(visible_aliases = ["rm", "remove"])]
    Delete(delete::Args),
}

/// Runs the verb.
pub fn run(verb: Verb, app: &App) -> Outcome {
    match verb {
        Verb::List(args) => list::run(&args, app),
        Verb::Show(args) => show::run(&args, app),
        Verb::Set(args) => set::run(&args, app),
        Verb::Delete(args) => delete::run(&args, app),
    }
}

/// Which target a verb is about.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Target {
    /// A folder, USER@HOST:PATH, USER@HOST or @HOST.
    #[arg(
        value_name = "TARGET",
        required_unless_present = "global",
        conflicts_with = "global"
    )]
    target: Option<String>,
    /// The policy of everything.
    #[arg(long)]
    global: bool,
}

impl Target {
    fn read(&self, connected: &Connected) -> Outcome<PolicyTarget> {
        let Some(text) = self.target.as_deref().filter(|text| *text != "(global)") else {
            return Ok(PolicyTarget::default());
        };
        if let Some((user, host)) = text.split_once('@')
            && !host.contains([':', '/'])
            && !user.contains('/')
        {
            if host.is_empty() {
                return Err(Failure::usage(format!("{text:?} names no host")));
            }
            return Ok(PolicyTarget {
                host: host.to_owned(),
                user_name: user.to_owned(),
                path: String::new(),
            });
        }
        source(text, connected)
    }
}

/// A target as Kopia writes it.
fn target_text(target: &PolicyTarget) -> String {
    match target {
        t if t.host.is_empty() => "(global)".into(),
        t if t.path.is_empty() => format!("{}@{}", t.user_name, t.host),
        t => format!("{}@{}:{}", t.user_name, t.host, t.path),
    }
}
