//! One controller: what wakes it, and what it does about one key.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Answer, Change, Context, Queue, Watches};

/// Nothing that a controller does about one key takes this long, unless something hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// What is to happen with the key next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing until something changes.
    Done,
    /// Look again when this time has passed, whether something has changed or not.
    Again(Duration),
}

/// A controller of the cluster.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// What one look is about.
    type Key: Ord + Clone + Debug + Send + Sync;

    /// As Kubernetes names it, for logs.
    const NAME: &'static str;

    /// The keys that this change is about. Only maps: what is true is read when the key is looked at.
    fn touched_by(&self, change: &Change<'_>) -> Vec<Self::Key>;

    /// Brings the cluster closer to what one object asks for. Idempotent.
    async fn reconcile(&self, key: &Self::Key) -> Answer<Outcome>;
}

/// Subscribes the controller and starts its one worker.
pub fn spawn<C: Controller>(context: &Context, watches: &mut Watches, controller: C) {
    let controller = Arc::new(controller);
    let queue = Arc::new(Queue::new());
    let (mapper, keys) = (controller.clone(), queue.clone());
    watches.subscribe(move |change| {
        for key in mapper.touched_by(change) {
            keys.add(key);
        }
    });
    let shutdown = context.shutdown.clone();
    context
        .tasks
        .spawn(async move { shutdown.run_until_cancelled(work(&*controller, &queue)).await });
}

async fn work<C: Controller>(controller: &C, queue: &Queue<C::Key>) {
    loop {
        let key = queue.next().await;
        match tokio::time::timeout(DEADLINE, controller.reconcile(&key)).await {
            Ok(Ok(outcome)) => {
                queue.succeeded(&key);
                if let Outcome::Again(wait) = outcome {
                    queue.add_after(key, wait);
                }
            }
            Ok(Err(error)) => {
                let wait = queue.retry(key.clone());
                tracing::debug!(controller = C::NAME, ?key, ?wait, %error, "will look again");
            }
            Err(_) => {
                let wait = queue.retry(key.clone());
                tracing::warn!(
                    controller = C::NAME,
                    ?key,
                    ?wait,
                    "took longer than {DEADLINE:?}; will look again"
                );
            }
        }
    }
}
