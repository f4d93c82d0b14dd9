//! One watch of each served kind; every controller listens to the same.
//!
//! Kinds are found by discovery, again whenever a CustomResourceDefinition changes. When a watch has to start over, what
//! is missing from the new list is told as gone.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::discovery::{Resource, discover};
use super::watched::Watched;
use super::{Context, Steady};

/// The wait before discovery is asked again after it failed.
const DISCOVERY_WAIT: Duration = Duration::from_millis(100);
/// How long the first lists may take.
const FIRST_LISTS: Duration = Duration::from_secs(60);

/// Namespace and name; the namespace is empty for kinds without.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    /// Of an object.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

/// An object that was made, changed or removed.
pub struct Change<'a> {
    pub resource: &'a Resource,
    /// As it is now; of one that is gone, as it was last, perhaps only its metadata.
    pub object: &'a Watched,
    pub gone: bool,
}

impl Change<'_> {
    /// Whether it is of this kind: `change.is("apps", "Deployment")`.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.resource.api.group == group && self.resource.api.kind == kind
    }

    pub fn key(&self) -> Key {
        Key::of(&self.object.metadata)
    }

    pub fn meta(&self) -> &ObjectMeta {
        &self.object.metadata
    }

    /// The key of its controller, if that is of this kind.
    pub fn controlled_by(&self, kind: &str) -> Option<Key> {
        let owner = controller_of(&self.object.metadata)?;
        (owner.kind == kind).then(|| Key {
            namespace: self.object.metadata.namespace.clone().unwrap_or_default(),
            name: owner.name.clone(),
        })
    }

    /// The object with its type.
    pub fn parse<K: DeserializeOwned>(&self) -> Option<K> {
        self.object.parse()
    }

    /// Of a pod: the node that it was placed on.
    pub fn node(&self) -> Option<String> {
        self.object.node().map(str::to_owned)
    }
}

/// The owner that controls the object.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}

type Subscriber = Box<dyn Fn(&Change<'_>) + Send + Sync>;
/// Group and plural.
type Name = (String, String);

/// The watches and those who listen.
pub struct Watches {
    client: Client,
    subscribers: Vec<Subscriber>,
    kinds: Arc<RwLock<Vec<Resource>>>,
}

struct Running {
    client: Client,
    subscribers: Vec<Subscriber>,
    kinds: Arc<RwLock<Vec<Resource>>>,
    followed: Mutex<BTreeMap<Name, CancellationToken>>,
    /// How many watches have not listed yet.
    unlisted: watch::Sender<usize>,
    rediscover: Notify,
    context: Context,
}

impl Watches {
    /// No watch yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            subscribers: Vec::new(),
            kinds: Arc::default(),
        }
    }

    /// Calls this for every change. To be said before [`Watches::start`].
    pub fn subscribe(&mut self, subscriber: impl Fn(&Change<'_>) + Send + Sync + 'static) {
        self.subscribers.push(Box::new(subscriber));
    }

    /// The kinds served now; filled by [`Watches::start`].
    pub fn kinds(&self) -> Arc<RwLock<Vec<Resource>>> {
        self.kinds.clone()
    }

    /// Starts to watch; returns when every kind of now has been listed once. False: that took too long.
    pub async fn start(self, context: &Context) -> bool {
        let running = Arc::new(Running {
            client: self.client,
            subscribers: self.subscribers,
            kinds: self.kinds,
            followed: Mutex::default(),
            unlisted: watch::channel(1).0,
            rediscover: Notify::new(),
            context: context.clone(),
        });
        let mut unlisted = running.unlisted.subscribe();
        let shutdown = context.shutdown.clone();
        context
            .tasks
            .spawn(async move { shutdown.run_until_cancelled(discovering(running)).await });
        let all_listed = unlisted.wait_for(|count| *count == 0);
        tokio::time::timeout(FIRST_LISTS, all_listed).await.is_ok()
    }
}

/// Keeps one watch for every kind that is served.
async fn discovering(running: Arc<Running>) {
    let mut is_first = true;
    loop {
        match discover(&running.client).await {
            Ok(kinds) => running.follow(kinds),
            Err(error) => {
                tracing::debug!(%error, "discovery will be asked again");
                tokio::time::sleep(DISCOVERY_WAIT).await;
                continue;
            }
        }
        if std::mem::take(&mut is_first) {
            running.unlisted.send_modify(|count| *count -= 1);
        }
        running.rediscover.notified().await;
    }
}

impl Running {
    fn follow(self: &Arc<Self>, kinds: Vec<Resource>) {
        let mut followed = self.followed.lock();
        let name = |kind: &Resource| (kind.api.group.clone(), kind.api.plural.clone());
        // Nobody acts on events, and they are served twice.
        let is_followed =
            |kind: &&Resource| kind.has("list") && kind.has("watch") && kind.api.plural != "events";
        followed.retain(|name_, token| {
            let stays = kinds.iter().any(|kind| name(kind) == *name_);
            if !stays {
                token.cancel();
            }
            stays
        });
        for kind in kinds.iter().filter(is_followed) {
            if followed.contains_key(&name(kind)) {
                continue;
            }
            let token = self.context.shutdown.child_token();
            followed.insert(name(kind), token.clone());
            self.unlisted.send_modify(|count| *count += 1);
            let (running, kind) = (self.clone(), kind.clone());
            self.context.tasks.spawn(async move {
                let mut seen = BTreeMap::new();
                token.run_until_cancelled(running.watch(&kind, &mut seen)).await;
                // Served no more: so all of it is gone.
                running.tell_gone(&kind, seen.into_values().collect());
            });
        }
        *self.kinds.write() = kinds;
    }

    async fn watch(&self, kind: &Resource, seen: &mut BTreeMap<Key, ObjectMeta>) {
        let api = Api::<Watched>::all_with(self.client.clone(), &kind.api);
        let mut events = pin!(watcher(api, endless()).backoff(Steady::default()));
        let mut listed: Option<BTreeMap<Key, ObjectMeta>> = None;
        let mut is_first = true;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed = Some(BTreeMap::new()),
                Ok(watcher::Event::InitApply(object)) => {
                    if let Some(listed) = &mut listed {
                        listed.insert(Key::of(&object.metadata), slim(&object.metadata));
                    }
                    self.tell(kind, &object, false);
                }
                Ok(watcher::Event::InitDone) => {
                    let now = listed.take().unwrap_or_default();
                    let before = std::mem::replace(seen, now);
                    let is_gone =
                        |(key, meta): &(Key, ObjectMeta)| seen.get(key).is_none_or(|now| now.uid != meta.uid);
                    let gone = before.into_iter().filter(is_gone).map(|(_, meta)| meta).collect();
                    self.tell_gone(kind, gone);
                    if std::mem::take(&mut is_first) {
                        self.unlisted
                            .send_modify(|count| *count = count.saturating_sub(1));
                    }
                }
                Ok(watcher::Event::Apply(object)) => {
                    seen.insert(Key::of(&object.metadata), slim(&object.metadata));
                    self.tell(kind, &object, false);
                }
                Ok(watcher::Event::Delete(object)) => {
                    seen.remove(&Key::of(&object.metadata));
                    self.tell(kind, &object, true);
                }
                Err(error) => {
                    tracing::debug!(kind = %kind.api.kind, %error, "watch will start again");
                    // A kind that is served no more ends here, when discovery has noticed.
                    self.rediscover.notify_one();
                }
            }
        }
    }

    fn tell(&self, resource: &Resource, object: &Watched, gone: bool) {
        let change = Change {
            resource,
            object,
            gone,
        };
        if change.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            self.rediscover.notify_one();
        }
        for subscriber in &self.subscribers {
            subscriber(&change);
        }
    }

    fn tell_gone(&self, kind: &Resource, gone: Vec<ObjectMeta>) {
        for metadata in gone {
            self.tell(kind, &Watched::missing(metadata), true);
        }
    }
}

/// How the sandbox's own watches ask of the API server beside them: to go on until they break, since no connection dies
/// unnoticed within a process, and without bookmarks, since it remembers more changes than a broken watch misses.
pub fn endless() -> watcher::Config {
    watcher::Config::default().timeout(0).disable_bookmarks()
}

/// Without what nobody reads.
fn slim(meta: &ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        managed_fields: None,
        annotations: None,
        ..meta.clone()
    }
}
