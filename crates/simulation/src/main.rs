//! `simulate`: plays histories from seeds; `cargo xtask simulate` builds and runs it.

use std::process::ExitCode;
use std::time::Duration;

use caravel_simulation::{Plan, Report, difference, play, shrink};
use clap::Parser;

/// Histories that are played at most to find a shorter one.
const SHRINKING: usize = 400;

/// Plays random histories of the whole system and checks what must hold.
#[derive(Parser)]
#[command(name = "simulate")]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Steps of a history before its faults end.
    #[arg(long, default_value_t = 1000)]
    steps: u64,
    /// Play each seed twice and compare the traces.
    #[arg(long)]
    twice: bool,
    /// Print the trace of each history.
    #[arg(long)]
    trace: bool,
    /// Leave a failing history as long as it is.
    #[arg(long)]
    no_shrink: bool,
    /// Print what the product logs, to standard error: error, warn, info, debug.
    #[arg(long)]
    log: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(level) = &args.log {
        tracing_subscriber::fmt()
            .with_env_filter(level)
            .with_writer(std::io::stderr)
            .init();
    }
    let mut total = Total::default();
    for seed in args.from..args.from.saturating_add(args.seeds) {
        let plan = Plan::Random { steps: args.steps };
        let report = play(seed, &plan);
        println!("{}", line(&report));
        if args.trace {
            report.trace.iter().for_each(|line| println!("{line}"));
        }
        total.add(&report);
        if !report.violations.is_empty() {
            tell(report, &args);
            return ExitCode::FAILURE;
        }
        if args.twice {
            let again = play(seed, &plan);
            total.add(&again);
            if let Some(difference) = difference(&report.trace, &again.trace) {
                println!("seed {seed}: two runs differ:\n{difference}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{}", total.line());
    ExitCode::SUCCESS
}

fn line(report: &Report) -> String {
    format!(
        "seed {}: {} operations, {} steps, {} faults, {} backups, {} volumes compared, {:.1} h in {:.2} s, {:.0} steps/s",
        report.seed,
        report.operations.len(),
        report.steps,
        report.faults,
        report.backups,
        report.compared,
        report.virtual_time.as_secs_f64() / 3600.0,
        report.real_time.as_secs_f64(),
        report.steps as f64 / report.real_time.as_secs_f64(),
    )
}

fn tell(report: Report, args: &Args) {
    for violation in &report.violations {
        println!("seed {}: {violation}", report.seed);
    }
    let (seed, invariant) = (report.seed, report.violations[0].invariant);
    let report = if args.no_shrink || report.operations.is_empty() {
        report
    } else {
        let shrunk = shrink(report, invariant, SHRINKING);
        println!(
            "shrunk in {} tries to {} operations:",
            shrunk.tries,
            shrunk.report.operations.len()
        );
        shrunk.report
    };
    report.trace.iter().for_each(|line| println!("{line}"));
    for violation in &report.violations {
        println!("seed {seed}: {violation}");
    }
    println!(
        "again: cargo xtask simulate --seeds 1 --from {seed} --steps {}",
        args.steps
    );
}

#[derive(Default)]
struct Total {
    histories: u64,
    steps: u64,
    compared: usize,
    time: Duration,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.histories += 1;
        self.steps += report.steps;
        self.compared += report.compared;
        self.time += report.real_time;
    }

    fn line(&self) -> String {
        format!(
            "{} histories, {} steps, {} restored volumes compared, nothing violated: {:.1} s, {:.0} steps/s",
            self.histories,
            self.steps,
            self.compared,
            self.time.as_secs_f64(),
            self.steps as f64 / self.time.as_secs_f64(),
        )
    }
}
