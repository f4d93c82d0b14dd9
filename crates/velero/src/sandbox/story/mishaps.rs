//! Acts in which something goes wrong: somebody changes their mind, a machine dies. As in `acts.rs`, each looks at what
//! came of it; a backup that did not save everything must say so, and nothing may be left behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use caravel_api::labels::DATA_MOVER_SERVICE_ACCOUNT;
use caravel_api::phase::BackupPhase;
use caravel_api::v1::Backup;
use caravel_api::v2alpha1::{DataDownload, DataMovementPhase, DataUpload};
use caravel_sandbox::faults::{Fault, Rule, Rules};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Resource, ResourceExt as _};
use serde_json::{Value, json};

use super::super::application::NAMESPACE;
use super::super::world::{VELERO, World};
use super::tale::Tale;
use crate::cli::failure::{Failure, Outcome, kubernetes};

/// Nothing that is waited for here takes so long.
const WITHIN: Duration = Duration::from_secs(90);
/// What each of many volumes may add.
const WITHIN_PER_VOLUME: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// A data mover's first event takes so long: a moment to change one's mind in.
pub const A_MOMENT: Duration = Duration::from_secs(4);
/// A canceled upload stops within this time, besides the two events that the API server is slow with in this story: the one
/// it is writing at that moment, and its last one.
const STOPS_WITHIN: Duration = Duration::from_secs(5);
/// And this long after the cancel nothing that was made for it is left.
const GONE_WITHIN: Duration = Duration::from_secs(30);
/// Longer than any story.
pub const FOR_EVER: Duration = Duration::from_secs(3600);

/// `velero backup create` without waiting; returns when the data mover is at work. The API server keeps its first event
/// for so long, so that there is a middle in which something can happen.
pub async fn begin_backup(
    world: &World,
    tale: &mut Tale,
    name: &str,
    stays_busy: Duration,
) -> Outcome<DataUpload> {
    tale.step(&format!("Back it up as {name}, and look while its data moves"))?;
    let rules = Rules::new(0);
    let mover = format!("system:serviceaccount:{VELERO}:{DATA_MOVER_SERVICE_ACCOUNT}");
    let slow = Rule::always(Fault::Slow(stays_busy)).on("create").of("events");
    rules.add(slow.by(&mover));
    world.sandbox.api().set_faults(Some(Arc::new(rules)));
    tale.types(
        &format!("velero backup create {name} --include-namespaces {NAMESPACE} --snapshot-move-data"),
        world,
    )
    .await?;
    let upload = upload_of(world, name, "is moved", |upload| {
        upload.phase() == DataMovementPhase::InProgress
    })
    .await?;
    tale.fact(&format!(
        "DataUpload {} is InProgress on node {}",
        upload.name_any(),
        node_of(&upload)
    ))?;
    Ok(upload)
}

/// `kubectl patch` with `spec.cancel`; the upload must end as Canceled, in time, and leave nothing.
pub async fn cancel(world: &World, tale: &mut Tale, backup: &str, upload: &DataUpload) -> Outcome {
    tale.step("Change one's mind: cancel it half-way")?;
    let name = upload.name_any();
    tale.fact(&format!(
        "$ kubectl -n {VELERO} patch dataupload {name} --type merge -p '{{\"spec\":{{\"cancel\":true}}}}'"
    ))?;
    let api: Api<DataUpload> = Api::namespaced(world.client(), VELERO);
    let began = Instant::now();
    patch(&api, &name, json!({"spec": {"cancel": true}})).await?;
    upload_ends(world, tale, backup, DataMovementPhase::Canceled).await?;
    in_time(tale, "it has stopped", began, A_MOMENT * 2 + STOPS_WITHIN)?;
    nothing_is_left(world, tale).await?;
    in_time(tale, "all of it was gone", began, GONE_WITHIN)
}

fn in_time(tale: &Tale, what: &str, began: Instant, within: Duration) -> Outcome {
    let took = began.elapsed();
    tale.fact(&format!("{what} {:.1} s after the cancel", took.as_secs_f64()))?;
    if took <= within {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{what} only after {:.1} s",
        took.as_secs_f64()
    )))
}

/// The machine kills the data mover's container, as it does when memory is short.
pub async fn kill_mover(world: &World, tale: &mut Tale, upload: &DataUpload) -> Outcome {
    tale.step("The machine kills the data mover")?;
    let (pod, container) = (upload.name_any(), upload.uid().unwrap_or_default());
    if world.sandbox.machines().kill(VELERO, &pod, &container) {
        return tale.fact(&format!("pod {VELERO}/{pod}: signal 9"));
    }
    Err(Failure::new(format!(
        "no container of pod {VELERO}/{pod} is running"
    )))
}

/// The upload of this backup ends so, with a reason; the API server is quick again.
pub async fn upload_ends(world: &World, tale: &Tale, backup: &str, wanted: DataMovementPhase) -> Outcome {
    let ended = upload_of(world, backup, "ends", |upload| upload.phase().is_finished()).await?;
    world.sandbox.api().set_faults(None);
    let message = ended.status.as_ref().map_or("", |status| status.message.as_str());
    if ended.phase() != wanted || message.is_empty() {
        return Err(Failure::new(format!(
            "DataUpload {} ended as {}, saying {message:?}; {wanted} was expected, with a reason",
            ended.name_any(),
            ended.phase()
        )));
    }
    tale.fact(&format!("DataUpload: {wanted}: {message}"))
}

/// The backup ends, and does not claim to be complete.
pub async fn backup_is_not_complete(world: &World, tale: &Tale, name: &str) -> Outcome {
    let api: Api<Backup> = Api::namespaced(world.client(), VELERO);
    let ended = until(&format!("backup {name} to end"), async || {
        let found = api.get(name).await;
        let found = found.map_err(|error| kubernetes(format!("getting backup {name}"), &error))?;
        Ok(Some(found).filter(|backup| backup.phase().is_finished()))
    })
    .await?;
    match ended.phase() {
        phase @ (BackupPhase::PartiallyFailed | BackupPhase::Failed) => {
            let errors = ended.status.map_or(0, |status| status.errors);
            tale.fact(&format!("backup {name}: {phase}, {errors} error(s)"))
        }
        phase => Err(Failure::new(format!(
            "backup {name} ended as {phase} although a volume was not saved"
        ))),
    }
}

/// Nothing that was made for the time of a data movement is still there.
pub async fn nothing_is_left(world: &World, tale: &mut Tale) -> Outcome {
    tale.step("Look what is left of it")?;
    let client = world.client();
    let snapshots = |kind: &str| {
        let kind = GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", kind);
        Api::<DynamicObject>::all_with(client.clone(), &ApiResource::from_gvk(&kind))
    };
    let (taken, contents) = (snapshots("VolumeSnapshot"), snapshots("VolumeSnapshotContent"));
    let pods: Api<Pod> = Api::namespaced(client.clone(), VELERO);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), VELERO);
    let uploads: Api<DataUpload> = Api::namespaced(client.clone(), VELERO);
    let downloads: Api<DataDownload> = Api::namespaced(client.clone(), VELERO);
    let all = ListParams::default();
    let movers = [
        caravel_api::labels::DATA_UPLOAD,
        caravel_api::labels::DATA_DOWNLOAD,
    ];
    let movers = movers.map(|label| all.clone().labels(label));
    let mut last = Vec::new();
    let looked = until_within("temporary objects to go", patience(world), async || {
        let mut left = Vec::new();
        names(&mut left, "VolumeSnapshot", &taken, &all).await?;
        names(&mut left, "VolumeSnapshotContent", &contents, &all).await?;
        for movers in &movers {
            names(&mut left, "Pod", &pods, movers).await?;
        }
        names(&mut left, "PersistentVolumeClaim", &claims, &all).await?;
        held(&mut left, "DataUpload", &uploads).await?;
        held(&mut left, "DataDownload", &downloads).await?;
        last = left;
        Ok(last.is_empty().then_some(()))
    })
    .await;
    looked.map_err(|error| Failure::new(format!("{error}; there are still: {}", last.join(", "))))?;
    tale.fact("no snapshot, no pod, no volume: nothing")
}

/// Two nodes: where Velero's server runs, and the other one, which will be lost.
pub struct Machines {
    pub server: String,
    pub other: String,
}

/// Which of the two nodes is which.
pub async fn machines(world: &World) -> Outcome<Machines> {
    let pods: Api<Pod> = Api::namespaced(world.client(), VELERO);
    let servers = pods.list(&ListParams::default().labels("deploy=velero")).await;
    let servers = servers.map_err(|error| kubernetes("looking for Velero's server", &error))?;
    let node = |pod: &Pod| pod.spec.as_ref()?.node_name.clone();
    let server = servers.iter().find_map(node).unwrap_or_default();
    let nodes: Api<Node> = Api::all(world.client());
    let nodes = nodes.list(&ListParams::default()).await;
    let nodes = nodes.map_err(|error| kubernetes("listing nodes", &error))?;
    let other = nodes
        .iter()
        .map(kube::ResourceExt::name_any)
        .find(|name| *name != server);
    match other {
        Some(other) => Ok(Machines { server, other }),
        None => Err(Failure::new("this story needs two nodes")),
    }
}

/// `kubectl cordon` and `kubectl uncordon`: whether new pods may come to a node.
pub async fn cordon(world: &World, tale: &Tale, node: &str, is_closed: bool) -> Outcome {
    let verb = if is_closed { "cordon" } else { "uncordon" };
    tale.fact(&format!("$ kubectl {verb} {node}"))?;
    patch_node(world, node, json!({"spec": {"unschedulable": is_closed}})).await
}

/// A machine goes off, and somebody who sees that says so.
pub async fn lose_node(world: &World, tale: &mut Tale, node: &str) -> Outcome {
    tale.step(&format!("The machine of node {node} dies"))?;
    if !world.sandbox.machines().fail_node(node) {
        return Err(Failure::new(format!("node {node} is not running")));
    }
    tale.fact("its pods stop at this moment; nobody there can say so")?;
    tale.fact(&format!(
        "$ kubectl taint node {node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
    ))?;
    let taint =
        json!({"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"});
    patch_node(world, node, json!({"spec": {"taints": [taint]}})).await
}

/// The machine is repaired.
pub async fn repair_node(world: &World, tale: &mut Tale, node: &str) -> Outcome {
    tale.step("The machine is repaired")?;
    tale.fact(&format!(
        "$ kubectl taint node {node} node.kubernetes.io/out-of-service-"
    ))?;
    patch_node(world, node, json!({"spec": {"taints": null}})).await?;
    let recovered = world.sandbox.machines().recover_node(node).await;
    recovered.map_err(|error| kubernetes(format!("starting node {node}"), &error))?;
    tale.fact("its node agent starts, and clears away what it had begun")
}

/// The node that moved the data of this backup is not this one.
pub async fn moved_elsewhere(world: &World, tale: &Tale, backup: &str, lost: &str) -> Outcome {
    let upload = upload_of(world, backup, "ends", |upload| upload.phase().is_finished()).await?;
    let node = node_of(&upload);
    if node == lost || node.is_empty() {
        return Err(Failure::new(format!(
            "the data of {backup} was moved by node {node:?}, which is off"
        )));
    }
    tale.fact(&format!("node {node} has moved it"))
}

fn node_of(upload: &DataUpload) -> String {
    upload
        .status
        .as_ref()
        .map_or_else(String::new, |status| status.node.clone())
}

/// The DataUpload of a backup, when it is so.
async fn upload_of(
    world: &World,
    backup: &str,
    what: &str,
    is_so: impl Fn(&DataUpload) -> bool,
) -> Outcome<DataUpload> {
    let api: Api<DataUpload> = Api::namespaced(world.client(), VELERO);
    let of_backup = format!("{}={backup}", caravel_api::labels::BACKUP_NAME);
    let of_backup = ListParams::default().labels(&of_backup);
    until(&format!("the DataUpload of {backup} that {what}"), async || {
        let found = api.list(&of_backup).await;
        let found = found.map_err(|error| kubernetes("listing DataUploads", &error))?;
        Ok(found.items.into_iter().find(&is_so))
    })
    .await
}

async fn names<K>(left: &mut Vec<String>, kind: &str, api: &Api<K>, which: &ListParams) -> Outcome
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let found = api.list(which).await;
    let found = found.map_err(|error| kubernetes(format!("looking for a {kind}"), &error))?;
    left.extend(found.iter().map(|it| format!("{kind} {}", it.name_any())));
    Ok(())
}

/// Those whose finalizer still waits for something to go.
async fn held<K>(left: &mut Vec<String>, kind: &str, api: &Api<K>) -> Outcome
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let found = api.list(&ListParams::default()).await;
    let found = found.map_err(|error| kubernetes(format!("looking for a {kind}"), &error))?;
    let held = found.iter().filter(|it| !it.finalizers().is_empty());
    left.extend(held.map(|it| format!("finalizer of {kind} {}", it.name_any())));
    Ok(())
}

async fn patch_node(world: &World, node: &str, change: Value) -> Outcome {
    patch(&Api::<Node>::all(world.client()), node, change).await
}

async fn patch<K>(api: &Api<K>, name: &str, change: Value) -> Outcome
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let patched = api
        .patch(name, &PatchParams::default(), &Patch::Merge(change))
        .await;
    patched
        .map(drop)
        .map_err(|error| kubernetes(format!("patching {name}"), &error))
}

/// What may take longer the more volumes there are.
pub fn patience(world: &World) -> Duration {
    let volumes = u32::try_from(world.volumes).unwrap_or(u32::MAX);
    WITHIN + WITHIN_PER_VOLUME.saturating_mul(volumes)
}

/// Looks again and again.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    until_within(what, WITHIN, look).await
}

/// The same with another deadline. A look at much takes long: looking takes a fifth of the time at most.
pub async fn until_within<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let looking = async {
        loop {
            let began = Instant::now();
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(LOOK_AGAIN.max(began.elapsed() * 4)).await;
        }
    };
    match tokio::time::timeout(within, looking).await {
        Ok(found) => found,
        Err(_) => Err(Failure::new(format!(
            "waited {} s in vain for {what}",
            within.as_secs()
        ))),
    }
}
