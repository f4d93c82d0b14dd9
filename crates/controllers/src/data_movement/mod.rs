//! The one machine that moves a volume's data, for DataUploads and DataDownloads alike.
//!
//! ```text
//! state.rs     fields → State            transition.rs  Transition → merge patch with resourceVersion
//! decide.rs    Observed → Decision (pure: the specification)
//! observe.rs   object, pod, final Event, repository, the exposer's ladder → Observed
//! announce.rs  Decision → what is waited for and since when, for status.message
//! act.rs       Decision → cluster        slots.rs, prepare_queue.rs, interests.rs  what one node agent remembers
//! place.rs     never more in preparation than `prepareQueueLength`, over all node agents
//! ```
//! Runs in every node agent; `data_upload/` and `data_download/` say what differs by direction. The volume is exposed
//! by `crates/exposer`, moved by `crates/data-mover` in a pod of its own, whose last word comes back as an Event and as
//! the pod's termination message. Source: velero-behaviour.md 5.2-5.5, Velero `pkg/controller/data_upload_controller.go`.

mod act;
pub mod announce;
pub mod decide;
#[cfg(test)]
mod histories;
mod interests;
mod observe;
mod place;
#[cfg(test)]
mod place_histories;
mod prepare_queue;
mod slots;
mod sources;
pub mod state;
#[cfg(test)]
mod tests;
pub mod transition;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api::RepositoryConfig;
use caravel_exposer::{Cluster, ExposerError, LocationMount, Next, Step};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::node_agent_configuration::InForce;
use crate::reconcile::{Error, Key};
pub use decide::{Direction, Policy};
pub use interests::Interests;
pub use place::Place;
pub use prepare_queue::PrepareQueue;
pub use slots::Slots;
pub(crate) use sources::sources;
use state::Facts;

/// Holds a DataUpload or DataDownload until its temporary objects are gone.
pub const FINALIZER: &str = "velero.io/data-upload-download-finalizer";

/// Which ladder of the exposer a movement stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    Expose,
    Rebind,
    CleanUp,
}

/// What the exposer has found, and what it would do next.
pub struct Look<C> {
    pub next: Next,
    pub children: C,
}

/// What differs between uploads and downloads.
#[async_trait]
pub trait Movement: Send + Sync + 'static {
    /// The custom resource.
    type Object: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static;
    /// The exposer's observation, handed back to [`Movement::take`].
    type Children: Send + Sync;

    const DIRECTION: Direction;

    /// Reads the shared fields.
    fn facts(object: &Self::Object) -> Facts;

    /// Objects of others that this movement waits for: kind, namespace, name.
    fn waits_for(&self, object: &Self::Object) -> Vec<(&'static str, Key)>;

    /// Why a new movement cannot be accepted yet.
    async fn not_admitted(
        &self,
        cluster: &Cluster,
        object: &Self::Object,
    ) -> Result<Option<String>, ExposerError>;

    /// Where the ladder stands. `repository_config`: what the BackupRepository says, where exposing needs it; none before
    /// the server has looked at it.
    async fn look(
        &self,
        cluster: &Cluster,
        object: &Self::Object,
        repository_config: Option<&RepositoryConfig>,
        activity: Activity,
    ) -> Result<Look<Self::Children>, ExposerError>;

    /// Takes one step of the ladder. `location` is resolved only for the data mover pod.
    async fn take(
        &self,
        cluster: &Cluster,
        object: &Self::Object,
        children: &Self::Children,
        step: Step,
        extra: StepExtra,
    ) -> Result<(), ExposerError>;

    /// A hand-over that has begun: since when, and the data mover's total bytes.
    fn rebind_begun(_object: &Self::Object) -> Option<(Timestamp, u64)> {
        None
    }
}

/// What the ladder asks for, held back where it would make for good what the repository's configuration decides: a
/// repository gets that when the server looks at it for the first time.
pub(crate) fn once_configured(next: Next, repository_config: Option<&RepositoryConfig>) -> Next {
    match (next, repository_config) {
        (Next::Do(Step::CreateCachePvc | Step::CreateMoverPod), None) => Next::Wait {
            what: "the server to prepare the backup repository".into(),
            within: None,
        },
        (next, _) => next,
    }
}

/// What some steps need beside the observation.
#[derive(Clone, Debug)]
pub struct StepExtra {
    pub location: LocationMount,
    /// Bytes that the data mover has restored.
    pub total_bytes: u64,
    pub now: Timestamp,
}

/// What both controllers of one node agent share.
#[derive(Clone)]
pub struct Shared {
    pub context: Context,
    pub policy: Arc<Policy>,
    pub slots: Arc<Slots>,
    /// `prepareQueueLength`.
    pub queue: Arc<PrepareQueue>,
    /// What the node agent's ConfigMap says about exposing.
    pub in_force: InForce,
    /// Passed on to data mover pods as `--resource-timeout`.
    pub resource_timeout: Duration,
}

/// The controller of one direction in one node agent.
pub struct Controller<M: Movement> {
    pub(crate) shared: Shared,
    pub(crate) cluster: Cluster,
    pub(crate) interests: Arc<Interests>,
    pub(crate) movement: M,
    /// Since when this agent has seen each cancel, by UID.
    cancels: Mutex<BTreeMap<String, Timestamp>>,
    /// The version of each movement of another node, and since when this agent has seen it, by UID.
    quiet: Mutex<BTreeMap<String, (String, Timestamp)>>,
    /// What each movement waits for, and since when.
    waits: Mutex<BTreeMap<Key, (String, Timestamp)>>,
    /// Why the last try of each key failed: the reason given when its time is up.
    last_errors: Mutex<BTreeMap<Key, String>>,
    /// The decision last logged for each key, so that a repeated one stays quiet.
    last_decisions: Mutex<BTreeMap<Key, String>>,
}

impl<M: Movement> Controller<M> {
    /// A controller that has seen nothing yet.
    pub fn new(shared: Shared, movement: M) -> Self {
        let cluster = Cluster {
            client: shared.context.client.clone(),
            namespace: shared.context.namespace.clone(),
        };
        Self {
            shared,
            cluster,
            interests: Arc::default(),
            movement,
            cancels: Mutex::default(),
            quiet: Mutex::default(),
            waits: Mutex::default(),
            last_errors: Mutex::default(),
            last_decisions: Mutex::default(),
        }
    }

    fn forget(&self, key: &Key, uid: Option<&str>) {
        self.shared.slots.release(M::DIRECTION, key);
        self.shared.queue.forget(M::DIRECTION, key);
        self.interests.forget(key);
        self.waits.lock().remove(key);
        self.last_errors.lock().remove(key);
        self.last_decisions.lock().remove(key);
        if let Some(uid) = uid {
            self.cancels.lock().remove(uid);
            self.quiet.lock().remove(uid);
        }
    }
}

/// Lets every movement that runs on this node already take its slot, before any new one may.
///
/// # Errors
/// DataUploads or DataDownloads cannot be listed.
pub async fn hold_running(shared: &Shared) -> Result<(), Error> {
    hold::<crate::data_upload::Upload>(shared).await?;
    hold::<crate::data_download::Download>(shared).await
}

async fn hold<M: Movement>(shared: &Shared) -> Result<(), Error> {
    use state::State;
    let objects = shared
        .context
        .list::<M::Object>(&kube::api::ListParams::default())
        .await?;
    for object in &objects {
        let facts = M::facts(object);
        if let State::InProgress { node, .. } | State::Canceling { node, .. } = State::parse(&facts)
            && node == shared.policy.node
            && facts.is_ours()
        {
            shared.slots.hold(M::DIRECTION, &Key::of(object));
        }
    }
    Ok(())
}

/// The owner reference that makes a temporary object go with its movement.
pub(crate) fn owner_reference<K: Resource<DynamicType = ()>>(object: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// The label that ties a data mover pod to its movement.
pub(crate) fn pod_label(direction: Direction) -> &'static str {
    match direction {
        Direction::Upload => caravel_api::labels::DATA_UPLOAD,
        Direction::Download => caravel_api::labels::DATA_DOWNLOAD,
    }
}

/// The movement of a data mover pod.
pub(crate) fn key_of_pod(pod: &Pod) -> Vec<Key> {
    vec![Key::of(pod)]
}

/// Any error as the queue takes it.
pub(crate) fn boxed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Box::new(error)
}
