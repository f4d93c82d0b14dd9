//! `velero client config get [KEYS]` and `set KEY=VALUE…`: the file that holds a user's own defaults
//! (`~/.config/velero/config.json`; `namespace`, `features`, `cacert`, `colorized`). Mirrors `pkg/cmd/cli/client/config`.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Subcommand;
use serde_json::{Map, Value};

use super::connection::client_configuration_file;
use super::failure::{Failure, Outcome};
use super::output::emit;

/// `velero client …`.
#[derive(Debug, Subcommand)]
pub enum Noun {
    /// Work with the client configuration file.
    #[command(subcommand)]
    Config(Verb),
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Get(Get),
    Set(Set),
}

/// Get values of the client configuration file.
#[derive(Clone, Debug, clap::Args)]
pub struct Get {
    /// Keys; all that are set when none is given.
    keys: Vec<String>,
}

/// Set values of the client configuration file.
#[derive(Clone, Debug, clap::Args)]
pub struct Set {
    /// KEY=VALUE; without a value the key is taken out.
    #[arg(required = true)]
    pairs: Vec<String>,
}

/// Runs the verb.
pub fn run(noun: &Noun) -> Outcome {
    let Some(path) = client_configuration_file() else {
        return Err(Failure::new(
            "the client configuration file is in the home directory, and HOME is not set",
        )
        .next("HOME=/path/to/home velero client config get"));
    };
    match noun {
        Noun::Config(Verb::Get(args)) => emit(&shown(&read(&path)?, &args.keys)),
        Noun::Config(Verb::Set(args)) => {
            let mut config = read(&path)?;
            change(&mut config, &args.pairs)?;
            write(&path, &config)
        }
    }
}

/// A missing file holds nothing; one that is not JSON is not overwritten.
fn read(path: &Path) -> Outcome<Map<String, Value>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(Failure::new(format!("reading {}: {error}", path.display()))),
    };
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new(format!("{} is not a JSON object: {error}", path.display()))
            .next(format!("edit {}    (or remove it)", path.display()))
    })
}

fn shown(config: &Map<String, Value>, keys: &[String]) -> String {
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if keys.is_empty() {
        let sorted: BTreeMap<&String, &Value> = config.iter().collect();
        let lines = sorted
            .iter()
            .map(|(key, value)| format!("{key}: {}\n", word(value)));
        return lines.collect();
    }
    let value = |key: &String| config.get(key).map_or_else(|| "<NOT SET>".to_owned(), word);
    keys.iter()
        .map(|key| format!("{key}: {}\n", value(key)))
        .collect()
}

/// All of the pairs, or none: Velero sets those that it understands and warns of the others.
fn change(config: &mut Map<String, Value>, pairs: &[String]) -> Outcome {
    let mut changed = config.clone();
    for pair in pairs {
        match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.contains('=') => {
                if value.is_empty() {
                    changed.remove(key);
                } else {
                    changed.insert(key.to_owned(), value.into());
                }
            }
            _ => {
                return Err(Failure::usage(format!(
                    "{pair:?} is not KEY=VALUE; nothing is changed"
                )));
            }
        }
    }
    *config = changed;
    Ok(())
}

/// In one step: a reader sees the old file or the new one.
fn write(path: &Path, config: &Map<String, Value>) -> Outcome {
    let failed = |error: std::io::Error| Failure::new(format!("writing {}: {error}", path.display()));
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    // Only its owner may read it, which is how temporary files are made.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let text = Value::Object(config.clone()).to_string() + "\n";
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[&str]) -> Vec<String> {
        pairs.iter().map(|pair| (*pair).to_owned()).collect()
    }

    #[test]
    fn what_is_set_is_read_again_and_an_empty_value_takes_it_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("velero/config.json");
        let mut config = read(&path).unwrap();
        change(&mut config, &pairs(&["namespace=dr", "colorized=false"])).unwrap();
        write(&path, &config).unwrap();
        let read = read(&path).unwrap();
        assert_eq!(shown(&read, &[]), "colorized: false\nnamespace: dr\n");
        let keys = pairs(&["namespace", "cacert"]);
        assert_eq!(shown(&read, &keys), "namespace: dr\ncacert: <NOT SET>\n");
        let mut config = read;
        change(&mut config, &pairs(&["namespace="])).unwrap();
        assert_eq!(shown(&config, &[]), "colorized: false\n");
    }

    #[test]
    fn the_feature_flag_that_the_document_tells_to_set_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let mut config = Map::new();
        change(&mut config, &pairs(&["features=EnableCSI"])).unwrap();
        write(&path, &config).unwrap();
        assert_eq!(shown(&read(&path).unwrap(), &[]), "features: EnableCSI\n");
    }

    #[test]
    fn a_pair_that_is_none_changes_nothing() {
        let mut config = Map::new();
        let refused = change(&mut config, &pairs(&["namespace=dr", "cacert"])).unwrap_err();
        assert_eq!((refused.code(), config.len()), (2, 0));
    }

    #[test]
    fn a_file_that_is_not_json_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, "namespace: dr").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("config.json"));
    }
}
