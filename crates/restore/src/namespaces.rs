//! Namespaces are made on demand, before the first object in them: with the labels and annotations of the backup's
//! Namespace object, or plain when the backup has none (velero-behaviour.md 8.2). One that is being deleted is waited
//! for, at most the terminating-resource timeout.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Map, Value, json};

use crate::metadata::{forget_managed_fields, forget_old_life};
use crate::own::Own;

/// A namespace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// Deletion of the old one does not end.
    #[error(
        "namespace {name} is still being deleted after {waited:?} (--terminating-resource-timeout); see what keeps it with `kubectl get namespace {name} -o yaml`, then restore again"
    )]
    StillTerminating {
        /// Which.
        name: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The API server refused.
    #[error("{operation} namespace {name}: {source}")]
    Api {
        /// Which.
        name: String,
        /// What was being done.
        operation: &'static str,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Makes sure that `name` exists and can be created in. Returns true when it was created, also by an earlier attempt of
/// the Restore.
pub async fn ensure(
    client: &Client,
    name: &str,
    from_backup: Option<Value>,
    terminating_timeout: Duration,
    own: &Own,
) -> Result<bool, NamespaceError> {
    let api: Api<Namespace> = Api::all(client.clone());
    let failed = |operation| {
        move |source: kube::Error| NamespaceError::Api {
            name: name.to_owned(),
            operation,
            source: Box::new(source),
        }
    };
    if let Some(live) = api.get_opt(name).await.map_err(failed("reading"))? {
        if !is_terminating(&live) {
            let is_since = || own.is_since(&serde_json::to_value(&live).unwrap_or_default());
            return Ok(own.is_again && is_since());
        }
        let uid = live.uid().unwrap_or_default();
        let gone = await_condition(api.clone(), name, conditions::is_deleted(&uid));
        // A watch that breaks is not an end either; what the creation below says is the better message.
        if tokio::time::timeout(terminating_timeout, gone).await.is_err() {
            return Err(NamespaceError::StillTerminating {
                name: name.to_owned(),
                waited: terminating_timeout,
            });
        }
    }
    let wanted: Namespace =
        serde_json::from_value(wanted(name, from_backup)).map_err(|error| NamespaceError::Api {
            name: name.to_owned(),
            operation: "reading the backup's",
            source: Box::new(kube::Error::SerdeError(error)),
        })?;
    match api.create(&PostParams::default(), &wanted).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(false),
        Err(error) => Err(failed("creating")(error)),
    }
}

fn is_terminating(namespace: &Namespace) -> bool {
    let phase = namespace
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_some() || phase == Some("Terminating")
}

/// The namespace to create: the backup's object under the target name.
fn wanted(name: &str, from_backup: Option<Value>) -> Value {
    let mut namespace = from_backup.unwrap_or_else(|| json!({"metadata": {}}));
    forget_old_life(&mut namespace);
    forget_managed_fields(&mut namespace);
    if let Some(fields) = namespace.as_object_mut() {
        fields.remove("spec");
    }
    let metadata = crate::metadata::child_map(&mut namespace, "metadata");
    metadata.insert("name".into(), json!(name));
    metadata.remove("finalizers");
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        // The API server sets it; under a mapping the old value would be wrong.
        labels.remove("kubernetes.io/metadata.name");
    }
    metadata.retain(|_, value| !value.as_object().is_some_and(Map::is_empty));
    namespace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_comes_back_with_its_labels_under_the_mapped_name() {
        let backup = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "uid": "1",
            "labels": {"kubernetes.io/metadata.name": "shop", "pod-security.kubernetes.io/enforce": "baseline"}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        assert_eq!(
            wanted("shop2", Some(backup)),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop2",
                "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}})
        );
        assert_eq!(wanted("new", None), json!({"metadata": {"name": "new"}}));
    }
}
