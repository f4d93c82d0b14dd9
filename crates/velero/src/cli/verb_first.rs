//! `velero get backups` and its like: the verb before the noun. The same commands, as kubectl's users type them.

use clap::Subcommand;

use super::connection::Global;
use super::failure::Outcome;
use super::{backup, backup_location, plugin, restore, schedule, snapshot_location};

/// `velero create …`.
#[derive(Debug, Subcommand)]
pub enum Create {
    Backup(Box<backup::create::Args>),
    BackupLocation(Box<backup_location::create::Args>),
    Restore(Box<restore::create::Args>),
    Schedule(Box<schedule::create::Args>),
    SnapshotLocation(snapshot_location::create::Args),
}

/// `velero delete …`.
#[derive(Debug, Subcommand)]
pub enum Delete {
    #[command(alias = "backups")]
    Backup(backup::delete::Args),
    #[command(alias = "backup-locations")]
    BackupLocation(backup_location::delete::Args),
    #[command(alias = "restores")]
    Restore(restore::delete::Args),
    #[command(alias = "schedules")]
    Schedule(schedule::delete::Args),
}

/// `velero describe …`.
#[derive(Debug, Subcommand)]
pub enum Describe {
    #[command(alias = "backup")]
    Backups(backup::describe::Args),
    #[command(alias = "restore")]
    Restores(restore::describe::Args),
    #[command(alias = "schedule")]
    Schedules(schedule::describe::Args),
}

/// `velero get …`.
#[derive(Debug, Subcommand)]
pub enum Get {
    #[command(alias = "backup")]
    Backups(backup::get::Args),
    #[command(alias = "backup-location")]
    BackupLocations(backup_location::get::Args),
    #[command(alias = "plugin")]
    Plugins(plugin::get::Args),
    #[command(alias = "restore")]
    Restores(restore::get::Args),
    #[command(alias = "schedule")]
    Schedules(schedule::get::Args),
    #[command(alias = "snapshot-location")]
    SnapshotLocations(snapshot_location::get::Args),
}

impl Create {
    pub async fn run(self, global: &Global) -> Outcome {
        match self {
            Self::Backup(args) => backup::create::run(&args, global).await,
            Self::BackupLocation(args) => backup_location::create::run(&args, global).await,
            Self::Restore(args) => restore::create::run(&args, global).await,
            Self::Schedule(args) => schedule::create::run(&args, global).await,
            Self::SnapshotLocation(args) => snapshot_location::create::run(&args, global).await,
        }
    }
}

impl Delete {
    pub async fn run(self, global: &Global) -> Outcome {
        match self {
            Self::Backup(args) => backup::delete::run(&args, global).await,
            Self::BackupLocation(args) => backup_location::delete::run(&args, global).await,
            Self::Restore(args) => restore::delete::run(&args, global).await,
            Self::Schedule(args) => schedule::delete::run(&args, global).await,
        }
    }
}

impl Describe {
    pub async fn run(self, global: &Global) -> Outcome {
        match self {
            Self::Backups(args) => backup::describe::run(&args, global).await,
            Self::Restores(args) => restore::describe::run(&args, global).await,
            Self::Schedules(args) => schedule::describe::run(&args, global).await,
        }
    }
}

impl Get {
    pub async fn run(self, global: &Global) -> Outcome {
        match self {
            Self::Backups(args) => backup::get::run(&args, global).await,
            Self::BackupLocations(args) => backup_location::get::run(&args, global).await,
            Self::Plugins(args) => plugin::get::run(&args, global).await,
            Self::Restores(args) => restore::get::run(&args, global).await,
            Self::Schedules(args) => schedule::get::run(&args, global).await,
            Self::SnapshotLocations(args) => snapshot_location::get::run(&args, global).await,
        }
    }
}
