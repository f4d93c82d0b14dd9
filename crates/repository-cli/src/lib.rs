//! The engine's own commands: `velero kopia …`, with Kopia's verbs, flags and JSON (Kopia v0.22.3, folder `cli`), for
//! repositories that need no cluster to be looked at. No Kubernetes in its tree.
//!
//! | file | what |
//! |---|---|
//! | `<noun>/<verb>.rs` | a verb as the user types it: flags, and what it does |
//! | `app.rs` | what every verb has: console, settings of the connection, an opened repository |
//! | `connection.rs`, `config_file.rs` | which repository, as whom; kept in a file of ours |
//! | `caching.rs` | where a connection keeps copies of what it read |
//! | `place.rs` | `<id>/path/below` → an entry of a snapshot |
//! | `console.rs`, `units.rs`, `json.rs` | standard output, progress on a terminal, Kopia's way to write figures |
//! | `memory.rs` | what a program says to the kernel and the allocator before it begins |
//! | `warnings.rs` | what the engine warns of, on standard error |
//! | `failure.rs` | what failed, because of what, what to type next |
//!
//! Verbs are plain blocking functions: [`run`] moves the whole command to a thread that may block.

mod app;
mod benchmark;
mod blob;
mod cache;
mod caching;
mod config_file;
mod connection;
mod console;
mod content;
mod diff;
mod failure;
mod index;
mod json;
mod ls;
mod maintenance;
mod manifest;
pub mod memory;
mod place;
mod policy;
mod repository;
mod show;
mod snapshot;
mod units;
pub mod warnings;

use std::path::PathBuf;

use clap::Subcommand;
use secrecy::SecretString;

use app::App;
pub use console::{Captured, Console};
pub use failure::{Failure, Outcome};

/// Work with Kopia repositories: in a folder, in a bucket, and those that Velero keeps in a bucket.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    noun: Noun,
}

/// Flags of every verb.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Global {
    /// File that remembers which repository is connected [default: ~/.config/velero/kopia.config].
    #[arg(long, global = true, value_name = "FILE", env = "VELERO_KOPIA_CONFIG_PATH")]
    pub config_file: Option<PathBuf>,
    /// Password of the repository; asked for on a terminal when it is nowhere.
    #[arg(long, short = 'p', global = true, env = "KOPIA_PASSWORD", hide_env_values = true, value_parser = secret)]
    pub password: Option<SecretString>,
    /// Show no progress.
    #[arg(long, global = true)]
    pub no_progress: bool,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Create, connect to and look at repositories.
    #[command(subcommand, visible_alias = "repo")]
    Repository(Box<repository::Verb>),
    /// Take, list, restore, check and delete snapshots.
    #[command(subcommand, visible_alias = "snap")]
    Snapshot(snapshot::Verb),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    #[command(visible_alias = "cat")]
    Show(show::Args),
    Diff(diff::Args),
    /// Look at contents: the pieces that files are made of.
    #[command(subcommand)]
    Content(content::Verb),
    /// Look at blobs: what the storage holds.
    #[command(subcommand)]
    Blob(blob::Verb),
    /// Look at the index: which blob holds which content.
    #[command(subcommand)]
    Index(index::Verb),
    /// Look at manifests: snapshots, policies and settings as documents.
    #[command(subcommand)]
    Manifest(manifest::Verb),
    /// Keep the repository small and free of what nobody needs.
    #[command(subcommand)]
    Maintenance(maintenance::Verb),
    /// Say how long snapshots are kept.
    #[command(subcommand)]
    Policy(policy::Verb),
    /// Look at, empty and limit this host's copies of what was read.
    #[command(subcommand)]
    Cache(cache::Verb),
    /// Measure what this machine does with each algorithm.
    #[command(subcommand)]
    Benchmark(benchmark::Verb),
}

fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text))
}

/// Trees are gone through by recursion, as deep as [`caravel_repository::DEEPEST`] says. What is not used of it
/// costs nothing.
const STACK_BYTES: usize = 128 << 20;

/// Runs a command to its end. What it prints goes to `console`.
///
/// # Errors
/// With what failed, because of what, and what to type next; nothing of it holds a password or a key.
pub async fn run(args: Args, console: Console) -> Outcome {
    let runtime = tokio::runtime::Handle::current();
    let (done, outcome) = tokio::sync::oneshot::channel();
    let command = std::thread::Builder::new()
        .name("command".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let _entered = runtime.enter();
            let console = console.quiet(args.global.no_progress);
            // Nobody waits any more when the caller was dropped.
            let _ = done.send(dispatch(args.noun, &App::new(args.global, console)));
        })
        .map_err(|error| Failure::new(format!("starting a thread: {error}")))?;
    match (outcome.await, command.join()) {
        (Ok(outcome), Ok(())) => outcome,
        (Err(_), Ok(())) => Err(Failure::new("the command ended without a result")),
        (_, Err(panic)) => std::panic::resume_unwind(panic),
    }
}

fn dispatch(noun: Noun, app: &App) -> Outcome {
    match noun {
        Noun::Repository(verb) => repository::run(*verb, app),
        Noun::Snapshot(verb) => snapshot::run(verb, app),
        Noun::Ls(args) => ls::run(&args, app),
        Noun::Show(args) => show::run(&args, app),
        Noun::Diff(args) => diff::run(&args, app),
        Noun::Content(verb) => content::run(verb, app),
        Noun::Blob(verb) => blob::run(verb, app),
        Noun::Index(verb) => index::run(verb, app),
        Noun::Manifest(verb) => manifest::run(verb, app),
        Noun::Maintenance(verb) => maintenance::run(verb, app),
        Noun::Policy(verb) => policy::run(verb, app),
        Noun::Cache(verb) => cache::run(verb, app),
        Noun::Benchmark(verb) => benchmark::run(verb, app),
    }
}
