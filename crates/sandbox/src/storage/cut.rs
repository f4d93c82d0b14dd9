//! What the snapshot-controller and the csi-snapshotter write, and what they ask of the driver.

use caravel_csi::{VolumeSnapshot, VolumeSnapshotContent};
use caravel_csi_driver::csi::Snapshot;
use kube::Error;
use serde_json::{Value, json};
use tonic::Code;

use super::content::{self, BEING_CREATED, BEING_DELETED, BOUND, ContentStep};
use super::controller::{Controller, Done};
use super::csi::CallError;
use super::events::Note;
use super::protection;
use super::queue::Key;
use super::snapshot::{self, CLAIM_AS_SOURCE, SnapshotStep};

const CONTROLLER: &str = "snapshot-controller";

impl Controller {
    fn snapshotter(&self) -> String {
        format!("csi-snapshotter {}", self.settings.driver_name)
    }

    /// Looks at a snapshot once.
    pub(super) async fn snapshot(&mut self, namespace: &str, name: &str) -> Result<(), Error> {
        let Some(found) = self.cluster.snapshots.get(namespace, name).cloned() else {
            return Ok(());
        };
        let step = snapshot::decide(&self.cluster, &found);
        tracing::debug!(snapshot = %format_args!("{namespace}/{name}"), ?step, "Decided");
        match step {
            SnapshotStep::Rest => Ok(()),
            SnapshotStep::Finalizers(finalizers) => {
                self.patch(&*found, json!({"metadata": {"finalizers": finalizers}}))
                    .await
            }
            SnapshotStep::SetClass(class) => {
                self.patch(&*found, json!({"spec": {"volumeSnapshotClassName": class}}))
                    .await
            }
            SnapshotStep::ProtectClaim(claim) => {
                let Some(claim) = self.cluster.claims.get(namespace, &claim).cloned() else {
                    return Ok(());
                };
                let finalizers = protection::with(&claim.metadata, CLAIM_AS_SOURCE);
                self.patch(&*claim, json!({"metadata": {"finalizers": finalizers}}))
                    .await?;
                self.look_again(Key::Snapshot(namespace.to_owned(), name.to_owned()));
                Ok(())
            }
            SnapshotStep::CreateContent(content) => {
                self.create(&*content).await?;
                let note = Note::normal(
                    "CreatingSnapshot",
                    format!("Waiting for a snapshot {namespace}/{name} to be created by the CSI driver."),
                );
                self.events.say(CONTROLLER, &*found, &note).await;
                Ok(())
            }
            SnapshotStep::BindContent(content) => {
                let Some(content) = self.cluster.contents.get("", &content).cloned() else {
                    return Ok(());
                };
                let mut spec = json!({"volumeSnapshotRef": {"uid": found.metadata.uid}});
                if content.spec.volume_snapshot_class_name.is_none()
                    && let Some(class) = &found.spec.volume_snapshot_class_name
                {
                    spec["volumeSnapshotClassName"] = class.as_str().into();
                }
                self.patch(&*content, json!({"spec": spec})).await
            }
            SnapshotStep::Show(status) => {
                let (was_ready, was_cut) = (
                    snapshot::is_ready(&found),
                    found
                        .status
                        .as_ref()
                        .is_some_and(|status| status.creation_time.is_some()),
                );
                let patch = json!({
                    "boundVolumeSnapshotContentName": status.bound_volume_snapshot_content_name,
                    "creationTime": status.creation_time,
                    "readyToUse": status.ready_to_use,
                    "restoreSize": status.restore_size,
                    "error": status.error,
                });
                self.patch_status(&*found, patch).await?;
                let named = format!("{namespace}/{name}");
                if !was_cut && status.creation_time.is_some() {
                    let message = format!("Snapshot {named} was successfully created by the CSI driver.");
                    let note = Note::normal("SnapshotCreated", message);
                    self.events.say(CONTROLLER, &*found, &note).await;
                }
                if !was_ready && status.ready_to_use == Some(true) {
                    let note = Note::normal("SnapshotReady", format!("Snapshot {named} is ready to use."));
                    self.events.say(CONTROLLER, &*found, &note).await;
                }
                Ok(())
            }
            SnapshotStep::Fail(note) => {
                self.events.say(CONTROLLER, &*found, &note).await;
                let error = self.error(&note.message);
                self.patch_status(&*found, json!({"error": error, "readyToUse": false}))
                    .await
            }
            SnapshotStep::Say(note) => {
                self.events.once(CONTROLLER, &*found, &note).await;
                Ok(())
            }
            SnapshotStep::MarkContent(content) => {
                self.mark(&content).await?;
                self.look_again(Key::Snapshot(namespace.to_owned(), name.to_owned()));
                Ok(())
            }
            SnapshotStep::DeleteContent(content) => match self.cluster.contents.get("", &content).cloned() {
                Some(content) => self.delete(&*content).await,
                None => Ok(()),
            },
        }
    }

    fn error(&self, message: &str) -> Value {
        let now = self.settings.clock.now();
        let second = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
        json!({"time": second, "message": message})
    }

    async fn mark(&mut self, content: &str) -> Result<(), Error> {
        match self.cluster.contents.get("", content).cloned() {
            Some(content) => {
                let patch = json!({"metadata": {"annotations": {BEING_DELETED: "yes"}}});
                self.patch(&*content, patch).await
            }
            None => Ok(()),
        }
    }

    /// Looks at a content once.
    pub(super) async fn content(&mut self, name: &str) -> Result<(), Error> {
        let Some(found) = self.cluster.contents.get("", name).cloned() else {
            return Ok(());
        };
        let step = content::decide(&self.cluster, &found, &self.settings.driver_name);
        tracing::debug!(content = name, ?step, "Decided");
        let key = Key::Content(name.to_owned());
        let csi = self.csi.clone();
        match step {
            ContentStep::Rest => Ok(()),
            ContentStep::Finalizers(finalizers) => {
                self.patch(&*found, json!({"metadata": {"finalizers": finalizers}}))
                    .await
            }
            ContentStep::Mark => {
                let of = &found.spec.volume_snapshot_ref;
                let (namespace, snapshot) = (of.namespace.as_deref(), of.name.as_deref());
                let (namespace, snapshot) = (namespace.unwrap_or_default(), snapshot.unwrap_or_default());
                let unseen = self.cluster.snapshots.get(namespace, snapshot).is_none()
                    && self
                        .exists::<VolumeSnapshot>(namespace, snapshot, of.uid.as_deref())
                        .await?;
                if unseen {
                    self.look_later(key);
                    return Ok(());
                }
                self.mark(name).await
            }
            ContentStep::Cut(_) | ContentStep::Find(_) | ContentStep::DeleteStorage(_)
                if self.is_backing_off(&key) =>
            {
                Ok(())
            }
            ContentStep::Cut(volume) => {
                if !content::annotated(&found, BEING_CREATED) {
                    let patch = json!({"metadata": {"annotations": {BEING_CREATED: "yes"}}});
                    self.patch(&*found, patch).await?;
                }
                let uid = found.spec.volume_snapshot_ref.uid.clone().unwrap_or_default();
                self.start(key, async move {
                    let cut = csi.create_snapshot(&format!("snapshot-{uid}"), &volume).await;
                    let said = cut.map_err(|cause| {
                        (cause.clone(), format!("Failed to create snapshot: failed to take snapshot of the volume {volume}: \"{cause}\""))
                    });
                    Done::Snapshot("SnapshotCreationFailed", said)
                });
                Ok(())
            }
            ContentStep::Find(handle) => {
                let name = name.to_owned();
                self.start(key, async move {
                    let found = csi.find_snapshot(&handle).await;
                    let said = found.map_err(|cause| {
                        (cause.clone(), format!("Failed to check and update snapshot content: failed to list snapshot for content {name}: \"{cause}\""))
                    });
                    Done::Snapshot("SnapshotContentCheckandUpdateFailed", said)
                });
                Ok(())
            }
            ContentStep::DeleteStorage(handle) => {
                self.start(key, async move {
                    Done::SnapshotDeleted(csi.delete_snapshot(&handle).await)
                });
                Ok(())
            }
        }
    }

    /// The driver has cut or found a snapshot, or not.
    pub(super) async fn snapshot_known(
        &mut self,
        name: &str,
        reason: &'static str,
        result: Result<Snapshot, (CallError, String)>,
    ) -> Result<bool, Error> {
        let Some(content) = self.cluster.contents.get("", name).cloned() else {
            return Ok(true);
        };
        let (status, is_final, is_good) = match result {
            // Not ready yet: it is asked for again, later each time.
            Ok(found) => (known(&found), true, found.ready_to_use),
            Err((cause, message)) => {
                let component = self.snapshotter();
                let note = Note::warning(reason, message.clone());
                self.events.say(&component, &*content, &note).await;
                let error = json!({"readyToUse": false, "error": self.error(&message)});
                (error, is_final(&cause), false)
            }
        };
        self.patch_status(&*content, status).await?;
        if is_final
            && let Some(content) = self.cluster.contents.get("", name).cloned()
            && content::annotated(&content, BEING_CREATED)
        {
            self.unmark_created(&content).await?;
        }
        Ok(is_good)
    }

    async fn unmark_created(&mut self, content: &VolumeSnapshotContent) -> Result<(), Error> {
        let patch = json!({"metadata": {"annotations": {BEING_CREATED: null}}});
        self.patch(content, patch).await
    }

    /// The driver has deleted a snapshot, or refused.
    pub(super) async fn snapshot_deleted(
        &mut self,
        name: &str,
        result: Result<(), CallError>,
    ) -> Result<bool, Error> {
        let Some(content) = self.cluster.contents.get("", name).cloned() else {
            return Ok(true);
        };
        if let Err(cause) = result {
            let component = self.snapshotter();
            let note = Note::warning("SnapshotDeleteError", "Failed to delete snapshot");
            self.events.say(&component, &*content, &note).await;
            let message =
                format!("Failed to delete snapshot content {name}: failed to delete snapshot: {cause}");
            let status = json!({"error": self.error(&message)});
            self.patch_status(&*content, status).await?;
            return Ok(false);
        }
        let finalizers = protection::without(&content.metadata, &[BOUND]);
        self.patch(&*content, json!({"metadata": {"finalizers": finalizers}}))
            .await?;
        Ok(true)
    }
}

/// The status of a content whose snapshot the driver knows.
fn known(found: &Snapshot) -> Value {
    let created = found
        .creation_time
        .map(|time| time.seconds * 1_000_000_000 + i64::from(time.nanos));
    json!({
        "snapshotHandle": found.snapshot_id,
        "creationTime": created,
        "restoreSize": found.size_bytes,
        "readyToUse": found.ready_to_use,
        "error": null,
    })
}

/// Whether the driver surely is not at work any more (`isCSIFinalError`).
fn is_final(cause: &CallError) -> bool {
    !matches!(
        cause.code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Unavailable
            | Code::ResourceExhausted
            | Code::Aborted
    )
}
