//! The data mover's own DataUpload or DataDownload, followed by watch.
//!
//! `kube`'s watcher lists first; the data mover's ServiceAccount may only get, watch and patch, so this reads the one
//! object and watches on from its version.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use caravel_api::v2alpha1::{DataDownload, DataMovementPhase, DataUpload};
use futures::StreamExt;
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// Seconds after which the API server ends a watch, and it is taken up again.
const WATCH_SECS: u32 = 290;
/// Pause before a failed read or watch is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What a data mover looks at in its object.
pub(crate) trait Movement:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static
{
    fn phase(&self) -> DataMovementPhase;
    fn cancel(&self) -> bool;
    fn source_namespace(&self) -> &str;
}

impl Movement for DataUpload {
    fn phase(&self) -> DataMovementPhase {
        Self::phase(self)
    }
    fn cancel(&self) -> bool {
        self.spec.cancel
    }
    fn source_namespace(&self) -> &str {
        &self.spec.source_namespace
    }
}

impl Movement for DataDownload {
    fn phase(&self) -> DataMovementPhase {
        Self::phase(self)
    }
    fn cancel(&self) -> bool {
        self.spec.cancel
    }
    fn source_namespace(&self) -> &str {
        &self.spec.source_namespace
    }
}

/// Whether the data mover may begin.
pub(crate) enum Start<K> {
    Go(Box<K>),
    /// It was canceled, or has ended, or is gone: why.
    Never(String),
}

/// Waits until the node agent says InProgress. No limit of its own: the node agent's prepare timeout governs.
pub(crate) async fn started<K: Movement>(api: &Api<K>, name: &str) -> Start<K> {
    until(api, name, |object| match object {
        None => Some(Start::Never(format!("{} {name} is gone", K::kind(&())))),
        Some(object) if object.cancel() => {
            Some(Start::Never(format!("{} {name} was canceled", K::kind(&()))))
        }
        Some(object) => match object.phase() {
            DataMovementPhase::InProgress => Some(Start::Go(Box::new(object.clone()))),
            DataMovementPhase::Canceling => {
                Some(Start::Never(format!("{} {name} was canceled", K::kind(&()))))
            }
            phase if phase.is_finished() => Some(Start::Never(format!(
                "{} {name} is {phase} already",
                K::kind(&())
            ))),
            _ => None,
        },
    })
    .await
}

/// Waits until somebody wants the running movement to stop.
pub(crate) async fn canceled<K: Movement>(api: &Api<K>, name: &str) {
    until(api, name, |object| {
        let stop = object.is_none_or(|object| {
            object.cancel() || object.phase() == DataMovementPhase::Canceling || object.phase().is_finished()
        });
        stop.then_some(())
    })
    .await;
}

/// Follows the object until `look` has an answer; `None` is its absence.
async fn until<K: Movement, T>(api: &Api<K>, name: &str, mut look: impl FnMut(Option<&K>) -> Option<T>) -> T {
    let params = WatchParams::default()
        .fields(&format!("metadata.name={name}"))
        .timeout(WATCH_SECS);
    loop {
        let version = match api.get_opt(name).await {
            Ok(object) => {
                if let Some(answer) = look(object.as_ref()) {
                    return answer;
                }
                object
                    .and_then(|object| object.resource_version())
                    .unwrap_or_else(|| "0".into())
            }
            Err(error) => {
                tracing::warn!(%error, name, "cannot read the movement, trying again");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        match api.watch(&params, &version).await {
            Err(error) => {
                tracing::warn!(%error, name, "cannot watch the movement, trying again");
                tokio::time::sleep(RETRY).await;
            }
            Ok(events) => {
                let mut events = pin!(events);
                while let Some(event) = events.next().await {
                    let answer = match event {
                        Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => look(Some(&object)),
                        Ok(WatchEvent::Deleted(_)) => look(None),
                        Ok(WatchEvent::Bookmark(_)) => None,
                        // The version is too old, or the connection broke: read again.
                        Ok(WatchEvent::Error(_)) | Err(_) => break,
                    };
                    if let Some(answer) = answer {
                        return answer;
                    }
                }
            }
        }
    }
}
