//! `velero repo change-password`: gives every repository of every location a new password. Not a verb of Velero's, whose
//! password can be set only before the first backup.
//!
//! The command only writes the new password beside the old one into the Secret, and watches: the server does the work
//! (`caravel_controllers::repository_password`), so that nothing depends on this terminal.

use std::path::PathBuf;
use std::time::Duration;

use caravel_api::labels::REPOSITORY_PASSWORD_CHANGE;
use caravel_api::v1::BackupStorageLocation;
use caravel_backup_repository::{NEXT_PASSWORD_KEY, PASSWORD_KEY, PASSWORD_SECRET, password};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::super::connection::Global;
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::flags;
use super::super::follow::{Look, until_finished};
use super::super::install::repo_password::RepoPassword;
use super::super::select::confirm;

/// Marks of tools that keep objects as they have them.
const TOOLS: [(&str, &str); 4] = [
    ("argocd.argoproj.io/", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/", "Flux"),
    ("meta.helm.sh/", "Helm"),
    ("reconcile.external-secrets.io/", "the External Secrets operator"),
];

/// Give every backup repository of every location a new password.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// File with the new password.
    #[arg(long, value_name = "FILE")]
    repo_password_file: Option<PathBuf>,
    /// Make a new password and print it once.
    #[arg(long)]
    generate_repo_password: bool,
    /// Do not ask.
    #[arg(long)]
    confirm: bool,
    /// Wait until every repository has the new password [default: true].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flags::boolean)]
    wait: Option<bool>,
    /// How long to wait at most; 0 for no limit. The change goes on all the same.
    #[arg(long, default_value = "0s")]
    timeout: caravel_api::Duration,
}

/// Runs the command. Without a new password it waits for the change that goes on.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let client = global.client().await?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let new = RepoPassword::from_flags(args.repo_password_file.as_deref(), args.generate_repo_password)?;
    let secret = secrets
        .get_opt(PASSWORD_SECRET)
        .await
        .map_err(|error| kubernetes(format!("reading Secret {namespace}/{PASSWORD_SECRET}"), &error))?;
    if let Some(begin) = what_to_do(secret.as_ref(), new.as_ref(), &namespace)? {
        let locations: Api<BackupStorageLocation> = Api::namespaced(client, &namespace);
        let locations = locations
            .list(&ListParams::default())
            .await
            .map_err(|error| kubernetes("listing backup storage locations", &error))?;
        eprintln!("{}", consequences(&locations.items));
        if !args.confirm && !confirm()? {
            return Ok(());
        }
        secrets
            .patch(PASSWORD_SECRET, &PatchParams::default(), &Patch::Merge(&begin))
            .await
            .map_err(|error| kubernetes(format!("writing Secret {namespace}/{PASSWORD_SECRET}"), &error))?;
        if let Some(new) = &new {
            eprintln!("{}", new.advice(&namespace));
        }
    }
    if !args.wait.unwrap_or(true) {
        println!("The server changes the password; follow it by: velero repo change-password");
        return Ok(());
    }
    let ended = within(
        *args.timeout,
        until_finished(secrets, PASSWORD_SECRET, &namespace, look),
    )
    .await?;
    println!(
        "The password of the backup repositories is changed ({}).",
        said(&ended)
    );
    Ok(())
}

/// The patch that begins the change; none where it goes on already.
fn what_to_do(
    secret: Option<&Secret>,
    new: Option<&RepoPassword>,
    namespace: &str,
) -> Outcome<Option<Value>> {
    let name = format!("Secret {namespace}/{PASSWORD_SECRET}");
    let Some(secret) = secret else {
        return Err(
            Failure::new(format!("{name} does not exist; nothing was changed")).next(format!(
                "kubectl -n {namespace} logs deployment/velero    (the server makes it when it starts)"
            )),
        );
    };
    let is = |key: &str, text: &str| held(secret, key).as_deref() == Some(text);
    match (held(secret, NEXT_PASSWORD_KEY), new) {
        (Some(_), None) => Ok(None),
        (Some(_), Some(new)) if is(NEXT_PASSWORD_KEY, new.text()) => Ok(None),
        (Some(_), Some(_)) => Err(Failure::new(
            "the password is being changed to another one already, and some repositories may open with nothing else; nothing was changed",
        )
        .next("velero repo change-password    (without a password: waits for that change)")),
        (None, None) => Err(Failure::usage("say which password is to be the new one")
            .next("velero repo change-password --generate-repo-password    (or --repo-password-file FILE)")),
        (None, Some(new)) if is(PASSWORD_KEY, new.text()) => Err(Failure::new(
            "that is the repositories' password already; nothing was changed",
        )),
        (None, Some(_)) if owner(secret).is_some() => Err(Failure::new(format!(
            "{name} belongs to {}, which would write its own password over the new one, and repositories would open with nothing that is recorded; nothing was changed",
            owner(secret).unwrap_or_default()
        ))
        .next(format!(
            "kubectl -n {namespace} get secret {PASSWORD_SECRET} -o yaml    (take it out of there first; the repositories keep their password)"
        ))),
        (None, Some(_)) if held(secret, PASSWORD_KEY).is_none() => Err(Failure::new(format!(
            "{name} holds no password under {PASSWORD_KEY}; nothing was changed"
        ))),
        (None, Some(new)) => Ok(Some(json!({
            "metadata": {
                "resourceVersion": secret.resource_version(),
                "annotations": {REPOSITORY_PASSWORD_CHANGE: null},
            },
            "data": {NEXT_PASSWORD_KEY: ByteString(new.text().as_bytes().to_vec())},
        }))),
    }
}

/// Who writes the whole Secret again and again: an object that owns it, or one of the tools that are known by their marks.
fn owner(secret: &Secret) -> Option<String> {
    if let Some(owner) = secret.owner_references().first() {
        return Some(format!("{} {}", owner.kind, owner.name));
    }
    let mut marks = secret.labels().keys().chain(secret.annotations().keys());
    let tool = |mark: &String| {
        TOOLS
            .iter()
            .find(|(prefix, _)| mark.starts_with(prefix))
            .map(|(_, tool)| (*tool).to_owned())
    };
    marks.find_map(tool)
}

fn held(secret: &Secret, key: &str) -> Option<String> {
    let value = secret.data.as_ref()?.get(key)?;
    password(&value.0).map(|text| text.expose_secret().to_owned())
}

fn consequences(locations: &[BackupStorageLocation]) -> String {
    let names: Vec<String> = locations.iter().map(ResourceExt::name_any).collect();
    format!(
        "Every backup repository of these locations gets the new password: {}.\n\
         Other clusters that use these locations, and Velero's own servers, open them no more until their Secret \
         {PASSWORD_SECRET} has it too. Until all have it both passwords stay in the Secret; take neither away by hand.\n\
         Keep the old password outside the cluster as well until this command says that all have the new one: were the cluster lost \
         before, put both into the new cluster's Secret ({PASSWORD_KEY}, {NEXT_PASSWORD_KEY}).",
        if names.is_empty() {
            "(there is none)".to_owned()
        } else {
            names.join(", ")
        }
    )
}

fn said(secret: &Secret) -> String {
    let said = secret.annotations().get(REPOSITORY_PASSWORD_CHANGE);
    said.cloned().unwrap_or_default()
}

/// "New" until the server has said something.
fn look(secret: &Secret) -> Look {
    let said = said(secret);
    Look {
        phase: if said.is_empty() { "New".to_owned() } else { said },
        doing: String::new(),
        finished: held(secret, NEXT_PASSWORD_KEY).is_none(),
    }
}

async fn within<T>(timeout: Duration, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    if timeout.is_zero() {
        return work.await;
    }
    match tokio::time::timeout(timeout, work).await {
        Ok(ended) => ended,
        Err(_) => Err(Failure::new(format!(
            "not every repository has the new password after {} s; the change goes on, and both passwords stay in force",
            timeout.as_secs()
        ))
        .next("velero repo change-password    (waits on)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(current: &str, next: Option<&str>) -> Secret {
        let mut data = json!({PASSWORD_KEY: ByteString(current.into())});
        if let Some(next) = next {
            data[NEXT_PASSWORD_KEY] = json!(ByteString(next.into()));
        }
        serde_json::from_value(json!({"metadata": {"resourceVersion": "7"}, "data": data})).unwrap()
    }

    fn new(text: &str) -> RepoPassword {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        RepoPassword::from_flags(Some(file.path()), false)
            .ok()
            .flatten()
            .unwrap()
    }

    fn refusal(secret: &Secret, password: Option<&RepoPassword>) -> String {
        what_to_do(Some(secret), password, "velero")
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_new_password_is_written_beside_the_old_one_and_over_nobody_else_s_change() {
        let begin = what_to_do(Some(&secret("old", None)), Some(&new("new\n")), "velero").unwrap();
        assert_eq!(
            begin.unwrap(),
            json!({
                "metadata": {"resourceVersion": "7", "annotations": {"velero.io/repository-password-change": null}},
                "data": {"repository-password-next": "bmV3"},
            })
        );
    }

    #[test]
    fn a_change_that_goes_on_is_waited_for_and_never_replaced_by_another() {
        let changing = secret("old", Some("new"));
        assert!(what_to_do(Some(&changing), None, "velero").unwrap().is_none());
        let same = new("new");
        assert!(
            what_to_do(Some(&changing), Some(&same), "velero")
                .unwrap()
                .is_none()
        );
        let why = refusal(&changing, Some(&new("third")));
        assert!(why.contains("to another one already"), "{why}");
        assert!(!why.contains("third"), "guarantee 8");
    }

    #[test]
    fn nothing_begins_without_an_old_and_another_new_password() {
        assert!(refusal(&secret("old", None), None).contains("--generate-repo-password"));
        assert!(refusal(&secret("old\n", None), Some(&new("old"))).contains("already"));
        assert!(refusal(&Secret::default(), Some(&new("new"))).contains("holds no password"));
        let missing = what_to_do(None, Some(&new("new")), "velero").unwrap_err();
        assert!(missing.to_string().contains("does not exist"));
    }

    #[test]
    fn a_secret_that_somebody_else_writes_is_not_changed() {
        let mut owned = secret("old", None);
        let marks = [("meta.helm.sh/release-name".to_owned(), "velero".to_owned())];
        owned.metadata.annotations = Some(marks.into());
        assert!(refusal(&owned, Some(&new("new"))).contains("belongs to Helm"));
        let owner = json!([{"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "name": "repo", "uid": "1"}]);
        let mut owned = secret("old", None);
        owned.metadata.owner_references = serde_json::from_value(owner).unwrap();
        let why = refusal(&owned, Some(&new("new")));
        assert!(why.contains("SealedSecret repo"), "{why}");
    }

    #[test]
    fn it_has_ended_when_only_one_password_is_left() {
        assert!(!look(&secret("old", Some("new"))).finished);
        assert!(look(&secret("new", None)).finished);
        assert_eq!(look(&secret("old", Some("new"))).phase, "New");
    }
}
