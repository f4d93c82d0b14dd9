//! What restores have brought back, held against what was there when the snapshots of their backups were taken.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::DynamicObject;

use crate::application::Content;
use crate::checks::{Invariant, Moved};
use crate::operation::{moves, phase};
use crate::snapshots;
use crate::world::{APPLICATIONS, World};

/// Compares what Completed restores of Completed backups have brought back; the number of volumes.
pub async fn restores(world: &World) -> anyhow::Result<usize> {
    let violated = |seen: String| world.checks.violated(Invariant::RestoredAsTaken, seen);
    let backups = world.list("velero.io", "v1", "Backup").await?;
    let backups: BTreeMap<String, DynamicObject> = backups
        .into_iter()
        .map(|backup| (backup.name_any(), backup))
        .collect();
    let settings = settings(world).await?;
    let mut compared = 0;
    for restore in world.list("velero.io", "v1", "Restore").await? {
        let name = restore.name_any();
        let backup = restore.data["spec"]["backupName"].as_str().unwrap_or_default();
        let Some(found) = backups.get(backup).filter(|it| phase(it) == "Completed") else {
            continue;
        };
        if phase(&restore) != "Completed" {
            // Those at the end have nothing to fail of.
            if name.starts_with("last-") {
                let status = &restore.data["status"];
                violated(format!(
                    "restore {name} without any fault is {}: {status}",
                    phase(&restore)
                ));
            }
            continue;
        }
        let chosen = chosen(found);
        for (namespace, _) in &chosen {
            let to = format!("{name}-{namespace}");
            if settings.get(&to).map(String::as_str) != Some(namespace) {
                violated(format!(
                    "restore {name} is Completed, but ConfigMap {to}/settings is {:?}",
                    settings.get(&to)
                ));
            }
        }
        if !moves(found) {
            compared += snapshots::restored(world, &name, backup, &chosen).await?;
            continue;
        }
        let wanted: usize = chosen.iter().map(|(_, claims)| claims.len()).sum();
        let moved = world.checks.moved(backup);
        if moved.len() != wanted {
            violated(format!(
                "backup {backup} of {wanted} volumes is Completed with {} Completed DataUploads",
                moved.len()
            ));
        }
        for moved in &moved {
            volume(world, &name, moved)?;
        }
        compared += moved.len();
    }
    Ok(compared)
}

/// Namespaces, each with its claims.
pub type Applications = Vec<(&'static str, &'static [&'static str])>;

/// The applications of a backup.
pub fn chosen(backup: &DynamicObject) -> Applications {
    let included = backup.data["spec"]["includedNamespaces"].as_array();
    let is_included = |namespace: &str| included.is_some_and(|all| all.iter().any(|it| it == namespace));
    let chosen = APPLICATIONS
        .into_iter()
        .filter(|(namespace, _)| is_included(namespace));
    chosen.collect()
}

/// What the ConfigMap `settings` of each namespace says.
async fn settings(world: &World) -> anyhow::Result<BTreeMap<String, String>> {
    let maps = world.list("", "v1", "ConfigMap").await?;
    let settings = maps.iter().filter(|map| map.name_any() == "settings");
    let of = |map: &DynamicObject| map.data["data"]["of"].as_str().unwrap_or_default().to_owned();
    Ok(settings
        .map(|map| (map.namespace().unwrap_or_default(), of(map)))
        .collect())
}

fn volume(world: &World, restore: &str, moved: &Moved) -> anyhow::Result<()> {
    let violated = |seen: String| world.checks.violated(Invariant::RestoredAsTaken, seen);
    let Moved {
        upload,
        backup,
        namespace,
        snapshot,
    } = moved;
    let Some(taken) = world.checks.taken(namespace, snapshot) else {
        violated(format!(
            "DataUpload {upload} is Completed, but its VolumeSnapshot {namespace}/{snapshot} was never cut"
        ));
        return Ok(());
    };
    let claim = &taken.claim;
    let to = format!("{restore}-{namespace}");
    let Some(volume) = world.applications.volume(&to, claim) else {
        violated(format!(
            "restore {restore} is Completed, but no pod has {to}/{claim} mounted"
        ));
        return Ok(());
    };
    let differences = taken.content.differences(&Content::of(&volume)?);
    if !differences.is_empty() {
        violated(format!(
            "{to}/{claim} (restore {restore} of backup {backup}) is not what snapshot {namespace}/{snapshot} of \
             {}/{claim} was: {}",
            taken.namespace,
            differences.join("; ")
        ));
    }
    Ok(())
}
