//! Input that is not as it should be, one thing at a time, on the whole system: a clear phase and message, nothing left, and
//! nothing lost. What a single room can show is tested there (`tests/bad_input.rs` names where).

use std::time::Duration;

use anyhow::{Context as _, bail};
use caravel_api_server::faults::Rule;
use caravel_sandbox::storage::CsiFault;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;
use tokio::time::Instant;
use tonic::Code;

use crate::bucket::BucketFault;
use crate::checks::Invariant;
use crate::compare;
use crate::history::{left_over, settle};
use crate::operation::{create_restore, phase, request_deletion};
use crate::world::{VELERO, World};

/// One thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadInput {
    /// A claim asks for a VolumeSnapshotClass of another driver; the other claim is well.
    ClassOfAnotherDriver,
    /// The storage refuses every snapshot.
    SnapshotThatBecomesAnError,
    /// The storage cuts snapshots, which never become ready.
    DriverThatHangs,
    /// The storage does not delete the snapshot of a backup that is deleted.
    DriverThatDoesNotDelete,
    /// Somebody deletes the temporary claim of a data movement while its volume is made.
    ExposedClaimDeleted,
    /// Somebody's object lies where the repository is to be.
    RepositoryOfSomebody,
    /// The bucket takes nothing more; what is in there can be read.
    BucketThatTakesNothing,
}

impl BadInput {
    /// Each of them.
    pub const ALL: [Self; 7] = [
        Self::ClassOfAnotherDriver,
        Self::SnapshotThatBecomesAnError,
        Self::DriverThatHangs,
        Self::DriverThatDoesNotDelete,
        Self::ExposedClaimDeleted,
        Self::RepositoryOfSomebody,
        Self::BucketThatTakesNothing,
    ];

    /// How the backup ends, and words that say why, wherever it says so.
    fn expected(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::ClassOfAnotherDriver => (&["PartiallyFailed"], &["stranger", "stranger.example.com"]),
            Self::SnapshotThatBecomesAnError => (&["PartiallyFailed"], &["the disk is on fire"]),
            Self::DriverThatHangs => (&["PartiallyFailed"], &["ready"]),
            Self::DriverThatDoesNotDelete => (&["Completed"], &[]),
            // Its data mover may have had it, or it is made once more.
            Self::ExposedClaimDeleted => (&["Completed", "PartiallyFailed"], &[]),
            Self::RepositoryOfSomebody => (&["PartiallyFailed"], &["repository"]),
            Self::BucketThatTakesNothing => (&["Failed"], &["full"]),
        }
    }
}

/// The name of the only backup.
const BACKUP: &str = "b";
/// Its namespace, and a claim in there.
const NAMESPACE: &str = "shop";
const CLAIM: &str = "data";
/// Where its repository is.
const REPOSITORY: &str = "kopia/shop/";
/// A snapshot may take so long.
const SNAPSHOT_TIMEOUT: &str = "1m0s";
/// Everything has ended by then.
const ENDS_WITHIN: Duration = Duration::from_secs(6 * 3600);
/// What is waited for by hand.
const SOON: Duration = Duration::from_secs(3600);

/// Plays one.
pub async fn run(world: &World, bad: BadInput) -> anyhow::Result<()> {
    world.trace.note(&format!("{bad:?}"));
    prepare(world, bad).await?;
    let moves = bad != BadInput::DriverThatDoesNotDelete;
    world
        .create(&json!({
            "apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": {"name": BACKUP, "namespace": VELERO},
            "spec": {"includedNamespaces": [NAMESPACE], "snapshotMoveData": moves, "storageLocation": "default",
                "csiSnapshotTimeout": SNAPSHOT_TIMEOUT},
        }))
        .await?;
    if bad == BadInput::ExposedClaimDeleted {
        delete_exposed_claim(world).await?;
    }
    if !settle(world, ENDS_WITHIN).await? {
        return Ok(());
    }
    let ended = ends_as_expected(world, bad).await?;
    if bad == BadInput::DriverThatDoesNotDelete {
        deletion_says_so(world).await?;
    }
    world.csi_faults.clear();
    world.bucket.heal();
    afterwards(world, bad, &ended).await?;
    // What the storage could not do before it does now.
    tokio::time::sleep(SOON).await;
    left_over(world).await
}

async fn prepare(world: &World, bad: BadInput) -> anyhow::Result<()> {
    match bad {
        BadInput::ClassOfAnotherDriver => {
            world
                .create(&json!({
                    "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
                    "metadata": {"name": "stranger"}, "driver": "stranger.example.com", "deletionPolicy": "Delete",
                }))
                .await?;
            let class =
                json!({"metadata": {"annotations": {"velero.io/csi-volumesnapshot-class": "stranger"}}});
            claims(world, NAMESPACE)
                .patch(CLAIM, &PatchParams::default(), &Patch::Merge(class))
                .await?;
        }
        BadInput::SnapshotThatBecomesAnError => {
            let error = CsiFault::Fail(Code::Internal, "the disk is on fire".into());
            world.csi_faults.add(Rule::always(error).on("CreateSnapshot"));
        }
        BadInput::DriverThatHangs => {
            let hangs = CsiFault::NotReadyFor(ENDS_WITHIN * 10);
            world.csi_faults.add(Rule::always(hangs).on("CreateSnapshot"));
        }
        BadInput::DriverThatDoesNotDelete => {
            let error = CsiFault::Fail(Code::Internal, "the array is away".into());
            world.csi_faults.add(Rule::always(error).on("DeleteSnapshot"));
        }
        BadInput::ExposedClaimDeleted => {
            let slow = CsiFault::Slow(Duration::from_secs(30));
            world
                .csi_faults
                .add(Rule::always(slow).on("CreateVolume").first(1));
        }
        BadInput::RepositoryOfSomebody => world.bucket.put_stranger(REPOSITORY, "letter").await?,
        BadInput::BucketThatTakesNothing => world.bucket.fail(BucketFault::Full, u32::MAX),
    }
    Ok(())
}

fn claims(world: &World, namespace: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "PersistentVolumeClaim"));
    Api::namespaced_with(world.client.clone(), namespace, &resource)
}

async fn get(world: &World, kind: &str, name: &str) -> anyhow::Result<DynamicObject> {
    let all = world.list("velero.io", "v1", kind).await?;
    let found = all.into_iter().find(|object| object.name_any() == name);
    found.with_context(|| format!("there is no {kind} {name}"))
}

/// The first temporary claim that comes.
async fn delete_exposed_claim(world: &World) -> anyhow::Result<()> {
    let begun = Instant::now();
    let api = claims(world, VELERO);
    while begun.elapsed() < SOON {
        let temporary = api.list(&Default::default()).await?.items;
        if let Some(claim) = temporary.first() {
            world.trace.note(&format!("PVC {} is deleted", claim.name_any()));
            let deleted = api.delete(&claim.name_any(), &DeleteParams::default()).await;
            deleted.map(drop)?;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("no temporary claim was ever there")
}

/// How the backup has ended, as it must.
async fn ends_as_expected(world: &World, bad: BadInput) -> anyhow::Result<DynamicObject> {
    let violated = |seen: String| world.checks.violated(Invariant::SaysWhy, seen);
    let ended = get(world, "Backup", BACKUP).await?;
    let status = &ended.data["status"];
    let (phases, words) = bad.expected();
    if !phases.contains(&phase(&ended)) {
        violated(format!("{bad:?}: the backup is not {phases:?}: {status}"));
    }
    let errors = status["errors"].as_i64().unwrap_or_default();
    if phase(&ended) == "PartiallyFailed" && errors == 0 {
        violated(format!(
            "{bad:?}: the backup is PartiallyFailed without an error: {status}"
        ));
    }
    let told = told(world, &ended).await?;
    for word in words.iter().filter(|word| !told.contains(**word)) {
        violated(format!("{bad:?}: nothing says {word:?}: {told}"));
    }
    // One volume's trouble is not the other's.
    if bad == BadInput::ClassOfAnotherDriver && world.checks.moved(BACKUP).len() != 1 {
        violated(format!("{bad:?}: the other volume is not saved: {told}"));
    }
    Ok(ended)
}

/// All that a user can read about why the backup ended so.
async fn told(world: &World, backup: &DynamicObject) -> anyhow::Result<String> {
    let mut told = backup.data["status"].to_string();
    if let Some(results) = world.bucket.backups().get_results(BACKUP).await? {
        told.push_str(&serde_json::to_string(&results.errors)?);
    }
    Ok(told)
}

/// A deletion that cannot delete says so, and both the backup and its snapshot are still known.
async fn deletion_says_so(world: &World) -> anyhow::Result<()> {
    const REQUEST: &str = "first";
    let violated = |seen: String| world.checks.violated(Invariant::SaysWhy, seen);
    let backup = get(world, "Backup", BACKUP).await?;
    request_deletion(world, REQUEST, &backup).await?;
    if !settle(world, ENDS_WITHIN).await? {
        return Ok(());
    }
    let request = get(world, "DeleteBackupRequest", REQUEST).await?;
    let status = request.data["status"].to_string();
    if !status.contains("the array is away") {
        violated(format!(
            "the deletion does not say what the driver says: {status}"
        ));
    }
    if world.checks.kept_snapshots().is_empty() {
        violated("the storage has no snapshot although it deletes none".to_owned());
    }
    get(world, "Backup", BACKUP).await.map(drop)
}

/// Nothing is lost: what was saved comes back, what could not be deleted goes, what is somebody's is as it was.
async fn afterwards(world: &World, bad: BadInput, ended: &DynamicObject) -> anyhow::Result<()> {
    match bad {
        BadInput::DriverThatDoesNotDelete => {
            let backup = get(world, "Backup", BACKUP).await?;
            request_deletion(world, "second", &backup).await?;
            settle(world, ENDS_WITHIN).await?;
            if get(world, "Backup", BACKUP).await.is_ok() {
                let request = get(world, "DeleteBackupRequest", "second").await?;
                let seen = format!("the backup is still there: {}", request.data["status"]);
                world.checks.violated(Invariant::EverythingEnds, seen);
            }
        }
        BadInput::ExposedClaimDeleted if phase(ended) == "Completed" => {
            create_restore(world, &format!("last-{BACKUP}"), BACKUP).await?;
            if settle(world, ENDS_WITHIN).await? {
                Box::pin(compare::restores(world)).await?;
            }
        }
        BadInput::RepositoryOfSomebody => {
            let names = world.bucket.names_in(REPOSITORY).await?;
            if names != ["letter"] {
                let seen = format!("somebody's folder {REPOSITORY} has {names:?} now");
                world.checks.violated(Invariant::OthersUntouched, seen);
            }
        }
        _ => {}
    }
    Ok(())
}
