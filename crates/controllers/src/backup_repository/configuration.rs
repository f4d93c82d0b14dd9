//! `--backup-repository-configmap`: what a new BackupRepository is configured with.
//!
//! The ConfigMap has a key for each type of repository, `kopia`, whose value is a JSON object; its values become the texts
//! of `spec.repositoryConfig` when the server looks at a BackupRepository for the first time, and stay as they are then.
//! As in Velero, a ConfigMap that is not there or says nothing about the type is no reason to go without a repository. A
//! value that cannot be right costs only itself (decision 0010); a key that is not known is written all the same, as
//! Velero does: a newer version may know it. Source: velero-behaviour.md 6, Velero `getBackupRepositoryConfig` in
//! `pkg/controller/backup_repository_controller.go`.

use std::collections::BTreeMap;

use caravel_api::phase::BackupRepositoryPhase;
use caravel_api::repository_config::{KEYS, refusal};
use caravel_api::v1::BackupRepository;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::Value;

use crate::context::Context;
use crate::node_agent_configuration::{Place, Refused};
use crate::reconcile::Error;

/// Longest text that is repeated in a message, in characters.
const LONGEST: usize = 60;

/// A ConfigMap as it was understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// What goes into `repositoryConfig`.
    pub config: BTreeMap<String, String>,
    /// Values that do not count.
    pub refused: Vec<Refused>,
    /// Keys that are taken and have no effect here.
    pub unknown: Vec<String>,
}

/// Reads what a ConfigMap's data says about repositories of this type; nothing where it has no such key.
pub fn read(data: &BTreeMap<String, String>, repository_type: &str) -> Reading {
    let mut reading = Reading::default();
    if let Some(text) = data.get(repository_type)
        && let Err(refused) = reading.take(repository_type, text)
    {
        reading.refused.push(refused);
    }
    reading
}

impl Reading {
    fn take(&mut self, repository_type: &str, text: &str) -> Result<(), Refused> {
        let value: Value = serde_json::from_str(text).map_err(|error| Refused {
            key: repository_type.to_owned(),
            value: text.chars().take(LONGEST).collect(),
            why: format!("it is not JSON: {error}"),
        })?;
        for (name, place) in Place::new(repository_type, &value).entries()? {
            match setting(name, &place) {
                Ok(text) => {
                    if !KEYS.contains(&name) {
                        self.unknown.push(place.key);
                    }
                    self.config.insert(name.to_owned(), text);
                }
                Err(refused) => self.refused.push(refused),
            }
        }
        Ok(())
    }
}

/// A value as text.
fn setting(name: &str, place: &Place<'_>) -> Result<String, Refused> {
    let text = match place.value {
        Value::String(text) => text.clone(),
        Value::Bool(_) => place.value.to_string(),
        // JSON has one kind of number: 2e3 is 2000.
        Value::Number(number) if number.is_f64() => number
            .as_f64()
            .map(|number| number.to_string())
            .unwrap_or_default(),
        Value::Number(number) => number.to_string(),
        _ => return Err(place.refused("a string, a number, true or false is expected")),
    };
    match refusal(name, &text) {
        Some(why) => Err(place.refused(why)),
        None => Ok(text),
    }
}

/// What this repository is configured with: what it says itself, and while it is new and says nothing, the ConfigMap.
///
/// # Errors
/// The ConfigMap cannot be read now: without it, the repository would be made as nobody wants it.
pub(super) async fn of(
    context: &Context,
    configmap: Option<&str>,
    repository: &BackupRepository,
) -> Result<BTreeMap<String, String>, Error> {
    let spec = &repository.spec;
    let is_new = repository.phase() == BackupRepositoryPhase::New && spec.repository_config.is_empty();
    let Some(name) = configmap.filter(|_| is_new) else {
        return Ok(spec.repository_config.clone());
    };
    let Some(found) = context.api::<ConfigMap>().get_opt(name).await? else {
        tracing::warn!(configmap = %name, repository = %repository.name_any(), "the ConfigMap of --backup-repository-configmap does not exist, defaults hold for this repository");
        return Ok(BTreeMap::new());
    };
    let kind = spec.repository_type.as_ref();
    let kind = kind.map_or("kopia", |kind| kind.as_str());
    let data = found.data.unwrap_or_default();
    if !data.contains_key(kind) {
        tracing::warn!(configmap = %name, key = kind, repository = %repository.name_any(), "the ConfigMap of --backup-repository-configmap does not have this key, defaults hold for this repository");
    }
    let reading = read(&data, kind);
    for refused in &reading.refused {
        tracing::error!(configmap = %name, key = %refused.key, value = %refused.value, why = %refused.why, "a setting of backup repositories is refused, its default holds");
    }
    for key in &reading.unknown {
        tracing::warn!(configmap = %name, %key, known = %KEYS.join(", "), "a setting of backup repositories is not known and has no effect");
    }
    Ok(reading.config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        entries.iter().map(owned).collect()
    }

    /// The value of `kopia`, what is written, keys of what is refused, and keys that have no effect.
    fn becomes(json: &str, config: &[(&str, &str)], refused: &[&str], unknown: &[&str]) {
        let reading = read(&texts(&[("kopia", json)]), "kopia");
        assert_eq!(reading.config, texts(config), "{json}");
        let keys: Vec<&str> = reading.refused.iter().map(|it| it.key.as_str()).collect();
        assert_eq!(keys, refused, "{json}");
        assert_eq!(reading.unknown, unknown, "{json}");
    }

    #[test]
    fn values_become_texts() {
        becomes("{}", &[], &[], &[]);
        becomes(
            r#"{"cacheLimitMB": 2048, "enableCompression": true, "fullMaintenanceInterval": "fastGC"}"#,
            &[
                ("cacheLimitMB", "2048"),
                ("enableCompression", "true"),
                ("fullMaintenanceInterval", "fastGC"),
            ],
            &[],
            &[],
        );
        becomes(
            r#"{"cacheLimitMB": "0", "enableCompression": "false"}"#,
            &[("cacheLimitMB", "0"), ("enableCompression", "false")],
            &[],
            &[],
        );
        let limit = |text| [("cacheLimitMB", text)];
        becomes(r#"{"cacheLimitMB": 2e3}"#, &limit("2000"), &[], &[]);
        becomes(r#"{"cacheLimitMB": 3000000}"#, &limit("3000000"), &[], &[]);
        // Null says nothing.
        becomes(r#"{"cacheLimitMB": null}"#, &[], &[], &[]);
        // Of a newer version, or a slip of the pen.
        becomes(
            r#"{"cacheLimitMb": 7, "cacheLimitMB": 8}"#,
            &[("cacheLimitMB", "8"), ("cacheLimitMb", "7")],
            &[],
            &["kopia.cacheLimitMb"],
        );
    }

    #[test]
    fn what_cannot_be_right_costs_only_itself() {
        becomes(
            r#"{"cacheLimitMB": -1, "enableCompression": true}"#,
            &[("enableCompression", "true")],
            &["kopia.cacheLimitMB"],
            &[],
        );
        becomes(
            r#"{"cacheLimitMB": 1.5, "enableCompression": 1, "fullMaintenanceInterval": "12h"}"#,
            &[],
            &[
                "kopia.cacheLimitMB",
                "kopia.enableCompression",
                "kopia.fullMaintenanceInterval",
            ],
            &[],
        );
        becomes(
            r#"{"cacheLimitMB": {"of": 1}, "fullMaintenanceInterval": ["fastGC"]}"#,
            &[],
            &["kopia.cacheLimitMB", "kopia.fullMaintenanceInterval"],
            &[],
        );
        for no_object in ["{", "", "[1]", "\"fastGC\"", "null"] {
            becomes(no_object, &[], &["kopia"], &[]);
        }
    }

    #[test]
    fn a_configmap_is_read_as_velero_reads_it() {
        caravel_cases::each("pkg_controller/TestGetBackupRepositoryConfig.json", |case| {
            let data = &case.input("kubeClientObj")[0]["data"];
            let data: BTreeMap<String, String> = serde_json::from_value(data.clone()).unwrap_or_default();
            let reading = read(&data, case.input("repoType").as_str().unwrap_or_default());
            let wanted = case.want("expectedResult").clone();
            caravel_cases::same(
                &reading.config,
                &serde_json::from_value(wanted).unwrap_or_default(),
            )?;
            // A ConfigMap that is not there is an error of whoever asks for it.
            let fails = !data.is_empty() && case.want("expectedErr") != "";
            caravel_cases::same(&!reading.refused.is_empty(), &fails)
        });
    }

    #[test]
    fn what_is_said_about_another_type_is_not_of_this_one() {
        let data = texts(&[("restic", "{"), ("Kopia", r#"{"cacheLimitMB": 1}"#)]);
        assert_eq!(read(&data, "kopia"), Reading::default());
        assert_eq!(read(&BTreeMap::new(), "kopia"), Reading::default());
    }
}
