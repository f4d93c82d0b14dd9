//! What every controller of the sandbox stands on: one watch of each kind, a work queue, events, and few words over
//! `kube::Api`.
//!
//! ```text
//! API server ──watch──► Watches ──Change──► touched_by ──keys──► Queue ──► reconcile ──► API server
//! ```
//!
//! A change only wakes a controller; what is true is always read from the API server, which answers from this
//! process, so no controller acts on an old picture.

mod api;
mod backoff;
mod controller;
mod discovery;
mod queue;
mod recorder;
#[cfg(test)]
mod seen;
mod watched;
mod watches;

pub use api::{Answer, Kinds, fits, is_conflict, is_not_found, merge, merge_status, settled, time};
pub use backoff::Steady;
pub use controller::{Controller, Outcome, spawn};
pub use discovery::Resource;
pub use queue::Queue;
pub use recorder::{Recorder, Told};
#[cfg(test)]
pub use seen::Seen;
pub use watched::Ownerless;
pub use watches::{Change, Key, Watches, controller_of};

use std::sync::Arc;

use caravel_api_server::Clock;
use kube::Client;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a controller is handed.
#[derive(Clone)]
pub struct Context {
    pub client: Client,
    pub clock: Arc<dyn Clock>,
    pub recorder: Recorder,
    /// Set when the sandbox ends.
    pub shutdown: CancellationToken,
    /// Everything that runs; the sandbox has ended when this is empty.
    pub tasks: TaskTracker,
}

impl Context {
    /// A context over this client.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            recorder: Recorder::new(client.clone(), clock.clone()),
            client,
            clock,
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// The clock's time, to the second, as Kubernetes writes it.
    pub fn now(&self) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
        time(self.clock.now())
    }
}
