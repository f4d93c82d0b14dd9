//! Whether an object gets its status back (velero-behaviour.md 8.3 items 4 and 8; upstream `determineRestoreStatus`).

use caravel_api::v1::RestoreSpec;
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::create::api;
use crate::discovery::{Discovered, ServedResource};
use crate::metadata::annotation;
use crate::selection::IncludesExcludes;

/// The annotation by which an object itself decides: `true` or `false`.
const RESTORE_STATUS: &str = "velero.io/restore-status";

/// The kinds of `spec.restoreStatus`; `None`: it is not set, or includes nothing.
pub fn kinds(spec: &RestoreSpec, discovered: &Discovered) -> Option<IncludesExcludes> {
    let status = spec.restore_status.as_ref()?;
    Some(crate::selection::resource_lists(
        &status.included_resources,
        &status.excluded_resources,
        discovered,
    ))
}

/// Decides for one object of the backup.
pub fn wanted(kinds: Option<&IncludesExcludes>, group_resource: &str, in_backup: &Value) -> bool {
    let by_spec = kinds.is_some_and(|kinds| kinds.includes(group_resource));
    let said = annotation(in_backup, RESTORE_STATUS).map(|value| value.trim().to_lowercase());
    match said.as_deref() {
        Some("true") => true,
        Some("false") => false,
        _ => by_spec,
    }
}

/// Writes the status of the backup into the object that was created.
///
/// # Errors
/// Those of the client; the kind may have no status.
pub async fn write(
    client: &Client,
    served: &ServedResource,
    namespace: &str,
    created: &Value,
    in_backup: &Value,
) -> Result<(), kube::Error> {
    let Some(status) = in_backup.get("status").filter(|status| status.is_object()) else {
        return Ok(());
    };
    let name = created
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let patch = Patch::Merge(json!({"status": status}));
    let api = api(client, served, namespace, created);
    api.patch_status(name, &PatchParams::default(), &patch)
        .await
        .map(drop)
}
