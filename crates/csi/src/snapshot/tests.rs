//! Waits over a small API server that keeps every state it was in, so that no watch misses one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use caravel_cases::api::{self, Asked};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

const SNAPSHOT: &str = "/apis/snapshot.storage.k8s.io/v1/namespaces/shop/volumesnapshots/velero-data-x";
const CONTENT: &str = "/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents/content-x";
const CLAIM: &str = "/api/v1/namespaces/shop/persistentvolumeclaims/data";
/// Of the wait: what is impossible must be said long before.
const TIMEOUT: Duration = Duration::from_secs(600);
const AT_ONCE: Duration = Duration::from_secs(2);

/// By path.
type Objects = BTreeMap<&'static str, Value>;

#[derive(Clone)]
struct Cluster {
    /// The newest is the last; a resource version is how many there were.
    states: Arc<watch::Sender<Vec<Objects>>>,
    /// How often a path is refused yet.
    refusals: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Cluster {
    /// A claim, and a VolumeSnapshot of it that nobody has looked at.
    fn new() -> Self {
        let objects = BTreeMap::from([(CLAIM, claim()), (SNAPSHOT, snapshot(None))]);
        Self {
            states: Arc::new(watch::Sender::new(vec![objects])),
            refusals: Arc::default(),
        }
    }

    fn put(&self, path: &'static str, object: Value) {
        self.change(|objects| drop(objects.insert(path, object)));
    }

    fn remove(&self, path: &'static str) {
        self.change(|objects| drop(objects.remove(path)));
    }

    fn change(&self, change: impl FnOnce(&mut Objects)) {
        self.states.send_modify(|states| {
            let mut now = states.last().cloned().unwrap_or_default();
            change(&mut now);
            states.push(now);
        });
    }

    fn refuse(&self, path: &'static str, times: usize) {
        self.refusals.lock().unwrap().insert(path, times);
    }

    fn client(&self) -> Client {
        let cluster = self.clone();
        api::slow_client(move |asked| {
            let is_refused = cluster.is_refused(asked.path());
            let states = cluster.states.subscribe();
            async move {
                if is_refused {
                    return api::failure(503, "ServiceUnavailable");
                }
                answer(&asked, states).await
            }
        })
    }

    fn is_refused(&self, path: &str) -> bool {
        match self.refusals.lock().unwrap().get_mut(path) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Waits as an item action does; the controllers have had a moment then.
    async fn waiting(&self) -> JoinHandle<Result<TakenSnapshot, SnapshotError>> {
        let client = self.client();
        let created: VolumeSnapshot = serde_json::from_value(snapshot(None)).unwrap();
        let waiting = tokio::spawn(async move { wait_for_handle(&client, &created, TIMEOUT).await });
        tokio::time::sleep(Duration::from_secs(5)).await;
        waiting
    }
}

async fn answer(asked: &Asked, mut states: watch::Receiver<Vec<Objects>>) -> (u16, Value) {
    let query = asked.uri.query().unwrap_or_default();
    let parameter = |name: &str| {
        query
            .split('&')
            .find_map(|it| it.strip_prefix(name)?.strip_prefix('='))
    };
    let Some(name) = parameter("fieldSelector").and_then(|it| it.strip_prefix("metadata.name%3D")) else {
        return match newest(&states.borrow(), asked.path()) {
            Some(found) => (200, found),
            None => api::failure(404, "NotFound"),
        };
    };
    let path = format!("{}/{name}", asked.path());
    if parameter("watch").is_none() {
        let states = states.borrow();
        let items: Vec<Value> = newest(&states, &path).into_iter().collect();
        let version = states.len().to_string();
        let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items});
        return (200, list);
    }
    let version: usize = parameter("resourceVersion").unwrap().parse().unwrap();
    let before = states.borrow()[version - 1].get(path.as_str()).cloned();
    let is_news =
        |states: &Vec<Objects>| states.last().and_then(|it| it.get(path.as_str())) != before.as_ref();
    let changed = states.wait_for(is_news).await.unwrap();
    let event = match newest(&changed, &path) {
        Some(object) => json!({"type": "MODIFIED", "object": object}),
        None => json!({"type": "DELETED", "object": versioned(before.clone().unwrap(), changed.len())}),
    };
    (200, event)
}

fn newest(states: &[Objects], path: &str) -> Option<Value> {
    let found = states.last()?.get(path)?.clone();
    Some(versioned(found, states.len()))
}

fn versioned(mut object: Value, version: usize) -> Value {
    object["metadata"]["resourceVersion"] = version.to_string().into();
    object
}

fn claim() -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"namespace": "shop", "name": "data"}})
}

/// Bound to this content.
fn snapshot(content: Option<&str>) -> Value {
    let mut snapshot = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": {"namespace": "shop", "name": "velero-data-x"},
        "spec": {"source": {"persistentVolumeClaimName": "data"}}});
    if let Some(content) = content {
        snapshot["status"] = json!({"boundVolumeSnapshotContentName": content});
    }
    snapshot
}

fn content(status: Value) -> Value {
    json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
        "metadata": {"name": "content-x"}, "status": status,
        "spec": {"deletionPolicy": "Retain", "driver": "disk.example.com", "source": {"volumeHandle": "v"},
            "volumeSnapshotRef": {}}})
}

/// The wait's error, which comes at once.
async fn error_of(waiting: JoinHandle<Result<TakenSnapshot, SnapshotError>>) -> String {
    let since = Instant::now();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(since.elapsed() < AT_ONCE, "{error} after {:?}", since.elapsed());
    error.to_string()
}

const CLAIM_GONE: &str = "PersistentVolumeClaim shop/data was deleted before VolumeSnapshot shop/velero-data-x was cut by the storage";
const DELETED: &str = "VolumeSnapshot shop/velero-data-x was deleted while it was waited for";

#[tokio::test(start_paused = true)]
async fn a_snapshot_without_a_handle_fails_at_once_when_its_claim_goes() {
    let cluster = Cluster::new();
    let waiting = cluster.waiting().await;
    cluster.remove(CLAIM);
    assert_eq!(error_of(waiting).await, CLAIM_GONE);

    // Bound, but not cut.
    let cluster = Cluster::new();
    cluster.put(CONTENT, content(json!({})));
    cluster.put(SNAPSHOT, snapshot(Some("content-x")));
    let waiting = cluster.waiting().await;
    cluster.remove(CLAIM);
    assert_eq!(error_of(waiting).await, CLAIM_GONE);

    // Gone before the first look.
    let cluster = Cluster::new();
    cluster.remove(CLAIM);
    assert_eq!(error_of(cluster.waiting().await).await, CLAIM_GONE);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_with_a_handle_goes_on_without_its_claim() {
    let cluster = Cluster::new();
    cluster.put(CONTENT, content(json!({"snapshotHandle": "snap-1"})));
    cluster.put(SNAPSHOT, snapshot(Some("content-x")));
    let client = cluster.client();
    let created: VolumeSnapshot = serde_json::from_value(snapshot(None)).unwrap();
    let waiting = tokio::spawn(async move { wait_ready(&client, &created, TIMEOUT).await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.remove(CLAIM);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!waiting.is_finished());
    cluster.put(
        CONTENT,
        content(json!({"snapshotHandle": "snap-1", "readyToUse": true})),
    );
    assert_eq!(waiting.await.unwrap().unwrap().handle, "snap-1");

    // Cut, and the claim gone before anybody looked.
    cluster.remove(CLAIM);
    assert_eq!(cluster.waiting().await.await.unwrap().unwrap().handle, "snap-1");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_snapshot_is_not_waited_for() {
    let cluster = Cluster::new();
    let waiting = cluster.waiting().await;
    cluster.remove(SNAPSHOT);
    assert_eq!(error_of(waiting).await, DELETED);

    // Before the first look.
    assert_eq!(error_of(cluster.waiting().await).await, DELETED);

    // Its content is retained, and never cut.
    let cluster = Cluster::new();
    cluster.put(CONTENT, content(json!({})));
    cluster.put(SNAPSHOT, snapshot(Some("content-x")));
    let waiting = cluster.waiting().await;
    cluster.remove(SNAPSHOT);
    assert_eq!(error_of(waiting).await, DELETED);

    // A finalizer keeps it.
    let cluster = Cluster::new();
    let waiting = cluster.waiting().await;
    let mut going = snapshot(None);
    going["metadata"]["deletionTimestamp"] = "2026-11-21T03:47:00Z".into();
    cluster.put(SNAPSHOT, going);
    assert_eq!(error_of(waiting).await, DELETED);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_does_not_count_as_gone() {
    let cluster = Cluster::new();
    cluster.refuse("/api/v1/namespaces/shop/persistentvolumeclaims", 1000);
    let waiting = cluster.waiting().await;
    cluster.remove(CLAIM);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!waiting.is_finished());
    cluster.put(CONTENT, content(json!({"snapshotHandle": "snap-1"})));
    cluster.put(SNAPSHOT, snapshot(Some("content-x")));
    assert_eq!(waiting.await.unwrap().unwrap().handle, "snap-1");

    // The claim is gone for certain; what became of the snapshot cannot be read for a minute.
    let cluster = Cluster::new();
    let waiting = cluster.waiting().await;
    cluster.refuse(SNAPSHOT, 60);
    cluster.remove(CLAIM);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!waiting.is_finished());
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), CLAIM_GONE);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_a_finalizer_keeps_is_not_gone() {
    let cluster = Cluster::new();
    let waiting = cluster.waiting().await;
    let mut going = claim();
    going["metadata"]["deletionTimestamp"] = "2026-11-21T03:47:00Z".into();
    cluster.put(CLAIM, going);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!waiting.is_finished());
    cluster.put(CONTENT, content(json!({"snapshotHandle": "snap-1"})));
    cluster.put(SNAPSHOT, snapshot(Some("content-x")));
    assert_eq!(waiting.await.unwrap().unwrap().handle, "snap-1");
}
