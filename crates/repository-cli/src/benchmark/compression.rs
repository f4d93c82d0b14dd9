//! `velero kopia benchmark compression`.

use std::{fs::File, io::Read as _, path::PathBuf};

use caravel_repository::{Compressor, content::compression};
use clap::ValueEnum;

use super::{RULE, throughput};
use crate::{
    console::Console,
    failure::{Failure, Outcome},
    units,
};

/// No more of a file is compressed.
const MOST: u64 = 128 << 20;

/// How fast each algorithm compresses a file of yours, and how small.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file.
    #[arg(long, value_name = "FILE")]
    data_file: PathBuf,
    /// How often; 0: until 128 MiB.
    #[arg(long, default_value_t = 0, value_name = "N")]
    repeat: u64,
    /// Threads.
    #[arg(long, default_value_t = 1, value_name = "N")]
    parallel: usize,
    /// Which way.
    #[arg(long, value_enum, default_value = "both")]
    operations: Operations,
    /// The smallest first, not the fastest.
    #[arg(long)]
    by_size: bool,
    /// Also those that Kopia advises against.
    #[arg(long)]
    deprecated: bool,
    /// Only those whose names start so, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    algorithms: Vec<String>,
    /// Print the flag of `policy set` too.
    #[arg(long)]
    print_options: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Operations {
    Compress,
    Decompress,
    Both,
}

struct Measured {
    compressor: Compressor,
    size: usize,
    speed: f64,
}

/// Runs the command.
pub fn run(args: &Args, console: &Console) -> Outcome {
    let data = read(args, console)?;
    let repeat = match args.repeat {
        0 => (MOST / data.len() as u64).max(1),
        repeat => repeat,
    };
    let chosen: Vec<Compressor> = Compressor::ALL.into_iter().filter(|one| args.has(*one)).collect();
    if chosen.is_empty() {
        return Err(Failure::usage("--algorithms names none that can be written")
            .next("velero kopia benchmark compression --data-file FILE"));
    }
    console.say(format!("Repeating each {repeat} times."));
    let (mut packed, mut unpacked) = (Vec::new(), Vec::new());
    for compressor in chosen {
        console.say(format!("Benchmarking compressor '{}'...", compressor.name()));
        // What would not be smaller is stored as it is.
        let compressed = compression::compress(compressor, &data);
        let size = compressed.as_ref().map_or(data.len(), Vec::len);
        let bytes = data.len() as u64 * repeat;
        if args.operations != Operations::Decompress {
            let speed = throughput(args.parallel, bytes, || {
                for _ in 0..repeat {
                    std::hint::black_box(compression::compress(compressor, &data));
                }
            });
            packed.push(Measured {
                compressor,
                size,
                speed,
            });
        }
        if let Some(compressed) = compressed.filter(|_| args.operations != Operations::Compress) {
            if compression::decompress(compressor.id(), &compressed, data.len())? != data {
                return Err(Failure::new(format!(
                    "{} gave other bytes back",
                    compressor.name()
                )));
            }
            let speed = throughput(args.parallel, bytes, || {
                for _ in 0..repeat {
                    let plain = compression::decompress(compressor.id(), &compressed, data.len());
                    std::hint::black_box(plain.is_ok());
                }
            });
            unpacked.push(Measured {
                compressor,
                size,
                speed,
            });
        }
    }
    for (title, results) in [("Compression", packed), ("Decompression", unpacked)] {
        print(args, console, title, data.len(), results)?;
    }
    console.flush()
}

impl Args {
    fn has(&self, compressor: Compressor) -> bool {
        let name = compressor.name();
        if name == "lz4" {
            // It is read only.
            return false;
        }
        match self.algorithms.as_slice() {
            [] => self.deprecated || !compressor.is_deprecated(),
            names => names.iter().any(|start| name.starts_with(start.as_str())),
        }
    }
}

fn read(args: &Args, console: &Console) -> Outcome<Vec<u8>> {
    let failed =
        |error: std::io::Error| Failure::usage(format!("--data-file {}: {error}", args.data_file.display()));
    let file = File::open(&args.data_file).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > MOST {
        console.say(format!(
            "The file is large: its first {} are taken.",
            units::bytes(MOST)
        ));
    }
    let mut data = Vec::new();
    file.take(MOST).read_to_end(&mut data).map_err(failed)?;
    match data.is_empty() {
        true => Err(Failure::usage(format!("{} is empty", args.data_file.display()))),
        false => Ok(data),
    }
}

fn print(args: &Args, console: &Console, title: &str, plain: usize, mut results: Vec<Measured>) -> Outcome {
    if results.is_empty() {
        return Ok(());
    }
    match args.by_size {
        true => results.sort_by_key(|one| one.size),
        false => results.sort_by(|a, b| b.speed.total_cmp(&a.speed)),
    }
    console.line(format!("     {title:<26} {:<12} Throughput", "Compressed"))?;
    console.line(RULE)?;
    for (number, one) in results.iter().enumerate() {
        let name = one.compressor.name();
        let (size, speed) = (units::bytes(one.size as u64), units::bytes(one.speed as u64));
        let saved = units::compression(plain as u64, one.size as u64);
        let option = if args.print_options {
            format!(",   --compression={name}")
        } else {
            String::new()
        };
        console.line(format!(
            "{number:>3}. {name:<26} {size:<12} {speed}/s   {saved} smaller{option}"
        ))?;
    }
    Ok(())
}
