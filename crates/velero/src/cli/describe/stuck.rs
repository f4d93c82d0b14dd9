//! Why an object that has not run to its end is waiting, in sentences, from what the cluster says about it.
//!
//! Printed below Velero's own text, so that nothing that scripts read moves.

use std::fmt::Debug;

use caravel_api::label_value;
use caravel_api::v1::{BackupPhase, RestorePhase};
use caravel_api::v2alpha1::{DataDownload, DataMovementPhase, DataUpload};
use caravel_controllers::decoded;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// The server looks at a new object within seconds.
const SERVER_IS_LATE: SignedDuration = SignedDuration::from_secs(60);

/// A data movement of the object being described.
pub struct Movement {
    kind: &'static str,
    name: String,
    namespace: String,
    phase: DataMovementPhase,
    message: String,
    node: String,
    /// Bytes done and in all.
    progress: (i64, i64),
}

/// The movements of the backup or restore that `label` names. Best effort: what waits is told as far as it can be read.
pub async fn movements<K>(client: &Client, namespace: &str, label: &str, of: &str) -> Vec<Movement>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    Movement: for<'a> From<&'a K>,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let ours = ListParams::default().labels(&format!("{label}={}", label_value(of)));
    decoded::list(&api, &ours)
        .await
        .map(|(movements, _)| movements.iter().map(Movement::from).collect())
        .unwrap_or_default()
}

impl From<&DataUpload> for Movement {
    fn from(upload: &DataUpload) -> Self {
        let status = upload.status.clone().unwrap_or_default();
        let progress = status.progress.unwrap_or_default();
        Self {
            kind: "DataUpload",
            name: upload.name_any(),
            namespace: upload.namespace().unwrap_or_default(),
            phase: upload.phase(),
            message: status.message,
            node: if status.node.is_empty() {
                status.accepted_by_node
            } else {
                status.node
            },
            progress: (progress.bytes_done, progress.total_bytes),
        }
    }
}

impl From<&DataDownload> for Movement {
    fn from(download: &DataDownload) -> Self {
        let status = download.status.clone().unwrap_or_default();
        let progress = status.progress.unwrap_or_default();
        Self {
            kind: "DataDownload",
            name: download.name_any(),
            namespace: download.namespace().unwrap_or_default(),
            phase: download.phase(),
            message: status.message,
            node: if status.node.is_empty() {
                status.accepted_by_node
            } else {
                status.node
            },
            progress: (progress.bytes_done, progress.total_bytes),
        }
    }
}

impl Movement {
    fn sentence(&self) -> Option<String> {
        let Self {
            kind,
            name,
            namespace,
            node,
            message,
            ..
        } = self;
        let why = if message.is_empty() {
            String::new()
        } else {
            format!(": {message}")
        };
        let text = match &self.phase {
            DataMovementPhase::Completed => return None,
            DataMovementPhase::New => format!(
                "waits for a node agent to accept it (kubectl -n {namespace} get pods -l name=node-agent){why}"
            ),
            DataMovementPhase::Accepted => format!(
                "was accepted by node {node} and waits for its pod to start (kubectl -n {namespace} describe pod {name}){why}"
            ),
            DataMovementPhase::Prepared => format!("has its pod on node {node} and is about to start{why}"),
            DataMovementPhase::InProgress => format!(
                "has moved {} of {} bytes on node {node}{why}",
                self.progress.0, self.progress.1
            ),
            ended @ (DataMovementPhase::Failed | DataMovementPhase::Canceled) => {
                format!("has ended as {ended}{why}")
            }
            other => format!("is {other}{why}"),
        };
        Some(format!("{kind} {namespace}/{name} {text}"))
    }
}

/// Why a Backup is where it is; empty when there is nothing to explain.
pub fn backup(
    phase: &BackupPhase,
    created: Option<&Time>,
    namespace: &str,
    movements: &[Movement],
    now: Timestamp,
) -> Vec<String> {
    match phase {
        BackupPhase::New => late("Backup", created, namespace, now),
        BackupPhase::Queued => vec!["It waits for its turn behind the backups before it.".to_owned()],
        BackupPhase::Completed => Vec::new(),
        _ => movements.iter().filter_map(Movement::sentence).collect(),
    }
}

/// Why a Restore is where it is; empty when there is nothing to explain.
pub fn restore(
    phase: &RestorePhase,
    created: Option<&Time>,
    namespace: &str,
    movements: &[Movement],
    now: Timestamp,
) -> Vec<String> {
    match phase {
        RestorePhase::New => late("Restore", created, namespace, now),
        RestorePhase::Completed => Vec::new(),
        _ => movements.iter().filter_map(Movement::sentence).collect(),
    }
}

fn late(kind: &str, created: Option<&Time>, namespace: &str, now: Timestamp) -> Vec<String> {
    match created.map(|created| now.duration_since(created.0)) {
        Some(age) if age > SERVER_IS_LATE => vec![format!(
            "The server has not looked at this {kind} for {} s; is it running? kubectl -n {namespace} get deployment velero",
            age.as_secs()
        )],
        _ => Vec::new(),
    }
}

/// The block below everything else.
pub fn block(out: &mut String, sentences: &[String]) {
    if !sentences.is_empty() {
        out.push_str("\nWhat it waits for:\n");
        sentences
            .iter()
            .for_each(|sentence| out.push_str(&format!("  {sentence}\n")));
    }
}
