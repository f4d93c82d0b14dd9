//! Before a backup starts: which selected volumes would no method save (guarantee 5), and what else is asked for that
//! this version does not have. Reads pods, PVCs and PVs; decides with `volumes.rs`.

use std::collections::BTreeMap;

use caravel_api::v1::BackupSpec;
use kube::Client;
use serde_json::Value;

use crate::cluster::{self, name, namespace, text};
use crate::collect::{self, Selection};
use crate::discovery::Resources;
use crate::log::BackupLog;
use crate::volumes::{self, VolumePlan};

/// Errors for `status.validationErrors`; empty when every selected volume has a method.
///
/// # Errors
/// Those of the client, so that the caller tries again: a backup is never refused because the API server was away.
pub async fn validation_errors(
    client: &Client,
    discovered: &Resources,
    selection: &Selection,
    spec: &BackupSpec,
    enable_csi: bool,
    log: &BackupLog,
) -> Result<Vec<String>, kube::Error> {
    let mut errors = Vec::new();
    let mut claims: BTreeMap<(String, String), Value> = BTreeMap::new();
    if let Some(resource) = discovered
        .find("", "persistentvolumeclaims")
        .filter(|_| takes(selection, "persistentvolumeclaims"))
    {
        for claim in collect::list(client, resource, selection, cluster::PAGE_SIZE, log).await {
            claims.insert((namespace(&claim).to_owned(), name(&claim).to_owned()), claim);
        }
        // A selected pod brings its claims along, whatever their labels.
        if let Some(pods) = discovered.find("", "pods").filter(|_| takes(selection, "pods")) {
            for pod in collect::list(client, pods, selection, cluster::PAGE_SIZE, log).await {
                errors.extend(volumes::unsupported_by_annotation(&pod));
                for claim_name in claims_of_pod(&pod) {
                    let key = (namespace(&pod).to_owned(), claim_name.clone());
                    if !claims.contains_key(&key)
                        && let Some(claim) = cluster::get(client, &resource.api, &key.0, &key.1).await?
                        && collect::left_out(&claim).is_none()
                    {
                        claims.insert(key, claim);
                    }
                }
            }
        }
    }
    if spec.snapshot_volumes == Some(false) {
        return Ok(errors);
    }
    let Some(volume_resource) = discovered.find("", "persistentvolumes") else {
        return Ok(errors);
    };
    for ((namespace, name), claim) in &claims {
        let volume = match text(claim, "/spec/volumeName") {
            "" => None,
            volume => cluster::get(client, &volume_resource.api, "", volume).await?,
        };
        if let VolumePlan::Unsaved { why } = volumes::plan(claim, volume.as_ref(), spec, enable_csi) {
            errors.push(format!(
                "PersistentVolumeClaim {namespace}/{name} would not be saved: {why}"
            ));
        }
    }
    Ok(errors)
}

fn takes(selection: &Selection, resource: &str) -> bool {
    selection.resources.collects(resource, true)
}

/// The names of the PVCs that a pod mounts (ephemeral volumes included: their claim is `<pod>-<volume>`).
pub fn claims_of_pod(pod: &Value) -> Vec<String> {
    let volumes = pod
        .pointer("/spec/volumes")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let claim = |volume: &Value| {
        if volume.get("ephemeral").is_some() {
            return Some(format!("{}-{}", name(pod), text(volume, "/name")));
        }
        let claim = text(volume, "/persistentVolumeClaim/claimName");
        (!claim.is_empty()).then(|| claim.to_owned())
    };
    volumes.iter().filter_map(claim).collect()
}
