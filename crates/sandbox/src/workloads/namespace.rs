//! The end of a namespace: everything in it is deleted, then the namespace.
//!
//! `pkg/controller/namespace/deletion` of v1.34, with its conditions. What Kubernetes polls for is told here by the watches:
//! each object that goes wakes its namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, ListParams, Preconditions};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};

use crate::machinery::{
    Answer, Change, Context, Controller, Kinds, Outcome, Resource, is_not_found, merge_status, settled,
};

/// The finalizer in `spec` that is this controller's.
const KUBERNETES: &str = "kubernetes";

/// The namespace controller.
pub struct Namespaces {
    context: Context,
    kinds: Arc<RwLock<Vec<Resource>>>,
    terminating: Mutex<BTreeSet<String>>,
}

/// What is left in a namespace.
#[derive(Debug, Default, PartialEq)]
struct Left {
    /// `pods.`, `backups.velero.io`: how many.
    resources: BTreeMap<String, usize>,
    /// Finalizer: how many objects have it.
    finalizers: BTreeMap<String, usize>,
    /// What could not be listed or deleted.
    failures: Vec<String>,
}

impl Namespaces {
    /// No namespace is terminating.
    pub fn new(context: Context, kinds: Arc<RwLock<Vec<Resource>>>) -> Self {
        Self {
            context,
            kinds,
            terminating: Mutex::default(),
        }
    }

    async fn empty(&self, namespace: &str) -> Answer<Left> {
        let kinds = self.kinds.read().clone();
        let mut left = Left::default();
        for kind in kinds
            .iter()
            .filter(|kind| kind.namespaced && kind.has("list") && kind.has("delete"))
        {
            match self.empty_of(namespace, kind).await {
                Ok(objects) => left.count(kind, &objects),
                // Served no more: nothing of it can be left.
                Err(error) if is_not_found(&error) => {}
                Err(error) => left.failures.push(super::pods::said(&error)),
            }
        }
        Ok(left)
    }

    /// Deletes all of a kind; what is still there then.
    async fn empty_of(&self, namespace: &str, kind: &Resource) -> Answer<Vec<DynamicObject>> {
        let api = kind.objects(&self.context.client, Some(namespace));
        let all = api.list(&ListParams::default()).await?.items;
        if all.is_empty() {
            return Ok(all);
        }
        for object in all.iter().filter(|it| it.metadata.deletion_timestamp.is_none()) {
            let exactly = DeleteParams::background().preconditions(Preconditions {
                uid: object.uid(),
                resource_version: None,
            });
            settled(api.delete(&object.name_any(), &exactly).await)?;
        }
        Ok(api.list(&ListParams::default()).await?.items)
    }

    async fn write_conditions(&self, namespace: &Namespace, left: &Left) -> Answer<()> {
        let before = serde_json::to_value(namespace).unwrap_or_default();
        let old = before["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let now = self.context.now();
        let conditions: Vec<Value> = left
            .conditions()
            .into_iter()
            .map(|(kind, is_true, reason, message)| {
                let status = if is_true { "True" } else { "False" };
                let same = old.iter().find(|it| it["type"] == kind && it["status"] == status);
                let since = same.map_or_else(|| json!(now), |it| it["lastTransitionTime"].clone());
                json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
            })
            .collect();
        if old == conditions && before["status"]["phase"] == "Terminating" {
            return Ok(());
        }
        let patch = json!({"status": {"phase": "Terminating", "conditions": conditions}});
        let api = self.context.client.wide::<Namespace>();
        settled(merge_status(&api, &namespace.name_any(), &patch).await)
    }

    async fn finalize(&self, mut namespace: Namespace) -> Answer<()> {
        let name = namespace.name_any();
        let spec = namespace.spec.get_or_insert_default();
        spec.finalizers
            .get_or_insert_default()
            .retain(|it| it != KUBERNETES);
        let body = serde_json::to_vec(&namespace).map_err(kube::Error::SerdeError)?;
        let request = http_put(&format!("/api/v1/namespaces/{name}/finalize"), body)?;
        settled(self.context.client.request::<Value>(request).await)
    }
}

fn http_put(path: &str, body: Vec<u8>) -> Answer<http::Request<Vec<u8>>> {
    http::Request::put(path)
        .header("content-type", "application/json")
        .body(body)
        .map_err(|error| kube::Error::BuildRequest(kube::core::request::Error::BuildRequest(error)))
}

impl Left {
    fn count(&mut self, kind: &Resource, objects: &[DynamicObject]) {
        if objects.is_empty() {
            return;
        }
        let name = format!("{}.{}", kind.api.plural, kind.api.group);
        self.resources.insert(name, objects.len());
        for finalizer in objects.iter().flat_map(ResourceExt::finalizers) {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.failures.is_empty()
    }

    fn conditions(&self) -> [(&'static str, bool, &'static str, String); 5] {
        let listed = |all: &BTreeMap<String, usize>, what: fn(&str, usize) -> String| {
            all.iter()
                .map(|(name, count)| what(name, *count))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let remaining = listed(&self.resources, |name, count| {
            format!("{name} has {count} resource instances")
        });
        let finalizing = listed(&self.finalizers, |name, count| {
            format!("{name} in {count} resource instances")
        });
        let fine = |kind, reason, message: &str| (kind, false, reason, message.to_owned());
        [
            fine(
                "NamespaceDeletionDiscoveryFailure",
                "ResourcesDiscovered",
                "All resources successfully discovered",
            ),
            fine(
                "NamespaceDeletionGroupVersionParsingFailure",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            if self.failures.is_empty() {
                fine(
                    "NamespaceDeletionContentFailure",
                    "ContentDeleted",
                    "All content successfully deleted, may be waiting on finalization",
                )
            } else {
                let said = format!(
                    "Failed to delete all resource types, {} remaining: {}",
                    self.failures.len(),
                    self.failures.join(", ")
                );
                (
                    "NamespaceDeletionContentFailure",
                    true,
                    "ContentDeletionFailed",
                    said,
                )
            },
            if remaining.is_empty() {
                fine(
                    "NamespaceContentRemaining",
                    "ContentRemoved",
                    "All content successfully removed",
                )
            } else {
                let said = format!("Some resources are remaining: {remaining}");
                ("NamespaceContentRemaining", true, "SomeResourcesRemain", said)
            },
            if finalizing.is_empty() {
                fine(
                    "NamespaceFinalizersRemaining",
                    "ContentHasNoFinalizers",
                    "All content-preserving finalizers finished",
                )
            } else {
                let said = format!("Some content in the namespace has finalizers remaining: {finalizing}");
                ("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain", said)
            },
        ]
    }
}

#[async_trait]
impl Controller for Namespaces {
    type Key = String;
    const NAME: &'static str = "namespace-controller";

    fn touched_by(&self, change: &Change<'_>) -> Vec<String> {
        let key = change.key();
        let mut terminating = self.terminating.lock();
        if change.is("", "Namespace") {
            let is_going = change.meta().deletion_timestamp.is_some() && !change.gone;
            if is_going {
                terminating.insert(key.name.clone());
                return vec![key.name];
            }
            terminating.remove(&key.name);
            return Vec::new();
        }
        if terminating.contains(&key.namespace) {
            vec![key.namespace]
        } else {
            Vec::new()
        }
    }

    async fn reconcile(&self, name: &String) -> Answer<Outcome> {
        let api = self.context.client.wide::<Namespace>();
        let Some(namespace) = api.get_opt(name).await? else {
            return Ok(Outcome::Done);
        };
        let finalizers = namespace
            .spec
            .as_ref()
            .and_then(|spec| spec.finalizers.clone())
            .unwrap_or_default();
        if namespace.metadata.deletion_timestamp.is_none() || !finalizers.iter().any(|it| it == KUBERNETES) {
            return Ok(Outcome::Done);
        }
        let left = self.empty(name).await?;
        if left.is_empty() {
            self.finalize(namespace).await?;
            return Ok(Outcome::Done);
        }
        self.write_conditions(&namespace, &left).await?;
        Ok(if left.failures.is_empty() {
            Outcome::Done
        } else {
            Outcome::Again(std::time::Duration::from_secs(5))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_said_as_kubernetes_says_it() {
        let left = Left {
            resources: BTreeMap::from([("pods.".to_owned(), 2), ("backups.velero.io".to_owned(), 1)]),
            finalizers: BTreeMap::from([("velero.io/keep".to_owned(), 1)]),
            failures: Vec::new(),
        };
        let conditions = left.conditions();
        assert_eq!(
            conditions[3].3,
            "Some resources are remaining: backups.velero.io has 1 resource instances, pods. has 2 resource instances"
        );
        assert_eq!(
            conditions[4].3,
            "Some content in the namespace has finalizers remaining: velero.io/keep in 1 resource instances"
        );
    }
}
