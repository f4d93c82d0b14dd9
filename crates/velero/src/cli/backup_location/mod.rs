//! `velero backup-location …`.

pub mod create;
pub mod delete;
pub mod get;
mod set;

use std::path::Path;

use caravel_api::v1::BackupStorageLocation;
use clap::Subcommand;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::SecretKeySelector;
use kube::ResourceExt;

use super::connection::Global;
use super::failure::{Failure, Outcome};
use super::flags::map;

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Create(Box<create::Args>),
    Delete(delete::Args),
    Get(get::Args),
    Set(set::Args),
}

/// Runs the verb.
pub async fn run(verb: Verb, global: &Global) -> Outcome {
    match verb {
        Verb::Create(args) => create::run(&args, global).await,
        Verb::Delete(args) => delete::run(&args, global).await,
        Verb::Get(args) => get::run(&args, global).await,
        Verb::Set(args) => set::run(&args, global).await,
    }
}

/// `--credential secret=key`.
pub(super) fn credential(values: &[String]) -> Outcome<Option<SecretKeySelector>> {
    let pairs = map(values).map_err(|why| Failure::usage(format!("--credential: {why}")))?;
    if pairs.len() > 1 {
        return Err(Failure::usage("--credential can only contain 1 key/value pair"));
    }
    Ok(pairs.into_iter().next().map(|(name, key)| SecretKeySelector {
        name,
        key,
        optional: None,
    }))
}

/// `--cacert FILE`.
fn certificates(file: Option<&Path>) -> Outcome<Option<ByteString>> {
    let Some(file) = file else { return Ok(None) };
    let read = std::fs::read(file);
    let pem = read.map_err(|error| Failure::new(format!("--cacert: reading {}: {error}", file.display())))?;
    Ok(Some(ByteString(pem)))
}

/// Another location that is the default one: there can be only one.
///
/// # Errors
/// There is one; it is named.
fn only_default(locations: &[BackupStorageLocation], name: &str) -> Outcome {
    let other = locations
        .iter()
        .find(|location| location.spec.default && location.name_any() != name);
    match other {
        None => Ok(()),
        Some(other) => Err(Failure::new(format!(
            "backup storage location {} is the default already, and there can be only one",
            other.name_any()
        ))
        .next(format!(
            "velero backup-location set {} --default=false",
            other.name_any()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_one_secret_and_one_key() {
        let read = credential(&["cloud=key".into()]).unwrap().unwrap();
        assert_eq!((&*read.name, &*read.key), ("cloud", "key"));
        assert!(credential(&[]).unwrap().is_none());
        assert_eq!(credential(&["a=b,c=d".into()]).unwrap_err().code(), 2);
    }

    #[test]
    fn there_is_only_one_default_location() {
        let mut main = BackupStorageLocation::new("main", Default::default());
        main.spec.default = true;
        assert!(only_default(&[main.clone()], "main").is_ok());
        let refusal = only_default(&[main], "dr").unwrap_err().to_string();
        assert!(
            refusal.contains("velero backup-location set main --default=false"),
            "{refusal}"
        );
    }
}
