//! One server at a time: the Lease `velero-server` in Velero's namespace (docs/decisions/0007).
//!
//! [`Candidate`] waits for the Lease, renews it, gives it back; [`decide`] says when. [`Leadership`] is what the
//! controllers hold: each write to the bucket asks it first, and it says when the Lease is lost. The server ends then.

pub mod decide;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api::labels;
use caravel_backup_store::WriteGate;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use self::decide::{DURATION, Decision, Identity, LOOK_EVERY, Observed, Seen, decide};
use crate::context::Clock;
use crate::reconcile::chain;

/// Name of the Lease.
pub const NAME: &str = "velero-server";
/// Label and value of all servers' pods, Velero's and ours.
const SERVERS: (&str, &str) = ("deploy", "velero");

/// One request to the API server may take so long.
const REQUEST: Duration = Duration::from_secs(3);
/// The question whether the Lease is still ours is repeated for so long while the API server does not answer. A holder that
/// cannot reach it has stepped down before.
const CONFIRM_WITHIN: Duration = Duration::from_secs(30);

/// This server may not act (any more).
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotLeader {
    /// Somebody else may act by now.
    #[error("this server does not hold the Lease {namespace}/velero-server any more: {why}")]
    Lost { namespace: String, why: String },
    /// It may still hold it.
    #[error("whether this server still holds the Lease {namespace}/velero-server cannot be read: {why}")]
    Unknown { namespace: String, why: String },
}

/// The right to act; cheap to clone.
#[derive(Clone, Default)]
pub struct Leadership(Option<Arc<Held>>);

struct Held {
    leases: Api<Lease>,
    namespace: String,
    identity: String,
    lost: CancellationToken,
    why: Mutex<String>,
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holder = self.0.as_ref().map(|held| held.identity.as_str());
        f.debug_tuple("Leadership").field(&holder).finish()
    }
}

impl Leadership {
    /// Of a process that needs no Lease: a node agent.
    pub fn not_needed() -> Self {
        Self::default()
    }

    /// Asks the API server whether the Lease is still ours: before each commit.
    ///
    /// # Errors
    /// [`NotLeader`]; when it is lost, [`Leadership::lost`] ends, too.
    pub async fn confirm(&self) -> Result<(), NotLeader> {
        let Some(held) = &self.0 else { return Ok(()) };
        let deadline = Instant::now() + CONFIRM_WITHIN;
        loop {
            if held.lost.is_cancelled() {
                return Err(held.lost_error());
            }
            let why = match timeout(REQUEST, held.leases.get_opt(NAME)).await {
                Ok(Ok(lease)) => {
                    let holder = lease.as_ref().map(holder_of).unwrap_or_default();
                    if holder == held.identity {
                        return Ok(());
                    }
                    held.lose(match (lease, &*holder) {
                        (None, _) => "somebody deleted it".to_owned(),
                        (_, "") => "somebody took it away".to_owned(),
                        (_, other) => format!("{other} holds it"),
                    });
                    return Err(held.lost_error());
                }
                Ok(Err(error)) => chain(&error),
                Err(_) => format!("no answer within {} s", REQUEST.as_secs()),
            };
            if Instant::now() >= deadline {
                let namespace = held.namespace.clone();
                return Err(NotLeader::Unknown { namespace, why });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether it is known to be lost. What fails then is nobody's fault, and not this server's to write down.
    pub fn is_lost(&self) -> bool {
        self.0.as_ref().is_some_and(|held| held.lost.is_cancelled())
    }

    /// Ends when it is lost.
    pub async fn lost(&self) -> NotLeader {
        let Some(held) = &self.0 else {
            return std::future::pending().await;
        };
        held.lost.cancelled().await;
        held.lost_error()
    }
}

impl Held {
    fn lose(&self, why: String) {
        if !self.lost.is_cancelled() {
            *self.why.lock() = why;
            self.lost.cancel();
        }
    }

    fn lost_error(&self) -> NotLeader {
        NotLeader::Lost {
            namespace: self.namespace.clone(),
            why: self.why.lock().clone(),
        }
    }
}

#[async_trait]
impl WriteGate for Leadership {
    async fn may_write(&self) -> Result<(), String> {
        self.confirm().await.map_err(|error| error.to_string())
    }
}

/// A server that wants the Lease, or has it.
pub struct Candidate {
    leases: Api<Lease>,
    pods: Api<Pod>,
    namespace: String,
    clock: Arc<dyn Clock>,
    observed: Observed,
    /// The Lease as last read or written.
    current: Option<Lease>,
    leadership: Leadership,
    /// What the log last said that is waited for.
    said: String,
}

impl Candidate {
    /// One that has seen nothing yet.
    pub fn new(
        client: &Client,
        namespace: impl Into<String>,
        identity: Identity,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let namespace = namespace.into();
        let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
        let held = Held {
            leases: leases.clone(),
            namespace: namespace.clone(),
            identity: identity.to_string(),
            lost: CancellationToken::new(),
            why: Mutex::default(),
        };
        Self {
            leases,
            pods: Api::namespaced(client.clone(), &namespace),
            namespace,
            clock,
            observed: Observed {
                identity,
                lease: None,
                renewed: None,
                strangers: Vec::new(),
            },
            current: None,
            leadership: Leadership(Some(Arc::new(held))),
            said: String::new(),
        }
    }

    /// What the controllers ask.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Waits until the Lease is ours.
    pub async fn acquire(&mut self) {
        while self.observed.renewed.is_none() {
            if self.look().await {
                self.observed.strangers.clear();
                let mut decision = decide(&self.observed, Instant::now());
                if decision == Decision::Acquire {
                    self.observed.strangers = self.find_strangers().await;
                    decision = decide(&self.observed, Instant::now());
                }
                match decision {
                    Decision::Acquire => self.write().await,
                    Decision::Wait { what, .. } => self.say(what),
                    // Only a holder renews or steps down.
                    Decision::Renew | Decision::StepDown { .. } => {}
                }
            }
            if self.observed.renewed.is_none() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        tracing::info!(lease = %self.name(), identity = %self.observed.identity, "this server holds the Lease");
    }

    /// Renews the Lease until it is lost, which [`Leadership::lost`] tells, or until `given_back` is set: then the next
    /// server may start at once.
    pub async fn keep(mut self, given_back: CancellationToken) {
        loop {
            let wait = match decide(&self.observed, Instant::now()) {
                Decision::StepDown { why } => {
                    tracing::error!(lease = %self.name(), %why, "this server does not hold the Lease any more; it ends, and what it was doing is begun again by the next");
                    if let Some(held) = &self.leadership.0 {
                        held.lose(why);
                    }
                    return;
                }
                Decision::Wait { until, .. } => until,
                Decision::Acquire | Decision::Renew => {
                    let sent = Instant::now();
                    self.write().await;
                    if self.observed.renewed >= Some(sent) {
                        continue;
                    }
                    sent + LOOK_EVERY
                }
            };
            tokio::select! {
                biased;
                () = given_back.cancelled() => return self.give_back().await,
                () = tokio::time::sleep_until(wait) => {}
            }
        }
    }

    /// Best effort: what is not given back runs out.
    async fn give_back(self) {
        let lease = self.wanted("");
        match timeout(REQUEST, self.leases.replace(NAME, &PostParams::default(), &lease)).await {
            Ok(Ok(_)) => tracing::info!(lease = %self.name(), "the Lease is given back"),
            Ok(Err(error)) => {
                tracing::warn!(lease = %self.name(), error = %chain(&error), "the Lease is not given back; it runs out");
            }
            Err(_) => {
                tracing::warn!(lease = %self.name(), "the Lease is not given back in time; it runs out")
            }
        }
    }

    fn name(&self) -> String {
        format!("{}/{NAME}", self.namespace)
    }

    /// What is waited for, once.
    fn say(&mut self, what: String) {
        if what != self.said {
            tracing::info!(lease = %self.name(), "this server waits for {what}");
            self.said = what;
        }
    }

    /// Reads the Lease. False: it cannot be read now.
    async fn look(&mut self) -> bool {
        match timeout(REQUEST, self.leases.get_opt(NAME)).await {
            Ok(Ok(lease)) => {
                self.saw(lease);
                true
            }
            Ok(Err(error)) => {
                self.say(format!("the Lease to be readable: {}", chain(&error)));
                false
            }
            Err(_) => {
                self.say(format!("the Lease: no answer within {} s", REQUEST.as_secs()));
                false
            }
        }
    }

    fn saw(&mut self, lease: Option<Lease>) {
        let version = |lease: &Option<Lease>| {
            lease
                .as_ref()
                .map(|lease| (lease.uid(), lease.resource_version()))
        };
        if version(&lease) != version(&self.current) {
            self.observed.lease = lease.as_ref().map(|lease| Seen {
                holder: holder_of(lease),
                duration: duration_of(lease),
                changed: Instant::now(),
            });
        }
        self.current = lease;
    }

    /// Writes the Lease to be ours; `observed.renewed` says whether that worked.
    async fn write(&mut self) {
        let sent = Instant::now();
        let lease = self.wanted(&self.observed.identity.to_string());
        let params = PostParams::default();
        let written = if self.current.is_some() {
            timeout(REQUEST, self.leases.replace(NAME, &params, &lease)).await
        } else {
            timeout(REQUEST, self.leases.create(&params, &lease)).await
        };
        match written {
            Ok(Ok(lease)) => {
                self.saw(Some(lease));
                self.observed.renewed = Some(sent);
                return;
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
            Ok(Err(error)) => {
                tracing::warn!(lease = %self.name(), error = %chain(&error), "the Lease is not written, tried again");
            }
            Err(_) => {
                tracing::warn!(lease = %self.name(), "the Lease is not written within {} s, tried again", REQUEST.as_secs());
            }
        }
        // Somebody else was first, or it is not known what was done.
        self.look().await;
    }

    /// The Lease with this holder (none: given back), with the resourceVersion that was read: of two writes one is
    /// refused.
    fn wanted(&self, holder: &str) -> Lease {
        let now = MicroTime(self.clock.now());
        let mut lease = self.current.clone().unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(self.namespace.clone()),
                labels: Some([(labels::COMPONENT.to_owned(), labels::COMPONENT_VELERO.to_owned())].into()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if spec.holder_identity.as_deref() != Some(holder) && !holder.is_empty() {
            spec.acquire_time = Some(now.clone());
            let before = spec.lease_transitions;
            spec.lease_transitions = Some(before.map_or(0, |count| count.saturating_add(1)));
        }
        spec.holder_identity = Some(holder.to_owned());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = Some(now);
        lease
    }

    /// Other servers that run and are not of this pod's image: those that know no Lease. Where that is not known, nothing
    /// is begun.
    async fn find_strangers(&self) -> Vec<String> {
        let selector = format!("{}={}", SERVERS.0, SERVERS.1);
        let servers = ListParams::default().labels(&selector);
        let why = match timeout(REQUEST, self.pods.list(&servers)).await {
            Ok(Ok(pods)) => return strangers(&pods.items, self.observed.identity.pod()),
            Ok(Err(error)) => chain(&error),
            Err(_) => "no answer".to_owned(),
        };
        vec![format!("pods with {selector}, which cannot be listed: {why}")]
    }
}

/// Servers of another make: our own pods run the same image, and ask the Lease.
fn strangers(servers: &[Pod], own: &str) -> Vec<String> {
    let images = |pod: &Pod| -> Vec<String> {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        containers
            .filter_map(|container| container.image.clone())
            .collect()
    };
    let own_images = servers.iter().find(|pod| pod.name_any() == own).map(images);
    let runs = |pod: &&Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        !matches!(phase, Some("Succeeded" | "Failed"))
    };
    let others = servers.iter().filter(runs).filter(|pod| pod.name_any() != own);
    others
        .filter(|pod| Some(images(pod)) != own_images)
        .map(ResourceExt::name_any)
        .collect()
}

fn holder_of(lease: &Lease) -> String {
    let spec = lease.spec.as_ref();
    spec.and_then(|spec| spec.holder_identity.clone())
        .unwrap_or_default()
}

fn duration_of(lease: &Lease) -> Duration {
    let promised = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let promised = promised.and_then(|seconds| u64::try_from(seconds).ok());
    promised
        .filter(|seconds| *seconds > 0)
        .map_or(DURATION, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, image: &str, phase: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name}, "status": {"phase": phase},
            "spec": {"containers": [{"name": "velero", "image": image}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_velero_that_still_runs_is_waited_for_and_a_second_replica_of_ours_is_not() {
        let servers = [
            pod("velero-new", "caravel/velero:v1", "Running"),
            pod("velero-replica", "caravel/velero:v1", "Running"),
            pod("velero-old", "velero/velero:v1.18.3", "Running"),
            pod("velero-ended", "velero/velero:v1.18.3", "Succeeded"),
        ];
        assert_eq!(strangers(&servers, "velero-new"), ["velero-old"]);
        // At a terminal nobody is of our make.
        assert_eq!(
            strangers(&servers, ""),
            ["velero-new", "velero-replica", "velero-old"]
        );
    }

    #[test]
    fn a_lease_without_fields_is_held_by_nobody_for_the_usual_time() {
        let lease = Lease::default();
        assert_eq!(holder_of(&lease), "");
        assert_eq!(duration_of(&lease), DURATION);
    }
}
