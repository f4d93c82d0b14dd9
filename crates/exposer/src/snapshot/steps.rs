//! The steps of the ladder: what is made, and in which order it is let go.

use caravel_csi::{DeletionPolicy, VolumeSnapshot, VolumeSnapshotContent};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use serde_json::json;

use super::objects::{backup_content, backup_pvc, backup_snapshot, volume_mode};
use super::{SnapshotExposure, SnapshotRequest, backup_class_name};
use crate::api::{self, Cluster};
use crate::inherited::inherited;
use crate::mover_pod::{DataMoverPod, Verb};
use crate::{ExposerError, Step};

/// Annotation of a backup PVC that asks vSphere for a fast clone.
const FAST_CLONE: &str = "csi.vsphere.volume/fast-provisioning";

/// Takes one step of this ladder.
pub async fn take(
    cluster: &Cluster,
    request: &SnapshotRequest,
    exposure: &SnapshotExposure,
    step: Step,
) -> Result<(), ExposerError> {
    match step {
        Step::CreateBackupSnapshot => create_snapshot(cluster, request, exposure).await,
        Step::ReleaseSource => release_source(cluster, exposure).await,
        Step::CreateBackupPvc => {
            let pvc = backup_pvc(&cluster.namespace, request, exposure);
            api::create(&cluster.ours(), &pvc).await
        }
        Step::CreateMoverPod => create_pod(cluster, request, exposure).await,
        _ => Ok(()),
    }
}

/// Retains the source first: from here on nobody but our own content decides over the storage snapshot.
async fn create_snapshot(
    cluster: &Cluster,
    request: &SnapshotRequest,
    exposure: &SnapshotExposure,
) -> Result<(), ExposerError> {
    let contents = cluster.wide::<VolumeSnapshotContent>();
    if let Some(source_content) = &exposure.source_content {
        let name = source_content.metadata.name.as_deref().unwrap_or_default();
        if source_content.spec.deletion_policy != DeletionPolicy::Retain {
            api::patch(&contents, name, &json!({"spec": {"deletionPolicy": "Retain"}})).await?;
        }
        if let Some(content) = backup_content(&cluster.namespace, request, source_content) {
            api::create(&contents, &content).await?;
        }
    }
    api::create(
        &cluster.ours(),
        &backup_snapshot(&cluster.namespace, request, exposure),
    )
    .await
}

/// Content first: it waits for its VolumeSnapshot by its finalizer, so a crash in between leaves the one that we
/// look for.
async fn release_source(cluster: &Cluster, exposure: &SnapshotExposure) -> Result<(), ExposerError> {
    let Some(source) = &exposure.source else {
        return Ok(());
    };
    if let Some(content) = &exposure.source_content {
        let contents = cluster.wide::<VolumeSnapshotContent>();
        let name = content.metadata.name.as_deref().unwrap_or_default();
        if content.spec.deletion_policy != DeletionPolicy::Retain {
            api::patch(&contents, name, &json!({"spec": {"deletionPolicy": "Retain"}})).await?;
        }
        api::delete(&contents, &content.metadata).await?;
    }
    let namespace = source.metadata.namespace.as_deref().unwrap_or_default();
    api::delete(
        &cluster.in_namespace::<VolumeSnapshot>(namespace),
        &source.metadata,
    )
    .await
}

async fn create_pod(
    cluster: &Cluster,
    request: &SnapshotRequest,
    exposure: &SnapshotExposure,
) -> Result<(), ExposerError> {
    let inherited = inherited(cluster, &request.settings).await?;
    let said = request.settings.backup_pvc(&request.storage_class);
    let read_only = exposure.is_read_only();
    let pod = DataMoverPod {
        verb: Verb::Backup,
        name: &request.name,
        namespace: &cluster.namespace,
        uid: &request.uid,
        owner: request.owner.clone(),
        volume_mode: volume_mode(exposure),
        resource_timeout: request.resource_timeout,
        location: &request.location,
        enable_compression: request.enable_compression,
        // Velero gives one to restores only: a backup reads little that is in the repository already.
        cache: None,
        service_account: inherited.service_account(),
        on_node: None,
        topology: exposure.topology(),
        not_on_nodes: &nodes_of_source(cluster, exposure).await?,
        storage_class: &backup_class_name(request, exposure.backup_pvc.as_ref()),
        read_only,
        no_relabeling: read_only && said.spc_no_relabeling,
        settings: &request.settings,
        priority_class: inherited.priority_class(),
    };
    api::create(&cluster.ours(), &pod.build(&inherited.agent)).await
}

/// vSphere's fast clone of a snapshot cannot be attached where the source is (Velero v1.18.3,
/// `pkg/exposer/csi_snapshot.go`): the nodes that the source is attached to, where the backup PVC asks for such a clone.
async fn nodes_of_source(
    cluster: &Cluster,
    exposure: &SnapshotExposure,
) -> Result<Vec<String>, ExposerError> {
    let pvc = exposure.backup_pvc.as_ref();
    let is_fast_clone = pvc.is_some_and(|pvc| {
        let annotations = pvc.metadata.annotations.as_ref();
        annotations.is_some_and(|all| all.contains_key(FAST_CLONE))
    });
    let volume = exposure
        .source_volume
        .as_ref()
        .and_then(|volume| volume.metadata.name.as_ref());
    let (true, Some(volume)) = (is_fast_clone, volume) else {
        return Ok(Vec::new());
    };
    let attached = api::list(&cluster.wide::<VolumeAttachment>(), "").await?;
    let of_volume = attached
        .into_iter()
        .filter(|it| it.spec.source.persistent_volume_name.as_ref() == Some(volume));
    Ok(of_volume.map(|it| it.spec.node_name).collect())
}
