//! `<b>-results.gz`: errors and warnings of a backup or restore (velero-behaviour.md 2.1; upstream
//! `pkg/util/results/result.go`): `{"errors":{"namespaces":{"shop":["…"]}},"warnings":{}}`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::{is_default, null_is_default};

/// All of a backup or restore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Results {
    #[serde(deserialize_with = "null_is_default")]
    pub errors: ResultSet,
    #[serde(deserialize_with = "null_is_default")]
    pub warnings: ResultSet,
}

/// Messages by what they are about; empty members are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResultSet {
    /// About Velero itself.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub velero: Vec<String>,
    /// About cluster-scoped items.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub cluster: Vec<String>,
    /// About items of a namespace.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub namespaces: BTreeMap<String, Vec<String>>,
}

impl ResultSet {
    /// Adds a message about an item of `namespace`, or about a cluster-scoped one where it is empty.
    pub fn add(&mut self, namespace: &str, message: impl Into<String>) {
        match namespace {
            "" => self.cluster.push(message.into()),
            _ => self
                .namespaces
                .entry(namespace.to_owned())
                .or_default()
                .push(message.into()),
        }
    }

    /// Adds a message about Velero itself.
    pub fn add_velero(&mut self, message: impl Into<String>) {
        self.velero.push(message.into());
    }

    /// Adds all of another set.
    pub fn merge(&mut self, other: ResultSet) {
        self.velero.extend(other.velero);
        self.cluster.extend(other.cluster);
        for (namespace, messages) in other.namespaces {
            self.namespaces.entry(namespace).or_default().extend(messages);
        }
    }

    /// How many messages there are.
    pub fn count(&self) -> usize {
        self.velero.len() + self.cluster.len() + self.namespaces.values().map(Vec::len).sum::<usize>()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }
}
