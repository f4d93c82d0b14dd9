//! The server is killed at random awaits while a backup and a restore run: each ends Completed, nothing twice, nothing
//! missing (docs/decisions/0007). And of two servers one takes over when the other's node goes off.
//!
//! Nothing else goes wrong here; random histories (`history.rs`) have all other faults, and kills among them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use kube::{ResourceExt, api::DynamicObject};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::time::Instant;

use crate::application::{self, Application};
use crate::checks::{Invariant, is_terminal};
use crate::compare;
use crate::history::{Report, left_over, settle};
use crate::operation::{Operation, What, perform, phase};
use crate::world::{APPLICATIONS, VELERO, World};

/// A namespace whose only pod has hooks of both kinds, and no volume.
const HOOKED: &str = "bank";
/// The steps of a backup of three volumes; a kill comes within them, or the backup is over.
const BACKUP_STEPS: u64 = 70;
/// The same of a restore.
const RESTORE_STEPS: u64 = 110;
/// Everything has ended by then.
const ENDS_WITHIN: Duration = Duration::from_secs(3 * 3600);
/// docs/decisions/0007.
const TAKES_OVER_WITHIN: Duration = Duration::from_secs(15);

/// One backup and one restore, with kills.
pub async fn run(world: &World, report: &mut Report) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(report.seed ^ 0x5EED_0F4E_57A4_7500);
    prepare(world, &mut rng).await?;
    let namespaces: Vec<&str> = APPLICATIONS
        .iter()
        .map(|(name, _)| *name)
        .chain([HOOKED])
        .collect();
    world.trace.note("the backup begins");
    world
        .create(&json!({
            "apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": {"name": "b", "namespace": VELERO},
            "spec": {"includedNamespaces": namespaces, "snapshotMoveData": true, "storageLocation": "default"},
        }))
        .await?;
    let attempts = kill_until_ended(world, report, &mut rng, "Backup", "b", BACKUP_STEPS).await?;
    if !settle(world, ENDS_WITHIN).await? || !is_completed(world, "Backup", "b").await? {
        return Ok(());
    }
    report.backups = 1;
    world
        .trace
        .note(&format!("the backup is Completed, attempt {attempts}"));
    let mapping: BTreeMap<&str, String> = namespaces
        .iter()
        .map(|name| (*name, format!("r-{name}")))
        .collect();
    world
        .create(&json!({
            "apiVersion": "velero.io/v1", "kind": "Restore",
            "metadata": {"name": "r", "namespace": VELERO},
            "spec": {"backupName": "b", "namespaceMapping": mapping},
        }))
        .await?;
    let attempts = kill_until_ended(world, report, &mut rng, "Restore", "r", RESTORE_STEPS).await?;
    if !settle(world, ENDS_WITHIN).await? || !is_completed(world, "Restore", "r").await? {
        return Ok(());
    }
    world
        .trace
        .note(&format!("the restore is Completed, attempt {attempts}"));
    report.compared = Box::pin(compare::restores(world)).await?;
    once(world).await?;
    hooks(&world.applications, report, world);
    left_over(world).await
}

/// Fresh data on the volumes, and the pod with hooks.
async fn prepare(world: &World, rng: &mut StdRng) -> anyhow::Result<()> {
    for (namespace, claims) in APPLICATIONS {
        for claim in claims {
            world.write(namespace, claim, rng.random_range(1..6))?;
        }
    }
    for object in application::hooked(HOOKED) {
        world.create(&object).await?;
    }
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), HOOKED);
    for _ in 0..600 {
        let all = pods.list(&Default::default()).await?.items;
        let runs =
            |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
        if all.iter().any(runs) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    bail!("the pod with hooks does not run")
}

/// Kills the server once or twice, each time somewhere within `steps`; the number of the attempt that ended the object.
async fn kill_until_ended(
    world: &World,
    report: &mut Report,
    rng: &mut StdRng,
    kind: &str,
    name: &str,
    steps: u64,
) -> anyhow::Result<u32> {
    for number in 0..rng.random_range(1..=2) {
        let due = world.trace.steps() + rng.random_range(1..steps);
        // It may end before: then time passes until this does, too.
        let _ = tokio::time::timeout(Duration::from_secs(60), world.trace.reached(due)).await;
        // And at any of the awaits between two steps.
        for _ in 0..rng.random_range(0..120) {
            tokio::task::yield_now().await;
        }
        let before = get(world, kind, name).await?;
        if is_terminal(phase(&before)) {
            break;
        }
        if kill_server(world).await? {
            report.kills += 1;
            report.kills_in_progress += usize::from(phase(&before) == "InProgress");
            world.trace.note(&format!(
                "kill {number} of the server: {kind} {name} is {:?}",
                phase(&before)
            ));
        }
    }
    let begun = Instant::now();
    loop {
        let object = get(world, kind, name).await?;
        if is_terminal(phase(&object)) || begun.elapsed() > ENDS_WITHIN {
            let attempt = object.annotations().get("velero.io/attempt");
            return Ok(attempt.and_then(|number| number.parse().ok()).unwrap_or(1));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn kill_server(world: &World) -> anyhow::Result<bool> {
    let pods = world.product_pods().await?;
    let server = pods.into_iter().find(|(pod, _)| pod.starts_with("velero-"));
    let Some((pod, container)) = server else {
        return Ok(false);
    };
    let is_killed = world.sandbox.machines().kill(VELERO, &pod, &container);
    world.trace.fault(&format!("kill {pod}/{container}: {is_killed}"));
    Ok(is_killed)
}

async fn get(world: &World, kind: &str, name: &str) -> anyhow::Result<DynamicObject> {
    let all = world.list("velero.io", "v1", kind).await?;
    let found = all.into_iter().find(|object| object.name_any() == name);
    found.with_context(|| format!("{kind} {name} is gone"))
}

/// Completed, without an error or warning.
async fn is_completed(world: &World, kind: &str, name: &str) -> anyhow::Result<bool> {
    let status = get(world, kind, name).await?.data["status"].clone();
    let is_whole = status["phase"] == "Completed" && status["errors"].as_i64().unwrap_or(0) == 0;
    if !is_whole {
        let seen = format!("{kind} {name}, whose server was killed, is {status}");
        world.checks.violated(Invariant::EverythingEnds, seen);
    }
    Ok(is_whole)
}

/// Nothing twice, nothing missing: data movements, objects in the backup, objects that were restored.
async fn once(world: &World) -> anyhow::Result<()> {
    let violated = |seen: String| world.checks.violated(Invariant::Once, seen);
    let volumes: usize = APPLICATIONS.iter().map(|(_, claims)| claims.len()).sum();
    for kind in ["DataUpload", "DataDownload"] {
        let all = world.list("velero.io", "v2alpha1", kind).await?;
        let phases: Vec<&str> = all.iter().map(phase).collect();
        if phases != vec!["Completed"; volumes] {
            violated(format!("{kind}s of {volumes} volumes are {phases:?}"));
        }
    }
    let store = world.bucket.backups();
    let in_backup = store.get_resource_list("b").await?.unwrap_or_default();
    let restored = store.get_restore_resource_list("r").await?.unwrap_or_default();
    for (kind, names) in in_backup.iter().chain(&restored) {
        let mut sorted = names.clone();
        sorted.dedup();
        if sorted.len() != names.len() {
            violated(format!("{kind} is listed twice: {names:?}"));
        }
    }
    for (namespace, claims) in APPLICATIONS {
        let expected = claims
            .iter()
            .map(|claim| ("v1/PersistentVolumeClaim", *claim))
            .chain([("v1/ConfigMap", "settings"), ("apps/v1/Deployment", "files")]);
        for (kind, name) in expected {
            let has = |list: &BTreeMap<String, Vec<String>>, entry: String| {
                list.get(kind).is_some_and(|names| names.contains(&entry))
            };
            if !has(&in_backup, format!("{namespace}/{name}")) {
                violated(format!("the backup does not have {kind} {namespace}/{name}"));
            }
            if !has(&restored, format!("r-{namespace}/{name}(created)")) {
                violated(format!(
                    "the restore has not created {kind} r-{namespace}/{name}: {:?}",
                    restored.get(kind)
                ));
            }
        }
    }
    let entry = |end: &str| {
        let all = restored.values().flatten();
        let found: Vec<&String> = all.filter(|name| name.ends_with(end)).collect();
        (!found.is_empty()).then(|| format!("{found:?}"))
    };
    for end in ["(failed)", "(updated)"] {
        if let Some(found) = entry(end) {
            violated(format!("restored as {end}: {found}"));
        }
    }
    Ok(())
}

/// What was frozen is thawed at the end, and the restored pod was welcomed.
fn hooks(applications: &Application, report: &Report, world: &World) {
    let violated = |seen: String| world.checks.violated(Invariant::Hooks, seen);
    let said = applications.commands(HOOKED);
    if said.first().map(String::as_str) != Some("freeze") || said.last().map(String::as_str) != Some("thaw") {
        violated(format!("the hooks of {HOOKED} ran as {said:?}"));
    }
    let welcomed = applications.commands(&format!("r-{HOOKED}"));
    // One that runs when the server is killed runs again: whether it ended nobody knows.
    let most = 1 + report.kills;
    if !(1..=most).contains(&welcomed.len()) || welcomed.iter().any(|command| command != "welcome") {
        violated(format!("the exec hook of r-{HOOKED} ran as {welcomed:?}"));
    }
}

/// Two servers: the one that acts loses its node.
pub async fn take_over(world: &World, report: &mut Report) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), VELERO);
    let two = Patch::Merge(json!({"spec": {"replicas": 2}}));
    deployments.patch("velero", &PatchParams::default(), &two).await?;
    let servers = servers_on_two_nodes(world).await?;
    // The second one has begun to wait by then.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let before = holder(world).await?;
    let node = servers.iter().find(|(pod, _)| before.starts_with(pod.as_str()));
    let (_, node) = node.with_context(|| format!("{before} holds the Lease and is no server"))?;
    world.sandbox.machines().fail_node(node);
    let begun = Instant::now();
    while holder(world).await? == before {
        if begun.elapsed() > TAKES_OVER_WITHIN {
            let seen = format!("{before} is off for {:?} and holds the Lease", begun.elapsed());
            world.checks.violated(Invariant::EverythingEnds, seen);
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    report.took_over = Some(begun.elapsed());
    world.sandbox.machines().recover_node(node).await?;
    // And it acts.
    let backup = Operation {
        after_steps: 0,
        what: What::Backup { namespaces: 3 },
    };
    perform(world, 0, &backup).await?;
    if settle(world, ENDS_WITHIN).await? {
        is_completed(world, "Backup", "b0").await?;
    }
    Ok(())
}

/// Name and node of both servers.
async fn servers_on_two_nodes(world: &World) -> anyhow::Result<Vec<(String, String)>> {
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), VELERO);
    for _ in 0..300 {
        let all = pods.list(&Default::default()).await?.items;
        let running = all.iter().filter(|pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            pod.name_any().starts_with("velero-") && phase == Some("Running")
        });
        let placed: Vec<(String, String)> = running
            .filter_map(|pod| Some((pod.name_any(), pod.spec.as_ref()?.node_name.clone()?)))
            .collect();
        if let [(_, one), (_, other)] = placed.as_slice() {
            if one == other {
                bail!("both servers are on {one}")
            }
            return Ok(placed);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    bail!("there are no two servers")
}

async fn holder(world: &World) -> anyhow::Result<String> {
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), VELERO);
    let lease = leases.get("velero-server").await?;
    Ok(lease
        .spec
        .and_then(|spec| spec.holder_identity)
        .unwrap_or_default())
}
