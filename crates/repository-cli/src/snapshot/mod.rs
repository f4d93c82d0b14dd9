//! `velero kopia snapshot …`. Here: which source a user means.

mod create;
mod delete;
mod document;
mod estimate;
mod expire;
mod list;
mod pin;
mod restore;
mod verify;

use std::{collections::BTreeMap, path::Path};

use caravel_repository::SnapshotSource;
use clap::Subcommand;

use crate::{
    app::App,
    config_file::Connected,
    failure::{Failure, Outcome},
};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Create(Box<create::Args>),
    #[command(visible_alias = "ls")]
    List(list::Args),
    Restore(restore::Args),
    Verify(verify::Args),
    Delete(delete::Args),
    Pin(pin::Args),
    Expire(expire::Args),
    Estimate(estimate::Args),
}

/// Runs the verb.
pub fn run(verb: Verb, app: &App) -> Outcome {
    match verb {
        Verb::Create(args) => create::run(&args, app),
        Verb::List(args) => list::run(&args, app),
        Verb::Restore(args) => restore::run(&args, app),
        Verb::Verify(args) => verify::run(&args, app),
        Verb::Delete(args) => delete::run(&args, app),
        Verb::Pin(args) => pin::run(&args, app),
        Verb::Expire(args) => expire::run(&args, app),
        Verb::Estimate(args) => estimate::run(&args, app),
    }
}

/// `user@host:/path`, or a path of whoever is connected.
pub(crate) fn source(text: &str, connected: &Connected) -> Outcome<SnapshotSource> {
    if let Some((user, rest)) = text.split_once('@')
        && let Some((host, path)) = rest.split_once(':')
        && !user.contains('/')
    {
        return Ok(SnapshotSource {
            host: host.to_owned(),
            user_name: user.to_owned(),
            path: path.to_owned(),
        });
    }
    let path = std::path::absolute(Path::new(text))
        .map_err(|error| Failure::usage(format!("{text:?} is not a path: {error}")))?;
    let path = path.to_string_lossy();
    let path = match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    Ok(SnapshotSource {
        host: connected.hostname.clone(),
        user_name: connected.username.clone(),
        path: path.to_owned(),
    })
}

/// `user@host:/path`, as Kopia writes a source.
fn source_text(source: &SnapshotSource) -> String {
    format!("{}@{}:{}", source.user_name, source.host, source.path)
}

/// `KEY:VALUE` flags as the tags of a snapshot, which carry the prefix `tag:`.
fn tags(flags: &[String]) -> Outcome<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for flag in flags {
        let (key, value) = flag
            .split_once(':')
            .filter(|(key, value)| !key.is_empty() && !value.is_empty())
            .ok_or_else(|| Failure::usage(format!("--tags {flag:?} is not KEY:VALUE")))?;
        if tags.insert(format!("tag:{key}"), value.to_owned()).is_some() {
            return Err(Failure::usage(format!("--tags names {key:?} twice")));
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Folder, StorageSettings};

    #[test]
    fn sources_are_read_as_kopia_reads_them() {
        let connected = Connected {
            storage: StorageSettings::Filesystem(Folder { path: "/r".into() }),
            hostname: "h".into(),
            username: "u".into(),
            description: String::new(),
            readonly: false,
            caching: None,
        };
        let read = |text| source_text(&source(text, &connected).unwrap());
        assert_eq!(read("/data/"), "u@h:/data");
        assert_eq!(read("/"), "u@h:/");
        assert_eq!(read("a@b:/c"), "a@b:/c");
        assert_eq!(read("default@default:shop/pvc"), "default@default:shop/pvc");
        assert_eq!(tags(&["a:b:c".into()]).unwrap()["tag:a"], "b:c");
        assert!(tags(&["a".into()]).is_err() && tags(&["a:1".into(), "a:2".into()]).is_err());
    }
}
