//! The `download-request` controller: hands out a signed URL for one object of the bucket, and takes the request away
//! when the URL has expired.
//!
//! Mirrors Velero's `pkg/controller/download_request_controller.go`. The URL is a secret for as long as it works: it is
//! in the status, where Velero's clients look for it, and in no log (guarantee 8).

pub mod decide;

use async_trait::async_trait;
use caravel_api::phase::{DownloadRequestPhase, DownloadTargetKind};
use caravel_api::v1::{Backup, DownloadRequest, Restore};
use caravel_backup_store::DownloadTarget;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::watcher;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::decide::{Decision, LIFETIME, Observed, decide};
use crate::context::Context;
use crate::reconcile::{Error, Key, Next, Reconciler, Source, run};

/// Starts the controller.
pub fn spawn(context: Context, shutdown: CancellationToken) -> JoinHandle<()> {
    let source = Source::objects(context.api::<DownloadRequest>(), watcher::Config::default());
    tokio::spawn(run(DownloadRequests { context }, vec![source], 4, shutdown))
}

struct DownloadRequests {
    context: Context,
}

#[async_trait]
impl Reconciler for DownloadRequests {
    fn name(&self) -> &'static str {
        "download-request"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let api: Api<DownloadRequest> = self.context.api();
        let Some(request) = api.get_opt(&key.name).await? else {
            return Ok(Next::Done);
        };
        let observed = Observed {
            phase: request.phase(),
            created: request.creation_timestamp().map(|time| time.0),
            expiration: request
                .status
                .as_ref()
                .and_then(|status| status.expiration.clone())
                .map(|time| time.0),
        };
        match decide(&observed, self.context.clock.now()) {
            Decision::Keep(left) => Ok(Next::After(left)),
            Decision::Delete => {
                let same = Preconditions {
                    uid: request.uid(),
                    resource_version: None,
                };
                let parameters = DeleteParams {
                    preconditions: Some(same),
                    ..DeleteParams::default()
                };
                match api.delete(&key.name, &parameters).await {
                    Ok(_) => Ok(Next::Done),
                    Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Next::Done),
                    Err(error) => Err(error.into()),
                }
            }
            Decision::Sign => {
                self.sign(&api, &request).await?;
                Ok(Next::After(LIFETIME))
            }
        }
    }
}

impl DownloadRequests {
    async fn sign(&self, api: &Api<DownloadRequest>, request: &DownloadRequest) -> Result<(), Error> {
        let target = &request.spec.target;
        let location = self.location_of(&target.kind, &target.name).await?;
        let location = self.context.locations.get(&location).await?;
        let store = self.context.locations.backup_store(&location).await?;
        let url = store
            .signed_url(
                &DownloadTarget {
                    kind: target.kind.clone(),
                    name: target.name.clone(),
                },
                LIFETIME,
            )
            .await?;
        let lifetime = SignedDuration::try_from(LIFETIME)?;
        let expiration = Time(self.context.clock.now().checked_add(lifetime)?);
        let patch = json!({
            "metadata": { "resourceVersion": request.resource_version() },
            "status": {
                "phase": DownloadRequestPhase::Processed,
                "downloadURL": url.to_string(),
                "expiration": expiration,
            },
        });
        api.patch(
            &request.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await?;
        Ok(())
    }

    /// The location that holds the target: a restore's files lie beside its backup's.
    async fn location_of(&self, kind: &DownloadTargetKind, name: &str) -> Result<String, Error> {
        let backup = if is_of_restore(kind) {
            let restores: Api<Restore> = self.context.api();
            restores.get(name).await?.spec.backup_name
        } else {
            name.to_owned()
        };
        let backups: Api<Backup> = self.context.api();
        Ok(backups.get(&backup).await?.spec.storage_location)
    }
}

fn is_of_restore(kind: &DownloadTargetKind) -> bool {
    matches!(
        kind,
        DownloadTargetKind::RestoreLog
            | DownloadTargetKind::RestoreResults
            | DownloadTargetKind::RestoreResourceList
            | DownloadTargetKind::RestoreItemOperations
            | DownloadTargetKind::RestoreVolumeInfo
    )
}
