//! Verbs as the user types them: a folder per noun, a file per verb.
//!
//! This file holds the tree of commands and hands each its arguments. Beside the nouns: what all verbs share
//! (`connection`, `flags`, `output`, `failure`), how text is laid out (`tab_writer`), what is refused (`not_yet`).
//! Exit codes: 0 done · 1 failed · 2 the command line is wrong, or asks for what this version does not have yet.

mod backup;
mod backup_location;
mod cancel;
mod client_config;
pub(crate) mod connection;
mod debug;
mod describe;
mod download;
pub(crate) mod failure;
mod files;
mod filters;
pub(crate) mod flags;
mod follow;
pub(crate) mod install;
mod kopia;
mod listing;
mod location;
mod not_yet;
pub(crate) mod output;
mod plugin;
mod repo;
mod restore;
mod schedule;
mod select;
mod server_status;
mod snapshot_location;
mod tab_writer;
mod uninstall;
mod velero_commands;
mod verb_first;
pub(crate) mod version;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
#[cfg(feature = "sandbox")]
use kube::Client;

use self::connection::Global;
#[cfg(feature = "sandbox")]
use self::connection::OwnCluster;
use self::failure::{Failure, Outcome};
#[cfg(feature = "sandbox")]
use crate::process::Process;

/// Velero backs up and restores Kubernetes cluster resources and the data of their volumes.
#[derive(Debug, Parser)]
#[command(name = "velero", args_override_self = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Work with backups.
    #[command(subcommand)]
    Backup(backup::Verb),
    /// Work with backup storage locations.
    #[command(subcommand)]
    BackupLocation(backup_location::Verb),
    /// Work with this command's own settings.
    #[command(subcommand)]
    Client(client_config::Noun),
    /// Create a backup, restore, schedule or location.
    #[command(subcommand)]
    Create(verb_first::Create),
    Debug(debug::Args),
    /// Delete backups, restores, schedules or locations.
    #[command(subcommand)]
    Delete(verb_first::Delete),
    /// Describe backups, restores or schedules.
    #[command(subcommand)]
    Describe(verb_first::Describe),
    /// Get backups, restores, schedules or locations.
    #[command(subcommand)]
    Get(verb_first::Get),
    Install(Box<install::Args>),
    Kopia(Box<caravel_repository_cli::Args>),
    /// Work with plug-ins.
    #[command(subcommand, alias = "plugins")]
    Plugin(plugin::Verb),
    /// Work with backup repositories.
    #[command(subcommand)]
    Repo(repo::Verb),
    /// Work with restores.
    #[command(subcommand)]
    Restore(restore::Verb),
    /// Work with schedules.
    #[command(subcommand)]
    Schedule(schedule::Verb),
    #[cfg(feature = "sandbox")]
    Sandbox(crate::sandbox::Args),
    /// Not in this build: a cluster in this process.
    #[cfg(not(feature = "sandbox"))]
    #[command(hide = true)]
    Sandbox(NoSandbox),
    /// Work with the locations of native snapshots.
    #[command(subcommand)]
    SnapshotLocation(snapshot_location::Verb),
    Uninstall(uninstall::Args),
    Version(version::Args),
    /// The server (what the Deployment runs).
    #[command(hide = true)]
    Server(Box<crate::server::Args>),
    /// The node agent (what the DaemonSet runs).
    #[command(hide = true, subcommand)]
    NodeAgent(NodeAgent),
    /// The data mover (what the pods of a DataUpload or DataDownload run).
    #[command(hide = true, subcommand)]
    DataMover(crate::data_mover::Command),
    /// The maintenance of one repository (what the pod of its Job runs).
    #[command(hide = true)]
    RepoMaintenance(crate::repo_maintenance::Args),
    /// The check of one repository (what the pod of `velero repo check` runs).
    #[command(hide = true)]
    RepoCheck(crate::repo_check::Args),
}

impl Command {
    /// Whether it runs for long beside others, or moves data.
    fn keeps_small(&self) -> bool {
        matches!(
            self,
            Self::Kopia(_)
                | Self::Server(_)
                | Self::NodeAgent(_)
                | Self::DataMover(_)
                | Self::RepoMaintenance(_)
                | Self::RepoCheck(_)
        )
    }
}

/// Whatever is typed after a command that this build does not have.
#[cfg(not(feature = "sandbox"))]
#[derive(Debug, clap::Args)]
struct NoSandbox {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum NodeAgent {
    /// Run the node agent.
    Server(crate::node_agent::Args),
}

/// Runs the command line and gives the exit code.
pub fn run(args: Vec<String>) -> ExitCode {
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return refused(&args, &error),
    };
    if cli.command.keeps_small() {
        caravel_repository_cli::memory::keep_small();
    }
    if matches!(cli.command, Command::Kopia(_)) {
        caravel_repository_cli::warnings::say();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::new(format!("starting threads: {error}"))),
    };
    let namespace = cli.global.namespace();
    match runtime.block_on(dispatch(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure.in_namespace(&namespace)),
    }
}

/// Boxed, because `velero sandbox` types commands itself.
fn dispatch(cli: Cli) -> LocalBoxFuture<'static, Outcome> {
    run_verb(cli).boxed_local()
}

async fn run_verb(cli: Cli) -> Outcome {
    let global = &cli.global;
    match cli.command {
        Command::Backup(verb) => backup::run(verb, global).await,
        Command::BackupLocation(verb) => backup_location::run(verb, global).await,
        Command::Client(noun) => client_config::run(&noun),
        Command::Create(noun) => noun.run(global).await,
        Command::Debug(args) => debug::run(&args, global).await,
        Command::Delete(noun) => noun.run(global).await,
        Command::Describe(noun) => noun.run(global).await,
        Command::Get(noun) => noun.run(global).await,
        Command::Install(args) => install::run(&args, global).await,
        Command::Kopia(args) => kopia::run(*args).await,
        Command::Plugin(verb) => plugin::run(verb, global).await,
        Command::Repo(verb) => repo::run(verb, global).await,
        Command::Restore(verb) => restore::run(verb, global).await,
        Command::Schedule(verb) => schedule::run(verb, global).await,
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => crate::sandbox::run(&args, global).await,
        #[cfg(not(feature = "sandbox"))]
        Command::Sandbox(_) => Err(Failure::usage(
            "this build of velero has no sandbox, as the image never has",
        )
        .next("cargo run --release -- sandbox    (in a checkout)")),
        Command::SnapshotLocation(verb) => snapshot_location::run(verb, global).await,
        Command::Uninstall(args) => Box::pin(uninstall::run(&args, global)).await,
        Command::Version(args) => version::run(&args, global).await,
        Command::Server(args) => crate::server::main(*args).await.map_err(daemon),
        Command::NodeAgent(NodeAgent::Server(args)) => crate::node_agent::main(args).await.map_err(daemon),
        Command::DataMover(command) => crate::data_mover::main(command).await.map_err(daemon),
        Command::RepoMaintenance(args) => crate::repo_maintenance::main(args).await.map_err(daemon),
        Command::RepoCheck(args) => crate::repo_check::main(args).await.map_err(daemon),
    }
}

/// Runs what somebody types, against a cluster of this process.
#[cfg(feature = "sandbox")]
pub async fn run_typed(line: &str, cluster: Client) -> Outcome {
    let mut cli =
        Cli::try_parse_from(words_of(line)).map_err(|error| Failure::usage(format!("{line}: {error}")))?;
    cli.global.own_cluster = Some(OwnCluster(cluster));
    dispatch(cli).await
}

/// The words of a line, as a shell sees them; double quotes keep blanks together.
#[cfg(feature = "sandbox")]
fn words_of(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            letter => word.push(letter),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Runs what a container of our image runs, as a task. An error is the exit code, and what the container says then.
#[cfg(feature = "sandbox")]
pub async fn run_in_container(command: &[String], process: Process) -> Result<(), (u8, String)> {
    let cli = Cli::try_parse_from(command).map_err(|error| (2, error.to_string()))?;
    let ended = match cli.command {
        Command::Server(args) => crate::server::run(*args, process).await,
        Command::NodeAgent(NodeAgent::Server(args)) => crate::node_agent::run(args, process).await,
        Command::DataMover(command) => crate::data_mover::run(command, process).await,
        Command::RepoMaintenance(args) => crate::repo_maintenance::run(args, process).await,
        Command::RepoCheck(args) => crate::repo_check::run(args, process).await,
        _ => {
            let text = format!(
                "{command:?}: in a container the sandbox runs the server, the node agent, data movers, maintenance and checks of repositories"
            );
            return Err((2, text));
        }
    };
    ended.map_err(|error| (1, daemon(error).to_string()))
}

fn daemon(error: anyhow::Error) -> Failure {
    Failure::new(format!("{error:#}"))
}

/// Help goes to standard output with code 0; everything else clap has to say ends with 2.
fn refused(args: &[String], error: &clap::Error) -> ExitCode {
    if let Some(text) = not_yet::explain(args, error) {
        return report(&Failure::usage(text).next("velero --help"));
    }
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn report(failure: &Failure) -> ExitCode {
    eprintln!("{failure}");
    ExitCode::from(failure.code())
}
