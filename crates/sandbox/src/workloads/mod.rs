//! The controllers of Kubernetes itself, as far as applications and our own pods need them: `kube-controller-manager` v1.34.
//!
//! Each reads what it needs from the API server, decides in a plain function and acts in small steps that can be repeated.

mod daemon_set;
mod deployment;
mod eviction;
mod garbage;
mod job;
mod namespace;
mod node_lifecycle;
mod pods;
mod replica_set;
mod rollout;
mod service;
mod service_account;
mod stateful_set;

use crate::machinery::{Context, Watches, spawn};

/// Starts all of them.
pub fn start(context: &Context, watches: &mut Watches, certificate_authority: String) {
    let kinds = watches.kinds();
    spawn(
        context,
        watches,
        garbage::Garbage::new(context.clone(), kinds.clone()),
    );
    spawn(
        context,
        watches,
        namespace::Namespaces::new(context.clone(), kinds),
    );
    spawn(
        context,
        watches,
        service_account::ServiceAccounts::new(context.clone(), certificate_authority),
    );
    spawn(context, watches, deployment::Deployments(context.clone()));
    spawn(context, watches, replica_set::ReplicaSets(context.clone()));
    spawn(context, watches, stateful_set::StatefulSets(context.clone()));
    spawn(context, watches, daemon_set::DaemonSets::new(context.clone()));
    spawn(context, watches, job::Jobs(context.clone()));
    spawn(context, watches, service::Services::new(context.clone()));
    spawn(
        context,
        watches,
        node_lifecycle::NodeLifecycle::new(context.clone()),
    );
    spawn(context, watches, eviction::Evictions::new(context.clone()));
}
