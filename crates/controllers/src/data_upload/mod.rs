//! DataUpload: a volume's snapshot goes into the backup repository.
//!
//! The machine is `data_movement/`; this file says what is the upload's own: its fields, and the exposer's ladder from
//! the source VolumeSnapshot to the data mover pod (`crates/exposer/src/snapshot.rs`).

use async_trait::async_trait;
use caravel_api::RepositoryConfig;
use caravel_api::labels::EXPOSE_ON_GOING;
use caravel_api::v2alpha1::DataUpload;
use caravel_exposer::clean_up::{self, CleanUpRequest, Leftovers};
use caravel_exposer::snapshot::{self, SnapshotExposure, SnapshotRequest};
use caravel_exposer::{Cluster, ExposerError, LocationMount, Next, Step};
use kube::ResourceExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::data_movement::state::Facts;
use crate::data_movement::{
    Activity, Controller, Direction, Look, Movement, Shared, StepExtra, once_configured, owner_reference,
    sources,
};
use crate::node_agent_configuration::InForce;
use crate::reconcile::{self, Key};

/// Movements of this kind that one node agent looks at side by side; each look is short.
const WORKERS: usize = 4;

/// Velero's `csiSnapshotTimeout`, where a DataUpload names none.
const DEFAULT_OPERATION_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(600);

/// Starts the controller in a node agent.
pub fn spawn(shared: Shared, shutdown: CancellationToken) -> JoinHandle<()> {
    let movement = Upload {
        resource_timeout: shared.resource_timeout,
        in_force: shared.in_force.clone(),
    };
    let controller = Controller::new(shared, movement);
    let sources = sources(&controller);
    tokio::spawn(reconcile::run(controller, sources, WORKERS, shutdown))
}

/// The upload's side of the machine.
pub struct Upload {
    pub resource_timeout: std::time::Duration,
    pub in_force: InForce,
}

/// What the exposer has found.
pub enum Children {
    Exposing(SnapshotRequest, Box<SnapshotExposure>),
    CleaningUp(CleanUpRequest, Box<Leftovers>),
    None,
}

#[async_trait]
impl Movement for Upload {
    type Object = DataUpload;
    type Children = Children;

    const DIRECTION: Direction = Direction::Upload;

    fn facts(object: &DataUpload) -> Facts {
        let (spec, status) = (&object.spec, object.status.clone().unwrap_or_default());
        Facts {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            resource_version: object.resource_version().unwrap_or_default(),
            finalizers: object.finalizers().to_vec(),
            created: object.metadata.creation_timestamp.as_ref().map(|time| time.0),
            deleting: object.metadata.deletion_timestamp.is_some(),
            expose_on_going: object.labels().get(EXPOSE_ON_GOING).cloned().unwrap_or_default(),
            cancel: spec.cancel,
            datamover: spec.datamover.clone(),
            backup_storage_location: spec.backup_storage_location.clone(),
            source_namespace: spec.source_namespace.clone(),
            operation_timeout: spec.operation_timeout.or(DEFAULT_OPERATION_TIMEOUT),
            phase: object.phase(),
            message: status.message,
            accepted_by: status.accepted_by_node,
            accepted_at: status.accepted_timestamp.map(|time| time.0),
            node: status.node,
            started_at: status.start_timestamp.map(|time| time.0),
            completed_at: status.completion_timestamp.map(|time| time.0),
        }
    }

    fn waits_for(&self, object: &DataUpload) -> Vec<(&'static str, Key)> {
        let snapshot = object
            .spec
            .csi_snapshot
            .as_ref()
            .map(|csi| csi.volume_snapshot.clone())
            .unwrap_or_default();
        vec![
            (
                "VolumeSnapshot",
                Key::new(object.spec.source_namespace.clone(), snapshot),
            ),
            ("VolumeSnapshot", Key::of(object)),
            ("VolumeSnapshotContent", Key::of(object)),
        ]
    }

    async fn not_admitted(&self, _: &Cluster, _: &DataUpload) -> Result<Option<String>, ExposerError> {
        Ok(None)
    }

    async fn look(
        &self,
        cluster: &Cluster,
        object: &DataUpload,
        repository_config: Option<&RepositoryConfig>,
        activity: Activity,
    ) -> Result<Look<Children>, ExposerError> {
        match activity {
            Activity::Expose => {
                let Some(request) = self.request(object, repository_config) else {
                    let why = format!(
                        "spec.snapshotType {:?} without spec.csiSnapshot: only CSI can be exposed",
                        object.spec.snapshot_type
                    );
                    return Ok(Look {
                        next: Next::Impossible { why },
                        children: Children::None,
                    });
                };
                let exposure = Box::pin(snapshot::observe(cluster, &request)).await?;
                Ok(Look {
                    next: once_configured(exposure.next(&request), repository_config),
                    children: Children::Exposing(request, Box::new(exposure)),
                })
            }
            // An upload's volume stays ours.
            Activity::Rebind => Ok(Look {
                next: Next::Done,
                children: Children::None,
            }),
            Activity::CleanUp => {
                let csi = object.spec.csi_snapshot.as_ref();
                let request = CleanUpRequest {
                    name: object.name_any(),
                    uid: object.uid().unwrap_or_default(),
                    source: csi
                        .map(|csi| (object.spec.source_namespace.clone(), csi.volume_snapshot.clone())),
                    unfinished_rebind: None,
                };
                let left = Box::pin(clean_up::observe(cluster, &request)).await?;
                Ok(Look {
                    next: left.next(&request),
                    children: Children::CleaningUp(request, Box::new(left)),
                })
            }
        }
    }

    async fn take(
        &self,
        cluster: &Cluster,
        _: &DataUpload,
        children: &Children,
        step: Step,
        extra: StepExtra,
    ) -> Result<(), ExposerError> {
        match children {
            Children::Exposing(request, exposure) => {
                let request = SnapshotRequest {
                    location: extra.location,
                    ..request.clone()
                };
                snapshot::take(cluster, &request, exposure, step).await
            }
            Children::CleaningUp(request, left) => clean_up::take(cluster, request, left, step).await,
            Children::None => Ok(()),
        }
    }
}

impl Upload {
    fn request(
        &self,
        object: &DataUpload,
        repository_config: Option<&RepositoryConfig>,
    ) -> Option<SnapshotRequest> {
        let csi = object.spec.csi_snapshot.as_ref()?;
        Some(SnapshotRequest {
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            owner: owner_reference(object),
            source_namespace: object.spec.source_namespace.clone(),
            source_pvc: object.spec.source_pvc.clone(),
            volume_snapshot: csi.volume_snapshot.clone(),
            storage_class: csi.storage_class.clone(),
            snapshot_class: csi.snapshot_class.clone(),
            operation_timeout: object.spec.operation_timeout.or(DEFAULT_OPERATION_TIMEOUT),
            resource_timeout: self.resource_timeout,
            location: LocationMount::default(),
            enable_compression: repository_config.is_some_and(|config| config.enable_compression),
            settings: self.in_force.settings(),
        })
    }
}
