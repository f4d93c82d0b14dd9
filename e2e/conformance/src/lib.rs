//! What a Kubernetes API answers: one list of checks, run on a real cluster (`cargo xtask e2e conformance`) and on the
//! sandbox (`cargo test -p caravel-sandbox --test conformance`). Both must give the same answers; real Kubernetes
//! (v1.34) is the judge, and a check that it fails is wrong.
//!
//! A check speaks HTTP in paths and JSON, because those are what Kubernetes promises; see [`World::get`] and its
//! neighbours. Where users read Kubernetes' words, it compares them to the letter ([`Answer::refused`]); elsewhere it
//! compares the part of the object that it speaks of ([`holds`]).
//!
//! | file | what |
//! |---|---|
//! | `connect.rs` | a world from a kubeconfig |
//! | `ask.rs` | requests and their answers |
//! | `expect.rs` | comparing, and waiting for what comes later |
//! | `watching.rs` | a watch, event by event |
//! | `widgets.rs` | the custom kind that all checks share |
//! | `run.rs`, `room.rs` | the runner; what each check has to itself |
//! | `checks/<topic>.rs` | the checks |

mod ask;
mod checks;
mod connect;
mod expect;
mod room;
mod run;
mod watching;
mod widgets;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use futures::future::BoxFuture;
use kube::Client;

pub use ask::Answer;
pub use checks::checks;
pub use connect::kubectl_is_installed;
pub use expect::{equal, eventually, holds};
pub use run::{Filter, Report, run};
pub use watching::Watching;

/// Gives a client that speaks as this user, in these groups.
pub type AsUser = Arc<dyn Fn(&str, &[&str]) -> Result<Client> + Send + Sync>;

/// The API that is asked.
#[derive(Clone)]
pub struct World {
    /// As an administrator.
    pub client: Client,
    /// As somebody else.
    pub as_user: AsUser,
    /// For the checks that run kubectl; `None` leaves them out.
    pub kubeconfig: Option<PathBuf>,
    /// Made for each check, deleted after it.
    pub namespace: String,
    /// A StorageClass that provisions at once, for the checks on volumes; `None` leaves them out.
    pub storage_class: Option<String>,
    /// The same with `WaitForFirstConsumer`.
    pub storage_class_waiting: Option<String>,
    /// A VolumeSnapshotClass of the same driver.
    pub snapshot_class: Option<String>,
    /// An image with `/bin/sh`, `echo`, `cat`, `sleep` and `exit`, that needs no registry.
    pub image: String,
    /// Whether Kubernetes' controllers run (garbage collection, namespaces, Deployments …).
    pub controllers: bool,
    /// Whether there are nodes that run pods.
    pub nodes: bool,
}

/// What a check needs beside an API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Kubernetes' controllers.
    Controllers,
    /// Nodes that run pods, and controllers.
    Nodes,
    /// Classes that provision and snapshot, nodes and controllers.
    Volumes,
    /// The `kubectl` command.
    Kubectl,
}

/// One check: a sentence about the API, and the code that finds out.
#[derive(Clone, Copy)]
pub struct Check {
    /// The file that it is in: `update`.
    pub topic: &'static str,
    /// `a_stale_resource_version_is_a_conflict`.
    pub name: &'static str,
    /// What it needs; empty: an API server is enough.
    pub needs: &'static [Needs],
    /// Finds out.
    pub run: fn(World) -> BoxFuture<'static, Result<()>>,
}

impl World {
    /// An API server alone; the fields say what else there is.
    pub fn new(client: Client, as_user: AsUser) -> Self {
        Self {
            client,
            as_user,
            kubeconfig: None,
            namespace: String::new(),
            storage_class: None,
            storage_class_waiting: None,
            snapshot_class: None,
            image: "docker.io/local/busybox:1".to_owned(),
            controllers: false,
            nodes: false,
        }
    }

    /// Whether a check that needs this can run.
    pub fn offers(&self, needs: Needs) -> bool {
        match needs {
            Needs::Controllers => self.controllers,
            Needs::Nodes => self.controllers && self.nodes,
            Needs::Volumes => {
                self.controllers
                    && self.nodes
                    && self.storage_class.is_some()
                    && self.storage_class_waiting.is_some()
                    && self.snapshot_class.is_some()
            }
            Needs::Kubectl => self.kubeconfig.is_some(),
        }
    }
}
