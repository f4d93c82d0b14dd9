//! What every data mover pod takes from around it: the node agent's settings, an account, a priority.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::scheduling::v1::PriorityClass;

use crate::api::{self, Cluster};
use crate::{ExposerError, Settings};

/// What a data mover pod takes from around it.
pub(crate) struct Inherited {
    pub agent: DaemonSet,
    account: bool,
    priority_class: Option<String>,
}

impl Inherited {
    /// The data movers' own ServiceAccount, where there is one.
    pub fn service_account(&self) -> Option<&'static str> {
        self.account
            .then_some(caravel_api::labels::DATA_MOVER_SERVICE_ACCOUNT)
    }

    /// The configured class, where it exists: with another name the pod would be refused.
    pub fn priority_class(&self) -> Option<&str> {
        self.priority_class.as_deref()
    }
}

/// The node agent's DaemonSet, whether data movers have a ServiceAccount of their own, and their priority class.
pub(crate) async fn inherited(cluster: &Cluster, settings: &Settings) -> Result<Inherited, ExposerError> {
    let (agents, accounts) = (cluster.ours::<DaemonSet>(), cluster.ours::<ServiceAccount>());
    let priorities = cluster.wide::<PriorityClass>();
    let (agent, account, priority) = futures::try_join!(
        api::get(&agents, "node-agent"),
        api::get(&accounts, caravel_api::labels::DATA_MOVER_SERVICE_ACCOUNT),
        api::get(&priorities, &settings.priority_class_name),
    )?;
    let agent = agent.ok_or_else(|| ExposerError::NoNodeAgent {
        namespace: cluster.namespace.clone(),
    })?;
    Ok(Inherited {
        agent,
        account: account.is_some(),
        priority_class: priority.and_then(|class| class.metadata.name),
    })
}
