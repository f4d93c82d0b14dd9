//! The password of the backup repositories: the user's own, a generated one, or, with neither flag, Velero's constant.
//!
//! Why the constant is the default: a password that lived only in a dead cluster would make recovery impossible
//! (decisions.md section 1). So a new one is set only by name, is shown once where it was generated, and never takes
//! the place of one that exists, in the cluster or in the bucket.

use std::path::Path;
use std::time::Duration;

use caravel_backup_repository::{PASSWORD_KEY, PASSWORD_SECRET};
use caravel_backup_store::{Credentials, Location as BucketLocation, ProcessCredentials};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use serde_json::{Value, json};

use super::super::failure::{Failure, Outcome, chain, kubernetes};
use super::objects;
use super::options::{Location, Options};

/// How long the bucket may take to say whether it holds repositories.
const BUCKET_DEADLINE: Duration = Duration::from_secs(15);

/// A password to be set. Never `Debug`: it would end up in a log.
#[derive(Clone)]
pub struct RepoPassword {
    text: String,
    generated: bool,
}

impl RepoPassword {
    /// What `--repo-password-file` and `--generate-repo-password` come to; none without either.
    pub fn from_flags(file: Option<&Path>, generate: bool) -> Outcome<Option<Self>> {
        match (file, generate) {
            (Some(_), true) => Err(Failure::usage(
                "cannot use both --repo-password-file and --generate-repo-password",
            )),
            (None, true) => Ok(Some(Self::generated())),
            (None, false) => Ok(None),
            (Some(path), false) => {
                let content = std::fs::read_to_string(path).map_err(|error| {
                    Failure::new(format!("--repo-password-file {}: {error}", path.display()))
                })?;
                // Everyone who reads the Secret trims it, so what is trimmed here was never part of the password.
                let text = content.trim().to_owned();
                if text.is_empty() {
                    return Err(Failure::usage(format!(
                        "--repo-password-file {}: holds no password",
                        path.display()
                    )));
                }
                Ok(Some(Self {
                    text,
                    generated: false,
                }))
            }
        }
    }

    /// 256 random bits as hexadecimal digits, which no shell, YAML or terminal changes.
    fn generated() -> Self {
        let (one, two): (u128, u128) = (rand::random(), rand::random());
        Self {
            text: format!("{one:032x}{two:032x}"),
            generated: true,
        }
    }

    /// The password itself, for the Secret only.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The Secret that holds it.
    pub fn secret(&self, namespace: &str) -> Value {
        let value = serde_json::to_value(ByteString(self.text.clone().into_bytes())).unwrap_or_default();
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": objects::metadata(PASSWORD_SECRET, namespace),
            "data": {PASSWORD_KEY: value},
        })
    }

    /// What is said when it is set: a generated one is shown this once.
    pub fn advice(&self, namespace: &str) -> String {
        let shown = if self.generated {
            format!("Repository password (generated, shown once): {}\n", self.text)
        } else {
            String::new()
        };
        format!(
            "{shown}Keep the repository password outside the cluster: without it no volume data can be restored, and Secret \
             {namespace}/{PASSWORD_SECRET} is lost with the cluster. `velero repo export-password` prints it again."
        )
    }

    /// Refuses before anything is created where the password would not be the one that counts: another one is in the
    /// Secret, or the bucket already holds repositories that a generated one cannot open.
    pub async fn check(&self, client: &Client, options: &Options) -> Outcome {
        let namespace = &options.namespace;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let found = secrets
            .get_opt(PASSWORD_SECRET)
            .await
            .map_err(|error| kubernetes(format!("reading Secret {namespace}/{PASSWORD_SECRET}"), &error))?;
        if let Some(found) = found {
            return self.agrees_with(&found, namespace);
        }
        match &options.location {
            Some(location) if self.generated => refuse_repositories(
                location,
                repositories(location, options.credentials.as_deref()).await,
            ),
            _ => Ok(()),
        }
    }

    fn agrees_with(&self, secret: &Secret, namespace: &str) -> Outcome {
        let held = secret.data.as_ref().and_then(|data| data.get(PASSWORD_KEY));
        if held.is_some_and(|held| held.0.trim_ascii() == self.text.as_bytes()) {
            return Ok(());
        }
        let next = "leave the flag out (the Secret stays as it is), or delete the Secret if no repository was ever made";
        Err(Failure::new(format!(
            "Secret {namespace}/{PASSWORD_SECRET} exists already and holds another password; nothing was changed, because \
             repositories that were made with it could not be opened any more"
        ))
        .next(next))
    }
}

/// The folders of repositories that a bucket holds already, as `kopia/shop/`; an error says why that is not known.
async fn repositories(location: &Location, credentials: Option<&[u8]>) -> Result<Vec<String>, String> {
    let bucket = BucketLocation {
        provider: location.provider.clone(),
        bucket: location.bucket.clone(),
        prefix: location.prefix.clone(),
        config: location.config.clone(),
        ca_cert: location.ca_cert.clone(),
    };
    let credentials = match credentials {
        Some(content) => Some(Credentials::from_file_content(
            String::from_utf8_lossy(content).into_owned().into(),
        )),
        None => ProcessCredentials::new(|name| std::env::var(name).ok(), Path::to_owned)
            .for_location(&bucket)
            .map_err(|error| chain(&error))?,
    };
    let store = bucket
        .object_store(credentials.as_ref())
        .map_err(|error| chain(&error))?;
    let folder = bucket.repository_prefix("");
    let folder = format!("{}/", folder.trim_end_matches('/'));
    match tokio::time::timeout(BUCKET_DEADLINE, store.list_common_prefixes(&folder)).await {
        Ok(found) => found.map_err(|error| chain(&error)),
        Err(_) => Err(format!(
            "the object store has not answered within {} s",
            BUCKET_DEADLINE.as_secs()
        )),
    }
}

/// A bucket that cannot be seen from here is no obstacle: its repositories would refuse the new password, and nothing
/// would be overwritten.
fn refuse_repositories(location: &Location, found: Result<Vec<String>, String>) -> Outcome {
    let bucket = &location.bucket;
    match found {
        Ok(found) if found.is_empty() => Ok(()),
        Ok(found) => Err(Failure::new(format!(
            "bucket {bucket} already holds backup repositories ({}), which a generated password cannot open; nothing was \
             generated",
            found.join(", ")
        ))
        .next("the same command with --repo-password-file FILE (their password), or without either flag (Velero's)")),
        Err(why) => {
            eprintln!(
                "Note: it cannot be seen from here whether bucket {bucket} already holds backup repositories ({why}). If it \
                 does, they cannot be opened with the generated password; nothing is overwritten."
            );
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location() -> Location {
        Location {
            provider: "aws".into(),
            bucket: "b".into(),
            prefix: String::new(),
            config: Default::default(),
            ca_cert: None,
        }
    }

    fn from_file(content: &str) -> Outcome<Option<RepoPassword>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        RepoPassword::from_flags(Some(file.path()), false)
    }

    #[test]
    fn a_password_file_is_read_without_the_white_space_around_it() {
        let password = from_file("  correct horse\n").ok().flatten().unwrap();
        assert_eq!(password.text, "correct horse");
        let secret = password.secret("velero");
        assert_eq!(secret["metadata"]["name"], "velero-repo-credentials");
        assert_eq!(secret["data"]["repository-password"], "Y29ycmVjdCBob3JzZQ==");
        assert!(
            !password.advice("velero").contains("horse"),
            "the user has it already"
        );
    }

    #[test]
    fn a_file_without_a_password_and_both_flags_are_refused() {
        assert!(
            from_file(" \n")
                .err()
                .unwrap()
                .to_string()
                .contains("holds no password")
        );
        let both = RepoPassword::from_flags(Some(Path::new("/x")), true)
            .err()
            .unwrap();
        assert_eq!(both.code(), 2);
    }

    #[test]
    fn a_generated_password_is_new_each_time_and_shown_with_the_advice_to_keep_it_outside() {
        let generate = || RepoPassword::from_flags(None, true).ok().flatten().unwrap();
        let (one, other) = (generate(), generate());
        assert_ne!(one.text, other.text);
        assert_eq!(one.text.len(), 64);
        let advice = one.advice("velero");
        assert!(
            advice.contains(&one.text) && advice.contains("outside the cluster"),
            "{advice}"
        );
    }

    #[test]
    fn a_secret_with_another_password_is_never_overwritten() {
        let held = |text: &str| -> Secret {
            serde_json::from_value(json!({"data": {PASSWORD_KEY: ByteString(text.into())}})).unwrap()
        };
        let password = from_file("one").ok().flatten().unwrap();
        assert!(password.agrees_with(&held("one\n"), "velero").is_ok());
        let refusal = password
            .agrees_with(&held("static-passw0rd"), "velero")
            .unwrap_err()
            .to_string();
        assert!(
            refusal.contains("velero/velero-repo-credentials exists already"),
            "{refusal}"
        );
        assert!(
            !refusal.contains("passw0rd") && !refusal.contains("\"one\""),
            "{refusal}"
        );
    }

    #[test]
    fn nothing_is_generated_over_repositories_that_are_there() {
        let refusal = refuse_repositories(&location(), Ok(vec!["kopia/shop/".into()]))
            .unwrap_err()
            .to_string();
        assert!(
            refusal.contains("kopia/shop/") && refusal.contains("--repo-password-file"),
            "{refusal}"
        );
        assert!(refuse_repositories(&location(), Ok(vec![])).is_ok());
        assert!(refuse_repositories(&location(), Err("no route".into())).is_ok());
    }
}
