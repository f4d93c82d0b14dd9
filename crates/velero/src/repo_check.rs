//! `velero repo-check`: what the pod of a check's Job runs. The Job is made by `velero repo check`
//! (`cli/repo/check/`), the work is `crates/repository/src/verify/`: nothing is written, also not at a read-only location.
//!
//! What was found stands in the termination message, where the command looks for it; the log names every problem.

use anyhow::{anyhow, bail};
use caravel_backup_repository::Repository;
use caravel_backup_repository::verify::{Level, Report};

use crate::node_agent::Logging;
use crate::process::Process;
use crate::repo_pod::{self, shortened};

/// Problems that the last word names.
const NAMED: usize = 5;

/// Flags of `velero repo-check`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    logging: Logging,
    /// Namespace of the volumes that the repository holds.
    #[arg(long)]
    repo_name: String,
    /// Name of the BackupStorageLocation.
    #[arg(long)]
    backup_storage_location: String,
    /// Read so many of a hundred contents whole, chosen by chance.
    #[arg(long, default_value_t = 0.0)]
    read_percent: f64,
}

/// Runs as this process; an error makes the exit code 1.
pub async fn main(args: Args) -> anyhow::Result<()> {
    args.logging.start();
    run(args, Process::of_machine().await?.until_signal()?).await
}

/// Checks one repository, and leaves what was found where the command finds it.
pub async fn run(args: Args, process: Process) -> anyhow::Result<()> {
    let checked = tokio::select! {
        biased;
        done = Box::pin(work(&args, &process)) => done,
        () = process.shutdown.cancelled() => Err(anyhow!("the pod was told to end")),
    };
    let word = match &checked {
        Ok(report) => said(report),
        Err(error) => format!("the repository could not be checked: {error:#}"),
    };
    // The log tells the same.
    if let Err(error) = std::fs::write(&process.termination_log, shortened(&word)) {
        tracing::warn!(%error, "the termination message cannot be written");
    }
    match checked {
        Ok(report) if report.problems.is_empty() => {
            tracing::info!("{word}");
            Ok(())
        }
        _ => Err(anyhow!(word)),
    }
}

async fn work(args: &Args, process: &Process) -> anyhow::Result<Report> {
    let level = level(args.read_percent)?;
    let repository = open(args, process).await?;
    let engine = repository.clone();
    let verified = repository
        .environment()
        .run(move || engine.verify(level, &mut |_| true))
        .await;
    let report = verified.map_err(|error| anyhow!("the check was interrupted: {error}"))??;
    for problem in &report.problems {
        tracing::error!("{problem}");
    }
    Ok(report)
}

async fn open(args: &Args, process: &Process) -> anyhow::Result<Repository> {
    let context = repo_pod::context(process);
    let location = context.locations.by_name(&args.backup_storage_location).await?;
    repo_pod::open(&context, &location, &args.repo_name).await
}

fn level(percent: f64) -> anyhow::Result<Level> {
    match percent {
        0.0 => Ok(Level::Structure),
        100.0 => Ok(Level::AllBytes),
        some if (0.0..100.0).contains(&some) => Ok(Level::Sampled(some)),
        _ => bail!("--read-percent is a number from 0 to 100"),
    }
}

/// What was looked at, and what was found wrong.
fn said(report: &Report) -> String {
    let looked = format!(
        "{} snapshots, {} directories, {} files; {} contents in {} packs, {} of them read whole ({} bytes)",
        report.snapshots,
        report.directories,
        report.files,
        report.contents,
        report.packs,
        report.contents_read,
        report.bytes_read
    );
    let problems = &report.problems;
    if problems.is_empty() {
        return format!("no problem found: {looked}");
    }
    let first: Vec<String> = problems.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match problems.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more, see the log"),
    };
    format!(
        "{} problems found: {}{more}; {looked}",
        problems.len(),
        first.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_is_read_is_a_percentage() {
        assert_eq!(level(0.0).unwrap(), Level::Structure);
        assert_eq!(level(2.5).unwrap(), Level::Sampled(2.5));
        assert_eq!(level(100.0).unwrap(), Level::AllBytes);
        for wrong in [-1.0, 100.1, f64::NAN] {
            assert!(level(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_clean_repository_is_told_with_what_was_looked_at() {
        let report = Report {
            snapshots: 3,
            contents: 40,
            contents_read: 4,
            bytes_read: 1234,
            ..Report::default()
        };
        let said = said(&report);
        assert!(said.starts_with("no problem found: 3 snapshots"), "{said}");
        assert!(said.contains("4 of them read whole (1234 bytes)"), "{said}");
        assert!(shortened(&"ä".repeat(5000)).len() <= repo_pod::LONGEST_WORD);
    }
}
