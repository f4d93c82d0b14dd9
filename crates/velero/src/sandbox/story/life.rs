//! Acts in the life of backups: canceled by command, made by a schedule, deleted when their time is over, seen by another
//! cluster. As in `acts.rs`, each looks at what came of it.

use std::time::{Duration, Instant};

use caravel_api::labels;
use caravel_api::v1::{Backup, BackupPhase, Restore, Schedule};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::super::application::NAMESPACE;
use super::super::folder::Folder;
use super::super::object_store::BUCKET;
use super::super::world::{VELERO, World};
use super::mishaps::until;
use super::tale::Tale;
use crate::cli::failure::{Failure, Outcome, kubernetes};

/// So soon must everything in flight have stopped.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// `velero backup cancel`: the backup ends within seconds, and says who and when.
pub async fn cancel_backup(world: &World, tale: &mut Tale, name: &str) -> Outcome {
    tale.step("Change one's mind: cancel the backup")?;
    let asked = Instant::now();
    tale.types(&format!("velero backup cancel {name}"), world).await?;
    let backups: Api<Backup> = Api::namespaced(world.client(), VELERO);
    let ended = until(&format!("backup {name} to end"), async || {
        let found = backups.get(name).await;
        let found = found.map_err(|error| kubernetes(format!("getting backup {name}"), &error))?;
        world.sandbox.api().set_faults(None);
        Ok(Some(found).filter(|backup| backup.phase().is_finished()))
    })
    .await?;
    let took = asked.elapsed();
    let reason = ended.status.as_ref().map_or("", |status| &status.failure_reason);
    let is_failed = matches!(ended.phase(), BackupPhase::PartiallyFailed | BackupPhase::Failed);
    if !is_failed || !reason.starts_with("canceled by ") || took > STOPPED_WITHIN {
        return Err(Failure::new(format!(
            "backup {name} ended as {} after {:.1} s, saying {reason:?}; it was to stop at once and say who canceled it",
            ended.phase(),
            took.as_secs_f64()
        )));
    }
    tale.fact(&format!(
        "backup {name}: {}, {:.1} s after the command: {reason}",
        ended.phase(),
        took.as_secs_f64()
    ))
}

/// A backup that has ended, or that there is not, is not canceled.
pub async fn cannot_cancel(world: &World, tale: &Tale, name: &str) -> Outcome {
    match tale.types(&format!("velero backup cancel {name}"), world).await {
        Err(refusal) => tale.fact(&format!("refused: {}", refusal.message())),
        Ok(()) => Err(Failure::new(format!(
            "backup {name} has ended, and it was canceled all the same"
        ))),
    }
}

/// A schedule makes a backup, which ends well; then it is paused. Gives the backup's name.
pub async fn schedule(world: &World, tale: &mut Tale, name: &str, ttl: &str) -> Outcome<String> {
    tale.step(&format!(
        "A schedule that makes a backup every 3 seconds, kept for {ttl}"
    ))?;
    let line = format!(
        "velero schedule create {name} --schedule \"@every 3s\" --include-namespaces {NAMESPACE} --snapshot-move-data --ttl {ttl}"
    );
    tale.types(&line, world).await?;
    let backups: Api<Backup> = Api::namespaced(world.client(), VELERO);
    let of_schedule = ListParams::default().labels(&format!("{}={name}", labels::SCHEDULE_NAME));
    let schedules: Api<Schedule> = Api::namespaced(world.client(), VELERO);
    until("the schedule's first backup", async || {
        let found = schedules.get(name).await;
        let found = found.map_err(|error| kubernetes(format!("getting schedule {name}"), &error))?;
        Ok(found.status.and_then(|status| status.last_backup))
    })
    .await?;
    tale.types(&format!("velero schedule pause {name}"), world)
        .await?;
    let made = until("the schedule's backup to end", async || {
        let found = backups.list(&of_schedule).await;
        let found = found.map_err(|error| kubernetes("listing backups", &error))?;
        let all_ended = found.iter().all(|backup| backup.phase().is_finished());
        Ok(Some(found.items).filter(|items| !items.is_empty() && all_ended))
    })
    .await?;
    for backup in &made {
        if backup.phase() != BackupPhase::Completed {
            return Err(Failure::new(format!(
                "backup {} of the schedule ended as {}",
                backup.name_any(),
                backup.phase()
            )));
        }
    }
    tale.types("velero schedule get", world).await?;
    tale.types("velero backup get", world).await?;
    Ok(made[0].name_any())
}

/// The backup's time is over: the Backup, its files and its restores' records go by themselves.
pub async fn expires(world: &World, tale: &mut Tale, schedule: &str) -> Outcome {
    tale.step("Wait until its time is over")?;
    let backups: Api<Backup> = Api::namespaced(world.client(), VELERO);
    let restores: Api<Restore> = Api::namespaced(world.client(), VELERO);
    let of_schedule = ListParams::default().labels(&format!("{}={schedule}", labels::SCHEDULE_NAME));
    until("the expired backups to go", async || {
        let left = backups.list(&of_schedule).await;
        let left = left.map_err(|error| kubernetes("listing backups", &error))?;
        Ok(left.items.is_empty().then_some(()))
    })
    .await?;
    let left = restores.list(&ListParams::default()).await;
    let left = left.map_err(|error| kubernetes("listing restores", &error))?;
    let files = world.objects.names_below("backups") + world.objects.names_below("restores");
    if !left.items.is_empty() || files > 0 {
        return Err(Failure::new(format!(
            "{} restores and {files} files of expired backups are still there",
            left.items.len()
        )));
    }
    tale.fact(&format!(
        "no Backup, no Restore, no file of them in bucket {BUCKET}; the repository's maintenance gives the space back"
    ))
}

/// Another cluster with Velero on the same bucket; it sees the backup by itself.
pub async fn second_cluster(world: &World, tale: &mut Tale, backup: &str) -> Outcome<World> {
    tale.step("Another cluster, with Velero on the same bucket")?;
    let second = World::beside(world, Folder::open(None)?).await?;
    let backups: Api<Backup> = Api::namespaced(second.client(), VELERO);
    let synced = until(&format!("backup {backup} to be synced"), async || {
        let found = backups.get_opt(backup).await;
        found.map_err(|error| kubernetes(format!("getting backup {backup}"), &error))
    })
    .await;
    let synced = match synced {
        Ok(synced) => synced,
        Err(failure) => {
            tale.trouble(&second).await?;
            return Err(failure);
        }
    };
    if synced.phase() != BackupPhase::Completed {
        return Err(Failure::new(format!(
            "backup {backup} came into the second cluster as {}",
            synced.phase()
        )));
    }
    tale.types("velero backup get", &second).await?;
    Ok(second)
}
