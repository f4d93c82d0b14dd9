//! `simulate`: plays histories from seeds; `cargo xtask simulate` builds and runs it.
//!
//! A step is one write to the API, one write to object storage or one fault (`trace.rs`); reads are none.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use caravel_simulation::{Plan, Report, difference, play, shrink};
use clap::Parser;

/// What a step costs is mostly small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// Seeds that are played side by side; as many as the machine has processors when not said.
    #[arg(long)]
    jobs: Option<usize>,
    /// Instead of random operations: one backup and one restore, while the server is killed at random awaits.
    #[arg(long)]
    restarts: bool,
    /// Among the operations are backups whose snapshots stay in the storage, and their deletion.
    #[arg(long, conflicts_with = "restarts")]
    snapshots: bool,
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
    let begun = Instant::now();
    let mut total = Total::default();
    let failed = each_seed(&args, |played| {
        println!("{}", line(&played.report));
        if args.trace {
            played.report.trace.iter().for_each(|line| println!("{line}"));
        }
        total.add(&played.report);
        if let Some(again) = &played.again {
            total.add(again);
        }
        played.is_failure().then_some(played)
    });
    match failed {
        Some(played) => {
            tell(played, &args);
            ExitCode::FAILURE
        }
        None => {
            println!("{}", total.line(begun.elapsed()));
            ExitCode::SUCCESS
        }
    }
}

/// One seed, played once or twice.
struct Played {
    report: Report,
    again: Option<Report>,
    /// Where the two runs differ.
    difference: Option<String>,
}

impl Played {
    fn of(seed: u64, args: &Args) -> Self {
        let plan = if args.restarts {
            Plan::Restarts
        } else if args.snapshots {
            Plan::Snapshots { steps: args.steps }
        } else {
            Plan::Random { steps: args.steps }
        };
        let report = play(seed, &plan);
        let is_well = report.violations.is_empty();
        let again = (args.twice && is_well).then(|| play(seed, &plan));
        let difference = again
            .as_ref()
            .and_then(|again| difference(&report.trace, &again.trace));
        Self {
            report,
            again,
            difference,
        }
    }

    fn is_failure(&self) -> bool {
        self.difference.is_some() || !self.report.violations.is_empty()
    }
}

/// Plays the seeds, several side by side, and tells of each, the lowest first, until `tell` has seen enough.
fn each_seed<T>(args: &Args, mut tell: impl FnMut(Played) -> Option<T>) -> Option<T> {
    let seeds = args.from..args.from.saturating_add(args.seeds);
    let (next, enough) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let (sender, all_played) = std::sync::mpsc::channel();
    let jobs = args
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (sender, next, enough, seeds) = (sender.clone(), &next, &enough, seeds.clone());
            scope.spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) || sender.send((seed, Played::of(seed, args))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut due = seeds.start;
        for (seed, played) in all_played {
            early.insert(seed, played);
            while let Some(played) = early.remove(&due) {
                due += 1;
                if let Some(told) = tell(played) {
                    enough.store(true, Ordering::Relaxed);
                    return Some(told);
                }
            }
        }
        None
    })
}

fn line(report: &Report) -> String {
    if report.kills > 0 {
        return format!(
            "seed {}: {} kills, {} of them in progress, {} steps, {} volumes compared, {:.1} h in {:.2} s",
            report.seed,
            report.kills,
            report.kills_in_progress,
            report.steps,
            report.compared,
            report.virtual_time.as_secs_f64() / 3600.0,
            report.real_time.as_secs_f64(),
        );
    }
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

fn tell(played: Played, args: &Args) {
    let report = played.report;
    if let Some(difference) = played.difference {
        println!("seed {}: two runs differ:\n{difference}", report.seed);
        return;
    }
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
        "again: cargo xtask simulate --seeds 1 --from {seed} {}",
        if args.restarts {
            "--restarts".to_owned()
        } else {
            format!("--steps {}", args.steps)
        }
    );
}

#[derive(Default)]
struct Total {
    histories: u64,
    kills: usize,
    kills_in_progress: usize,
    steps: u64,
    faults: u64,
    compared: usize,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.histories += 1;
        self.kills += report.kills;
        self.kills_in_progress += report.kills_in_progress;
        self.steps += report.steps;
        self.faults += report.faults;
        self.compared += report.compared;
    }

    fn line(&self, time: Duration) -> String {
        let killed = match self.kills {
            0 => String::new(),
            kills => format!(
                "the server killed {kills} times, {} of them in progress, ",
                self.kills_in_progress
            ),
        };
        format!(
            "{} histories, {killed}{} steps, {} faults, {} restored volumes compared, nothing violated: {:.1} s, {:.0} steps/s",
            self.histories,
            self.steps,
            self.faults,
            self.compared,
            time.as_secs_f64(),
            self.steps as f64 / time.as_secs_f64(),
        )
    }
}
