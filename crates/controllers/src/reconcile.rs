//! The work queue under every controller: watches feed keys, a bounded number of workers reconcile them.
//!
//! ```text
//! Source::watch ──keys──► Queue (ordered, no duplicates, one worker a key) ──► Reconciler::reconcile
//!                            ▲                                                      │
//!                            └────── Next::After / backoff with jitter ◄────────────┘
//! ```
//! Ours and not `kube::runtime::Controller` (decisions.md 1): order is first come first served, nothing iterates a
//! hash map, and jitter comes from the generator that is passed in, so that a simulation repeats itself exactly.
//! The ordering rules are the plain type [`Queue`]; this file only drives it. `kube`'s watcher feeds it.

mod queue;
mod source;
#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::SelectAll;
use kube::{Resource, ResourceExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

pub use queue::Queue;
pub use source::Source;

/// Name of one object: what is queued, and never the object itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Empty for objects without a namespace.
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// When the same key is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Only when a watch reports a change.
    Done,
    /// Also after this time: a deadline, or a retry that is not a failure.
    After(Duration),
}

/// What a reconcile fails with. The queue logs it with the object and the time of the next try.
pub type Error = Box<dyn StdError + Send + Sync>;

/// One controller: makes one object as it should be. Called for one key by one worker at a time.
#[async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// The controller's name, as in `--disable-controllers` and in the log (`backup-operations`).
    fn name(&self) -> &'static str;

    /// Observes the object of `key`, decides and acts. A missing object is `Ok(Next::Done)`.
    ///
    /// # Errors
    /// Anything that a later try may cure: the key comes back with backoff. A conflict (409) comes back at once.
    async fn reconcile(&self, key: &Key) -> Result<Next, Error>;
}

/// How long a failing key waits: doubles from `first` to `longest`, times a random factor of 0.5 to 1.
#[derive(Clone, Debug)]
pub struct Backoff {
    pub first: Duration,
    pub longest: Duration,
    randomness: StdRng,
}

impl Backoff {
    /// Backoff of the product: 500 ms doubling to 1 min, jitter from the operating system's randomness.
    pub fn system() -> Self {
        Self::seeded(StdRng::from_os_rng())
    }

    /// The same with a generator of the caller, for simulations and tests.
    pub fn seeded(randomness: StdRng) -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(60),
            randomness,
        }
    }

    /// The wait before try number `failures` + 1.
    pub fn wait(&mut self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let factor: f64 = self.randomness.random_range(0.5..=1.0);
        doubled.min(self.longest).mul_f64(factor)
    }
}

/// Runs a controller until `shutdown`; then lets the reconciles that are running end, and returns. What it logs belongs
/// to the caller's span: several processes may be tasks of one.
pub fn run<R: Reconciler>(
    reconciler: R,
    sources: Vec<Source>,
    workers: usize,
    shutdown: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let reconciler = Arc::new(reconciler);
    run_with(reconciler, sources, workers, Backoff::system(), shutdown).in_current_span()
}

/// [`run`] with a passed [`Backoff`], and the reconciler shared with the caller.
pub async fn run_with<R: Reconciler>(
    reconciler: Arc<R>,
    sources: Vec<Source>,
    workers: usize,
    mut backoff: Backoff,
    shutdown: CancellationToken,
) {
    let mut keys: SelectAll<Source> = sources.into_iter().collect();
    let mut queue = Queue::default();
    let mut running: JoinSet<(Key, Result<Next, Error>)> = JoinSet::new();
    loop {
        while running.len() < workers.max(1) {
            let Some(key) = queue.take(Instant::now()) else {
                break;
            };
            running.spawn(reconcile_one(Arc::clone(&reconciler), key).in_current_span());
        }
        let deadline = queue.next_deadline().unwrap_or_else(far_away);
        tokio::select! {
            // Results first: a finished key may free the worker that the next one needs.
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = running.join_next() => settle(reconciler.name(), &mut queue, &mut backoff, ended),
            Some(key) = keys.next() => queue.add(key),
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
    while running.join_next().await.is_some() {}
    tracing::debug!(controller = reconciler.name(), "controller ends");
}

/// With nothing due, the loop sleeps until something else wakes it.
fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

async fn reconcile_one<R: Reconciler>(reconciler: Arc<R>, key: Key) -> (Key, Result<Next, Error>) {
    let span = tracing::info_span!("reconcile", controller = reconciler.name(), namespace = %key.namespace, name = %key.name);
    // A panic in one reconcile must not take the controller down; it becomes a failure of this key.
    let work = {
        let (reconciler, key) = (Arc::clone(&reconciler), key.clone());
        async move { reconciler.reconcile(&key).await }.instrument(span)
    };
    // A worker that is dropped takes it along: nothing acts for a server that has ended.
    let result = match AbortOnDropHandle::new(tokio::spawn(work)).await {
        Ok(result) => result,
        Err(join) => Err(format!("reconcile ended abnormally: {join}").into()),
    };
    (key, result)
}

type Ended = Result<(Key, Result<Next, Error>), tokio::task::JoinError>;

fn settle(controller: &'static str, queue: &mut Queue, backoff: &mut Backoff, ended: Ended) {
    let (key, result) = match ended {
        Ok(ended) => ended,
        // Cannot happen: the inner task catches panics and nothing aborts the outer one. Logged, not ignored.
        Err(join) => return tracing::error!(controller, error = %join, "worker ended abnormally"),
    };
    let now = Instant::now();
    match result {
        Ok(Next::Done) => queue.done(&key, None),
        Ok(Next::After(wait)) => queue.done(&key, Some(now + wait)),
        Err(error) if is_conflict(&*error) => {
            tracing::debug!(controller, %key, "object changed meanwhile, looking again");
            queue.done(&key, Some(now + CONFLICT_WAIT));
        }
        Err(error) => {
            let wait = backoff.wait(queue.failures(&key) + 1);
            tracing::warn!(controller, %key, next_try_secs = wait.as_secs_f64(), error = %chain(&*error), "reconcile failed");
            queue.failed(&key, now + wait);
        }
    }
}

/// Long enough for the watch to bring the newer object, short enough not to be felt.
const CONFLICT_WAIT: Duration = Duration::from_millis(20);

/// True when some cause is the API server's 409 Conflict: the object was changed since it was read.
pub fn is_conflict(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(kube::Error::Api(status)) = error.downcast_ref::<kube::Error>()
            && status.code == 409
            && status.reason == "Conflict"
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error with its causes in one line, each cause only if its words are not in the line yet.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !line.contains(&words) {
            line.push_str(": ");
            line.push_str(&words);
        }
        cause = error.source();
    }
    line
}
