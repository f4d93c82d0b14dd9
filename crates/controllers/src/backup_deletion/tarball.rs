//! What the tarball of a backup knows about its data: VolumeSnapshotContents and DataUploads. It is downloaded at most
//! once, and only when something asks for it.

use std::path::Path;

use caravel_api::labels;
use caravel_api::v1::Backup;
use caravel_backup::item_actions::snapshots::{CONTENTS, GROUP};
use caravel_backup_store::BackupStore;
use caravel_backup_store::tarball::{Reader, TarballError};
use kube::ResourceExt;
use serde_json::Value;

use crate::context::Context;
use crate::reconcile::Error;

/// DataUploads, as the tarball's folders call them.
const DATA_UPLOADS: &str = "datauploads.velero.io";

/// The tarball of one backup.
pub(super) struct Tarball<'a> {
    context: &'a Context,
    scratch: &'a Path,
    store: &'a BackupStore,
    name: &'a str,
    read: Option<Objects>,
}

/// What was found in it, whosever it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    /// VolumeSnapshotContents.
    pub contents: Vec<Value>,
    /// DataUploads, as they were when the backup was finished.
    pub uploads: Vec<Value>,
    /// There is no tarball.
    missing: bool,
}

impl<'a> Tarball<'a> {
    /// That of the backup `name`; nothing is read yet. `scratch`: where it is put while it is read.
    pub(super) fn new(
        context: &'a Context,
        scratch: &'a Path,
        store: &'a BackupStore,
        name: &'a str,
    ) -> Self {
        Self {
            context,
            scratch,
            store,
            name,
            read: None,
        }
    }

    /// Whether there is none, as far as anybody has asked: it was never made, or somebody has taken it away.
    pub(super) fn is_missing(&self) -> bool {
        self.read.as_ref().is_some_and(|objects| objects.missing)
    }

    /// Its objects; none where the backup has no tarball.
    pub(super) async fn objects(&mut self) -> Result<&Objects, Error> {
        if self.read.is_none() {
            self.read = Some(self.download().await?);
        }
        Ok(self.read.get_or_insert_default())
    }

    async fn download(&self) -> Result<Objects, Error> {
        let folder = tempfile::Builder::new()
            .prefix("delete-")
            .tempdir_in(self.scratch)?;
        let tarball = folder.path().join("contents.tar.gz");
        match self.store.get_backup_contents(self.name, &tarball).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {
                return Ok(Objects {
                    missing: true,
                    ..Objects::default()
                });
            }
            Err(error) => return Err(error.into()),
        }
        let read = self.context.environment.run(move || objects_in(&tarball));
        Ok(read.await??)
    }
}

fn objects_in(tarball: &Path) -> Result<Objects, TarballError> {
    let contents = format!("{CONTENTS}.{GROUP}");
    let mut found = Objects::default();
    Reader::open(tarball)?.for_each(|entry| {
        let Some(path) = entry.item_path().filter(|path| path.version.is_none()) else {
            return Ok(());
        };
        if path.group_resource == contents {
            found.contents.push(entry.json()?);
        } else if path.group_resource == DATA_UPLOADS {
            found.uploads.push(entry.json()?);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Whose an object in a tarball is: a backup of Velero's own namespace holds other backups' objects too.
pub(crate) struct Own {
    name: String,
    uid: Option<String>,
}

impl Own {
    /// `saved`: the Backup as its folder has it. In another cluster the Backup has another UID.
    pub(crate) fn of(saved: &Backup) -> Self {
        Self {
            name: labels::label_value(&saved.name_any()),
            uid: saved.uid(),
        }
    }

    /// By the labels. Velero writes only the name on VolumeSnapshotContents.
    pub(crate) fn is(&self, object: &impl ResourceExt) -> bool {
        let of_name = object.labels().get(labels::BACKUP_NAME) == Some(&self.name);
        let uid = object.labels().get(labels::BACKUP_UID);
        of_name && uid.is_none_or(|uid| Some(uid) == self.uid.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use caravel_api::v2alpha1::DataUpload;
    use caravel_csi::VolumeSnapshotContent;
    use serde_json::json;

    use super::*;

    fn content(labels: Value) -> VolumeSnapshotContent {
        let json = json!({"metadata": {"name": "content", "labels": labels}, "spec": {"driver": "disk.example.com"}});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn only_an_object_of_this_very_backup_is_its_to_delete() {
        let mut saved = Backup::new("b1", Default::default());
        saved.metadata.uid = Some("now".into());
        let own = Own::of(&saved);
        assert!(own.is(&content(json!({"velero.io/backup-name": "b1"}))));
        assert!(own.is(&content(
            json!({"velero.io/backup-name": "b1", "velero.io/backup-uid": "now"})
        )));
        assert!(!own.is(&content(
            json!({"velero.io/backup-name": "b1", "velero.io/backup-uid": "before"})
        )));
        assert!(!own.is(&content(json!({"velero.io/backup-name": "b2"}))));
        assert!(!own.is(&content(json!(null))));
        let upload: DataUpload = serde_json::from_value(
            json!({"metadata": {"name": "u", "labels": {"velero.io/backup-name": "nightly"}}, "spec": {}}),
        )
        .unwrap();
        assert!(!own.is(&upload), "Velero's namespace was backed up with the rest");
    }
}
