//! `velero kopia content stats`.

use std::collections::BTreeMap;

use super::Range;
use crate::{
    app::{App, Sight},
    failure::Outcome,
    units,
};

/// Count and size of contents.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Plain numbers.
    #[arg(short, long)]
    raw: bool,
    #[command(flatten)]
    range: Range,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    count: u64,
    original: u64,
    packed: u64,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open_seeing(Sight::Storage)?;
    let mut contents = repository.contents();
    contents.retain(|content| !content.deleted && args.range.has(content));
    let (mut all, mut by_method) = (Totals::default(), BTreeMap::<u32, Totals>::new());
    for content in &contents {
        for totals in [&mut all, by_method.entry(content.compression).or_default()] {
            totals.count += 1;
            totals.original += u64::from(content.original_length);
            totals.packed += u64::from(content.packed_length);
        }
    }
    let size = |bytes| units::bytes_or_raw(bytes, !args.raw);
    let console = &app.console;
    console.line(format!("Count: {}", all.count))?;
    console.line(format!("Total Bytes: {}", size(all.original)))?;
    if all.packed < all.original {
        let saved = units::compression(all.original, all.packed);
        console.line(format!(
            "Total Packed: {} (compression {saved})",
            size(all.packed)
        ))?;
    }
    if by_method.len() > 1 {
        console.line("By Method:")?;
        for (method, totals) in &by_method {
            console.line(match method {
                0 => format!(
                    "  {:<22} count: {} size: {}",
                    "(uncompressed)",
                    totals.count,
                    size(totals.original)
                ),
                _ => format!(
                    "  {:<22} count: {} size: {} packed: {} compression: {}",
                    units::compressor(*method),
                    totals.count,
                    size(totals.original),
                    size(totals.packed),
                    units::compression(totals.original, totals.packed)
                ),
            })?;
        }
    }
    if let Some(average) = all.original.checked_div(all.count) {
        console.line(format!("Average: {}", size(average)))?;
        let lengths = contents.iter().map(|content| u64::from(content.packed_length));
        for line in histogram(lengths, !args.raw) {
            console.line(line)?;
        }
    }
    console.flush()
}

/// How many of each order of magnitude, up to 100 MB.
pub(crate) fn histogram(lengths: impl Iterator<Item = u64>, human: bool) -> Vec<String> {
    let mut buckets = [(0u64, 0u64); 8];
    for length in lengths {
        let bucket = (1..=8).find(|power| length < 10u64.pow(*power));
        if let Some(power) = bucket {
            let (count, total) = &mut buckets[power as usize - 1];
            *count += 1;
            *total += length;
        }
    }
    let mut lines = vec!["Histogram:".to_owned(), String::new()];
    let mut last = 0;
    for (power, (count, total)) in buckets.iter().enumerate() {
        let to = 10u64.pow(power as u32 + 1);
        let [from, upto, total] = [last, to, *total].map(|bytes| units::bytes_or_raw(bytes, human));
        lines.push(format!("{count:>9} between {from} and {upto} (total {total})"));
        last = to;
    }
    lines
}
