//! What the driver knows about volumes and snapshots: a JSON file each, beside the image, written atomically.
//! The record is the truth: an image without one is a creation or deletion that did not finish, and is swept
//! at the next start ([`crate::store::Store`]).
//!
//! `volumes/vol-pvc-1.json`:
//! `{"id":"vol-pvc-1","name":"pvc-1","capacity_bytes":1073741824,"block":false,"filesystem":"ext4","source":null}`

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::{Error, Result};
use crate::filesystem::Filesystem;

/// Where a volume's first content came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A snapshot's id.
    Snapshot(String),
    /// A volume's id.
    Volume(String),
}

/// A volume that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// The volume handle.
    pub id: String,
    /// The name that it was asked for by.
    pub name: String,
    /// Size of the image.
    pub capacity_bytes: u64,
    /// Whether it was made for raw block access.
    pub block: bool,
    /// What to format it with when a stage request names nothing.
    pub filesystem: Filesystem,
    /// What it was copied from.
    pub source: Option<Source>,
    /// Only of volumes that are folders: its files are still the snapshot's own, by hard links ([`crate::folder`]).
    #[serde(default)]
    pub linked: bool,
}

/// A snapshot that exists, and is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// The snapshot handle.
    pub id: String,
    /// The name that it was asked for by.
    pub name: String,
    /// The volume it was taken of, which may be gone.
    pub source_volume_id: String,
    /// Size of the image, as the volume had it.
    pub size_bytes: u64,
    /// The point in time whose content it holds.
    pub created: SystemTime,
}

impl SnapshotRecord {
    /// Itself, if a repeated request for its name asks for the volume that it is of.
    pub fn if_of(self, volume: &str) -> Result<Self> {
        if self.source_volume_id == volume {
            return Ok(self);
        }
        Err(Error::AlreadyExists(format!(
            "snapshot {:?} exists already, of volume {}",
            self.name, self.source_volume_id
        )))
    }
}

/// A kind of record, kept in a folder of its own.
pub trait Record: Serialize + DeserializeOwned {
    /// The folder's name.
    const FOLDER: &'static str;
    /// For messages.
    const WHAT: &'static str;
    /// Prefix of its ids.
    const PREFIX: &'static str;
    /// Its id, which is also its file's name.
    fn id(&self) -> &str;
}

impl Record for VolumeRecord {
    const FOLDER: &'static str = "volumes";
    const WHAT: &'static str = "volume";
    const PREFIX: &'static str = "vol-";
    fn id(&self) -> &str {
        &self.id
    }
}

impl Record for SnapshotRecord {
    const FOLDER: &'static str = "snapshots";
    const WHAT: &'static str = "snapshot";
    const PREFIX: &'static str = "snap-";
    fn id(&self) -> &str {
        &self.id
    }
}

/// The id of the object that is asked for by `name`: the name itself where it can be a file's name, so that
/// a repeated request finds its own work and `ls` shows whose a volume is.
pub fn id_for<R: Record>(name: &str) -> String {
    if is_file_name(name) && name.len() <= 100 {
        format!("{}{name}", R::PREFIX)
    } else {
        // Names are at most 128 bytes (CSI), so the hex form is a valid file name too.
        let hex: String = name.bytes().map(|b| format!("{b:02x}")).collect();
        let tail = hex.len().saturating_sub(180);
        format!("{}x{:016x}-{}", R::PREFIX, fnv(name), &hex[tail..])
    }
}

/// FNV-1a, 64 bits: tells names apart whose ends are equal.
fn fnv(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Whether `id` can be part of a file's name without leading anywhere else.
fn is_file_name(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 220
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The record with this id, or `None`; an id that the driver never gives is simply not there.
pub fn find<R: Record>(root: &Path, id: &str) -> Result<Option<R>> {
    if !is_file_name(id) || !id.starts_with(R::PREFIX) {
        return Ok(None);
    }
    let path = record_path::<R>(root, id);
    match fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json)
            .map(Some)
            .map_err(|source| Error::Damaged { path, source }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", &path)(e)),
    }
}

/// As [`find`], an absent record being an error.
pub fn get<R: Record>(root: &Path, id: &str) -> Result<R> {
    find(root, id)?.ok_or_else(|| Error::NotFound {
        what: R::WHAT,
        id: id.to_owned(),
    })
}

/// All records of a kind, sorted by id.
pub fn list<R: Record>(root: &Path) -> Result<Vec<R>> {
    let folder = root.join(R::FOLDER);
    let mut records: Vec<R> = Vec::new();
    for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
        let path = entry.map_err(Error::io("list", &folder))?.path();
        if path.extension().is_some_and(|e| e == "json") {
            let json = fs::read(&path).map_err(Error::io("read", &path))?;
            records.push(serde_json::from_slice(&json).map_err(|source| Error::Damaged { path, source })?);
        }
    }
    records.sort_by(|a, b| a.id().cmp(b.id()));
    Ok(records)
}

/// Writes a record; readers see the old one or the new one, also after a crash of the machine.
pub fn put<R: Record>(root: &Path, record: &R) -> Result<()> {
    write(root, record, File::sync_all)?;
    sync_folder(&root.join(R::FOLDER))
}

/// As [`put`], but only a crash of this process is provided for; a few milliseconds quicker.
pub fn put_unsynced<R: Record>(root: &Path, record: &R) -> Result<()> {
    write(root, record, |_| Ok(()))
}

fn write<R: Record>(root: &Path, record: &R, sync: fn(&File) -> std::io::Result<()>) -> Result<()> {
    let path = record_path::<R>(root, record.id());
    let temporary = path.with_extension("tmp");
    let json = serde_json::to_vec(record).map_err(|source| Error::Damaged {
        path: path.clone(),
        source,
    })?;
    let written =
        File::create(&temporary).and_then(|mut file| file.write_all(&json).and_then(|()| sync(&file)));
    written.map_err(Error::io("write", &temporary))?;
    fs::rename(&temporary, &path).map_err(Error::io("rename", &temporary))
}

/// Removes a record; a missing one is fine.
pub fn remove<R: Record>(root: &Path, id: &str) -> Result<()> {
    remove_unsynced::<R>(root, id)?;
    sync_folder(&root.join(R::FOLDER))
}

/// As [`remove`], for [`put_unsynced`].
pub fn remove_unsynced<R: Record>(root: &Path, id: &str) -> Result<()> {
    remove_file(&record_path::<R>(root, id))
}

/// Removes a file; a missing one is fine.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(Error::io("sync", folder))
}

fn record_path<R: Record>(root: &Path, id: &str) -> PathBuf {
    root.join(R::FOLDER).join(format!("{id}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_stays_readable_in_the_id() {
        assert_eq!(id_for::<VolumeRecord>("pvc-1b2c"), "vol-pvc-1b2c");
        assert_eq!(id_for::<SnapshotRecord>("snapshot-9"), "snap-snapshot-9");
    }

    #[test]
    fn a_name_that_could_leave_the_folder_becomes_a_safe_id_that_can_be_found_again() {
        for name in ["../../etc/passwd", "a/b", "", "ünï", &"n".repeat(128)] {
            let id = id_for::<VolumeRecord>(name);
            assert!(is_file_name(&id), "{id}");
            assert_eq!(id, id_for::<VolumeRecord>(name));
        }
        assert_ne!(
            id_for::<VolumeRecord>(&"n".repeat(127)),
            id_for::<VolumeRecord>(&"n".repeat(128))
        );
    }

    #[test]
    fn an_id_that_points_elsewhere_is_not_found_and_reads_nothing() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("vol-secret.json"), "{}").unwrap();
        assert!(
            find::<VolumeRecord>(root.path(), "../vol-secret")
                .unwrap()
                .is_none()
        );
        assert!(
            find::<VolumeRecord>(root.path(), "vol-../../vol-secret")
                .unwrap()
                .is_none()
        );
    }
}
