//! `velero repo export-password`: the repository password, to be kept outside the cluster. Not a verb of Velero's.

use caravel_backup_repository::{NEXT_PASSWORD_KEY, PASSWORD_KEY, PASSWORD_SECRET, password};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use secrecy::ExposeSecret as _;

use super::super::connection::Global;
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::output::emit;

/// Print the password of the backup repositories, to be kept outside the cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The one that every repository will have, while `velero repo change-password` is under way.
    #[arg(long)]
    next: bool,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let secrets: Api<Secret> = Api::namespaced(global.client().await?, &namespace);
    let secret = secrets
        .get_opt(PASSWORD_SECRET)
        .await
        .map_err(|error| kubernetes(format!("reading Secret {namespace}/{PASSWORD_SECRET}"), &error))?;
    if !args.next && secret.as_ref().is_some_and(is_changing) {
        eprintln!(
            "Note: the password is being changed, and some repositories open only with the next one. Keep that too: velero repo export-password --next"
        );
    }
    let key = if args.next {
        NEXT_PASSWORD_KEY
    } else {
        PASSWORD_KEY
    };
    emit(&text(secret.as_ref(), key, &namespace)?)
}

fn is_changing(secret: &Secret) -> bool {
    let next = secret.data.as_ref().and_then(|data| data.get(NEXT_PASSWORD_KEY));
    next.is_some_and(|next| password(&next.0).is_some())
}

fn text(secret: Option<&Secret>, key: &str, namespace: &str) -> Outcome<String> {
    let missing = |what: &str| {
        Failure::new(format!("Secret {namespace}/{PASSWORD_SECRET} {what}")).next(format!(
            "kubectl -n {namespace} logs deployment/velero    (the server makes it when it starts)"
        ))
    };
    let secret = secret.ok_or_else(|| missing("does not exist"))?;
    let held = secret.data.as_ref().and_then(|data| data.get(key));
    let password = held
        .and_then(|held| password(&held.0))
        .ok_or_else(|| missing(&format!("holds no password under {key}")))?;
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
        let current = text(Some(&secret), PASSWORD_KEY, "velero").unwrap();
        assert_eq!(current, "correct horse\n");
        assert!(!is_changing(&secret) && text(Some(&secret), NEXT_PASSWORD_KEY, "velero").is_err());
    }

    #[test]
    fn a_missing_secret_is_named() {
        let refusal = text(None, PASSWORD_KEY, "velero").unwrap_err().to_string();
        assert!(
            refusal.contains("velero/velero-repo-credentials does not exist"),
            "{refusal}"
        );
        let empty = text(Some(&Secret::default()), PASSWORD_KEY, "velero")
            .unwrap_err()
            .to_string();
        assert!(empty.contains("repository-password"), "{empty}");
    }
}
