//! Whether a CSI driver is in the cluster: without it nobody looks at a VolumeSnapshotContent of its, and what waits for
//! one waits for ever.

use k8s_openapi::api::storage::v1::{CSIDriver, StorageClass};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use crate::snapshot::{self, SnapshotError, failed};

/// A driver of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// The first VolumeSnapshotClass of it that is listed: by that the driver is given its credentials.
    pub snapshot_class: Option<String>,
}

/// Looks for a driver; `None` when no VolumeSnapshotClass, CSIDriver or StorageClass names it.
///
/// # Errors
/// [`SnapshotError::NoSnapshotApi`], [`SnapshotError::Api`].
pub async fn find(client: &Client, name: &str) -> Result<Option<Driver>, SnapshotError> {
    let classes = snapshot::classes(client).await?;
    if let Some(class) = classes.iter().find(|class| class.driver == name) {
        let snapshot_class = Some(class.name_any());
        return Ok(Some(Driver { snapshot_class }));
    }
    if name.is_empty() {
        return Ok(None);
    }
    let asked = |source| failed("look for", format!("driver {name}"), source);
    let drivers: Api<CSIDriver> = Api::all(client.clone());
    let mut is_here = drivers.get_opt(name).await.map_err(asked)?.is_some();
    if !is_here {
        let classes: Api<StorageClass> = Api::all(client.clone());
        let classes = classes.list(&ListParams::default()).await.map_err(asked)?;
        is_here = classes.iter().any(|class| class.provisioner == name);
    }
    Ok(is_here.then_some(Driver { snapshot_class: None }))
}
