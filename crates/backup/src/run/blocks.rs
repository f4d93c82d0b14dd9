//! Pods with hooks, the claims that they mount, and what else belongs with them ([`super::relate`]): one item block. Their
//! application is frozen only while the snapshots of its own volumes are cut.
//!
//! ```text
//! pods that share a claim ─► write down that they are owed ─► pre-hooks ─► snapshots, all at once ─► post-hooks
//! ```
//! Upstream: `backupItemBlock` in `pkg/backup/backup.go`. Otherwise than there, a pod whose pre-hook failed gets its
//! post-hook, too: a freeze that only took too long would last for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use caravel_hooks::PodName;
use caravel_hooks::backup::{Phase, claims_of, planned, run as run_hooks};
use caravel_item_action::ResourceIdentifier;
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::Request;
use super::prepare::{Failure, Prepared, prepare};

/// Blocks whose applications are frozen at the same time.
pub(super) const BLOCKS_AT_ONCE: usize = 8;

/// Members of a block, by name: the objects are read when its turn comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Members {
    pub(super) pods: Vec<ResourceIdentifier>,
    /// Claims, and whatever else is saved while the pods are frozen; the pods may be among them.
    pub(super) items: BTreeSet<ResourceIdentifier>,
}

/// The claims of a pod.
pub(super) fn claims(pod: &Value) -> impl Iterator<Item = ResourceIdentifier> + use<> {
    let namespace = crate::cluster::namespace(pod).to_owned();
    let claim = move |name| ResourceIdentifier::new("", "persistentvolumeclaims", &namespace, name);
    claims_of(pod).into_iter().map(claim)
}

/// Puts pods that share a claim (or another item that belongs with them) together; in the order of each block's first pod.
pub(super) fn blocks(
    pods: impl IntoIterator<Item = (ResourceIdentifier, Vec<ResourceIdentifier>)>,
) -> Vec<Members> {
    let mut blocks: Vec<Members> = Vec::new();
    let mut block_of: BTreeMap<ResourceIdentifier, usize> = BTreeMap::new();
    for (pod, items) in pods {
        let shared: BTreeSet<usize> = items
            .iter()
            .filter_map(|item| block_of.get(item).copied())
            .collect();
        let into = shared.first().copied().unwrap_or_else(|| {
            blocks.push(Members::default());
            blocks.len() - 1
        });
        let mut all: BTreeSet<ResourceIdentifier> = items.into_iter().collect();
        let mut joined_pods = Vec::new();
        for other in shared.into_iter().filter(|other| *other != into) {
            let other = blocks.get_mut(other).map(std::mem::take).unwrap_or_default();
            joined_pods.extend(other.pods);
            all.extend(other.items);
        }
        block_of.extend(all.iter().map(|item| (item.clone(), into)));
        if let Some(block) = blocks.get_mut(into) {
            block.pods.extend(joined_pods);
            block.pods.push(pod);
            block.items.extend(all);
        }
    }
    blocks.retain(|block| !block.pods.is_empty());
    blocks
}

/// A block with its objects.
pub(super) struct Block {
    pub(super) pods: Vec<(ResourceIdentifier, Value)>,
    pub(super) items: Vec<(ResourceIdentifier, Value)>,
}

/// A block whose post-hooks have run.
pub(super) struct Ended {
    pub(super) pods: Vec<(ResourceIdentifier, Value)>,
    /// Not to be written.
    pub(super) failed: BTreeSet<ResourceIdentifier>,
    pub(super) items: Vec<(ResourceIdentifier, Result<Prepared, Failure>)>,
}

/// Runs a block. To be spawned: whatever becomes of the backup, the post-hooks run. When the sender of `stopped` is gone,
/// they run at once.
pub(super) async fn run(
    request: Arc<Request>,
    snapshots: Arc<Semaphore>,
    block: Block,
    stopped: oneshot::Receiver<()>,
) -> Ended {
    let owed = owed(&request, &block.pods);
    let mut failed = BTreeSet::new();
    let written = if owed.is_empty() {
        Ok(())
    } else {
        request.hooks.owed.begin(&owed).await
    };
    if let Err(why) = &written {
        let why = format!("its pre-hook is not run, because the Backup cannot be told of it: {why}");
        for (id, _) in &block.pods {
            request
                .log
                .error(super::about("pods", id), "Error executing hook", &why);
            failed.insert(id.clone());
        }
    } else {
        for (id, pod) in &block.pods {
            if hooks(&request, pod, Phase::Pre).await.is_err() {
                failed.insert(id.clone());
            }
        }
    }
    let items = tokio::select! {
        biased;
        items = prepare_all(&request, &snapshots, block.items) => items,
        _ = stopped => Vec::new(),
    };
    if written.is_ok() {
        for (_, pod) in &block.pods {
            // An error is a line of the log, and counted; there is nothing that it could keep from happening.
            let _ = hooks(&request, pod, Phase::Post).await;
        }
        request.hooks.owed.end(&owed).await;
    }
    Ended {
        pods: block.pods,
        failed,
        items,
    }
}

/// Pods that have something to undo.
fn owed(request: &Request, pods: &[(ResourceIdentifier, Value)]) -> Vec<PodName> {
    let any = |pod: &Value, phase| !planned(pod, &request.hooks.spec, phase, &*request.log).is_empty();
    let owed = pods
        .iter()
        .filter(|(_, pod)| any(pod, Phase::Pre) && any(pod, Phase::Post));
    owed.map(|(_, pod)| PodName::of(pod)).collect()
}

async fn hooks(request: &Request, pod: &Value, phase: Phase) -> Result<(), caravel_hooks::exec::HookError> {
    let hooks = &request.hooks;
    run_hooks(
        &*hooks.executor,
        pod,
        &hooks.spec,
        phase,
        &hooks.tracker,
        &*request.log,
    )
    .await
}

async fn prepare_all(
    request: &Arc<Request>,
    snapshots: &Arc<Semaphore>,
    items: Vec<(ResourceIdentifier, Value)>,
) -> Vec<(ResourceIdentifier, Result<Prepared, Failure>)> {
    let mut work = JoinSet::new();
    let mut prepared: Vec<_> = Vec::new();
    for (at, (id, item)) in items.into_iter().enumerate() {
        prepared.push((id.clone(), Err(Failure::lost())));
        let (request, snapshots) = (Arc::clone(request), Arc::clone(snapshots));
        let one = async move {
            // The semaphore is never closed.
            let _place = snapshots.acquire_owned().await;
            (at, prepare(&request, &id, item).await)
        };
        work.spawn(one.in_current_span());
    }
    while let Some(ended) = work.join_next().await {
        if let Ok((at, result)) = ended
            && let Some((_, slot)) = prepared.get_mut(at)
        {
            *slot = result;
        }
    }
    prepared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(resource: &str, name: &str) -> ResourceIdentifier {
        ResourceIdentifier::new("", resource, "shop", name)
    }

    #[test]
    fn pods_that_share_a_claim_are_frozen_together_and_others_alone() {
        let pod = |name: &str, claims: &[&str]| {
            let claims = claims
                .iter()
                .map(|claim| id("persistentvolumeclaims", claim))
                .collect();
            (id("pods", name), claims)
        };
        let made = blocks([
            pod("a", &["1"]),
            pod("b", &["2"]),
            pod("c", &[]),
            pod("d", &["1", "2"]),
            pod("e", &["3"]),
        ]);
        let names: Vec<Vec<&str>> = made
            .iter()
            .map(|block| block.pods.iter().map(|pod| pod.name.as_str()).collect())
            .collect();
        assert_eq!(names, [vec!["a", "b", "d"], vec!["c"], vec!["e"]]);
        assert_eq!(made[0].items.len(), 2);
    }
}
