//! `velero repo export-password`: the repository password, to be kept outside the cluster. Not a verb of Velero's.

use caravel_backup_repository::{PASSWORD_KEY, PASSWORD_SECRET, password};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use secrecy::ExposeSecret as _;

use super::super::connection::Global;
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::output::emit;

/// Print the password of the backup repositories, to be kept outside the cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub async fn run(_: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let secrets: Api<Secret> = Api::namespaced(global.client().await?, &namespace);
    let secret = secrets
        .get_opt(PASSWORD_SECRET)
        .await
        .map_err(|error| kubernetes(format!("reading Secret {namespace}/{PASSWORD_SECRET}"), &error))?;
    emit(&text(secret.as_ref(), &namespace)?)
}

fn text(secret: Option<&Secret>, namespace: &str) -> Outcome<String> {
    let missing = |what: &str| {
        Failure::new(format!("Secret {namespace}/{PASSWORD_SECRET} {what}")).next(format!(
            "kubectl -n {namespace} logs deployment/velero    (the server makes it when it starts)"
        ))
    };
    let secret = secret.ok_or_else(|| missing("does not exist"))?;
    let held = secret.data.as_ref().and_then(|data| data.get(PASSWORD_KEY));
    let password = held
        .and_then(|held| password(&held.0))
        .ok_or_else(|| missing(&format!("holds no password under {PASSWORD_KEY}")))?;
    Ok(format!("{}\n", password.expose_secret()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_printed_alone_as_it_is_used() {
        let secret: Secret = serde_json::from_value(serde_json::json!({
            "data": {PASSWORD_KEY: k8s_openapi::ByteString(b" correct horse\n".to_vec())}
        }))
        .unwrap();
        assert_eq!(text(Some(&secret), "velero").unwrap(), "correct horse\n");
    }

    #[test]
    fn a_missing_secret_is_named() {
        let refusal = text(None, "velero").unwrap_err().to_string();
        assert!(
            refusal.contains("velero/velero-repo-credentials does not exist"),
            "{refusal}"
        );
        let empty = text(Some(&Secret::default()), "velero").unwrap_err().to_string();
        assert!(empty.contains("repository-password"), "{empty}");
    }
}
