//! What users, applications and misfortune do, one after another. An operation is plain data: a history can be played
//! again without some of them (`shrink.rs`), so it names what it is about by a number that is taken modulo what is there.

use std::time::Duration;

use caravel_api_server::faults::{Fault, Rule, WatchFault};
use caravel_sandbox::storage::CsiFault;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;
use tonic::Code;

use crate::bucket::BucketFault;
use crate::world::{APPLICATIONS, NODES, VELERO, World};

/// A place in a list whose length is known only when the operation is done.
pub type Pick = u32;

/// One operation, and how many steps pass before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub after_steps: u32,
    pub what: What,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// `velero backup create --snapshot-move-data`, of these applications (bits).
    Backup { namespaces: u32 },
    /// `velero backup create` of these applications; the snapshots stay in the storage.
    Snapshot { namespaces: u32 },
    /// `velero backup delete` of one whose snapshots stay in the storage.
    DeleteBackup { backup: Pick },
    /// `velero restore create` of a finished backup, into namespaces of its own.
    Restore { backup: Pick },
    /// `spec.cancel` of a DataUpload or DataDownload.
    Cancel { upload: bool, pick: Pick },
    /// An application changes some files.
    Write { volume: Pick, changes: u32 },
    /// A pod of an application is deleted; its Deployment makes another.
    DeletePod { application: Pick },
    /// A process of ours is killed at the await it is in: server, node agents, data movers.
    Kill { pick: Pick },
    /// Somebody deletes an object while it is worked on.
    Delete { kind: Deleted, pick: Pick },
    /// The object store misbehaves for so many calls.
    Storage { fault: BucketFault, calls: u32 },
    /// The API server misbehaves towards the product for so many requests.
    Api { fault: ApiFault, requests: u32 },
    /// So many watches of the product break.
    Watches { expired: bool, times: u32 },
    /// The CSI driver misbehaves for so many calls.
    Volumes { fault: VolumeFault, calls: u32 },
    /// A node goes off, or comes back.
    Node { node: Pick, on: bool },
}

/// What goes wrong with calls of the CSI driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeFault {
    Fail,
    LostAnswer,
    Slow,
    DiskFull,
    SnapshotNotReady,
}

impl VolumeFault {
    fn fault(self) -> CsiFault {
        match self {
            Self::Fail => CsiFault::Fail(Code::Internal, "made to fail by the simulation".into()),
            Self::LostAnswer => CsiFault::LostAnswer,
            Self::Slow => CsiFault::Slow(Duration::from_secs(20)),
            Self::DiskFull => CsiFault::DiskFull,
            Self::SnapshotNotReady => CsiFault::NotReadyFor(Duration::from_secs(90)),
        }
    }
}

/// What somebody deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    Upload,
    Download,
    MoverPod,
}

/// What goes wrong with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiFault {
    InternalError,
    Unavailable,
    TooManyRequests,
    /// 504, and nothing was done.
    Timeout,
    /// 504, but it was done.
    TimeoutAfter,
    Conflict,
    LostAnswer,
    Unreachable,
    Slow,
}

impl ApiFault {
    fn fault(self) -> Fault {
        match self {
            Self::InternalError => Fault::internal_error(),
            Self::Unavailable => Fault::unavailable(),
            Self::TooManyRequests => Fault::too_many_requests(Duration::from_secs(2)),
            Self::Timeout => Fault::timeout(),
            Self::TimeoutAfter => Fault::timeout_after(),
            Self::Conflict => Fault::conflict(),
            Self::LostAnswer => Fault::LostAnswer,
            Self::Unreachable => Fault::Unreachable,
            Self::Slow => Fault::Slow(Duration::from_secs(3)),
        }
    }

    /// A conflict is only ever the answer to a write that names a version.
    fn verb(self) -> Option<&'static str> {
        matches!(self, Self::Conflict).then_some("patch")
    }
}

impl Operation {
    /// The next one of a random history.
    pub fn random(rng: &mut StdRng) -> Self {
        let what = match rng.random_range(0..100) {
            0..14 => What::Backup {
                namespaces: rng.random_range(1..4),
            },
            14..24 => What::Restore { backup: rng.random() },
            24..34 => What::Cancel {
                upload: rng.random_bool(0.6),
                pick: rng.random(),
            },
            34..54 => What::Write {
                volume: rng.random(),
                changes: rng.random_range(1..4),
            },
            54..58 => What::DeletePod {
                application: rng.random(),
            },
            58..72 => What::Kill { pick: rng.random() },
            72..77 => What::Delete {
                kind: [Deleted::Upload, Deleted::Download, Deleted::MoverPod][rng.random_range(0..3)],
                pick: rng.random(),
            },
            77..86 => What::Storage {
                fault: [
                    BucketFault::Unavailable,
                    BucketFault::LostAnswer,
                    BucketFault::Slow,
                    BucketFault::Denied,
                    BucketFault::Full,
                ][rng.random_range(0..5)],
                calls: rng.random_range(1..5),
            },
            86..91 => What::Api {
                fault: [
                    ApiFault::InternalError,
                    ApiFault::Unavailable,
                    ApiFault::TooManyRequests,
                    ApiFault::Timeout,
                    ApiFault::TimeoutAfter,
                    ApiFault::Conflict,
                    ApiFault::LostAnswer,
                    ApiFault::Unreachable,
                    ApiFault::Slow,
                ][rng.random_range(0..9)],
                requests: rng.random_range(1..6),
            },
            91..95 => What::Watches {
                expired: rng.random(),
                times: rng.random_range(1..8),
            },
            95..98 => What::Volumes {
                fault: [
                    VolumeFault::Fail,
                    VolumeFault::LostAnswer,
                    VolumeFault::Slow,
                    VolumeFault::DiskFull,
                    VolumeFault::SnapshotNotReady,
                ][rng.random_range(0..5)],
                calls: rng.random_range(1..4),
            },
            _ => What::Node {
                node: rng.random(),
                on: rng.random(),
            },
        };
        Self {
            after_steps: rng.random_range(1..60),
            what,
        }
    }
}

impl Operation {
    /// The next one of a random history with backups whose snapshots stay in the storage.
    pub fn random_with_snapshots(rng: &mut StdRng) -> Self {
        let what = match rng.random_range(0..100) {
            0..14 => What::Snapshot {
                namespaces: rng.random_range(1..4),
            },
            14..20 => What::DeleteBackup { backup: rng.random() },
            _ => return Self::random(rng),
        };
        Self {
            after_steps: rng.random_range(1..60),
            what,
        }
    }
}

/// Does it. Where there is nothing to do it to, nothing is done.
///
/// # Errors
/// The API server refuses what it should not, or a volume cannot be written to.
pub async fn perform(world: &World, number: usize, operation: &Operation) -> anyhow::Result<()> {
    world
        .trace
        .note(&format!("operation {number}: {:?}", operation.what));
    match &operation.what {
        What::Backup { namespaces } => backup(world, &format!("b{number}"), *namespaces, true).await,
        What::Snapshot { namespaces } => backup(world, &format!("s{number}"), *namespaces, false).await,
        What::DeleteBackup { backup } => delete_backup(world, number, *backup).await,
        What::Restore { backup } => restore(world, number, *backup).await,
        What::Cancel { upload, pick } => cancel(world, *upload, *pick).await,
        What::Write { volume, changes } => {
            let all = APPLICATIONS
                .iter()
                .flat_map(|(namespace, claims)| claims.iter().map(move |claim| (*namespace, *claim)));
            if let Some((namespace, claim)) = picked(all.collect(), *volume) {
                world.write(namespace, claim, *changes)?;
            }
            Ok(())
        }
        What::DeletePod { application } => delete_pod(world, *application).await,
        What::Kill { pick } => {
            if let Some((pod, container)) = picked(world.product_pods().await?, *pick) {
                let is_killed = world.sandbox.machines().kill(VELERO, &pod, &container);
                world.trace.fault(&format!("kill {pod}/{container}: {is_killed}"));
            }
            Ok(())
        }
        What::Delete { kind, pick } => delete(world, *kind, *pick).await,
        What::Storage { fault, calls } => {
            world.bucket.fail(*fault, *calls);
            Ok(())
        }
        What::Api { fault, requests } => {
            let mut rule = Rule::always(fault.fault())
                .by("system:serviceaccount:velero:")
                .first(u64::from(*requests));
            if let Some(verb) = fault.verb() {
                rule = rule.on(verb);
            }
            world.api_faults.add(rule);
            Ok(())
        }
        What::Watches { expired, times } => {
            let fault = if *expired {
                WatchFault::Expired
            } else {
                WatchFault::Drop
            };
            let rule = Rule::always(fault)
                .by("system:serviceaccount:velero:")
                .first(u64::from(*times));
            world.api_faults.add_watch(rule);
            Ok(())
        }
        What::Volumes { fault, calls } => {
            let mut rule = Rule::always(fault.fault()).first(u64::from(*calls));
            if *fault == VolumeFault::SnapshotNotReady {
                rule = rule.on("CreateSnapshot");
            }
            world.csi_faults.add(rule);
            Ok(())
        }
        What::Node { node, on } => {
            let names = (0..NODES).map(|number| format!("sandbox-{number}"));
            if let Some(name) = picked(names.collect(), *node) {
                let machines = world.sandbox.machines();
                let is_done = if *on {
                    machines.recover_node(&name).await?
                } else {
                    machines.fail_node(&name)
                };
                world.trace.fault(&format!(
                    "{name} goes {}: {is_done}",
                    if *on { "on" } else { "off" }
                ));
            }
            Ok(())
        }
    }
}

fn picked<T>(mut all: Vec<T>, pick: Pick) -> Option<T> {
    if all.is_empty() {
        return None;
    }
    let place = usize::try_from(pick).unwrap_or_default() % all.len();
    Some(all.swap_remove(place))
}

async fn backup(world: &World, name: &str, namespaces: u32, moves: bool) -> anyhow::Result<()> {
    let is_chosen = |(place, _): &(usize, &(&str, &[&str]))| namespaces & (1 << place) != 0;
    let chosen: Vec<&str> = APPLICATIONS
        .iter()
        .enumerate()
        .filter(is_chosen)
        .map(|(_, (namespace, _))| *namespace)
        .collect();
    world
        .create(&json!({
            "apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": {"name": name, "namespace": VELERO},
            "spec": {"includedNamespaces": chosen, "snapshotMoveData": moves, "storageLocation": "default"},
        }))
        .await
}

/// One that has ended; another one would only be refused.
async fn delete_backup(world: &World, number: usize, pick: Pick) -> anyhow::Result<()> {
    let mut ended = world.list("velero.io", "v1", "Backup").await?;
    ended.retain(|backup| !moves(backup) && crate::checks::is_terminal(phase(backup)));
    match picked(ended, pick) {
        Some(backup) => request_deletion(world, &format!("d{number}"), &backup).await,
        None => Ok(()),
    }
}

/// Creates a DeleteBackupRequest of this name, as the command line does.
///
/// # Errors
/// The API server refuses it.
pub async fn request_deletion(world: &World, name: &str, backup: &DynamicObject) -> anyhow::Result<()> {
    let labels = json!({
        "velero.io/backup-name": backup.name_any(), "velero.io/backup-uid": backup.uid(),
    });
    world
        .create(&json!({
            "apiVersion": "velero.io/v1", "kind": "DeleteBackupRequest",
            "metadata": {"name": name, "namespace": VELERO, "labels": labels},
            "spec": {"backupName": backup.name_any()},
        }))
        .await
}

/// Whether its data leaves the storage system; otherwise its snapshots stay there.
pub fn moves(backup: &DynamicObject) -> bool {
    backup.data["spec"]["snapshotMoveData"] == true
}

async fn restore(world: &World, number: usize, pick: Pick) -> anyhow::Result<()> {
    let mut finished = world.list("velero.io", "v1", "Backup").await?;
    finished.retain(|backup| matches!(phase(backup), "Completed" | "PartiallyFailed"));
    match picked(finished, pick) {
        Some(backup) => create_restore(world, &format!("r{number}"), &backup.name_any()).await,
        None => Ok(()),
    }
}

/// Creates a restore into namespaces that are named after it.
///
/// # Errors
/// The API server refuses it.
pub async fn create_restore(world: &World, name: &str, backup: &str) -> anyhow::Result<()> {
    let mapping = APPLICATIONS.iter().map(|(namespace, _)| {
        let to = format!("{name}-{namespace}");
        ((*namespace).to_owned(), json!(to))
    });
    let mapping: serde_json::Map<_, _> = mapping.collect();
    world
        .create(&json!({
            "apiVersion": "velero.io/v1", "kind": "Restore",
            "metadata": {"name": name, "namespace": VELERO},
            "spec": {"backupName": backup, "namespaceMapping": mapping},
        }))
        .await
}

async fn cancel(world: &World, upload: bool, pick: Pick) -> anyhow::Result<()> {
    let kind = if upload { "DataUpload" } else { "DataDownload" };
    let mut going = world.list("velero.io", "v2alpha1", kind).await?;
    going.retain(|movement| !crate::checks::is_terminal(phase(movement)));
    if let Some(movement) = picked(going, pick) {
        let patch = Patch::Merge(json!({"spec": {"cancel": true}}));
        let patched = velero_api(world, kind)
            .patch(&movement.name_any(), &PatchParams::default(), &patch)
            .await;
        ignore_missing(patched.map(drop))?;
    }
    Ok(())
}

async fn delete(world: &World, kind: Deleted, pick: Pick) -> anyhow::Result<()> {
    let (api, mut all) = match kind {
        Deleted::Upload => (
            velero_api(world, "DataUpload"),
            world.list("velero.io", "v2alpha1", "DataUpload").await?,
        ),
        Deleted::Download => (
            velero_api(world, "DataDownload"),
            world.list("velero.io", "v2alpha1", "DataDownload").await?,
        ),
        Deleted::MoverPod => {
            let pods = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
            let mut found = world.list("", "v1", "Pod").await?;
            found.retain(|pod| {
                pod.namespace().as_deref() == Some(VELERO)
                    && (pod.labels().contains_key("velero.io/data-upload")
                        || pod.labels().contains_key("velero.io/data-download"))
            });
            (Api::namespaced_with(world.client.clone(), VELERO, &pods), found)
        }
    };
    all.retain(|object| object.metadata.deletion_timestamp.is_none());
    if let Some(object) = picked(all, pick) {
        let deleted = api.delete(&object.name_any(), &DeleteParams::default()).await;
        ignore_missing(deleted.map(drop))?;
    }
    Ok(())
}

async fn delete_pod(world: &World, application: Pick) -> anyhow::Result<()> {
    let names: Vec<&str> = APPLICATIONS.iter().map(|(namespace, _)| *namespace).collect();
    let Some(namespace) = picked(names, application) else {
        return Ok(());
    };
    let mut pods = world.list("", "v1", "Pod").await?;
    pods.retain(|pod| pod.namespace().as_deref() == Some(namespace));
    if let Some(pod) = picked(pods, 0) {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
        let api: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), namespace, &resource);
        let deleted = api.delete(&pod.name_any(), &DeleteParams::default()).await;
        ignore_missing(deleted.map(drop))?;
    }
    Ok(())
}

/// DataUploads or DataDownloads.
pub fn velero_api(world: &World, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("velero.io", "v2alpha1", kind));
    Api::namespaced_with(world.client.clone(), VELERO, &resource)
}

/// What goes meanwhile needs no operation any more.
fn ignore_missing(answer: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other,
    }
}

/// `status.phase`.
pub fn phase(object: &DynamicObject) -> &str {
    object
        .data
        .pointer("/status/phase")
        .and_then(|phase| phase.as_str())
        .unwrap_or_default()
}
