//! Verbs as the user types them: a folder per noun, a file per verb.
//!
//! This file holds the tree of commands and hands each its arguments. Beside the nouns: what all verbs share
//! (`connection`, `flags`, `output`, `failure`), how text is laid out (`tab_writer`), what is refused (`not_yet`).
//! Exit codes: 0 done · 1 failed · 2 the command line is wrong, or asks for what this version does not have yet.

mod backup;
mod connection;
mod describe;
mod download;
mod failure;
mod flags;
mod follow;
pub(crate) mod install;
mod location;
mod not_yet;
mod output;
mod restore;
mod tab_writer;
mod velero_commands;
mod version;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::connection::Global;
use self::failure::{Failure, Outcome};

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
    Install(Box<install::Args>),
    /// Work with restores.
    #[command(subcommand)]
    Restore(restore::Verb),
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
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::new(format!("starting threads: {error}"))),
    };
    let namespace = cli.global.namespace();
    match runtime.block_on(Box::pin(dispatch(cli))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure.in_namespace(&namespace)),
    }
}

async fn dispatch(cli: Cli) -> Outcome {
    let global = &cli.global;
    match cli.command {
        Command::Backup(verb) => backup::run(verb, global).await,
        Command::Install(args) => install::run(&args, global).await,
        Command::Restore(verb) => restore::run(verb, global).await,
        Command::Version(args) => version::run(&args, global).await,
        Command::Server(args) => crate::server::main(*args).await.map_err(daemon),
        Command::NodeAgent(NodeAgent::Server(args)) => crate::node_agent::main(args).await.map_err(daemon),
        Command::DataMover(command) => crate::data_mover::main(command).await.map_err(daemon),
    }
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
