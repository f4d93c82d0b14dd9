//! VolumeSnapshotContents of the bucket's backups, with `--csi-snapshot-objects=keep`: each cluster that knows a backup has a
//! content of each of its snapshots, by which it can expire the backup. What is to be made and taken away says
//! [`super::synced`]; the deletion of the storage's snapshot is that of the backup (`backup_deletion/snapshots.rs`).
//!
//! The files of a backup are read once by each server, and again only when a driver has got the class that it lacked.

use std::collections::{BTreeMap, BTreeSet};

use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_backup_store::BackupStore;
use caravel_csi::snapshot::{self, SnapshotError};
use caravel_csi::{DeletionPolicy, VolumeSnapshotContent};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

use super::synced::{Snapshot, by_driver, has_contents, labels_of, ownerless, plan};
use crate::backup_deletion::Own;
use crate::context::Context;
use crate::reconcile::{Error, chain};
use crate::snapshot_objects;

/// What this server knows of the contents of backups.
#[derive(Default)]
pub(super) struct Contents {
    /// UID of a Backup that was looked at → the drivers whose class was missing.
    looked_at: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// Location and name of the backups that came into the cluster and whose contents are not made yet.
    brought: Mutex<BTreeSet<(String, String)>>,
}

/// One look at a location.
pub(super) struct Location<'a> {
    pub(super) name: &'a str,
    pub(super) store: &'a BackupStore,
    pub(super) in_bucket: &'a BTreeSet<String>,
    /// Names of the backups that have just come into the cluster.
    pub(super) brought: &'a BTreeSet<String>,
}

impl Location<'_> {
    fn key(&self, backup: &Backup) -> (String, String) {
        (self.name.to_owned(), backup.name_any())
    }
}

/// What a cluster has.
struct Observed {
    backups: Vec<Backup>,
    contents: Vec<VolumeSnapshotContent>,
    /// The VolumeSnapshotClass of each driver.
    classes: BTreeMap<String, String>,
}

impl Contents {
    /// Makes the contents that the cluster lacks of a location's backups, and takes away those whose backup is no more. A
    /// backup whose contents cannot be made does not hold the others back.
    pub(super) async fn sync(&self, context: &Context, location: &Location<'_>) -> Result<(), Error> {
        self.remember(location);
        let Some(observed) = observe(context).await? else {
            return Ok(());
        };
        for backup in &observed.backups {
            let was_brought = self.brought.lock().contains(&location.key(backup));
            if has_contents(backup, location.name, location.in_bucket, was_brought)
                && !self.is_done(backup, &observed)
                && let Err(error) = self.of_backup(context, location, &observed, backup).await
            {
                tracing::warn!(backup = %backup.name_any(), location = location.name, error = %chain(&*error), "VolumeSnapshotContents of the backup are not synced, it is tried again");
            }
        }
        let in_cluster = observed.backups.iter().map(ResourceExt::name_any).collect();
        let left = ownerless(
            &observed.contents,
            location.name,
            &context.namespace,
            &in_cluster,
            location.in_bucket,
        );
        for (content, backup) in left {
            // Listed and looked for again, as the Backups themselves.
            if !location.store.backup_exists(&backup).await? {
                tracing::info!(backup = %backup, content = %content.name_any(), "the backup is no more, its synced VolumeSnapshotContent goes");
                snapshot_objects::release_content(&context.client, content).await?;
            }
        }
        Ok(())
    }

    /// What came now waits with what came before and could not be finished.
    fn remember(&self, location: &Location<'_>) {
        let mut brought = self.brought.lock();
        brought.retain(|(of, name)| of != location.name || location.in_bucket.contains(name));
        let now = location.brought.iter().cloned();
        brought.extend(now.map(|name| (location.name.to_owned(), name)));
    }

    /// Nothing has changed since it was looked at, or the cluster made the backup and has all its objects.
    fn is_done(&self, backup: &Backup, observed: &Observed) -> bool {
        let uid = backup.uid().unwrap_or_default();
        if let Some(waits_for) = self.looked_at.lock().get(&uid) {
            return !waits_for
                .iter()
                .any(|driver| observed.classes.contains_key(driver));
        }
        let attempted = backup
            .status
            .as_ref()
            .map_or(0, |it| it.csi_volume_snapshots_attempted);
        let has = observed.snapshots_of(&[uid]).len();
        attempted > 0 && usize::try_from(attempted).is_ok_and(|attempted| has >= attempted)
    }

    async fn of_backup(
        &self,
        context: &Context,
        location: &Location<'_>,
        observed: &Observed,
        backup: &Backup,
    ) -> Result<(), Error> {
        let name = backup.name_any();
        let saved = location.store.get_backup_metadata(&name).await?;
        let own = Own::of(&saved);
        let mut contents: Vec<VolumeSnapshotContent> = Vec::new();
        for content in location.store.get_csi_snapshots(&name).await?.contents {
            let content: VolumeSnapshotContent = serde_json::from_value(content)?;
            // Others, of snapshots that somebody else took, are in the file, too: they never get this backup's labels.
            if own.is(&content) {
                contents.push(content);
            }
        }
        let has = observed.snapshots_of(&snapshot_objects::uids(backup, Some(&saved)));
        let plan = plan(backup, &contents, &has, &observed.classes, &context.namespace);
        for content in &plan.create {
            make(context, backup, content).await?;
        }
        if plan.waits_for.is_empty() {
            self.brought.lock().remove(&location.key(backup));
        } else {
            tracing::info!(backup = %name, drivers = ?plan.waits_for, "no VolumeSnapshotClass of the driver: the backup's VolumeSnapshotContents are not synced until there is one");
        }
        self.looked_at
            .lock()
            .insert(backup.uid().unwrap_or_default(), plan.waits_for);
        Ok(())
    }
}

impl Observed {
    /// The snapshots of which the cluster has an object with one of these UIDs.
    fn snapshots_of(&self, uids: &[String]) -> BTreeSet<Snapshot> {
        let of_backup = self.contents.iter().filter(|content| {
            let uid = content.labels().get(labels::BACKUP_UID);
            uid.is_some_and(|uid| uids.contains(uid)) && content.metadata.deletion_timestamp.is_none()
        });
        of_backup
            .filter_map(|content| Some((content.spec.driver.clone(), content.handle()?.to_owned())))
            .collect()
    }
}

/// None: a cluster without snapshots. The contents are those that were kept or synced.
async fn observe(context: &Context) -> Result<Option<Observed>, Error> {
    let classes = match snapshot::classes(&context.client).await {
        Ok(classes) => by_driver(&classes),
        Err(SnapshotError::NoSnapshotApi) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (mark, marked) = snapshot_objects::MARK;
    let of_backups = ListParams::default().labels(&format!("{},{mark}={marked}", labels::BACKUP_UID));
    let contents: Api<VolumeSnapshotContent> = Api::all(context.client.clone());
    Ok(Some(Observed {
        contents: contents.list(&of_backups).await?.items,
        backups: context.list::<Backup>(&ListParams::default()).await?,
        classes,
    }))
}

/// Makes one content. One that is there already, of the Backup as it was before it went and came again, becomes this one's.
async fn make(context: &Context, backup: &Backup, content: &VolumeSnapshotContent) -> Result<(), Error> {
    let api: Api<VolumeSnapshotContent> = Api::all(context.client.clone());
    let name = content.name_any();
    match api.create(&PostParams::default(), content).await {
        Ok(_) => {
            tracing::info!(backup = %backup.name_any(), content = %name, "VolumeSnapshotContent of the backup is synced");
            return Ok(());
        }
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
        Err(error) => return Err(error.into()),
    }
    let found = api.get(&name).await?;
    let stands_for_it = found.spec.driver == content.spec.driver
        && found.spec.source.snapshot_handle == content.spec.source.snapshot_handle
        && found.spec.deletion_policy == DeletionPolicy::Retain;
    if !stands_for_it || found.metadata.deletion_timestamp.is_some() {
        return Err(format!(
            "VolumeSnapshotContent {name} is being deleted, or stands for another snapshot than that of the backup"
        )
        .into());
    }
    let patch = json!({"metadata": {"labels": labels_of(backup)}});
    api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    Ok(())
}
