//! `velero kopia benchmark encryption`.

use caravel_repository::{Cipher, HashAlgorithm};

use super::{print, sealer, throughput};
use crate::{console::Console, failure::Outcome, units};

/// How fast each algorithm seals contents.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Bytes of one content.
    #[arg(long, default_value = "1MB", value_name = "SIZE", value_parser = units::parse_size)]
    block_size: u64,
    /// How often.
    #[arg(long, default_value_t = 1000, value_name = "N")]
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
    for cipher in Cipher::ALL {
        let name = cipher.name();
        console.say(format!("Benchmarking encryption '{name}'..."));
        let sealer = sealer(HashAlgorithm::Blake2b256Cut128, cipher)?;
        let speed = throughput(args.parallel, data.len() as u64 * args.repeat, || {
            let mut out = Vec::new();
            for _ in 0..args.repeat {
                out.clear();
                sealer.seal_into(&[0; 16], std::hint::black_box(&data), &mut out);
                std::hint::black_box(&out);
            }
        });
        results.push((name, speed));
    }
    print(console, "Encryption", "encryption", args.print_options, results)
}
