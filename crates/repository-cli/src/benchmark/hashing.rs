//! `velero kopia benchmark hashing`.

use caravel_repository::{Cipher, HashAlgorithm};

use super::{print, sealer, throughput};
use crate::{console::Console, failure::Outcome, units};

/// How fast each algorithm names contents.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Bytes of one content.
    #[arg(long, default_value = "1MB", value_name = "SIZE", value_parser = units::parse_size)]
    block_size: u64,
    /// How often.
    #[arg(long, default_value_t = 100, value_name = "N")]
    repeat: u64,
    /// Threads.
    #[arg(long, default_value_t = 1, value_name = "N")]
    parallel: usize,
    /// Print the flag of `repository create` too.
    #[arg(long)]
    print_options: bool,
}

/// Runs the command.
pub fn run(args: &Args, console: &Console) -> Outcome {
    let data = vec![0; units::in_memory(args.block_size)?];
    let mut results = Vec::new();
    for hash in HashAlgorithm::ALL {
        let name = hash.name();
        console.say(format!("Benchmarking hash '{name}'..."));
        let sealer = sealer(hash, Cipher::Aes256Gcm)?;
        let speed = throughput(args.parallel, data.len() as u64 * args.repeat, || {
            for _ in 0..args.repeat {
                std::hint::black_box(sealer.hash(std::hint::black_box(&data)));
            }
        });
        results.push((name, speed));
    }
    print(console, "Hash", "block-hash", args.print_options, results)
}
