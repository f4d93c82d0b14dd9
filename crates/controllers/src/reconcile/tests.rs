use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::*;

fn key(name: &str) -> Key {
    Key::new("ns", name)
}

#[test]
fn a_key_that_is_added_twice_is_handed_out_once_and_in_order_of_arrival() {
    let now = Instant::now();
    let mut queue = Queue::default();
    for name in ["b", "a", "b", "c"] {
        queue.add(key(name));
    }
    let order: Vec<String> = std::iter::from_fn(|| queue.take(now))
        .map(|key| key.name)
        .collect();
    assert_eq!(order, ["b", "a", "c"]);
}

#[test]
fn a_key_that_changes_while_it_runs_is_handed_out_again_only_afterwards() {
    let now = Instant::now();
    let mut queue = Queue::default();
    queue.add(key("a"));
    assert_eq!(queue.take(now), Some(key("a")));
    queue.add(key("a"));
    assert_eq!(queue.take(now), None);
    queue.done(&key("a"), None);
    assert_eq!(queue.take(now), Some(key("a")));
    queue.done(&key("a"), None);
    assert_eq!(queue.take(now), None);
}

#[test]
fn a_deadline_brings_the_key_back_and_news_bring_it_back_earlier() {
    let now = Instant::now();
    let later = now + Duration::from_secs(5);
    let mut queue = Queue::default();
    queue.add(key("a"));
    queue.take(now);
    queue.done(&key("a"), Some(later));
    assert_eq!(queue.take(now), None);
    assert_eq!(queue.next_deadline(), Some(later));
    queue.add(key("a"));
    assert_eq!(queue.take(now), Some(key("a")));
    queue.done(&key("a"), None);
    assert_eq!(queue.take(later), None, "the old deadline is forgotten");
}

#[test]
fn a_failing_key_waits_longer_each_time_and_starts_over_after_success() {
    let now = Instant::now();
    let mut queue = Queue::default();
    let mut backoff = Backoff::seeded(StdRng::seed_from_u64(1));
    queue.add(key("a"));
    let mut longest = Duration::ZERO;
    for failures in 1..=4 {
        let wait = backoff.wait(queue.failures(&key("a")) + 1);
        let full = Duration::from_millis(500) * (1 << (failures - 1));
        assert!(wait <= full && wait >= full / 2, "{wait:?} of {full:?}");
        longest = longest.max(wait);
        let at = now + Duration::from_secs(100 * failures);
        queue.take(at).unwrap();
        queue.failed(&key("a"), at + wait);
    }
    assert!(backoff.wait(40) <= Duration::from_secs(60));
    queue.done(&key("a"), None);
    assert_eq!(queue.failures(&key("a")), 0);
}

#[test]
fn the_same_seed_gives_the_same_waits() {
    let waits = |seed| {
        let mut backoff = Backoff::seeded(StdRng::seed_from_u64(seed));
        (1..10).map(|n| backoff.wait(n)).collect::<Vec<_>>()
    };
    assert_eq!(waits(7), waits(7));
    assert_ne!(waits(7), waits(8));
}

struct Recorder {
    seen: Mutex<Vec<String>>,
    failures_left: AtomicUsize,
}

#[async_trait]
impl Reconciler for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        self.seen.lock().push(key.name.clone());
        match key.name.as_str() {
            "panics" if self.failures_left.fetch_sub(1, Ordering::SeqCst) > 0 => panic!("on purpose"),
            _ => Ok(Next::Done),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panicking_reconcile_is_retried_and_the_others_go_on() {
    let recorder = Arc::new(Recorder {
        seen: Mutex::default(),
        failures_left: AtomicUsize::new(1),
    });
    let shutdown = CancellationToken::new();
    let keys = futures::stream::iter(["panics", "b"].map(key)).chain(futures::stream::pending());
    let backoff = Backoff::seeded(StdRng::seed_from_u64(1));
    let running = tokio::spawn(run_with(
        Arc::clone(&recorder),
        vec![Source::keys(keys)],
        1,
        backoff,
        shutdown.clone(),
    ));
    tokio::time::sleep(Duration::from_secs(2)).await;
    shutdown.cancel();
    running.await.unwrap();
    assert_eq!(*recorder.seen.lock(), ["panics", "b", "panics"]);
}
