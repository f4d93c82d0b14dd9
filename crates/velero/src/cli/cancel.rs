//! `velero backup cancel NAMES` and `velero restore cancel NAMES`: an addition to Velero. Writes the wish
//! (`caravel_controllers::cancel`); the server acts on it, and says who and when in the object.

use std::fmt::Debug;

use caravel_controllers::cancel::wish;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use super::connection::Global;
use super::describe::words;
use super::failure::{Failure, Outcome, kubernetes};
use super::output::emit;
use super::select::all_of;

/// End what runs: nothing more is saved or restored, and temporary objects go.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Names, as many as shall end.
    #[arg(required = true)]
    names: Vec<String>,
}

/// Runs the command for one kind. `ended`: the phase of one that cannot be canceled any more.
pub async fn run<K>(args: &Args, global: &Global, noun: &str, ended: fn(&K) -> Option<String>) -> Outcome
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let namespace = global.namespace();
    let client = global.client().await?;
    let who = who(&client).await;
    let api: Api<K> = Api::namespaced(client, &namespace);
    let mut failures = Vec::new();
    for name in &args.names {
        if let Err(failure) = one(&api, &namespace, noun, name, &who, ended).await {
            failures.push(failure);
        }
    }
    all_of(failures)
}

async fn one<K>(
    api: &Api<K>,
    namespace: &str,
    noun: &str,
    name: &str,
    who: &str,
    ended: fn(&K) -> Option<String>,
) -> Outcome
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let object = words::one(api, namespace, noun, name).await?;
    if let Some(phase) = ended(&object) {
        return Err(Failure::new(format!(
            "{noun} {namespace}/{name} has ended as {phase}: there is nothing to cancel"
        ))
        .next(format!("velero {noun} describe {name}")));
    }
    api.patch(name, &PatchParams::default(), &Patch::Merge(&wish(who)))
        .await
        .map_err(|error| kubernetes(format!("canceling {noun} {namespace}/{name}"), &error))?;
    emit(&format!(
        "Request to cancel {noun} \"{name}\" submitted successfully.\nRun `velero {noun} describe {name}` to see what became of it.\n"
    ))
}

/// Who asks, as the API server sees it; where it does not tell, the user of this machine.
async fn who(client: &Client) -> String {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let asked = api
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await;
    let seen = asked.ok().and_then(|review| review.status?.user_info?.username);
    let local = || std::env::var("USER").ok();
    seen.or_else(local)
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "velero".to_owned())
}
