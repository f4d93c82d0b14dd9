//! Ours and the real Velero, each as a command and a namespace, so that one scenario can ask the same of both.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::{Bucket, Cluster, Installation, Kind, NAMESPACE, step, until};
use crate::run::Said;

/// Where the real Velero is installed, beside ours.
pub const PEER_NAMESPACE: &str = "velero-peer";

/// One of the two.
#[derive(Debug, Clone)]
pub struct Side {
    /// In messages, and in names of what it makes.
    pub name: &'static str,
    /// Where its objects are.
    pub namespace: &'static str,
    /// Its command; ours is the connection's.
    program: Option<PathBuf>,
}

impl Side {
    /// Ours, installed by [`Installation`].
    pub fn ours() -> Self {
        Self {
            name: "ours",
            namespace: NAMESPACE,
            program: None,
        }
    }

    /// The real Velero, which must have been built and loaded (`peer: true` in the list of scenarios).
    pub fn theirs(cluster: &Cluster) -> Result<Self> {
        let peer = cluster.facts().peer.as_ref().context(
            "the real Velero is not loaded here; `cargo xtask e2e` builds and loads it for the scenarios that want it",
        )?;
        Ok(Self {
            name: "theirs",
            namespace: PEER_NAMESPACE,
            program: Some(peer.velero.clone()),
        })
    }

    /// The same one installed elsewhere: in place of ours, say.
    pub fn in_namespace(mut self, namespace: &'static str) -> Self {
        self.namespace = namespace;
        self
    }

    /// Installs the real Velero on a bucket, as its documentation says, and waits for its location.
    pub fn install(&self, cluster: &Cluster, bucket: &Bucket) -> Result<()> {
        self.install_with(cluster, bucket, &[])
    }

    /// The same with further words.
    pub fn install_with(&self, cluster: &Cluster, bucket: &Bucket, more: &[&str]) -> Result<()> {
        let facts = cluster.facts();
        let peer = facts.peer.as_ref().context("the real Velero is not loaded")?;
        step("install the real Velero", || {
            Installation::remove_from(cluster, self.namespace)?;
            let config = format!(
                "region={},s3ForcePathStyle=true,s3Url={}",
                facts.s3.region, facts.s3.url
            );
            let secret = facts.s3.credentials_file.to_string_lossy();
            let ca = facts.s3.ca_file.as_ref().map(|file| file.to_string_lossy());
            let mut words = vec![
                "install",
                "--provider",
                "aws",
                "--plugins",
                &peer.plugin_image,
                "--image",
                &peer.image,
                "--bucket",
                bucket.name(),
                "--secret-file",
                &secret,
                "--backup-location-config",
                &config,
                "--use-volume-snapshots=false",
                "--wait",
            ];
            if let Some(ca) = &ca {
                words.extend(["--cacert", ca]);
            }
            words.extend(more);
            self.velero_ok(cluster, &words)?;
            self.wait_for_location(cluster)
        })
    }

    /// Waits for its default location.
    pub fn wait_for_location(&self, cluster: &Cluster) -> Result<()> {
        cluster.wait_for_phase(
            Kind::BACKUP_STORAGE_LOCATION,
            self.namespace,
            "default",
            &["Available"],
            Duration::from_secs(120),
        )?;
        Ok(())
    }

    /// Runs so many of its servers, and returns when they do: those of before are gone, or, with more, stay.
    pub fn scale(&self, cluster: &Cluster, servers: u32) -> Result<()> {
        let of_server = ["deployment/velero", "--namespace", self.namespace];
        let replicas = format!("--replicas={servers}");
        cluster.kubectl(&[&["scale", &replicas], &of_server[..]].concat())?;
        if servers > 0 {
            let rollout = [&["rollout", "status", "--timeout=120s"], &of_server[..]].concat();
            return cluster.kubectl(&rollout).map(drop);
        }
        until("the servers' end", Duration::from_secs(120), || {
            let left = cluster.list(Kind::POD, self.namespace, "deploy=velero")?;
            Ok(if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{} are left", left.len()))
            })
        })
    }

    /// Runs its command; any exit code is an answer.
    pub fn velero(&self, cluster: &Cluster, words: &[&str]) -> Result<Said> {
        let words = [&["--namespace", self.namespace], words].concat();
        match &self.program {
            Some(program) => cluster.velero_of(program, &words),
            None => cluster.velero(&words),
        }
    }

    /// Runs its command, which must succeed; returns standard output.
    pub fn velero_ok(&self, cluster: &Cluster, words: &[&str]) -> Result<String> {
        let said = self.velero(cluster, words)?;
        ensure!(
            said.succeeded(),
            "`velero {}` of {} ended with {}: {}",
            words.join(" "),
            self.name,
            said.code,
            said.both().trim()
        );
        Ok(said.stdout)
    }

    /// What its `backup describe --details` says, a line each, without colours, indentation, empty lines, and the one line
    /// that must differ between two installations: where the Backup object is.
    pub fn describes(&self, cluster: &Cluster, backup: &str) -> Result<Vec<String>> {
        let said = self.velero_ok(cluster, &["backup", "describe", backup, "--details"])?;
        let words = |line: &str| {
            without_colours(line)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        Ok(said
            .lines()
            .map(words)
            .filter(|line| !line.is_empty() && !line.starts_with("Namespace: velero"))
            .collect())
    }

    /// A Backup that must end Completed without errors; returns the object.
    pub fn completed_backup(&self, cluster: &Cluster, name: &str) -> Result<Value> {
        self.completed(cluster, Kind::BACKUP, name)
    }

    /// A Restore that must end Completed without errors; returns the object.
    pub fn completed_restore(&self, cluster: &Cluster, name: &str) -> Result<Value> {
        self.completed(cluster, Kind::RESTORE, name)
    }

    fn completed(&self, cluster: &Cluster, kind: Kind, name: &str) -> Result<Value> {
        const ENDS: &[&str] = &["Completed", "PartiallyFailed", "Failed", "FailedValidation"];
        let object = cluster.wait_for_phase(kind, self.namespace, name, ENDS, Duration::from_secs(300))?;
        let status = &object["status"];
        ensure!(
            status["phase"] == "Completed" && status["errors"].as_u64().unwrap_or_default() == 0,
            "{} {name} of {} ended {status}",
            kind.name(),
            self.name
        );
        Ok(object)
    }
}

/// A gzip file of JSON in the bucket.
pub fn json_object(bucket: &Bucket, key: &str) -> Result<Value> {
    let mut text = Vec::new();
    MultiGzDecoder::new(bucket.object(key)?.as_slice())
        .read_to_end(&mut text)
        .with_context(|| format!("{key} is not gzip"))?;
    serde_json::from_slice(&text).with_context(|| format!("{key} is not JSON"))
}

/// The warnings (or `errors`) of a results file, a line each: `namespace: words`, the names of `namespaces` replaced.
pub fn messages(results: &Value, which: &str, namespaces: &[(String, String)]) -> Vec<String> {
    let mut lines = Vec::new();
    let set = &results[which];
    for scope in ["velero", "cluster"] {
        for message in set[scope].as_array().into_iter().flatten() {
            lines.push(format!("{scope}: {}", message.as_str().unwrap_or_default()));
        }
    }
    for (namespace, messages) in set["namespaces"].as_object().into_iter().flatten() {
        for message in messages.as_array().into_iter().flatten() {
            lines.push(format!("{namespace}: {}", message.as_str().unwrap_or_default()));
        }
    }
    for line in &mut lines {
        for (actual, called) in namespaces {
            *line = line.replace(actual, called);
        }
    }
    lines.sort();
    lines
}

/// Velero colours what it says, whoever reads it: escape, `[`, numbers, `m`.
fn without_colours(line: &str) -> String {
    let mut plain = String::new();
    let mut parts = line.split('\u{1b}');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    plain
}

/// Lines that only one of two has, a line each, with its name before it.
pub fn line_differences(one: (&str, &[String]), other: (&str, &[String])) -> Vec<String> {
    let mut differences = Vec::new();
    for ((name, these), (_, those)) in [(one, other), (other, one)] {
        let only = these.iter().filter(|line| !those.contains(line));
        differences.extend(only.map(|line| format!("only {name}: {line}")));
    }
    differences
}

/// What a resource list file has and another has not, both ways, a line each.
pub fn list_differences(one: (&str, &Value), other: (&str, &Value)) -> Vec<String> {
    let (first, second) = (by_kind(one.1), by_kind(other.1));
    let mut lines = Vec::new();
    for ((name, these), (_, those)) in [
        ((one.0, &first), (other.0, &second)),
        ((other.0, &second), (one.0, &first)),
    ] {
        for (kind, objects) in these {
            let there = those.get(kind);
            for object in objects {
                if !there.is_some_and(|there| there.contains(object)) {
                    lines.push(format!("only {name}: {kind} {object}"));
                }
            }
        }
    }
    lines
}

fn by_kind(list: &Value) -> BTreeMap<String, Vec<String>> {
    let words = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    };
    list.as_object()
        .into_iter()
        .flatten()
        .map(|(kind, names)| (kind.clone(), words(names)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_of_both_are_comparable_when_namespaces_are_called_alike() {
        let results = json!({"warnings": {"velero": ["b"], "namespaces": {"shop-two": ["Pod shop-two/x"]}}, "errors": {}});
        let names = [("shop-two".to_owned(), "shop".to_owned())];
        assert_eq!(
            messages(&results, "warnings", &names),
            ["shop: Pod shop/x", "velero: b"]
        );
        assert!(messages(&results, "errors", &names).is_empty());
    }

    #[test]
    fn lines_are_compared_both_ways_and_without_colours() {
        let line = |text: &str| vec![text.to_owned(), "Name: b1".to_owned()];
        let (ours, theirs) = (line("Phase: Completed"), line("Phase: Failed"));
        assert_eq!(
            line_differences(("ours", &ours), ("theirs", &theirs)),
            ["only ours: Phase: Completed", "only theirs: Phase: Failed"]
        );
        assert_eq!(
            without_colours("Phase: \u{1b}[32mCompleted\u{1b}[0m"),
            "Phase: Completed"
        );
    }

    #[test]
    fn lists_are_compared_both_ways() {
        let lines = list_differences(
            ("ours", &json!({"v1/Pod": ["a/x", "a/y"]})),
            ("theirs", &json!({"v1/Pod": ["a/x"], "v1/Secret": ["a/s"]})),
        );
        assert_eq!(lines, ["only ours: v1/Pod a/y", "only theirs: v1/Secret a/s"]);
    }
}
