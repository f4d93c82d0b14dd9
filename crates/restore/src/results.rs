//! Warnings and errors of a run, sorted by where they belong, as `restore-<r>-results.gz` holds them
//! (velero-behaviour.md 2.1; Velero's `pkg/util/results/result.go`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Messages by scope. JSON: `{"velero":[…],"cluster":[…],"namespaces":{"shop":[…]}}`, empty members omitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Messages {
    /// About the run itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub velero: Vec<String>,
    /// About cluster-scoped objects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster: Vec<String>,
    /// About objects of a namespace (of the target cluster).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub namespaces: BTreeMap<String, Vec<String>>,
}

impl Messages {
    /// Adds a message; the empty namespace is cluster scope.
    pub fn add(&mut self, namespace: &str, message: String) {
        if namespace.is_empty() {
            self.cluster.push(message);
        } else {
            self.namespaces
                .entry(namespace.to_owned())
                .or_default()
                .push(message);
        }
    }

    /// Number of messages, as `status.warnings` and `status.errors` count them.
    pub fn count(&self) -> usize {
        self.velero.len() + self.cluster.len() + self.namespaces.values().map(Vec::len).sum::<usize>()
    }

    /// Sorts, so that the file does not depend on which of several concurrent creations ended first.
    pub fn sort(&mut self) {
        self.velero.sort();
        self.cluster.sort();
        self.namespaces.values_mut().for_each(|messages| messages.sort());
    }
}

/// Both kinds. JSON: `{"errors":{…},"warnings":{…}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Results {
    /// What could not be restored.
    pub errors: Messages,
    /// What was restored differently, or left alone.
    pub warnings: Messages,
}
