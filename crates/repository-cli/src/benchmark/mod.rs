//! `velero kopia benchmark …`: what this machine does with each algorithm. No repository is needed.

mod compression;
mod encryption;
mod hashing;
mod splitter;

use std::{thread, time::Instant};

use caravel_repository::{
    Cipher, Environment, HashAlgorithm,
    crypto::{Algorithms, Sealer},
};
use clap::Subcommand;

use crate::{
    app::App,
    console::Console,
    failure::{Failure, Outcome},
    units,
};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    #[command(visible_alias = "hash")]
    Hashing(hashing::Args),
    Encryption(encryption::Args),
    Splitter(splitter::Args),
    Compression(compression::Args),
}

/// Runs the verb.
pub fn run(verb: Verb, app: &App) -> Outcome {
    match verb {
        Verb::Hashing(args) => hashing::run(&args, &app.console),
        Verb::Encryption(args) => encryption::run(&args, &app.console),
        Verb::Splitter(args) => splitter::run(&args, &app.console),
        Verb::Compression(args) => compression::run(&args, &app.console),
    }
}

/// Does `work` on as many threads; bytes a second of all of them, when one works on `bytes`.
fn throughput(parallel: usize, bytes: u64, work: impl Fn() + Sync) -> f64 {
    let parallel = parallel.clamp(1, 256);
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 1..parallel {
            scope.spawn(&work);
        }
        work();
    });
    bytes as f64 * parallel as f64 / begun.elapsed().as_secs_f64().max(1e-9)
}

/// Names and seals with these two, under keys of zeros.
fn sealer(hash: HashAlgorithm, cipher: Cipher) -> Outcome<Sealer> {
    let algorithms = Algorithms {
        hash,
        cipher,
        correction: None,
    };
    Sealer::new(algorithms, &[0; 32], &[0; 32], Environment::system())
        .ok_or_else(|| Failure::new(format!("{} takes no key of 32 bytes", hash.name())))
}

const RULE: &str = "-----------------------------------------------------------------";

/// Results, the fastest first, and which flag chooses it.
fn print(
    console: &Console,
    title: &str,
    flag: &str,
    options: bool,
    mut results: Vec<(&str, f64)>,
) -> Outcome {
    results.sort_by(|a, b| b.1.total_cmp(&a.1));
    let width = results
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0)
        .max(20);
    console.line(format!("     {title:<width$} Throughput"))?;
    console.line(RULE)?;
    for (number, (name, speed)) in results.iter().enumerate() {
        let option = if options {
            format!(",   --{flag}={name}")
        } else {
            String::new()
        };
        let speed = units::bytes(*speed as u64);
        console.line(format!("{number:>3}. {name:<width$} {speed} / second{option}"))?;
    }
    console.line(RULE)?;
    if let Some((name, _)) = results.first() {
        console.line(format!("Fastest option for this machine is: --{flag}={name}"))?;
    }
    console.flush()
}
