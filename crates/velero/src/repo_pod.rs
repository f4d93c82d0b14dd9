//! What the pods of `velero repo-maintenance` and `velero repo-check` have in common: what they know of their cluster, how
//! they open their repository, and how long their last word may be.

use anyhow::Context as _;
use caravel_api::labels;
use caravel_backup_repository::{PASSWORD_SECRET, Prepare, Repository, prepare};
use caravel_controllers::backup_repository::password;
use caravel_controllers::context::{Context, ResolvedLocation};
use k8s_openapi::api::core::v1::Secret;

use crate::process::Process;

/// Longest last word, in bytes: Kubernetes keeps 4096 of a termination message.
pub const LONGEST_WORD: usize = 3000;

/// The cluster as this process sees it.
pub fn context(process: &Process) -> Context {
    let namespace = process
        .variable("VELERO_NAMESPACE")
        .unwrap_or_else(|| labels::DEFAULT_NAMESPACE.to_owned());
    Context::new(process.client.clone(), namespace, process.credentials())
        .over(process.stores.clone(), process.environment.clone())
}

/// Opens the repository of the volumes of a namespace; one that is not there is an error, it is never made.
pub async fn open(
    context: &Context,
    location: &ResolvedLocation,
    namespace: &str,
) -> anyhow::Result<Repository> {
    let secret = context.api::<Secret>().get_opt(PASSWORD_SECRET).await;
    let secret = secret.with_context(|| format!("cannot read Secret {PASSWORD_SECRET}"))?;
    let password = password(secret.as_ref()).map_err(anyhow::Error::msg)?;
    let storage = location.repository_storage(namespace)?;
    let environment = context.environment.clone();
    Ok(prepare(storage, &password, Prepare::ConnectOnly, environment).await?)
}

/// One line that Kubernetes keeps whole.
pub fn shortened(word: &str) -> String {
    let mut word = word.replace('\n', " ");
    if word.len() > LONGEST_WORD {
        let end = (0..=LONGEST_WORD).rev().find(|end| word.is_char_boundary(*end));
        word.truncate(end.unwrap_or(0));
    }
    word
}
