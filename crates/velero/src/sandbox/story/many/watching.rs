//! Watches over everything that moves, from before the backup to the end of the restore: every change, not samples.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use caravel_api::labels::DATA_UPLOAD;
use caravel_api::v2alpha1::{DataDownload, DataMovementPhase, DataUpload};
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt as _};
use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::super::super::world::{VELERO, World};
use super::LABEL;
use super::movements::{Direction, Movements, Sight};

/// What the watches have told.
#[derive(Debug, Default)]
pub struct Seen {
    pub movements: Movements,
    /// Values of the data mover pods' label.
    pub labels: BTreeSet<String>,
}

/// Looks at every change of every movement while it is held.
pub struct Watching {
    pub seen: Arc<Mutex<Seen>>,
    _tasks: [AbortOnDropHandle<()>; 3],
}

impl Watching {
    /// Begins to watch.
    pub fn begin(world: &World) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let began = Instant::now();
        let uploads = {
            let seen = Arc::clone(&seen);
            follow(world.client(), move |told: Told<DataUpload>| match told {
                Told::Again => seen.lock().movements.gaps += 1,
                Told::Seen(upload) => {
                    let phase = upload.phase();
                    let status = upload.status.as_ref();
                    let node = status.map(|status| status.node.clone());
                    let sight = sight(Direction::Upload, &upload, phase, node.unwrap_or_default());
                    seen.lock().movements.note(sight, began.elapsed());
                }
            })
        };
        let downloads = {
            let seen = Arc::clone(&seen);
            follow(world.client(), move |told: Told<DataDownload>| match told {
                Told::Again => seen.lock().movements.gaps += 1,
                Told::Seen(download) => {
                    let phase = download.phase();
                    let status = download.status.as_ref();
                    let node = status.map(|status| status.node.clone());
                    let sight = sight(Direction::Download, &download, phase, node.unwrap_or_default());
                    seen.lock().movements.note(sight, began.elapsed());
                }
            })
        };
        let pods = {
            let seen = Arc::clone(&seen);
            follow(world.client(), move |told: Told<Pod>| {
                if let Told::Seen(pod) = told
                    && pod.labels().contains_key(DATA_UPLOAD)
                    && let Some(value) = pod.labels().get(LABEL)
                {
                    seen.lock().labels.insert(value.clone());
                }
            })
        };
        Self {
            seen,
            _tasks: [uploads, downloads, pods],
        }
    }
}

/// What a watch tells.
enum Told<K> {
    /// The object as it is now.
    Seen(K),
    /// It has lost its place and lists all objects anew.
    Again,
}

/// Tells of every change of the objects of this kind in Velero's namespace.
fn follow<K>(client: Client, mut tell: impl FnMut(Told<K>) + Send + 'static) -> AbortOnDropHandle<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let api = Api::<K>::namespaced(client, VELERO);
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut events = watcher(api, watcher::Config::default()).boxed();
        let mut has_listed = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                    tell(Told::Seen(object));
                }
                Ok(watcher::Event::InitDone) if has_listed => tell(Told::Again),
                Ok(watcher::Event::InitDone) => has_listed = true,
                // It goes on by itself.
                Ok(watcher::Event::Init | watcher::Event::Delete(_)) | Err(_) => {}
            }
        }
    }))
}

fn sight<K: Resource<DynamicType = ()>>(
    direction: Direction,
    object: &K,
    phase: DataMovementPhase,
    node: String,
) -> Sight {
    let created = object.meta().creation_timestamp.as_ref().map(|time| time.0);
    Sight {
        direction,
        name: object.name_any(),
        created: created.unwrap_or(Timestamp::UNIX_EPOCH),
        phase,
        node,
    }
}
