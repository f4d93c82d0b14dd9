//! Many volumes at once, as the node agent's ConfigMap says: how many data movers run, how many are prepared, what their
//! pods carry; and what an administrator sees of a change and of a mistake in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use caravel_api::labels::{DATA_UPLOAD, EXPOSE_ON_GOING};
use caravel_api::v2alpha1::{DataDownload, DataMovementPhase, DataUpload};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::watcher;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::super::world::{NODE_AGENT_CONFIGMAP, VELERO, World};
use super::mishaps::until;
use super::tale::Tale;
use super::volumes;
use crate::cli::failure::{Failure, Outcome, kubernetes};

/// Data movers at once on a node that no rule names, and on the first one.
pub const AT_ONCE: usize = 2;
pub const ON_THE_FIRST: usize = 1;
/// Movements in preparation.
pub const PREPARED: usize = 6;
/// Label of the pods, before the change and after it.
const LABEL: &str = "story";

/// The configuration of the story.
pub fn configuration(says: &str) -> Value {
    json!({
        "loadConcurrency": {"globalConfig": AT_ONCE, "prepareQueueLength": PREPARED, "perNodeConfig": [
            {"nodeSelector": {"matchLabels": {"kubernetes.io/hostname": "sandbox-0"}}, "number": ON_THE_FIRST}]},
        "podLabels": {LABEL: says},
        "podResources": {"memoryLimit": "512Mi"},
    })
}

/// `kubectl create configmap`, or another text in it.
pub async fn configure(world: &World, tale: &Tale, text: &str) -> Outcome {
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
pub async fn said(world: &World, reason: &str, nodes: usize, contains: &str) -> Outcome<String> {
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

/// What was ever seen at one moment.
#[derive(Debug, Default)]
pub struct Seen {
    now: BTreeMap<String, (String, bool)>,
    /// Data movers at once, by node.
    pub at_once: BTreeMap<String, usize>,
    /// Movements in preparation.
    pub prepared: usize,
    /// Values of the pods' label.
    pub labels: BTreeSet<String>,
}

impl Seen {
    /// Of a download that is InProgress only its volume may still be handed over, which takes no data mover: uploads count.
    fn note(&mut self, name: String, node: String, phase: &DataMovementPhase, prepared: bool) {
        let runs = matches!(
            phase,
            DataMovementPhase::InProgress | DataMovementPhase::Canceling
        );
        self.now
            .insert(name, (if runs { node } else { String::new() }, prepared));
        let mut running: BTreeMap<&str, usize> = BTreeMap::new();
        for (node, _) in self.now.values().filter(|(node, _)| !node.is_empty()) {
            *running.entry(node).or_default() += 1;
        }
        for (node, count) in running {
            let most = self.at_once.entry(node.to_owned()).or_default();
            *most = (*most).max(count);
        }
        let prepared = self.now.values().filter(|(_, prepared)| *prepared).count();
        self.prepared = self.prepared.max(prepared);
    }
}

/// Looks at every change of every movement while it is held.
pub struct Watching {
    pub seen: Arc<Mutex<Seen>>,
    _tasks: [AbortOnDropHandle<()>; 3],
}

/// Begins to watch.
pub fn watch(world: &World) -> Watching {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let client = world.client();
    macro_rules! movements {
        ($kind:ty, $takes_a_data_mover:literal) => {{
            let (seen, api) = (
                Arc::clone(&seen),
                Api::<$kind>::namespaced(client.clone(), VELERO),
            );
            AbortOnDropHandle::new(tokio::spawn(async move {
                let mut events = watcher(api, watcher::Config::default()).boxed();
                while let Some(event) = events.next().await {
                    if let Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) = event {
                        let node = object.status.as_ref().map(|status| status.node.clone());
                        let node = node.filter(|_| $takes_a_data_mover);
                        let prepared = object
                            .labels()
                            .get(EXPOSE_ON_GOING)
                            .is_some_and(|on| on == "true");
                        let name = object.name_any();
                        seen.lock()
                            .note(name, node.unwrap_or_default(), &object.phase(), prepared);
                    }
                }
            }))
        }};
    }
    let pods = {
        let (seen, api) = (Arc::clone(&seen), Api::<Pod>::namespaced(client.clone(), VELERO));
        AbortOnDropHandle::new(tokio::spawn(async move {
            let movers = watcher::Config::default().labels(DATA_UPLOAD);
            let mut events = watcher(api, movers).boxed();
            while let Some(event) = events.next().await {
                if let Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) = event
                    && let Some(value) = pod.labels().get(LABEL)
                {
                    seen.lock().labels.insert(value.clone());
                }
            }
        }))
    };
    let tasks = [
        movements!(DataUpload, true),
        movements!(DataDownload, false),
        pods,
    ];
    Watching { seen, _tasks: tasks }
}

/// Backs all of it up, and changes the configuration in the middle.
pub async fn back_up(world: &World, tale: &mut Tale, name: &str, count: usize) -> Outcome {
    tale.step(&format!(
        "Back all of it up as {name}, and change the configuration in the middle"
    ))?;
    let told: &Tale = tale;
    let change = async {
        let uploads: Api<DataUpload> = Api::namespaced(world.client(), VELERO);
        until("the first volumes to be saved", async || {
            let found = uploads.list(&ListParams::default()).await;
            let found = found.map_err(|error| kubernetes("listing DataUploads", &error))?;
            let ended = found.iter().filter(|upload| upload.phase().is_finished()).count();
            Ok((ended >= 2.min(count)).then_some(()))
        })
        .await?;
        configure(world, told, &configuration("second").to_string()).await
    };
    let (backed_up, changed) = tokio::join!(volumes::back_up(world, told, name), change);
    backed_up?;
    changed
}

/// Nothing was ever more than the configuration says.
pub fn kept_to(tale: &Tale, seen: &Seen) -> Outcome {
    for (node, most) in &seen.at_once {
        let limit = if node == "sandbox-0" {
            ON_THE_FIRST
        } else {
            AT_ONCE
        };
        tale.fact(&format!(
            "node {node}: at most {most} data mover(s) at once, {limit} may be"
        ))?;
        if *most > limit {
            return Err(Failure::new(format!(
                "node {node} ran {most} data movers at once"
            )));
        }
    }
    tale.fact(&format!(
        "in preparation: at most {}, {PREPARED} may be",
        seen.prepared
    ))?;
    if seen.prepared > PREPARED {
        return Err(Failure::new(format!(
            "{} movements were in preparation",
            seen.prepared
        )));
    }
    Ok(())
}
