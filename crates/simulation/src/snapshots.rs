//! Backups whose snapshots stay in the storage: they outlive the namespaces that they were taken in, a restore fills its
//! volumes from them, and they go with their backup and with nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use tokio::time::Instant;

use crate::application::Content;
use crate::checks::Invariant;
use crate::compare::{Applications, chosen};
use crate::operation::{moves, phase, request_deletion};
use crate::world::{APPLICATIONS, World};

/// How often it is looked at whether something is gone.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Takes the applications away, if a backup without data movement has them, and looks whether the storage still has every
/// snapshot of every such backup that is Completed.
///
/// # Errors
/// The API server does not answer, or a file of a backup cannot be read.
pub async fn outlive_their_namespaces(world: &World, within: Duration) -> anyhow::Result<()> {
    let backups = of_storage(world).await?;
    let completed: Vec<_> = backups.iter().filter(|it| phase(it) == "Completed").collect();
    if completed.is_empty() {
        return Ok(());
    }
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
    let namespaces: Api<DynamicObject> = Api::all_with(world.client.clone(), &resource);
    for (namespace, _) in APPLICATIONS {
        let deleted = namespaces.delete(namespace, &DeleteParams::default()).await;
        deleted.map(drop)?;
    }
    world.trace.note("the applications' namespaces are deleted");
    let is_left = |all: Vec<DynamicObject>| -> Vec<String> {
        let names = all.iter().map(ResourceExt::name_any);
        names
            .filter(|name| APPLICATIONS.iter().any(|(namespace, _)| namespace == name))
            .map(|name| format!("namespace {name}"))
            .collect()
    };
    if !gone(world, within, ("", "v1", "Namespace"), is_left).await? {
        return Ok(());
    }
    let kept = world.checks.kept_snapshots();
    for backup in completed {
        snapshots_are(world, backup, &kept).await?;
    }
    Ok(())
}

/// The storage keeps a snapshot for each volume of the backup.
async fn snapshots_are(world: &World, backup: &DynamicObject, kept: &[String]) -> anyhow::Result<()> {
    let violated = |seen: String| world.checks.violated(Invariant::RestoredAsTaken, seen);
    let name = backup.name_any();
    let infos = world.bucket.backups().get_volume_info(&name).await?;
    let handles = infos
        .unwrap_or_default()
        .into_iter()
        .filter_map(|info| info.csi_snapshot_info.map(|csi| csi.snapshot_handle));
    let handles: Vec<String> = handles.collect();
    let wanted: usize = chosen(backup).iter().map(|(_, claims)| claims.len()).sum();
    if handles.len() != wanted {
        violated(format!(
            "backup {name} of {wanted} volumes is Completed with {} snapshots",
            handles.len()
        ));
    }
    for handle in handles.iter().filter(|handle| !kept.contains(handle)) {
        violated(format!(
            "backup {name} is Completed, and its snapshot {handle} is in the storage no more"
        ));
    }
    Ok(())
}

/// Compares what one Completed restore has brought back; the number of volumes.
///
/// # Errors
/// The API server does not answer, or a volume cannot be read.
pub async fn restored(
    world: &World,
    restore: &str,
    backup: &str,
    applications: &Applications,
) -> anyhow::Result<usize> {
    let sources = Sources::read(world).await?;
    let mut compared = 0;
    for &(namespace, claims) in applications {
        for &claim in claims {
            compared += 1;
            let to = format!("{restore}-{namespace}");
            if let Err(why) = volume(world, &sources, backup, (namespace, claim), &to)? {
                let seen = format!("{to}/{claim} (restore {restore} of backup {backup}) {why}");
                world.checks.violated(Invariant::RestoredAsTaken, seen);
            }
        }
    }
    Ok(compared)
}

/// Why one volume is not what it must be. `to`: the namespace that it was restored into.
fn volume(
    world: &World,
    sources: &Sources,
    backup: &str,
    (namespace, claim): (&str, &str),
    to: &str,
) -> anyhow::Result<Result<(), String>> {
    let Some(handle) = sources.handle(to, claim) else {
        return Ok(Err("was not filled from a snapshot".to_owned()));
    };
    let Some(taken) = world.checks.cut(handle) else {
        return Ok(Err(format!("is of snapshot {handle}, which was never cut")));
    };
    if (&*taken.backup, &*taken.namespace, &*taken.claim) != (backup, namespace, claim) {
        return Ok(Err(format!(
            "is of snapshot {handle}, which backup {} has taken of {}/{}",
            taken.backup, taken.namespace, taken.claim
        )));
    }
    let Some(folder) = world.applications.volume(to, claim) else {
        return Ok(Err("is mounted by no pod".to_owned()));
    };
    let differences = taken.content.differences(&Content::of(&folder)?);
    Ok(if differences.is_empty() {
        Ok(())
    } else {
        let differences = differences.join("; ");
        Err(format!("is not what snapshot {handle} was: {differences}"))
    })
}

/// What claims were filled from.
struct Sources {
    /// Claim (namespace, name) → VolumeSnapshot in its namespace.
    claims: BTreeMap<(String, String), String>,
    /// VolumeSnapshot (namespace, name) → content.
    snapshots: BTreeMap<(String, String), String>,
    /// Content → handle.
    handles: BTreeMap<String, String>,
}

impl Sources {
    async fn read(world: &World) -> anyhow::Result<Self> {
        let text = |object: &DynamicObject, pointer: &str| {
            let text = object.data.pointer(pointer).and_then(|text| text.as_str());
            text.map(str::to_owned)
        };
        let named = |objects: Vec<DynamicObject>, pointer: &str| {
            objects
                .iter()
                .filter_map(|object| {
                    let key = (object.namespace().unwrap_or_default(), object.name_any());
                    Some((key, text(object, pointer)?))
                })
                .collect::<BTreeMap<_, _>>()
        };
        let group = "snapshot.storage.k8s.io";
        let claims = world.list("", "v1", "PersistentVolumeClaim").await?;
        let snapshots = world.list(group, "v1", "VolumeSnapshot").await?;
        let contents = world.list(group, "v1", "VolumeSnapshotContent").await?;
        let handles = named(contents, "/spec/source/snapshotHandle").into_iter();
        Ok(Self {
            claims: named(claims, "/spec/dataSource/name"),
            snapshots: named(snapshots, "/spec/source/volumeSnapshotContentName"),
            handles: handles.map(|((_, name), handle)| (name, handle)).collect(),
        })
    }

    fn handle(&self, namespace: &str, claim: &str) -> Option<&String> {
        let snapshot = self.claims.get(&(namespace.to_owned(), claim.to_owned()))?;
        let content = self.snapshots.get(&(namespace.to_owned(), snapshot.clone()))?;
        self.handles.get(content)
    }
}

/// Deletes every backup without data movement that is there, however it ended. That the storage has none of their snapshots
/// any more is looked at with all else that must not be left.
///
/// # Errors
/// The API server does not answer.
pub async fn go_with_their_backups(world: &World, within: Duration) -> anyhow::Result<()> {
    let backups = of_storage(world).await?;
    if backups.is_empty() {
        return Ok(());
    }
    for backup in &backups {
        let name = format!("last-{}", backup.name_any());
        request_deletion(world, &name, backup).await?;
    }
    let is_left = |all: Vec<DynamicObject>| -> Vec<String> {
        let left = all.iter().filter(|backup| !moves(backup));
        left.map(|backup| format!("backup {} is {:?}", backup.name_any(), phase(backup)))
            .collect()
    };
    if !gone(world, within, ("velero.io", "v1", "Backup"), is_left).await? {
        for request in world.list("velero.io", "v1", "DeleteBackupRequest").await? {
            let status = &request.data["status"];
            world.trace.note(&format!("{}: {status}", request.name_any()));
        }
    }
    Ok(())
}

async fn of_storage(world: &World) -> anyhow::Result<Vec<DynamicObject>> {
    let mut backups = world.list("velero.io", "v1", "Backup").await?;
    backups.retain(|backup| !moves(backup));
    Ok(backups)
}

/// Waits until nothing of a kind is left that `is_left` names. False: something is.
async fn gone(
    world: &World,
    within: Duration,
    (group, version, kind): (&str, &str, &str),
    is_left: impl Fn(Vec<DynamicObject>) -> Vec<String>,
) -> anyhow::Result<bool> {
    let begun = Instant::now();
    loop {
        let left = is_left(world.list(group, version, kind).await?);
        if left.is_empty() {
            // What is deleted in the background goes meanwhile.
            tokio::time::sleep(LOOK_EVERY * 8).await;
            return Ok(true);
        }
        if begun.elapsed() > within {
            let seen = format!(
                "after {within:?} without faults there is still {}",
                left.join(", ")
            );
            world.checks.violated(Invariant::EverythingEnds, seen);
            return Ok(false);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
