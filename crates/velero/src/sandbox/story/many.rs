//! Many volumes at once, as the node agent's ConfigMap says: how many data movers run, how many are prepared, in which
//! order, what their pods carry; and what an administrator sees of a change and of a mistake in it.
//!
//! ```text
//! velero sandbox demo --story many-volumes --volumes 200 --nodes 20
//! ```
//! `movements.rs` is the judgement, `watching.rs` what feeds it.

mod movements;
mod watching;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use self::movements::{Direction, FIRST_NODE, Loads};
use self::watching::Watching;
use super::super::world::{NODE_AGENT_CONFIGMAP, VELERO, World};
use super::mishaps::{self, until, until_within};
use super::tale::Tale;
use super::{snapshots, volumes};
use crate::cli::failure::{Failure, Outcome, kubernetes};

/// Label of the pods, before the change of the ConfigMap and after it.
const LABEL: &str = "story";
/// Volumes that are taken only after the change, at least: so many more must there be than can be at work.
const LATER: usize = 3;

/// What the ConfigMap of the story says for so many nodes.
fn loads(nodes: usize) -> Loads {
    Loads {
        at_once: 2,
        on_the_first: 1,
        prepared: nodes.max(2),
        nodes,
    }
}

/// The story.
pub async fn play(world: &World, tale: &mut Tale) -> Outcome {
    let (count, loads) = (world.volumes, loads(world.nodes));
    enough(count, &loads)?;
    tale.step("Write the node agent's ConfigMap; nothing is started again")?;
    configure(world, tale, &configuration(&loads, "first").to_string()).await?;
    said(world, "ConfigurationInForce", loads.nodes, "").await?;
    tale.fact("every node agent says that it is in force")?;
    volumes::fill(world, tale, count, volumes::Mode::Filesystem).await?;
    let before = volumes::look(world, count).await?;
    let watching = Watching::begin(world);
    back_up(world, tale, "many-1", &loads, &watching).await?;
    let labels = watching.seen.lock().labels.clone();
    if !labels.iter().eq(["first", "second"]) {
        return Err(Failure::new(format!(
            "data mover pods were labelled {labels:?}, not first and second"
        )));
    }
    tale.fact("pods before the change are labelled `first`, those after it `second`")?;
    tale.step("Make a mistake in the ConfigMap")?;
    let mistake = r#"{"loadConcurrency": {"globalConfig": 0}, "podLabel": {}}"#;
    configure(world, tale, mistake).await?;
    let said = said(world, "ConfigurationRefused", loads.nodes, "globalConfig").await?;
    tale.fact(&format!("event: {said}"))?;
    configure(world, tale, &configuration(&loads, "third").to_string()).await?;
    volumes::lose(world, tale).await?;
    volumes::restore(world, tale, "many-1").await?;
    volumes::compare(world, tale, &before).await?;
    mishaps::nothing_is_left(world, tale).await?;
    storage_has_only(world, tale, count).await?;
    tale.step("Look what was at work at one moment, and who waited")?;
    judge(world, tale, &loads, &watching).await
}

/// So few volumes that none is left for the time after the change would show nothing.
fn enough(volumes: usize, loads: &Loads) -> Outcome {
    let at_work = loads.at_once * (loads.nodes - 1) + loads.on_the_first + loads.prepared;
    let least = at_work + LATER;
    if volumes >= least {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "with {} node(s) {at_work} volumes are at work at once, and {LATER} are to come later: --volumes {least} at least",
        loads.nodes
    )))
}

/// The configuration of the story.
fn configuration(loads: &Loads, says: &str) -> Value {
    json!({
        "loadConcurrency": {
            "globalConfig": loads.at_once,
            "prepareQueueLength": loads.prepared,
            "perNodeConfig": [{
                "nodeSelector": {"matchLabels": {"kubernetes.io/hostname": FIRST_NODE}},
                "number": loads.on_the_first,
            }],
        },
        "podLabels": {LABEL: says},
        "podResources": {"memoryLimit": "512Mi"},
    })
}

/// `kubectl create configmap`, or another text in it.
async fn configure(world: &World, tale: &Tale, text: &str) -> Outcome {
    tale.fact(&format!("ConfigMap {VELERO}/{NODE_AGENT_CONFIGMAP}: {text}"))?;
    let api: Api<ConfigMap> = Api::namespaced(world.client(), VELERO);
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NODE_AGENT_CONFIGMAP},
        "data": {"node-agent.json": text},
    });
    let applied = api
        .patch(
            NODE_AGENT_CONFIGMAP,
            &PatchParams::apply("story").force(),
            &Patch::Apply(&object),
        )
        .await;
    applied
        .map(drop)
        .map_err(|error| kubernetes("writing the node agent's ConfigMap", &error))
}

/// As many nodes as there are say that it is in force, or that part of it is refused; what the first one says.
async fn said(world: &World, reason: &str, nodes: usize, contains: &str) -> Outcome<String> {
    let api: Api<Event> = Api::namespaced(world.client(), VELERO);
    let about = ListParams::default().fields(&format!("involvedObject.name={NODE_AGENT_CONFIGMAP}"));
    until(
        &format!("{nodes} event(s) {reason} about the ConfigMap"),
        async || {
            let events = api.list(&about).await;
            let events = events.map_err(|error| kubernetes("listing events", &error))?;
            let mut hosts = BTreeSet::new();
            let mut first = None;
            for event in events {
                let message = event.message.unwrap_or_default();
                if event.reason.as_deref() == Some(reason) && message.contains(contains) {
                    hosts.extend(event.source.and_then(|source| source.host));
                    first.get_or_insert(message);
                }
            }
            Ok(first.filter(|_| hosts.len() >= nodes))
        },
    )
    .await
}

/// Backs all of it up, and changes the configuration when the first data mover works.
async fn back_up(world: &World, tale: &mut Tale, name: &str, loads: &Loads, watching: &Watching) -> Outcome {
    tale.step(&format!(
        "Back all of it up as {name}, and change the configuration in the middle"
    ))?;
    let told: &Tale = tale;
    let change = async {
        until_within(
            "the first data mover to work",
            mishaps::patience(world),
            async || Ok((watching.seen.lock().movements.started() > 0).then_some(())),
        )
        .await?;
        configure(world, told, &configuration(loads, "second").to_string()).await
    };
    let (backed_up, changed) = tokio::join!(volumes::back_up(world, told, name), change);
    backed_up?;
    changed
}

/// The storage has the restored volumes, and neither a temporary one nor a snapshot.
async fn storage_has_only(world: &World, tale: &Tale, count: usize) -> Outcome {
    let mut last = (0, 0);
    let looked = until_within(
        "temporary volumes and snapshots to go",
        mishaps::patience(world),
        async || {
            last = (
                snapshots::kept_volumes(world)?.len(),
                snapshots::kept(world)?.len(),
            );
            Ok((last == (count, 0)).then_some(()))
        },
    )
    .await;
    let (volumes, kept) = last;
    looked.map_err(|error| {
        Failure::new(format!(
            "{}; the storage has {volumes} volumes, {kept} snapshots",
            error.message()
        ))
    })?;
    tale.fact(&format!("the storage has {volumes} volumes and no snapshot"))
}

/// Says the figures; nothing was ever more than the configuration says, and nobody starved.
async fn judge(world: &World, tale: &Tale, loads: &Loads, watching: &Watching) -> Outcome {
    let count = world.volumes;
    // The commands are told of the end at the same time as the watches are.
    until("the watches to see the end", async || {
        let seen = watching.seen.lock();
        let ended = [Direction::Upload, Direction::Download].map(|direction| seen.movements.ended(direction));
        Ok(ended.iter().all(|ended| *ended >= count).then_some(()))
    })
    .await?;
    let (figures, broken) = {
        let seen = watching.seen.lock();
        (seen.movements.figures(loads), seen.movements.broken(loads, count))
    };
    for figure in figures {
        tale.fact(&figure)?;
    }
    match broken.as_slice() {
        [] => tale.fact("never more than the ConfigMap says, first come, first served"),
        broken => Err(Failure::new(broken.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_few_volumes_that_none_comes_after_the_change_are_refused() {
        assert!(enough(8, &loads(2)).is_ok());
        let refused = enough(7, &loads(2)).unwrap_err();
        assert_eq!(refused.code(), 2);
        assert!(refused.message().contains("--volumes 8 at least"), "{refused}");
        assert!(enough(1, &loads(1)).is_err());
        assert!(enough(200, &loads(20)).is_ok());
    }
}
