//! The server is killed at random awaits while a backup and a restore run: each ends Completed, nothing twice, nothing
//! missing (docs/decisions/0007). And of two servers one takes over when the other's node goes off.
//!
//! Nothing else goes wrong here; random histories (`history.rs`) have all other faults, and kills among them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
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
    let mut seen = Vec::new();
    for kind in ["DataUpload", "DataDownload"] {
        let all = world.list("velero.io", "v2alpha1", kind).await?;
        let phases: Vec<&str> = all.iter().map(phase).collect();
        seen.extend(movements_not_once(kind, &phases));
    }
    let store = world.bucket.backups();
    let in_backup = store.get_resource_list("b").await?.unwrap_or_default();
    let restored = store.get_restore_resource_list("r").await?.unwrap_or_default();
    seen.extend(objects_not_once(&in_backup, &restored));
    for seen in seen {
        world.checks.violated(Invariant::Once, seen);
    }
    Ok(())
}

/// One movement for each volume, and each has ended well.
fn movements_not_once(kind: &str, phases: &[&str]) -> Option<String> {
    let volumes: usize = APPLICATIONS.iter().map(|(_, claims)| claims.len()).sum();
    let is_once = phases.len() == volumes && phases.iter().all(|phase| *phase == "Completed");
    (!is_once).then(|| format!("{kind}s of {volumes} volumes are {phases:?}"))
}

type Listed = BTreeMap<String, Vec<String>>;

/// What the resource lists of the backup and the restore say twice, or do not say.
fn objects_not_once(in_backup: &Listed, restored: &Listed) -> Vec<String> {
    let mut seen = Vec::new();
    for (kind, names) in in_backup.iter().chain(restored) {
        let different: BTreeSet<&String> = names.iter().collect();
        if different.len() != names.len() {
            seen.push(format!("{kind} is listed twice: {names:?}"));
        }
    }
    for (namespace, claims) in APPLICATIONS {
        let claims = claims.iter().map(|claim| ("v1/PersistentVolumeClaim", *claim));
        let others = [("v1/ConfigMap", "settings"), ("apps/v1/Deployment", "files")];
        for (kind, name) in claims.chain(others) {
            let has = |list: &Listed, entry: &str| {
                let names = list.get(kind).map(Vec::as_slice).unwrap_or_default();
                names.iter().any(|name| name == entry)
            };
            if !has(in_backup, &format!("{namespace}/{name}")) {
                seen.push(format!("the backup does not have {kind} {namespace}/{name}"));
            }
            if !has(restored, &format!("r-{namespace}/{name}(created)")) {
                seen.push(format!("the restore has not created {kind} r-{namespace}/{name}"));
            }
        }
    }
    let bad = |name: &&String| name.ends_with("(failed)") || name.ends_with("(updated)");
    seen.extend(restored.values().flatten().filter(bad).cloned());
    seen
}

/// What was frozen is thawed at the end, and the restored pod was welcomed.
fn hooks(applications: &Application, report: &Report, world: &World) {
    let said = applications.commands(HOOKED);
    let welcomed = applications.commands(&format!("r-{HOOKED}"));
    for seen in hooks_not_run(&said, &welcomed, report.kills) {
        world.checks.violated(Invariant::Hooks, seen);
    }
}

fn hooks_not_run(said: &[String], welcomed: &[String], kills: usize) -> Vec<String> {
    let mut seen = Vec::new();
    let ends = (said.first().map(String::as_str), said.last().map(String::as_str));
    if ends != (Some("freeze"), Some("thaw")) {
        seen.push(format!("the hooks of {HOOKED} ran as {said:?}"));
    }
    // One that runs when the server is killed runs again: whether it ended nobody knows.
    let most = 1 + kills;
    if !(1..=most).contains(&welcomed.len()) || welcomed.iter().any(|command| command != "welcome") {
        seen.push(format!("the exec hook of r-{HOOKED} ran as {welcomed:?}"));
    }
    seen
}

/// Two servers: the one that acts loses its node.
pub async fn take_over(world: &World, report: &mut Report) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), VELERO);
    // The second one shall go to the other node.
    let first = servers(world).await?.into_iter().next();
    let (_, node_of_first) = first.context("there is no server")?;
    cordon(world, &node_of_first, true).await?;
    let two = Patch::Merge(json!({"spec": {"replicas": 2}}));
    deployments.patch("velero", &PatchParams::default(), &two).await?;
    let servers = servers_on_two_nodes(world).await?;
    cordon(world, &node_of_first, false).await?;
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

async fn cordon(world: &World, node: &str, is_cordoned: bool) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(world.client.clone());
    let patch = Patch::Merge(json!({"spec": {"unschedulable": is_cordoned}}));
    nodes.patch(node, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Name and node of the servers that run.
async fn servers(world: &World) -> anyhow::Result<Vec<(String, String)>> {
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), VELERO);
    let all = pods.list(&Default::default()).await?.items;
    let running = all.iter().filter(|pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        pod.name_any().starts_with("velero-") && phase == Some("Running")
    });
    Ok(running
        .filter_map(|pod| Some((pod.name_any(), pod.spec.as_ref()?.node_name.clone()?)))
        .collect())
}

/// Name and node of both servers.
async fn servers_on_two_nodes(world: &World) -> anyhow::Result<Vec<(String, String)>> {
    for _ in 0..300 {
        let placed = servers(world).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn lists() -> (Listed, Listed) {
        let (mut in_backup, mut restored) = (Listed::new(), Listed::new());
        for (namespace, claims) in APPLICATIONS {
            let claims = claims.iter().map(|claim| ("v1/PersistentVolumeClaim", *claim));
            let others = [("v1/ConfigMap", "settings"), ("apps/v1/Deployment", "files")];
            for (kind, name) in claims.chain(others) {
                let saved = in_backup.entry(kind.to_owned()).or_default();
                saved.push(format!("{namespace}/{name}"));
                let created = restored.entry(kind.to_owned()).or_default();
                created.push(format!("r-{namespace}/{name}(created)"));
            }
        }
        (in_backup, restored)
    }

    #[test]
    fn an_object_that_is_missing_or_there_twice_or_was_not_created_is_seen() {
        let (in_backup, restored) = lists();
        assert_eq!(objects_not_once(&in_backup, &restored), Vec::<String>::new());
        let kind = "v1/ConfigMap";
        let changed = |list: &Listed, change: fn(&mut Vec<String>)| {
            let mut list = list.clone();
            change(list.get_mut(kind).unwrap());
            list
        };
        let lost = changed(&in_backup, |names| drop(names.pop()));
        assert!(objects_not_once(&lost, &restored)[0].contains("does not have"));
        let twice = changed(&in_backup, |names| names.extend_from_within(..1));
        assert!(objects_not_once(&twice, &restored)[0].contains("twice"));
        let skipped = changed(&restored, |names| {
            names[0] = names[0].replace("created", "skipped")
        });
        assert!(objects_not_once(&in_backup, &skipped)[0].contains("not created"));
        let failed = changed(&restored, |names| names.push("x/y(failed)".to_owned()));
        assert_eq!(objects_not_once(&in_backup, &failed), ["x/y(failed)"]);
    }

    #[test]
    fn a_volume_that_was_moved_twice_or_not_to_the_end_is_seen() {
        assert_eq!(movements_not_once("DataUpload", &["Completed"; 3]), None);
        for phases in [
            &["Completed"; 4][..],
            &["Completed"; 2],
            &["Completed", "Completed", "Failed"],
        ] {
            assert!(movements_not_once("DataUpload", phases).is_some(), "{phases:?}");
        }
    }

    #[test]
    fn a_hook_that_is_owed_or_did_not_run_is_seen() {
        let good = words(&["freeze", "thaw", "freeze", "thaw"]);
        assert!(hooks_not_run(&good, &words(&["welcome"]), 0).is_empty());
        assert!(hooks_not_run(&good, &words(&["welcome"; 2]), 1).is_empty());
        for (said, welcomed, kills) in [
            (words(&["freeze", "thaw", "freeze"]), words(&["welcome"]), 1),
            (Vec::new(), words(&["welcome"]), 0),
            (good.clone(), Vec::new(), 1),
            (good.clone(), words(&["welcome"; 2]), 0),
        ] {
            assert_eq!(
                hooks_not_run(&said, &welcomed, kills).len(),
                1,
                "{said:?} {welcomed:?}"
            );
        }
    }
}
