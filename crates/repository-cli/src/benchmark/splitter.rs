//! `velero kopia benchmark splitter`.

use caravel_repository::splitter::{self, Rule, Splitter};
use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};

use super::{RULE, throughput};
use crate::{
    console::Console,
    failure::{Failure, Outcome},
    units,
};

/// How fast each splitter cuts files, and into pieces of what length.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the data comes from: the same number, the same data.
    #[arg(long, default_value_t = 42, value_name = "N")]
    rand_seed: u64,
    /// Bytes of one file.
    #[arg(long, default_value = "32MB", value_name = "SIZE", value_parser = units::parse_size)]
    data_size: u64,
    /// Files.
    #[arg(long, default_value_t = 16, value_name = "N")]
    block_count: usize,
    /// Threads.
    #[arg(long, default_value_t = 1, value_name = "N")]
    parallel: usize,
    /// Print the flag of `repository create` that chooses the fastest of those that find inserted bytes.
    #[arg(long)]
    print_options: bool,
}

/// Runs the command.
pub fn run(args: &Args, console: &Console) -> Outcome {
    let length = units::in_memory(args.data_size)?;
    units::in_memory(args.data_size.saturating_mul(args.block_count as u64))?;
    let mut random = StdRng::seed_from_u64(args.rand_seed);
    let files: Vec<Vec<u8>> = (0..args.block_count)
        .map(|_| {
            let mut file = vec![0; length];
            random.fill_bytes(&mut file);
            file
        })
        .collect();
    if length == 0 || files.is_empty() {
        return Err(Failure::usage("--data-size and --block-count must be above 0"));
    }
    let mut results = Vec::new();
    for name in splitter::names() {
        let rule = Rule::by_name(&name)?;
        let mut lengths: Vec<usize> = files.iter().flat_map(|file| cut(rule, file)).collect();
        let speed = throughput(args.parallel, (length * files.len()) as u64, || {
            for file in &files {
                std::hint::black_box(cut(rule, file));
            }
        });
        lengths.sort_unstable();
        let part = |percent: usize| lengths[(lengths.len() * percent / 100).min(lengths.len() - 1)];
        console.line(format!(
            "{name:<25} {:>12}/s count:{} min:{} 10th:{} 25th:{} 50th:{} 75th:{} 90th:{} max:{}",
            units::bytes(speed as u64),
            lengths.len(),
            part(0),
            part(10),
            part(25),
            part(50),
            part(75),
            part(90),
            part(100)
        ))?;
        results.push((name, speed));
    }
    console.line(RULE)?;
    results.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (number, (name, speed)) in results.iter().enumerate() {
        let speed = units::bytes(*speed as u64);
        console.line(format!("{number:>3}. {name:<25} {speed}/s"))?;
    }
    let fastest = results.iter().find(|(name, _)| name.starts_with("DYNAMIC-"));
    if let Some((name, _)) = fastest.filter(|_| args.print_options) {
        console.line(format!(
            "Fastest option for this machine is: --object-splitter={name}"
        ))?;
    }
    console.flush()
}

/// The lengths of a file's pieces.
fn cut(rule: Rule, mut rest: &[u8]) -> Vec<usize> {
    let (mut splitter, mut lengths) = (Splitter::new(rule), Vec::new());
    while !rest.is_empty() {
        let length = splitter.next_cut(rest).unwrap_or(rest.len());
        lengths.push(length);
        rest = &rest[length..];
    }
    lengths
}
