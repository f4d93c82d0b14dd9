//! Before a backup starts: which selected volumes would no method save (guarantee 5), and what else is asked for that
//! this version does not have. Reads pods, PVCs and PVs; decides with `volumes.rs`.

use std::collections::BTreeMap;

use kube::Client;
use serde_json::Value;

use crate::cluster::{self, name, namespace, text};
use crate::collect::{self, Selection};
use crate::discovery::Resources;
use crate::log::BackupLog;
use crate::volumes::{self, Rules, VolumePlan};

/// Errors for `status.validationErrors`; empty when every selected volume has a method.
///
/// # Errors
/// Those of the client, so that the caller tries again: a backup is never refused because the API server was away.
pub async fn validation_errors(
    client: &Client,
    discovered: &Resources,
    selection: &Selection,
    rules: Rules<'_>,
    log: &BackupLog,
) -> Result<Vec<String>, kube::Error> {
    let mut errors = Vec::new();
    let mut mounted = Vec::new();
    if let Some(pods) = discovered.find("", "pods").filter(|_| takes(selection, "pods")) {
        let look = |pod: Value| {
            errors.extend(volumes::unsupported_by_annotation(&pod));
            errors.extend(volumes::unsupported_by_policy(&pod, rules.policies));
            mounted.push((namespace(&pod).to_owned(), claims_of_pod(&pod)));
        };
        collect::list(client, pods, selection, cluster::PAGE_SIZE, log, look).await;
    }
    let claims = claims(client, discovered, selection, mounted, log).await?;
    if rules.spec.snapshot_volumes == Some(false) && rules.policies.is_none() {
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
        if let VolumePlan::Unsaved { why } = volumes::plan(claim, volume.as_ref(), rules) {
            errors.push(format!(
                "PersistentVolumeClaim {namespace}/{name} would not be saved: {why}"
            ));
        }
    }
    Ok(errors)
}

/// The selected claims, by namespace and name. `mounted`: by selected pods, which bring them along, whatever their labels.
async fn claims(
    client: &Client,
    discovered: &Resources,
    selection: &Selection,
    mounted: Vec<(String, Vec<String>)>,
    log: &BackupLog,
) -> Result<BTreeMap<(String, String), Value>, kube::Error> {
    let mut claims: BTreeMap<(String, String), Value> = BTreeMap::new();
    let Some(resource) = discovered
        .find("", "persistentvolumeclaims")
        .filter(|_| takes(selection, "persistentvolumeclaims"))
    else {
        return Ok(claims);
    };
    let keep = |claim: Value| {
        claims.insert((namespace(&claim).to_owned(), name(&claim).to_owned()), claim);
    };
    collect::list(client, resource, selection, cluster::PAGE_SIZE, log, keep).await;
    for (pod_namespace, claim_names) in mounted {
        for claim_name in claim_names {
            let key = (pod_namespace.clone(), claim_name);
            if !claims.contains_key(&key)
                && let Some(claim) = cluster::get(client, &resource.api, &key.0, &key.1).await?
                && collect::left_out(&claim).is_none()
            {
                claims.insert(key, claim);
            }
        }
    }
    Ok(claims)
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
