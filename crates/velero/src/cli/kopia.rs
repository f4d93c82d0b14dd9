//! `velero kopia …`: the commands of `crates/repository-cli`, which need no cluster.

use caravel_repository_cli::{Args, Console};

use super::failure::{Failure, Outcome};

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    let outcome = caravel_repository_cli::run(args, Console::standard()).await;
    outcome.map_err(|failure| {
        let told = match failure.code() {
            2 => Failure::usage(failure.message()),
            _ => Failure::new(failure.message()),
        };
        match failure.advice() {
            Some(next) => told.next(next),
            None => told,
        }
    })
}
