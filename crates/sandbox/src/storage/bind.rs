//! What the binder writes: volume first, then claim, each step one that can be repeated.
//! Source: Kubernetes v1.34 `pv_controller.go` (`bind`, `unbindVolume`, `updateClaimStatus`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Error;
use serde_json::{Map, json};

use super::claim::{self, BIND_COMPLETED, BOUND_BY_CONTROLLER, ClaimStep};
use super::controller::Controller;
use super::events::{Note, reference};
use super::queue::Key;
use super::volume::{self, VolumeStep};
use super::{protection, quantity};

const BINDER: &str = "persistentvolume-controller";

impl Controller {
    /// Looks at a claim once.
    pub(super) async fn claim(&mut self, namespace: &str, name: &str) -> Result<(), Error> {
        let Some(claim) = self.cluster.claims.get(namespace, name).cloned() else {
            return Ok(());
        };
        let step = claim::decide(&self.cluster, &claim, &self.settings.driver_name);
        tracing::debug!(claim = %format_args!("{namespace}/{name}"), ?step, "Decided");
        match step {
            ClaimStep::Rest => Ok(()),
            ClaimStep::Protect => {
                let finalizers = protection::with(&claim.metadata, protection::CLAIM);
                self.patch(&*claim, json!({"metadata": {"finalizers": finalizers}}))
                    .await
            }
            ClaimStep::Unprotect(finalizer) => {
                let finalizers = protection::without(&claim.metadata, &[finalizer]);
                self.patch(&*claim, json!({"metadata": {"finalizers": finalizers}}))
                    .await
            }
            ClaimStep::SetClass(class) => {
                self.patch(&*claim, json!({"spec": {"storageClassName": class}}))
                    .await
            }
            ClaimStep::Bind(volume) => self.bind(&claim, &volume).await,
            ClaimStep::Wait(note) => self.wait(&claim, &note).await,
            ClaimStep::HandTo(provisioner) => {
                let annotations = json!({
                    claim::BETA_PROVISIONER: provisioner,
                    claim::PROVISIONER: provisioner,
                });
                self.wait(&claim, &claim::external(&provisioner)).await?;
                let claim = self.cluster.claims.get(namespace, name).cloned().unwrap_or(claim);
                self.patch(&*claim, json!({"metadata": {"annotations": annotations}}))
                    .await
            }
            ClaimStep::Provision => self.provision(&claim).await,
            ClaimStep::Lose(note) => self.lose(&claim, &note).await,
            ClaimStep::Expand(bytes) => self.expand(&claim, bytes).await,
        }
    }

    async fn wait(&mut self, claim: &PersistentVolumeClaim, note: &Note) -> Result<(), Error> {
        if !note.reason.is_empty() {
            self.events.once(BINDER, claim, note).await;
        }
        if claim::phase(claim) == "Pending" {
            return Ok(());
        }
        self.patch_status(claim, json!({"phase": "Pending"})).await
    }

    async fn lose(&mut self, claim: &PersistentVolumeClaim, note: &Note) -> Result<(), Error> {
        if claim::phase(claim) == "Lost" {
            return Ok(());
        }
        self.events.say(BINDER, claim, note).await;
        self.patch_status(
            claim,
            json!({"phase": "Lost", "accessModes": null, "capacity": null}),
        )
        .await
    }

    async fn bind(&mut self, claim: &PersistentVolumeClaim, volume: &str) -> Result<(), Error> {
        let Some(found) = self.cluster.volumes.get("", volume).cloned() else {
            return Ok(());
        };
        if !volume::belongs_to(&found, claim) {
            let mut meta = Map::new();
            if !volume::names(&found, claim) {
                meta.insert("annotations".into(), json!({BOUND_BY_CONTROLLER: "yes"}));
            }
            let patch = json!({"metadata": meta, "spec": {"claimRef": reference(claim)}});
            self.patch(&*found, patch).await?;
        }
        let found = self.cluster.volumes.get("", volume).cloned().unwrap_or(found);
        self.set_phase(&found, "Bound").await?;
        let mut annotations = Map::new();
        if claim::annotation(claim, BIND_COMPLETED).is_none() {
            annotations.insert(BIND_COMPLETED.into(), "yes".into());
        }
        if claim::volume_name(claim) != Some(volume) {
            annotations.insert(BOUND_BY_CONTROLLER.into(), "yes".into());
        }
        if !annotations.is_empty() {
            let patch = json!({"metadata": {"annotations": annotations}, "spec": {"volumeName": volume}});
            self.patch(claim, patch).await?;
        }
        let (namespace, name) = super::cluster::names(&claim.metadata);
        match self.cluster.claims.get(&namespace, &name).cloned() {
            Some(claim) if claim::phase(&claim) != "Bound" => self.show_bound(&claim, &found).await,
            _ => Ok(()),
        }
    }

    async fn show_bound(
        &mut self,
        claim: &PersistentVolumeClaim,
        volume: &PersistentVolume,
    ) -> Result<(), Error> {
        let spec = volume.spec.as_ref();
        let status = json!({
            "phase": "Bound",
            "accessModes": spec.and_then(|spec| spec.access_modes.clone()),
            "capacity": spec.and_then(|spec| spec.capacity.clone()),
        });
        self.patch_status(claim, status).await
    }

    async fn set_phase(&mut self, volume: &PersistentVolume, phase: &str) -> Result<(), Error> {
        if volume::phase(volume) == phase {
            return Ok(());
        }
        let status = json!({"phase": phase, "lastPhaseTransitionTime": self.settings.clock.now()});
        self.patch_status(volume, status).await
    }

    /// Looks at a volume once.
    pub(super) async fn volume(&mut self, name: &str) -> Result<(), Error> {
        let Some(volume) = self.cluster.volumes.get("", name).cloned() else {
            return Ok(());
        };
        let step = volume::decide(&self.cluster, &volume, &self.settings.driver_name);
        tracing::debug!(volume = name, ?step, "Decided");
        match step {
            VolumeStep::Rest => Ok(()),
            VolumeStep::Protect(finalizer) => {
                let finalizers = protection::with(&volume.metadata, finalizer);
                self.patch(&*volume, json!({"metadata": {"finalizers": finalizers}}))
                    .await
            }
            VolumeStep::Unprotect(finalizer) => {
                let finalizers = protection::without(&volume.metadata, &[finalizer]);
                self.patch(&*volume, json!({"metadata": {"finalizers": finalizers}}))
                    .await
            }
            VolumeStep::SetPhase("Released") if self.is_still_claimed(&volume).await? => {
                self.look_later(Key::Volume(name.to_owned()));
                Ok(())
            }
            VolumeStep::SetPhase(phase) => self.set_phase(&volume, phase).await,
            VolumeStep::Unbind { keep_name } => self.unbind(&volume, keep_name).await,
            VolumeStep::DeleteStorage => {
                self.delete_storage(volume);
                Ok(())
            }
        }
    }

    /// The claim exists and names this volume, only no watch has shown it yet.
    async fn is_still_claimed(&mut self, volume: &PersistentVolume) -> Result<bool, Error> {
        let Some(claim) = volume::claim_ref(volume) else {
            return Ok(false);
        };
        let namespace = claim.namespace.unwrap_or_default();
        let name = claim.name.unwrap_or_default();
        if self.cluster.claims.get(&namespace, &name).is_some() {
            return Ok(false);
        }
        self.exists::<PersistentVolumeClaim>(&namespace, &name, claim.uid.as_deref())
            .await
    }

    async fn unbind(&mut self, volume: &PersistentVolume, keep_name: bool) -> Result<(), Error> {
        let patch = if keep_name {
            json!({"spec": {"claimRef": {"uid": null, "resourceVersion": null}}})
        } else {
            json!({"metadata": {"annotations": {BOUND_BY_CONTROLLER: null}}, "spec": {"claimRef": null}})
        };
        self.patch(volume, patch).await
    }

    /// Grows a bound claim's volume, in the storage first.
    async fn expand(&mut self, claim: &Arc<PersistentVolumeClaim>, bytes: i64) -> Result<(), Error> {
        let volume = claim::volume_name(claim).and_then(|name| self.cluster.volumes.get("", name));
        let Some((volume, handle)) = volume.and_then(|volume| Some((volume, volume::handle(volume)?))) else {
            return Ok(());
        };
        let block = volume::mode(volume) == "Block";
        let handle = handle.to_owned();
        let (namespace, name) = super::cluster::names(&claim.metadata);
        let resizer = format!("external-resizer {}", self.settings.driver_name);
        let said = Note::normal(
            "Resizing",
            format!(
                "External resizer is resizing volume {}",
                volume.metadata.name.clone().unwrap_or_default()
            ),
        );
        self.events.once(&resizer, &**claim, &said).await;
        let csi = self.csi.clone();
        self.start(Key::Claim(namespace, name), async move {
            super::controller::Done::Expanded(csi.expand(&handle, bytes, block).await)
        });
        Ok(())
    }

    /// The storage has grown the volume, or refused.
    pub(super) async fn expanded(
        &mut self,
        namespace: &str,
        name: &str,
        result: Result<i64, super::csi::CallError>,
    ) -> Result<bool, Error> {
        let Some(claim) = self.cluster.claims.get(namespace, name).cloned() else {
            return Ok(true);
        };
        let resizer = format!("external-resizer {}", self.settings.driver_name);
        let volume = claim::volume_name(&claim).unwrap_or_default().to_owned();
        match result {
            Ok(bytes) => {
                let capacity = json!({"storage": quantity::binary(bytes)});
                if let Some(volume) = self.cluster.volumes.get("", &volume).cloned() {
                    self.patch(&*volume, json!({"spec": {"capacity": capacity}}))
                        .await?;
                }
                let status = json!({"capacity": capacity, "allocatedResources": capacity});
                self.patch_status(&*claim, status).await?;
                let note = Note::normal("VolumeResizeSuccessful", "Resize volume succeeded");
                self.events.say(&resizer, &*claim, &note).await;
                Ok(true)
            }
            Err(cause) => {
                let note = Note::warning(
                    "VolumeResizeFailed",
                    format!(
                        "resize volume \"{volume}\" by resizer \"{}\" failed: {cause}",
                        self.settings.driver_name
                    ),
                );
                self.events.say(&resizer, &*claim, &note).await;
                Ok(false)
            }
        }
    }
}
