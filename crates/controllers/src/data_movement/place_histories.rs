//! Random histories of many movements among several node agents that ask for few places at the same moments.
//!
//! The world keeps the objects with their versions, applies the real merge patches, and tells every agent late what has
//! changed. An agent is the product's work queue, `prepare_queue.rs`, `place.rs` and `decide.rs`; its every word with the
//! API server takes a random time, may fail, and may have done its work although it says that it failed. Asserted after
//! every write: no more are Accepted or Prepared than may be. Asserted at the end: each one had its turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api::v2alpha1::{DataDownload, DataMovementPhase as Phase, DataUpload};
use futures::stream;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::decide::{Decision, Direction, Mover, Observed, Policy, Repository, Slot, decide};
use super::place::{Asking, Held, Place, place};
use super::prepare_queue::Attempt;
use super::state::{Ending, Facts, State};
use super::transition::{Moved, Transition};
use super::{Movement as _, PrepareQueue};
use crate::data_download::Download;
use crate::data_upload::Upload;
use crate::reconcile::{self, Backoff, Error, Key, Next, Reconciler, Source};

const HISTORIES: u64 = 24;
const AGENTS: usize = 5;
const MOVEMENTS: usize = 20;
const LENGTH: usize = 3;
const WORKERS: usize = 4;
/// By then each one must have had its turn; a missed wake-up (60 s) or a dead agent (10 s) is within it.
const LONG_ENOUGH: Duration = Duration::from_secs(900);

/// What a watch tells.
type News = (Direction, Key, Facts);

struct Cluster {
    inner: Mutex<Inner>,
    start: Instant,
    /// Accepts as soon as there is room, as if nobody else did.
    is_careless: bool,
}

struct Stored {
    direction: Direction,
    object: Value,
    /// What the object says, read once.
    facts: Facts,
}

impl Stored {
    fn new(direction: Direction, object: Value) -> Self {
        let facts = match direction {
            Direction::Upload => {
                Upload::facts(&serde_json::from_value::<DataUpload>(object.clone()).unwrap())
            }
            Direction::Download => {
                Download::facts(&serde_json::from_value::<DataDownload>(object.clone()).unwrap())
            }
        };
        Self {
            direction,
            object,
            facts,
        }
    }
}

struct Inner {
    objects: BTreeMap<Key, Stored>,
    version: u64,
    random: StdRng,
    watchers: Vec<mpsc::UnboundedSender<News>>,
    /// The most that were ever in preparation at one moment.
    most: usize,
}

impl Inner {
    /// Writes as the API server would: only onto the version that was read.
    fn write(&mut self, key: &Key, facts: &Facts, transition: &Transition) -> bool {
        if self.objects[key].facts.resource_version != facts.resource_version {
            return false;
        }
        let patch = transition.patch(facts);
        self.change(key, |object| json_patch::merge(object, &patch));
        true
    }

    fn change(&mut self, key: &Key, change: impl FnOnce(&mut Value)) {
        self.version += 1;
        let stored = self.objects.get_mut(key).unwrap();
        let mut object = stored.object.clone();
        change(&mut object);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        *stored = Stored::new(stored.direction, object);
        for watcher in &self.watchers {
            // A dead agent listens no more.
            let _ = watcher.send((stored.direction, key.clone(), stored.facts.clone()));
        }
        let phases = self.objects.values().map(|stored| &stored.facts.phase);
        let prepared = phases
            .filter(|phase| matches!(phase, Phase::Accepted | Phase::Prepared))
            .count();
        self.most = self.most.max(prepared);
    }
}

impl Cluster {
    fn new(seed: u64, is_careless: bool) -> Arc<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut objects = BTreeMap::new();
        for number in 0..MOVEMENTS {
            let (direction, kind) = match number % 3 {
                0 => (Direction::Download, "DataDownload"),
                _ => (Direction::Upload, "DataUpload"),
            };
            let name = format!("m-{number}");
            let created = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(random.random_range(0..4));
            let object = json!({
                "apiVersion": "velero.io/v2alpha1", "kind": kind,
                "metadata": {"name": name, "namespace": "velero", "uid": name, "resourceVersion": "0",
                    "creationTimestamp": created.to_string()},
                "spec": {"operationTimeout": "10m0s", "sourceNamespace": "shop", "backupStorageLocation": "default"},
            });
            objects.insert(Key::new("velero", name), Stored::new(direction, object));
        }
        Arc::new(Self {
            inner: Mutex::new(Inner {
                objects,
                version: 0,
                random,
                watchers: Vec::new(),
                most: 0,
            }),
            start: Instant::now(),
            is_careless,
        })
    }

    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::try_from(self.start.elapsed()).unwrap()
    }

    /// Somebody else's turn, for up to this many milliseconds.
    async fn pause(&self, most: u64) {
        let wait = self.inner.lock().random.random_range(0..=most);
        sleep(Duration::from_millis(wait)).await;
    }

    fn fails(&self) -> bool {
        self.inner.lock().random.random_bool(0.02)
    }

    async fn get(&self, key: &Key) -> Facts {
        self.pause(20).await;
        self.inner.lock().objects[key].facts.clone()
    }

    async fn list(&self) -> Result<Vec<Held>, Error> {
        // The two kinds are not listed at one moment.
        let mut all = Vec::new();
        for kind in [Direction::Upload, Direction::Download] {
            self.pause(20).await;
            if self.fails() {
                return Err("the connection was reset".into());
            }
            let inner = self.inner.lock();
            let stored = inner.objects.values().filter(|stored| stored.direction == kind);
            all.extend(stored.filter_map(|stored| Held::of(kind, &stored.facts)));
        }
        Ok(all)
    }

    /// Whether the write was made; an error says nothing about that.
    async fn patch(&self, key: &Key, facts: &Facts, transition: &Transition) -> Result<bool, Error> {
        self.pause(30).await;
        if self.fails() {
            return Err("the request timed out".into());
        }
        let written = self.inner.lock().write(key, facts, transition);
        self.pause(10).await;
        if self.fails() {
            return Err("the connection was reset".into());
        }
        Ok(written)
    }

    /// The pods start and the data moves; now and then somebody cancels one that waits.
    async fn go_on(self: Arc<Self>) {
        loop {
            self.pause(150).await;
            let mut inner = self.inner.lock();
            let at = inner.random.random_range(0..MOVEMENTS);
            let key = inner.objects.keys().nth(at).unwrap().clone();
            let facts = inner.objects[&key].facts.clone();
            let now = self.now();
            let next = match facts.phase {
                Phase::Accepted => Transition::Prepare {
                    node: "node-0".into(),
                },
                Phase::Prepared => Transition::Start {
                    at: now,
                    node_os: String::new(),
                },
                Phase::InProgress => Transition::Finish {
                    ending: Ending::Completed,
                    at: now,
                    message: String::new(),
                    result: Some(Moved::default()),
                },
                Phase::New if inner.random.random_bool(0.02) => {
                    inner.change(&key, |object| object["spec"]["cancel"] = json!(true));
                    continue;
                }
                _ => continue,
            };
            inner.write(&key, &facts, &next);
        }
    }

    fn waiting(&self) -> Vec<String> {
        let inner = self.inner.lock();
        let stored = inner.objects.values();
        let new = stored.filter(|stored| stored.facts.phase == Phase::New);
        new.map(|stored| stored.facts.name.clone()).collect()
    }
}

/// One direction's controller of one node agent.
struct Agent {
    cluster: Arc<Cluster>,
    queue: Arc<PrepareQueue>,
    policy: Policy,
    direction: Direction,
    /// The version of each movement, and since when it has been seen.
    quiet: Mutex<BTreeMap<Key, (String, Timestamp)>>,
}

impl Agent {
    async fn place(&self, key: &Key, facts: &Facts) -> Result<Place, Error> {
        let now = self.cluster.now();
        let quiet_since = {
            let mut quiet = self.quiet.lock();
            let fresh = (facts.resource_version.clone(), now);
            let seen = quiet.entry(key.clone()).or_insert_with(|| fresh.clone());
            if seen.0 != fresh.0 {
                *seen = fresh;
            }
            seen.1
        };
        let asking = Asking {
            me: &self.policy.node,
            direction: self.direction,
            key,
            facts,
            is_admitted: true,
            quiet_since,
        };
        let place = place(&self.queue, &asking, self.cluster.list()).await?;
        Ok(match place {
            Place::Open if self.cluster.is_careless => Place::Given,
            place => place,
        })
    }

    async fn write(&self, key: &Key, facts: &Facts, transition: &Transition) -> Result<(), Error> {
        let written = self.cluster.patch(key, facts, transition).await;
        if matches!(transition, Transition::Reserve { .. }) {
            let attempt = match &written {
                Ok(true) => Attempt::Reserved,
                Ok(false) => Attempt::Overtaken,
                Err(_) => Attempt::Failed,
            };
            self.queue.attempted(self.direction, key, attempt);
        }
        written.map(drop)
    }
}

#[async_trait]
impl Reconciler for Agent {
    fn name(&self) -> &'static str {
        self.direction.kind()
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        loop {
            let facts = self.cluster.get(key).await;
            if facts.phase.is_finished() {
                self.queue.forget(self.direction, key);
            }
            if facts.phase != Phase::New {
                return Ok(Next::Done);
            }
            let place = if facts.cancel {
                Place::Given
            } else {
                self.place(key, &facts).await?
            };
            let now = self.cluster.now();
            let observed = Observed {
                direction: self.direction,
                state: State::parse(&facts),
                cancel_seen: facts.cancel.then_some(now),
                facts,
                not_admitted: None,
                place,
                mover: Mover::Absent,
                elsewhere: None,
                repository: Repository::Ready,
                slot: Slot::Free,
                next: caravel_exposer::Next::Done,
                rebind_since: None,
                last_error: None,
            };
            match decide(&observed, &self.policy, now) {
                Decision::Write(transition) => self.write(key, &observed.facts, &transition).await?,
                Decision::Wait { until, .. } => {
                    return Ok(until.map_or(Next::Done, |until| {
                        Next::After(Duration::try_from(until.duration_since(now)).unwrap_or_default())
                    }));
                }
                other => panic!("{other:?} of a new movement"),
            }
        }
    }
}

/// Both controllers of one node agent, until they are dropped.
fn start(cluster: &Arc<Cluster>, number: usize) -> Vec<AbortOnDropHandle<()>> {
    let queue = Arc::new(PrepareQueue::default());
    queue.set_limit(Some(LENGTH));
    let node = format!("node-{number}");
    [Direction::Upload, Direction::Download]
        .into_iter()
        .map(|direction| {
            let (sender, news) = mpsc::unbounded_channel();
            {
                let mut inner = cluster.inner.lock();
                for (key, stored) in &inner.objects {
                    let _ = sender.send((stored.direction, key.clone(), stored.facts.clone()));
                }
                inner.watchers.push(sender);
            }
            let agent = Agent {
                cluster: Arc::clone(cluster),
                queue: Arc::clone(&queue),
                policy: Policy::for_node(&node, "linux", Duration::from_secs(1800)),
                direction,
                quiet: Mutex::default(),
            };
            let sources = vec![
                Source::keys(watched(cluster, &queue, direction, news)),
                Source::keys(queue.freed(direction)),
            ];
            let seed = (number * 2 + direction as usize) as u64;
            let backoff = Backoff::seeded(StdRng::seed_from_u64(seed));
            AbortOnDropHandle::new(tokio::spawn(reconcile::run_with(
                Arc::new(agent),
                sources,
                WORKERS,
                backoff,
                CancellationToken::new(),
            )))
        })
        .collect()
}

/// A watch, which is late.
fn watched(
    cluster: &Arc<Cluster>,
    queue: &Arc<PrepareQueue>,
    direction: Direction,
    news: mpsc::UnboundedReceiver<News>,
) -> impl futures::Stream<Item = Key> + Send + 'static {
    let state = (news, Arc::clone(cluster), Arc::clone(queue));
    stream::unfold(state, move |(mut news, cluster, queue)| async move {
        loop {
            let (kind, key, facts) = news.recv().await?;
            if kind != direction {
                continue;
            }
            cluster.pause(40).await;
            queue.seen(direction, &key, facts.is_in_preparation());
            return Some((key, (news, cluster, queue)));
        }
    })
}

/// The most that were ever in preparation.
async fn history(seed: u64, is_careless: bool) -> usize {
    let cluster = Cluster::new(seed, is_careless);
    let mut agents: Vec<_> = (0..AGENTS).map(|number| start(&cluster, number)).collect();
    let _goes_on = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&cluster).go_on()));
    // In the midst of whatever it does, one of them dies.
    cluster.pause(2000).await;
    if seed.is_multiple_of(2) {
        agents.pop();
    }
    while !cluster.waiting().is_empty() {
        let waited = cluster.start.elapsed();
        assert!(
            waited < LONG_ENOUGH,
            "seed {seed}: {:?} still wait after {waited:?}",
            cluster.waiting()
        );
        sleep(Duration::from_secs(1)).await;
    }
    cluster.inner.lock().most
}

#[tokio::test(start_paused = true)]
async fn never_are_more_in_preparation_than_may_be_and_each_has_its_turn() {
    let mut was_full = 0;
    for seed in 0..HISTORIES {
        let most = history(seed, false).await;
        assert!(most <= LENGTH, "seed {seed}: {most} were in preparation at once");
        was_full += u64::from(most == LENGTH);
    }
    assert!(
        was_full > HISTORIES / 2,
        "the queue was full in {was_full} histories only"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_accepts_what_one_list_allows_goes_beyond_the_length() {
    let mut broken = false;
    for seed in 0..HISTORIES {
        broken |= history(seed, true).await > LENGTH;
    }
    assert!(broken, "the histories above would not see a fault");
}
