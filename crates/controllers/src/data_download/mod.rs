//! DataDownload: a snapshot in the backup repository becomes a volume again, and that volume the target PVC's.
//!
//! The machine is `data_movement/`; this file says what is the download's own: its fields, the exposer's ladder to an
//! empty volume (`crates/exposer/src/restore.rs`), and the hand-over once it is filled (`crates/exposer/src/rebind.rs`).

use async_trait::async_trait;
use caravel_api::RepositoryConfig;
use caravel_api::labels::EXPOSE_ON_GOING;
use caravel_api::v2alpha1::DataDownload;
use caravel_api::v2alpha1::DataDownloadPhase;
use caravel_exposer::cache_volume::CacheVolume;
use caravel_exposer::clean_up::{self, CleanUpRequest, Leftovers};
use caravel_exposer::rebind::{self, RebindRecord, Rebinding};
use caravel_exposer::restore::{self, RestoreExposure, RestoreRequest};
use caravel_exposer::{Cluster, ExposerError, LocationMount, Next, Step};
use jiff::Timestamp;
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

/// Velero's `csiSnapshotTimeout`, where a DataDownload names none.
const DEFAULT_OPERATION_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(600);

/// Starts the controller in a node agent.
pub fn spawn(shared: Shared, shutdown: CancellationToken) -> JoinHandle<()> {
    let movement = Download {
        resource_timeout: shared.resource_timeout,
        in_force: shared.in_force.clone(),
    };
    let controller = Controller::new(shared, movement);
    let sources = sources(&controller);
    tokio::spawn(reconcile::run(controller, sources, WORKERS, shutdown))
}

/// The download's side of the machine.
pub struct Download {
    pub resource_timeout: std::time::Duration,
    pub in_force: InForce,
}

/// What the exposer has found.
pub enum Children {
    Exposing(RestoreRequest, Box<RestoreExposure>),
    Rebinding(RestoreRequest, Box<Rebinding>),
    CleaningUp(CleanUpRequest, Box<Leftovers>),
}

#[async_trait]
impl Movement for Download {
    type Object = DataDownload;
    type Children = Children;

    const DIRECTION: Direction = Direction::Download;

    fn facts(object: &DataDownload) -> Facts {
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

    fn waits_for(&self, object: &DataDownload) -> Vec<(&'static str, Key)> {
        let target = &object.spec.target_volume;
        let mut all = vec![(
            "PersistentVolumeClaim",
            Key::new(target.namespace.clone(), target.pvc.clone()),
        )];
        if let Some(record) = RebindRecord::of(object) {
            all.push(("PersistentVolume", Key::new("", record.persistent_volume)));
        }
        all
    }

    async fn not_admitted(
        &self,
        cluster: &Cluster,
        object: &DataDownload,
    ) -> Result<Option<String>, ExposerError> {
        let target = &object.spec.target_volume;
        let found = restore::target(cluster, &target.namespace, &target.pvc).await?;
        Ok(found
            .is_none()
            .then(|| format!("target PVC {}/{} to exist", target.namespace, target.pvc)))
    }

    async fn look(
        &self,
        cluster: &Cluster,
        object: &DataDownload,
        repository_config: Option<&RepositoryConfig>,
        activity: Activity,
    ) -> Result<Look<Children>, ExposerError> {
        let request = self.request(object, repository_config);
        match activity {
            Activity::Expose => {
                let exposure = Box::pin(restore::observe(cluster, &request)).await?;
                let mut next = exposure.next(&request);
                if request.cache.is_some() {
                    next = once_configured(next, repository_config);
                }
                Ok(Look {
                    next,
                    children: Children::Exposing(request, Box::new(exposure)),
                })
            }
            Activity::Rebind => {
                let rebinding = rebind::observe(cluster, &request, RebindRecord::of(object)).await?;
                Ok(Look {
                    next: rebinding.next(&request),
                    children: Children::Rebinding(request, Box::new(rebinding)),
                })
            }
            Activity::CleanUp => {
                let completed = object.phase() == DataDownloadPhase::Completed;
                let clean_up_request = CleanUpRequest {
                    name: object.name_any(),
                    uid: object.uid().unwrap_or_default(),
                    source: None,
                    unfinished_rebind: RebindRecord::of(object)
                        .filter(|_| !completed)
                        .map(|record| (record, request)),
                };
                let left = Box::pin(clean_up::observe(cluster, &clean_up_request)).await?;
                let next: Next = left.next(&clean_up_request);
                Ok(Look {
                    next,
                    children: Children::CleaningUp(clean_up_request, Box::new(left)),
                })
            }
        }
    }

    async fn take(
        &self,
        cluster: &Cluster,
        _: &DataDownload,
        children: &Children,
        step: Step,
        extra: StepExtra,
    ) -> Result<(), ExposerError> {
        match children {
            Children::Exposing(request, exposure) => {
                let request = RestoreRequest {
                    location: extra.location,
                    ..request.clone()
                };
                restore::take(cluster, &request, exposure, step).await
            }
            Children::Rebinding(request, rebinding) => {
                rebind::take(cluster, request, rebinding, step, extra.total_bytes, extra.now).await
            }
            Children::CleaningUp(request, left) => clean_up::take(cluster, request, left, step).await,
        }
    }

    fn rebind_begun(object: &DataDownload) -> Option<(Timestamp, u64)> {
        RebindRecord::of(object).map(|record| (record.since, record.total_bytes))
    }
}

impl Download {
    fn request(&self, object: &DataDownload, repository_config: Option<&RepositoryConfig>) -> RestoreRequest {
        let settings = self.in_force.settings();
        let repository_config = repository_config.copied().unwrap_or_default();
        RestoreRequest {
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            owner: owner_reference(object),
            target_namespace: object.spec.target_volume.namespace.clone(),
            target_pvc: object.spec.target_volume.pvc.clone(),
            operation_timeout: object.spec.operation_timeout.or(DEFAULT_OPERATION_TIMEOUT),
            resource_timeout: self.resource_timeout,
            location: LocationMount::default(),
            cache: CacheVolume::wanted(
                settings.cache_pvc.as_ref(),
                object.spec.snapshot_size,
                repository_config.cache_limit_mb,
            ),
            settings,
        }
    }
}
