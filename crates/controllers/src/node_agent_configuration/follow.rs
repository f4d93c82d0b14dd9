//! Puts the ConfigMap in force, and each change of it or of the node's labels.
//!
//! A controller like the others: the watches give the one key, a reconcile reads ConfigMap and Node and compares. A
//! value that is refused is an ERROR in the log and a Warning event of the ConfigMap; a text that cannot be read at all
//! changes nothing, and at the start ends the process, as Velero's does.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Event, EventSource, Node, ObjectReference};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::read::{NotReadable, Reading, read};
use super::{Configuration, InForce};
use crate::context::Context;
use crate::data_movement::{PrepareQueue, Slots};
use crate::reconcile::{self, Error, Key, Next, Reconciler, Source};

/// Reasons of the events.
const REFUSED: &str = "ConfigurationRefused";
const IN_FORCE: &str = "ConfigurationInForce";
/// Longest message of an event, in bytes (`events.k8s.io`).
const LONGEST_MESSAGE: usize = 1000;

/// Why the ConfigMap cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    #[error("cannot read ConfigMap {namespace}/{name} (--node-agent-configmap): {source}")]
    Api {
        namespace: String,
        name: String,
        source: Box<kube::Error>,
    },
    #[error(
        "ConfigMap {namespace}/{name} (--node-agent-configmap) must have exactly one key in data, whose value is JSON; it has {keys}"
    )]
    Keys {
        namespace: String,
        name: String,
        keys: usize,
    },
    #[error("ConfigMap {namespace}/{name} (--node-agent-configmap), key {key:?}: {source}")]
    Text {
        namespace: String,
        name: String,
        key: String,
        source: NotReadable,
    },
}

/// The node agent's configuration as it changes.
pub struct Follower {
    context: Context,
    configmap: String,
    node: String,
    in_force: InForce,
    slots: Arc<Slots>,
    queue: Arc<PrepareQueue>,
    last: Mutex<Last>,
}

/// What holds, and what it was read from.
#[derive(Default)]
struct Last {
    configuration: Configuration,
    /// Version of the ConfigMap, also of one that could not be read; none: there was none.
    version: Option<String>,
    labels: BTreeMap<String, String>,
    concurrency: usize,
}

impl Follower {
    /// Reads the ConfigMap for the first time. One that does not exist is a warning: what is said holds once it does.
    ///
    /// # Errors
    /// [`ConfigurationError`]: it cannot be read, or holds no JSON object.
    pub async fn begin(
        context: Context,
        configmap: &str,
        node: &str,
        slots: Arc<Slots>,
        queue: Arc<PrepareQueue>,
    ) -> Result<Self, ConfigurationError> {
        let follower = Self {
            context,
            configmap: configmap.to_owned(),
            node: node.to_owned(),
            in_force: InForce::default(),
            slots,
            queue,
            last: Mutex::default(),
        };
        follower.look().await?;
        Ok(follower)
    }

    /// The settings that this keeps up to date.
    pub fn in_force(&self) -> InForce {
        self.in_force.clone()
    }

    async fn look(&self) -> Result<(), ConfigurationError> {
        let found = self.context.api::<ConfigMap>().get_opt(&self.configmap).await;
        let found = found.map_err(|source| ConfigurationError::Api {
            namespace: self.context.namespace.clone(),
            name: self.configmap.clone(),
            source: Box::new(source),
        })?;
        let Some(found) = found else {
            let configmap = &self.configmap;
            let had_one = self.last.lock().version.take().is_some();
            let holds = if had_one {
                "what it said still holds"
            } else {
                "defaults hold"
            };
            tracing::warn!(%configmap, "the node agent's ConfigMap does not exist, {holds}");
            self.put().await;
            return Ok(());
        };
        let version = found.resource_version();
        if version.is_some() && self.last.lock().version == version {
            // The node has changed, perhaps.
            self.put().await;
            return Ok(());
        }
        self.last.lock().version = version;
        let read = self.reading(&found);
        match read {
            Ok(reading) => {
                self.take(&found, reading).await;
                Ok(())
            }
            Err(error) => {
                let message = error.to_string();
                self.event(&found, REFUSED, &message).await;
                Err(error)
            }
        }
    }

    fn reading(&self, found: &ConfigMap) -> Result<Reading, ConfigurationError> {
        let (namespace, name) = (self.context.namespace.clone(), self.configmap.clone());
        let none = BTreeMap::new();
        let data = found.data.as_ref().unwrap_or(&none);
        let mut entries = data.iter();
        let (Some((key, text)), None) = (entries.next(), entries.next()) else {
            let keys = data.len();
            return Err(ConfigurationError::Keys {
                namespace,
                name,
                keys,
            });
        };
        let before = self.last.lock().configuration.clone();
        read(text, &before).map_err(|source| ConfigurationError::Text {
            namespace,
            name,
            key: key.clone(),
            source,
        })
    }

    async fn take(&self, found: &ConfigMap, reading: Reading) {
        let configmap = &self.configmap;
        for refused in &reading.refused {
            tracing::error!(%configmap, key = %refused.key, value = %refused.value, why = %refused.why, "a setting is refused");
        }
        for remark in &reading.remarks {
            tracing::warn!(%configmap, "{remark}");
        }
        let mut said: Vec<String> = reading.refused.iter().map(ToString::to_string).collect();
        if let Some(missing) = self.missing_priority(&reading.configuration).await {
            tracing::error!(%configmap, "{missing}");
            said.push(missing);
        }
        if !said.is_empty() {
            self.event(found, REFUSED, &said.join("; ")).await;
        }
        let changed = {
            let mut last = self.last.lock();
            let changed = last.configuration != reading.configuration;
            last.configuration = reading.configuration;
            changed
        };
        self.put().await;
        if changed {
            tracing::info!(%configmap, "the node agent's configuration is in force");
            self.event(
                found,
                IN_FORCE,
                "holds for data movements that are exposed from now on",
            )
            .await;
        }
    }

    /// A pod with the name of a class that does not exist would be refused, so it goes without.
    async fn missing_priority(&self, configuration: &Configuration) -> Option<String> {
        let name = &configuration.settings.priority_class_name;
        if name.is_empty() {
            return None;
        }
        let classes: Api<PriorityClass> = Api::all(self.context.client.clone());
        match classes.get_opt(name).await {
            Ok(Some(_)) => None,
            Ok(None) => Some(format!(
                "priorityClassName: {name:?} does not exist; until it does, data mover pods have the default priority"
            )),
            Err(error) => Some(format!(
                "priorityClassName: {name:?} cannot be looked up: {error}"
            )),
        }
    }

    /// Makes it hold.
    async fn put(&self) {
        let configuration = self.last.lock().configuration.clone();
        let concurrency = &configuration.load_concurrency;
        let labels = if concurrency.per_node.is_empty() {
            BTreeMap::new()
        } else {
            self.labels().await
        };
        let at_once = concurrency.on_node(&labels);
        self.slots.set_limit(at_once);
        self.queue.set_limit(concurrency.prepare_queue_length);
        self.in_force.put(configuration.settings);
        let mut last = self.last.lock();
        last.labels = labels;
        if last.concurrency != at_once {
            last.concurrency = at_once;
            tracing::info!(node = %self.node, concurrency = at_once, "data movers at once on this node");
        }
    }

    /// The node's labels; those seen last, where it cannot be read.
    async fn labels(&self) -> BTreeMap<String, String> {
        let nodes: Api<Node> = Api::all(self.context.client.clone());
        match nodes.get(&self.node).await {
            Ok(node) => node.metadata.labels.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(node = %self.node, %error, "cannot read the node's labels; those seen last count in perNodeConfig");
                self.last.lock().labels.clone()
            }
        }
    }

    /// Says it where an administrator looks; losing it loses nothing that the log does not have.
    async fn event(&self, about: &ConfigMap, reason: &str, message: &str) {
        let mut message = message.to_owned();
        if message.len() > LONGEST_MESSAGE {
            let end = (0..=LONGEST_MESSAGE)
                .rev()
                .find(|end| message.is_char_boundary(*end));
            message.truncate(end.unwrap_or(0));
            message.push('…');
        }
        let now = Some(self.context.now());
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}.", self.configmap)),
                namespace: Some(self.context.namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some(ConfigMap::api_version(&()).into_owned()),
                kind: Some(ConfigMap::kind(&()).into_owned()),
                ..about.object_ref(&())
            },
            reason: Some(reason.to_owned()),
            message: Some(message),
            type_: Some(if reason == REFUSED { "Warning" } else { "Normal" }.to_owned()),
            source: Some(EventSource {
                component: Some("node-agent".into()),
                host: Some(self.node.clone()),
            }),
            first_timestamp: now.clone(),
            last_timestamp: now,
            count: Some(1),
            ..Event::default()
        };
        let events = self.context.api::<Event>();
        if let Err(error) = events.create(&PostParams::default(), &event).await {
            tracing::warn!(%error, reason, "the event about the node agent's ConfigMap is not written");
        }
    }
}

#[async_trait]
impl Reconciler for Follower {
    fn name(&self) -> &'static str {
        "node-agent-configuration"
    }

    async fn reconcile(&self, _: &Key) -> Result<Next, Error> {
        match self.look().await {
            Ok(()) => Ok(Next::Done),
            Err(error @ ConfigurationError::Api { .. }) => Err(Box::new(error)),
            Err(error) => {
                tracing::error!(%error, "the node agent's ConfigMap has changed and cannot be read; what it said before still holds");
                Ok(Next::Done)
            }
        }
    }
}

/// Follows the ConfigMap and the node.
pub fn spawn(follower: Follower, shutdown: CancellationToken) -> JoinHandle<()> {
    let key = Key::new(follower.context.namespace.clone(), follower.configmap.clone());
    let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    let (of_map, of_node) = (key.clone(), key);
    let sources = vec![
        Source::watch(
            follower.context.api::<ConfigMap>(),
            named(&follower.configmap),
            move |_: &ConfigMap| vec![of_map.clone()],
        ),
        Source::watch(
            Api::<Node>::all(follower.context.client.clone()),
            named(&follower.node),
            move |_: &Node| vec![of_node.clone()],
        ),
    ];
    tokio::spawn(reconcile::run(follower, sources, 1, shutdown))
}
