//! `velero repo-maintenance`: what the pod of a maintenance Job runs. The Job is made by
//! `crates/controllers/src/backup_repository/maintenance/`, or by Velero; the work is `crates/repository/src/maintenance/`.
//!
//! Flags are Velero's (`pkg/cmd/cli/repomantenance/maintenance.go`, v1.18.3) and `--mode`. The last word of one that
//! fails begins with `Repo maintenance error: `: in the termination message, and at the end of the log, where Velero's
//! server looks for it too.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use caravel_api::phase::{BackupRepositoryPhase, BackupStorageLocationAccessMode};
use caravel_api::v1::BackupRepository;
use caravel_backup_repository::{MaintenanceMode, MaintenanceOutcome, maintain};
use caravel_controllers::backup_repository::ERROR_INDICATOR;
use caravel_controllers::context::Context;
use caravel_controllers::reconcile::chain;
use kube::ResourceExt as _;
use kube::api::ListParams;

use crate::node_agent::Logging;
use crate::process::Process;
use crate::repo_pod;

/// How often the BackupRepository is looked for, and the pause between two looks: Velero's.
const LOOKS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Flags of `velero repo-maintenance`.
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
    /// Format of the repository.
    #[arg(long, default_value = "kopia", value_parser = ["kopia"])]
    repo_type: String,
    /// What to do: as the repository's own schedule says, or at once.
    #[arg(long, value_enum, default_value = "auto")]
    mode: Mode,
}

/// `--mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    Auto,
    Quick,
    Full,
}

impl From<Mode> for MaintenanceMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Auto => Self::Auto,
            Mode::Quick => Self::Quick,
            Mode::Full => Self::Full,
        }
    }
}

/// Runs as this process; an error makes the exit code 1.
pub async fn main(args: Args) -> anyhow::Result<()> {
    args.logging.start();
    run(args, Process::of_machine().await?.until_signal()?).await
}

/// Maintains one repository, and leaves the reason where the server finds it when that fails.
pub async fn run(args: Args, process: Process) -> anyhow::Result<()> {
    let maintained = tokio::select! {
        biased;
        done = Box::pin(work(&args, &process)) => done,
        () = process.shutdown.cancelled() => Err(anyhow!("the maintenance pod was told to end")),
    };
    maintained.map_err(|error| {
        let word = last_word(&error);
        // The log tells the same.
        if let Err(error) = std::fs::write(&process.termination_log, &word) {
            tracing::warn!(%error, "the termination message cannot be written");
        }
        anyhow!(word)
    })
}

/// One line, as the history shows it.
fn last_word(error: &anyhow::Error) -> String {
    let error: &(dyn std::error::Error + 'static) = error.as_ref();
    repo_pod::shortened(&format!("{ERROR_INDICATOR}{}", chain(error)))
}

async fn work(args: &Args, process: &Process) -> anyhow::Result<()> {
    let context = repo_pod::context(process);
    let name = find(&context, args).await?;
    let location = context.locations.get(&args.backup_storage_location).await?;
    if location.spec.access_mode == Some(BackupStorageLocationAccessMode::ReadOnly) {
        bail!(
            "BackupStorageLocation {} is read-only: its repositories are not maintained",
            args.backup_storage_location
        );
    }
    let location = context.locations.resolve(&location).await?;
    let repository = repo_pod::open(&context, &location, &args.repo_name).await?;
    tracing::info!(repository = %name, mode = ?args.mode, "maintenance begins");
    match maintain(&repository, args.mode.into())
        .await
        .with_context(|| format!("cannot maintain backup repository {name}"))?
    {
        MaintenanceOutcome::Done(plan) => {
            for line in plan.to_string().lines() {
                tracing::info!(repository = %name, "{}", line.trim());
            }
        }
        MaintenanceOutcome::NotDue => {
            tracing::info!(repository = %name, "by the repository's own schedule nothing is due yet");
        }
        MaintenanceOutcome::RunningElsewhere => {
            tracing::info!(repository = %name, "another process maintains the repository");
        }
    }
    Ok(())
}

/// The name of the repository's object, once that is Ready. The API server may not answer at once, and the object of a
/// new repository may not say so yet.
async fn find(context: &Context, args: &Args) -> anyhow::Result<String> {
    let mut look = 1;
    loop {
        match look_for(context, args).await {
            Err(error) if look < LOOKS => {
                tracing::warn!(error = %format!("{error:#}"), look, "the backup repository is looked for again");
                look += 1;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            found => return found,
        }
    }
}

async fn look_for(context: &Context, args: &Args) -> anyhow::Result<String> {
    let all = context.list::<BackupRepository>(&ListParams::default()).await;
    let all = all.context("cannot list BackupRepositories")?;
    let is_it = |repository: &&BackupRepository| {
        let spec = &repository.spec;
        let kind = spec.repository_type.as_ref();
        spec.volume_namespace == args.repo_name
            && spec.backup_storage_location == args.backup_storage_location
            && kind.is_none_or(|kind| kind.as_str() == args.repo_type)
    };
    let Some(repository) = all.iter().find(is_it) else {
        bail!(
            "no BackupRepository for namespace {}, location {}, type {}",
            args.repo_name,
            args.backup_storage_location,
            args.repo_type
        );
    };
    if repository.phase() != BackupRepositoryPhase::Ready {
        let status = repository.status.clone().unwrap_or_default();
        bail!(
            "BackupRepository {} is {}: {}",
            repository.name_any(),
            repository.phase(),
            status.message
        );
    }
    Ok(repository.name_any())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_arguments_of_veleros_jobs_are_understood() {
        let line = [
            "repo-maintenance",
            "--repo-name=shop",
            "--repo-type=kopia",
            "--backup-storage-location=default",
            "--log-level=info",
            "--log-format=text",
        ];
        let args = Command::try_parse_from(line).unwrap().args;
        assert_eq!(
            (args.repo_name.as_str(), args.backup_storage_location.as_str()),
            ("shop", "default")
        );
        assert_eq!(args.mode, Mode::Auto);
        let asked = Command::try_parse_from(line.into_iter().chain(["--mode=full"])).unwrap();
        assert_eq!(MaintenanceMode::from(asked.args.mode), MaintenanceMode::Full);
    }

    #[test]
    fn the_last_word_is_one_line_that_kubernetes_keeps_whole() {
        let word = last_word(&anyhow!("cannot\nlist").context("maintenance"));
        assert_eq!(word, "Repo maintenance error: maintenance: cannot list");
        let long = last_word(&anyhow!("ä".repeat(5000)));
        assert!(long.len() <= repo_pod::LONGEST_WORD && long.len() > repo_pod::LONGEST_WORD - 4);
    }
}
