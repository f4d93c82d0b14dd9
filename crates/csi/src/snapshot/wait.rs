//! Waiting for a snapshot. Every wait is a watch with a deadline and a readable reason, and ends at once when what it waits
//! for can never come.
//!
//! ```text
//! VolumeSnapshot ─ bound ─► VolumeSnapshotContent ─ handle ─► cut ─ readyToUse ─► ready
//!   deleted: over             deleted: over
//! PersistentVolumeClaim gone, and no handle: over
//! ```

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::{SnapshotError, TakenSnapshot, bound_content, content_error, display_name};
use crate::types::{SnapshotStatusError, VolumeSnapshot, VolumeSnapshotContent};

/// Between two looks at a snapshot whose claim is gone, while the API server refuses.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Waits until the driver has cut a snapshot that was created: bound, and the content has a handle. The volume may change
/// again.
///
/// # Errors
/// [`SnapshotError::TimedOut`] with what was missing and the driver's last error; [`SnapshotError::Deleted`];
/// [`SnapshotError::ClaimGone`].
pub async fn wait_for_handle(
    client: &Client,
    created: &VolumeSnapshot,
    timeout: Duration,
) -> Result<TakenSnapshot, SnapshotError> {
    wait(client, created, timeout, "cut by the storage", |_| Ok(())).await
}

/// Waits until volumes can be made from the snapshot.
///
/// # Errors
/// As [`wait_for_handle`].
pub async fn wait_ready(
    client: &Client,
    created: &VolumeSnapshot,
    timeout: Duration,
) -> Result<TakenSnapshot, SnapshotError> {
    wait(client, created, timeout, "ready to use", |content| match content
        .status
        .as_ref()
        .and_then(|status| status.ready_to_use)
    {
        Some(true) => Ok(()),
        _ => Err(format!(
            "the driver has not finished the snapshot{}",
            last_error(content_error(content))
        )),
    })
    .await
}

async fn wait<F>(
    client: &Client,
    created: &VolumeSnapshot,
    timeout: Duration,
    goal: &'static str,
    enough: F,
) -> Result<TakenSnapshot, SnapshotError>
where
    F: Fn(&VolumeSnapshotContent) -> Result<(), String>,
{
    let object = format!("VolumeSnapshot {}", display_name(created));
    let mut reason = "the snapshot-controller has not looked at it; is it running?".to_owned();
    let steps = async {
        tokio::select! {
            biased;
            done = take(client, created, &object, &mut reason, enough) => done,
            error = claim_gone(client, created, &object) => Err(error),
        }
    };
    match tokio::time::timeout(timeout, steps).await {
        Ok(taken) => taken,
        Err(_) => Err(SnapshotError::TimedOut {
            object,
            goal,
            after: timeout,
            reason,
        }),
    }
}

/// Follows the snapshot until it is bound, then its content until that is `enough`.
async fn take<F>(
    client: &Client,
    created: &VolumeSnapshot,
    object: &str,
    reason: &mut String,
    enough: F,
) -> Result<TakenSnapshot, SnapshotError>
where
    F: Fn(&VolumeSnapshotContent) -> Result<(), String>,
{
    let name = created.name_any();
    let mut followed = Followed::new(snapshots(client, created), &name, object);
    // It was created before it is waited for.
    followed.existed = true;
    let (snapshot, content_name) = followed.until(reason, bound).await?;
    let contents: Api<VolumeSnapshotContent> = Api::all(client.clone());
    let of_content = format!("VolumeSnapshotContent {content_name} of {object}");
    let cut = |content: &VolumeSnapshotContent| {
        let handle = reported_handle(content)?;
        enough(content).map(|()| handle)
    };
    // A content that is retained outlives its snapshot, and would be waited for until the deadline.
    let (content, handle) = tokio::select! {
        biased;
        found = until(contents, &content_name, &of_content, reason, cut) => found?,
        error = followed.deleted() => return Err(error),
    };
    Ok(TakenSnapshot {
        snapshot,
        content,
        handle,
    })
}

fn snapshots(client: &Client, created: &VolumeSnapshot) -> Api<VolumeSnapshot> {
    Api::namespaced(client.clone(), &created.namespace().unwrap_or_default())
}

/// The name of the snapshot's content, or why it has none.
fn bound(snapshot: &VolumeSnapshot) -> Result<String, String> {
    bound_content(snapshot).map(str::to_owned).ok_or_else(|| {
        let error = snapshot.status.as_ref().and_then(|status| status.error.as_ref());
        format!(
            "it is not bound to a VolumeSnapshotContent; is the snapshot-controller running?{}",
            last_error(error)
        )
    })
}

/// What the driver calls the snapshot, or why it does not.
fn reported_handle(content: &VolumeSnapshotContent) -> Result<String, String> {
    let status = content.status.as_ref();
    let handle = status.and_then(|status| status.snapshot_handle.clone());
    handle.filter(|handle| !handle.is_empty()).ok_or_else(|| {
        format!(
            "driver {} has not reported a snapshot; look at the csi-snapshotter's log{}",
            content.spec.driver,
            last_error(content_error(content))
        )
    })
}

/// Ends only when the claim that the snapshot is of is gone and the storage has no snapshot of it. One that is in the storage
/// needs its claim no more.
async fn claim_gone(client: &Client, created: &VolumeSnapshot, object: &str) -> SnapshotError {
    let Some(name) = &created.spec.source.persistent_volume_claim_name else {
        return std::future::pending().await;
    };
    let namespace = created.namespace().unwrap_or_default();
    let claim = format!("{namespace}/{name}");
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
    Followed::new(claims, name, &claim).gone().await;
    loop {
        match without_claim(client, created, &claim, object).await {
            Ok(Some(error)) => return error,
            Ok(None) => return std::future::pending().await,
            // Nothing is known of the snapshot: no reason to give it up.
            Err(error) => {
                tracing::warn!(object, %error, "its claim is gone; whether the storage has cut it is asked again");
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
}

/// Why a snapshot without its claim can never be cut. `None`: it has been.
async fn without_claim(
    client: &Client,
    created: &VolumeSnapshot,
    claim: &str,
    object: &str,
) -> Result<Option<SnapshotError>, kube::Error> {
    let found = snapshots(client, created).get_opt(&created.name_any()).await?;
    let Some(found) = found else {
        return Ok(Some(SnapshotError::Deleted {
            object: object.to_owned(),
        }));
    };
    if let Some(content) = bound_content(&found) {
        let contents: Api<VolumeSnapshotContent> = Api::all(client.clone());
        let content = contents.get_opt(content).await?;
        if content.is_some_and(|content| content.handle().is_some()) {
            return Ok(None);
        }
    }
    Ok(Some(SnapshotError::ClaimGone {
        claim: claim.to_owned(),
        object: object.to_owned(),
    }))
}

/// Watches one object until `look` finds what it wants; what is missing goes to `reason`.
pub(crate) async fn until<K, T>(
    api: Api<K>,
    name: &str,
    object: &str,
    reason: &mut String,
    look: impl Fn(&K) -> Result<T, String>,
) -> Result<(K, T), SnapshotError>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    Followed::new(api, name, object).until(reason, look).await
}

/// One object, as its watch tells of it.
struct Followed<'a, K> {
    states: BoxStream<'static, Result<Option<K>, watcher::Error>>,
    name: &'a str,
    /// How errors name it.
    object: &'a str,
    /// It has been there: absent now, it was deleted.
    existed: bool,
}

impl<'a, K> Followed<'a, K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    fn new(api: Api<K>, name: &'a str, object: &'a str) -> Self {
        Self {
            states: watcher::watch_object(api, name).default_backoff().boxed(),
            name,
            object,
            existed: false,
        }
    }

    async fn until<T>(
        &mut self,
        reason: &mut String,
        look: impl Fn(&K) -> Result<T, String>,
    ) -> Result<(K, T), SnapshotError> {
        while let Some(state) = self.states.next().await {
            match state {
                Ok(Some(found)) => {
                    self.existed = true;
                    match look(&found) {
                        Ok(wanted) => return Ok((found, wanted)),
                        // Only finalizers keep it.
                        Err(_) if found.meta().deletion_timestamp.is_some() => break,
                        Err(missing) => *reason = missing,
                    }
                }
                Ok(None) if self.existed => break,
                Ok(None) => *reason = format!("{} does not exist yet", self.name),
                Err(error) => {
                    self.warn(&error);
                    *reason = format!("the API server could not be watched: {error}");
                }
            }
        }
        Err(SnapshotError::Deleted {
            object: self.object.to_owned(),
        })
    }

    /// Ends only when the object is deleted, be it that finalizers keep it yet.
    async fn deleted(&mut self) -> SnapshotError {
        loop {
            let nothing_else = |_: &K| Err::<(), String>(String::new());
            if let Err(error) = self.until(&mut String::new(), nothing_else).await {
                return error;
            }
        }
    }

    /// Ends only when there is no such object. A watch that breaks says nothing of it, and what finalizers keep is there.
    async fn gone(&mut self) {
        while let Some(state) = self.states.next().await {
            match state {
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) => self.warn(&error),
            }
        }
        std::future::pending().await
    }

    fn warn(&self, error: &watcher::Error) {
        tracing::warn!(object = self.object, %error, "watch broke, it is started again");
    }
}

fn last_error(error: Option<&SnapshotStatusError>) -> String {
    match error.and_then(|error| error.message.as_deref()) {
        Some(message) => format!(". Last error: {message}"),
        None => String::new(),
    }
}
