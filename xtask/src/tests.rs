//! `cargo xtask test`: builds every test, then runs the binaries side by side.
//!
//! Many of our tests wait (for a lease to run out, for a process that they killed) more than they compute, and `cargo test` runs
//! one binary after the other. Here one more runs at once than there are processors, the long ones first, each with its
//! output in a file of its own that is shown when it ends.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::tools;

/// Names of test targets that take longest, longest first: begun first, so that none of them runs alone at the end. A name
/// that is missing here costs time, never a result.
const LONG: [&str; 12] = [
    "sandbox_demo",
    "maintenance_crash",
    "sabotage",
    "seeds",
    "kopia_formats",
    "kopia",
    "killed",
    "caravel_uploader",
    "upkeep",
    "kopia_legacy",
    "restarts",
    "caravel_controllers",
];

/// No binary of ours takes a fifth of this on two processors: one that does hangs, and is ended.
const DEADLINE: Duration = Duration::from_secs(900);

/// One thing to run.
struct Job {
    /// What a person reads: package and target.
    title: String,
    /// The command that runs it alone.
    again: String,
    program: PathBuf,
    arguments: Vec<String>,
    /// The package's folder: where cargo runs tests, and where they look for their files.
    folder: PathBuf,
    rank: usize,
}

/// What became of a job.
struct Ended {
    title: String,
    again: String,
    took: Duration,
    failed: Option<String>,
}

/// Builds all tests of the workspace and runs them, those of its documentation too.
///
/// # Errors
/// When they do not compile, or naming each binary that failed and the command that runs it alone.
pub fn run(environment: &[(&str, String)]) -> Result<()> {
    let mut jobs = build(environment)?;
    jobs.push(documentation());
    jobs.sort_by_key(|job| job.rank);
    let outputs = tools::target()?.join("tests");
    std::fs::create_dir_all(&outputs)
        .with_context(|| format!("cannot make {} for the tests' output", outputs.display()))?;
    let at_once = std::thread::available_parallelism().map_or(2, usize::from) + 1;
    let begun = Instant::now();
    let queue = Mutex::new(VecDeque::from(jobs));
    let ended = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                // A poisoned lock is a worker that panicked: the scope hands that panic on.
                while let Some(job) = queue.lock().ok().and_then(|mut queue| queue.pop_front()) {
                    let one = play(job, &outputs, environment);
                    if let Ok(mut ended) = ended.lock() {
                        ended.push(one);
                    }
                }
            });
        }
    });
    report(ended.into_inner().unwrap_or_default(), begun.elapsed())
}

#[derive(Deserialize)]
struct Artifact {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds; cargo tells which binaries there are.
fn build(environment: &[(&str, String)]) -> Result<Vec<Job>> {
    let arguments = [
        "test",
        "--workspace",
        "--locked",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ];
    let output = Command::new("cargo")
        .args(arguments)
        .envs(environment.iter().map(|(key, value)| (*key, value.as_str())))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start `cargo test --no-run`")?;
    if !output.status.success() {
        bail!("the tests do not build: `cargo test --workspace --no-run` says why");
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).context("cargo wrote a message that is not one of its own"))
        .filter_map(|artifact: Result<Artifact>| artifact.map(job).transpose())
        .collect()
}

fn job(artifact: Artifact) -> Option<Job> {
    let (program, target) = (artifact.executable?, artifact.target?);
    if artifact.reason != "compiler-artifact" || !artifact.profile?.test {
        return None;
    }
    let folder = artifact.manifest_path?.parent()?.to_owned();
    let package = folder.file_name()?.to_string_lossy().into_owned();
    let kind = match target.kind.first()?.as_str() {
        "test" => format!("--test {}", target.name),
        "bin" => format!("--bin {}", target.name),
        "example" => format!("--example {}", target.name),
        _ => "--lib".to_owned(),
    };
    Some(Job {
        title: format!("{package} {}", target.name),
        again: format!(
            "cargo test --manifest-path {}/Cargo.toml {kind}",
            folder.display()
        ),
        rank: LONG
            .iter()
            .position(|long| *long == target.name)
            .unwrap_or(LONG.len()),
        program,
        arguments: Vec::new(),
        folder,
    })
}

/// The examples in the documentation: cargo alone knows how to build and run them.
fn documentation() -> Job {
    let arguments = ["test", "--workspace", "--locked", "--no-fail-fast", "--doc"].map(str::to_owned);
    Job {
        title: "examples in the documentation".into(),
        again: "cargo test --workspace --doc".into(),
        program: "cargo".into(),
        arguments: arguments.into(),
        folder: caravel_e2e::places::checkout().to_owned(),
        rank: 0,
    }
}

fn play(job: Job, outputs: &Path, environment: &[(&str, String)]) -> Ended {
    let begun = Instant::now();
    let log = outputs.join(format!("{}.txt", job.title.replace([' ', '/'], "-")));
    let failed = match play_into(&job, &log, environment) {
        Ok(Some(status)) if status.success() => None,
        Ok(Some(status)) => Some(status.to_string()),
        Ok(None) => Some(format!("hung: ended after {} minutes", DEADLINE.as_secs() / 60)),
        Err(error) => Some(format!("{error:#}")),
    };
    let took = begun.elapsed();
    show(&job.title, &log, took);
    Ended {
        title: job.title,
        again: job.again,
        took,
        failed,
    }
}

/// Runs the job as cargo would; `None` when it had to be ended.
fn play_into(job: &Job, log: &Path, environment: &[(&str, String)]) -> Result<Option<ExitStatus>> {
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut child = Command::new(&job.program)
        .args(&job.arguments)
        .current_dir(&job.folder)
        .env("CARGO_MANIFEST_DIR", &job.folder)
        .envs(environment.iter().map(|(key, value)| (*key, value.as_str())))
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("cannot share the output's file")?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("cannot start {}", job.program.display()))?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child
            .try_wait()
            .context("cannot ask for the end of a test binary")?
        {
            return Ok(Some(status));
        }
        if begun.elapsed() > DEADLINE {
            child.kill().context("cannot end a test binary that hangs")?;
            child
                .wait()
                .context("cannot wait for a test binary that was ended")?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A job's output in one piece, so that those of two jobs never mix.
fn show(title: &str, log: &Path, took: Duration) {
    let output = std::fs::read(log).unwrap_or_default();
    let mut stdout = std::io::stdout().lock();
    // Nobody reads any more: the result still counts.
    let _ = writeln!(stdout, "\n     Ran {title} in {:.1} s", took.as_secs_f64())
        .and_then(|()| stdout.write_all(&output))
        .and_then(|()| stdout.flush());
}

fn report(mut ended: Vec<Ended>, took: Duration) -> Result<()> {
    ended.sort_by_key(|one| std::cmp::Reverse(one.took));
    println!("\nlongest:");
    for one in ended.iter().take(12) {
        println!("{:>8.1} s  {}", one.took.as_secs_f64(), one.title);
    }
    let failed: Vec<&Ended> = ended.iter().filter(|one| one.failed.is_some()).collect();
    println!(
        "{} binaries in {:.0} s, {} failed",
        ended.len(),
        took.as_secs_f64(),
        failed.len()
    );
    for one in &failed {
        let why = one.failed.as_deref().unwrap_or_default();
        println!("FAILED {} ({why}); alone: {}", one.title, one.again);
    }
    if !failed.is_empty() {
        bail!("{} of {} test binaries failed", failed.len(), ended.len());
    }
    Ok(())
}
