//! Acts with snapshots that stay in the storage: only the backup knows of them, and they go with it. As in `acts.rs`, each
//! looks at what came of it.

use std::path::PathBuf;

use caravel_api::labels;
use caravel_api::v1::{Backup, BackupPhase};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use serde_json::json;

use super::super::application::NAMESPACE;
use super::super::world::{VELERO, World};
use super::mishaps::until;
use super::tale::Tale;
use crate::cli::failure::{Failure, Outcome, kubernetes};
use crate::cli::install;

/// `velero backup create` without data movement; gives the storage's names of the snapshots.
pub async fn back_up(world: &World, tale: &mut Tale, name: &str) -> Outcome<Vec<String>> {
    tale.step(&format!(
        "Back it up as {name}; the snapshot stays in the storage"
    ))?;
    let stored = world.objects.bytes();
    let before = kept(world)?;
    tale.types(
        &format!("velero backup create {name} --include-namespaces {NAMESPACE} --wait"),
        world,
    )
    .await?;
    let backups: Api<Backup> = Api::namespaced(world.client(), VELERO);
    let backup = backups
        .get(name)
        .await
        .map_err(|error| kubernetes(format!("getting backup {name}"), &error))?;
    if backup.phase() != BackupPhase::Completed {
        let why = backup
            .status
            .clone()
            .map(|status| status.failure_reason + &status.validation_errors.join("; "));
        return Err(Failure::new(format!(
            "backup {} ended as {}: {}",
            backup.name_any(),
            backup.phase(),
            why.unwrap_or_default()
        )));
    }
    let status = backup.status.unwrap_or_default();
    let mut taken = kept(world)?;
    taken.retain(|snapshot| !before.contains(snapshot));
    if taken.len() != 1 || status.csi_volume_snapshots_completed != 1 {
        return Err(Failure::new(format!(
            "the storage has {} new snapshots, and the backup tells of {}; it is of one volume",
            taken.len(),
            status.csi_volume_snapshots_completed
        )));
    }
    tale.types(&format!("velero backup describe {name} --details"), world)
        .await?;
    tale.fact(&format!(
        "the storage keeps {}; the bucket has grown by {}",
        taken.join(", "),
        indicatif::DecimalBytes(world.objects.bytes().saturating_sub(stored))
    ))?;
    Ok(taken)
}

/// The storage still has them, whatever happened to the cluster.
pub fn are_kept(world: &World, tale: &Tale, snapshots: &[String]) -> Outcome {
    let kept = kept(world)?;
    match snapshots.iter().find(|snapshot| !kept.contains(snapshot)) {
        None => tale.fact("the storage still has the snapshot"),
        Some(lost) => Err(Failure::new(format!(
            "snapshot {lost} of a Completed backup is in the storage no more"
        ))),
    }
}

/// `velero backup delete`: the storage's snapshots go with the backup.
pub async fn delete(world: &World, tale: &mut Tale, name: &str, snapshots: &[String]) -> Outcome {
    tale.step(&format!("Delete backup {name}"))?;
    tale.types(&format!("velero backup delete {name} --confirm"), world)
        .await?;
    let backups: Api<Backup> = Api::namespaced(world.client(), VELERO);
    until(&format!("backup {name} to go"), async || {
        let found = backups.get_opt(name).await;
        let found = found.map_err(|error| kubernetes(format!("getting backup {name}"), &error))?;
        Ok(found.is_none().then_some(()))
    })
    .await?;
    let left = kept(world)?;
    match snapshots.iter().find(|snapshot| left.contains(snapshot)) {
        None => tale.fact("the backup is gone, and so is its snapshot in the storage"),
        Some(left) => Err(Failure::new(format!(
            "backup {name} is gone, and its snapshot {left} is still in the storage"
        ))),
    }
}

/// `--csi-snapshot-objects=keep`, as an administrator adds it to the server's Deployment.
pub async fn keep_objects(world: &World, tale: &mut Tale) -> Outcome {
    tale.step("Tell the server to keep the objects of snapshots in the cluster")?;
    let deployments: Api<Deployment> = Api::namespaced(world.client(), VELERO);
    let changing = |error| kubernetes("changing deployment velero", &error);
    let server = deployments.get("velero").await.map_err(changing)?;
    let pod = server.spec.and_then(|spec| spec.template.spec);
    let mut containers = pod.map(|pod| pod.containers).unwrap_or_default();
    for container in &mut containers {
        let args = container.args.get_or_insert_default();
        args.push("--csi-snapshot-objects=keep".to_owned());
    }
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    deployments
        .patch("velero", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map_err(changing)?;
    install::deployment_is_ready(&world.client(), VELERO, "velero", "deploy=velero").await?;
    tale.fact("the server runs with --csi-snapshot-objects=keep")
}

/// The VolumeSnapshot and the content of a backup of one volume are in the cluster.
pub async fn objects_are_there(world: &World, tale: &Tale, backup: &str) -> Outcome {
    let objects = objects(world, backup).await?;
    let retained = objects
        .iter()
        .filter(|object| object.data["spec"]["deletionPolicy"] == "Retain");
    match (objects.len(), retained.count()) {
        (2, 1) => {
            tale.fact("VolumeSnapshot and VolumeSnapshotContent are in the cluster; the content says Retain")
        }
        (all, retained) => Err(Failure::new(format!(
            "of backup {backup}, whose objects are to stay, {all} are in the cluster, and {retained} contents say Retain"
        ))),
    }
}

/// They have gone with the backup.
pub async fn objects_are_gone(world: &World, tale: &Tale, backup: &str) -> Outcome {
    until(&format!("the objects of backup {backup} to go"), async || {
        Ok(objects(world, backup).await?.is_empty().then_some(()))
    })
    .await?;
    tale.fact("no VolumeSnapshot and no VolumeSnapshotContent of it is left")
}

/// The VolumeSnapshots and contents of a backup that no restore has made.
async fn objects(world: &World, backup: &str) -> Outcome<Vec<DynamicObject>> {
    let own = format!("{}={backup},!{}", labels::BACKUP_NAME, labels::RESTORE_NAME);
    let own = ListParams::default().labels(&own);
    let mut objects = Vec::new();
    for kind in ["VolumeSnapshot", "VolumeSnapshotContent"] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", kind));
        let api: Api<DynamicObject> = Api::all_with(world.client(), &resource);
        let found = api.list(&own).await;
        objects.extend(found.map_err(|error| kubernetes(format!("listing {kind}s"), &error))?);
    }
    Ok(objects)
}

/// The snapshots that the CSI driver keeps.
pub fn kept(world: &World) -> Outcome<Vec<String>> {
    recorded(world, "snapshots")
}

/// The volumes that the CSI driver keeps.
pub fn kept_volumes(world: &World) -> Outcome<Vec<String>> {
    recorded(world, "volumes")
}

/// What the CSI driver has a record of, by a folder of its state.
fn recorded(world: &World, what: &str) -> Outcome<Vec<String>> {
    let folder: PathBuf = world.folder.path().join("cluster/volumes").join(what);
    let failed = |error: std::io::Error| Failure::new(format!("looking into {}: {error}", folder.display()));
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        if let Some(id) = name.to_string_lossy().strip_suffix(".json") {
            names.push(id.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
