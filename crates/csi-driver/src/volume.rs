//! What happens to images: volumes made, copied, grown and deleted, and snapshots taken. The gRPC face is
//! [`crate::controller`]; the part on the node, mounts, is [`crate::stage`].

use std::path::Path;
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::filesystem::Filesystem;
use crate::freeze::Frozen;
use crate::loop_device::{self, LoopDevice};
use crate::mounts::{self, Mount};
use crate::records::{self, SnapshotRecord, Source, VolumeRecord};
use crate::store::Store;

/// Makes the volume of a record: blank, or as a copy.
pub fn create(store: &Store, record: &VolumeRecord) -> Result<()> {
    reserve(store, record.capacity_bytes)?;
    let image = store.image::<VolumeRecord>(&record.id);
    match &record.source {
        None => store.create_image(&image, record.capacity_bytes)?,
        Some(Source::Snapshot(id)) => store.copy_image(&store.image::<SnapshotRecord>(id), &image)?,
        Some(Source::Volume(id)) => copy_live(store, id, &image).map(drop)?,
    }
    store.grow_image(&image, record.capacity_bytes)?;
    records::put(store.root(), record)
}

/// Deletes a volume; a missing one is fine, one in use is refused.
pub fn delete(store: &Store, id: &str) -> Result<()> {
    let Some(record) = records::find::<VolumeRecord>(store.root(), id)? else {
        return Ok(());
    };
    let image = store.image::<VolumeRecord>(&record.id);
    if let Some(mount) = mounts_of(&image)?.first() {
        let place = mount.mount_point.display();
        return Err(Error::FailedPrecondition(format!(
            "volume {id} is in use at {place}; unpublish and unstage it first"
        )));
    }
    for device in attached(&image)? {
        loop_device::detach(&device.path)?;
    }
    records::remove::<VolumeRecord>(store.root(), id)?;
    records::remove_file(&image)
}

/// Makes a volume larger; the node's part ([`crate::stage::grow`]) lets the filesystem follow.
pub fn expand(store: &Store, record: VolumeRecord, bytes: u64) -> Result<VolumeRecord> {
    if bytes <= record.capacity_bytes {
        return Ok(record);
    }
    reserve(store, bytes - record.capacity_bytes)?;
    store.grow_image(&store.image::<VolumeRecord>(&record.id), bytes)?;
    let grown = VolumeRecord {
        capacity_bytes: bytes,
        ..record
    };
    records::put(store.root(), &grown)?;
    Ok(grown)
}

/// Takes a snapshot, or finds the one that a repeated request took. It is a point in time: writers wait while the
/// image is copied, and everything they were told is written is in it.
pub fn snapshot(store: &Store, name: &str, volume: &str) -> Result<SnapshotRecord> {
    let id = records::id_for::<SnapshotRecord>(name);
    if let Some(taken) = records::find::<SnapshotRecord>(store.root(), &id)? {
        return taken.if_of(volume);
    }
    let source: VolumeRecord = records::get(store.root(), volume)?;
    let image = store.image::<SnapshotRecord>(&id);
    let created = copy_live(store, volume, &image)?;
    store.grow_image(&image, 0)?;
    let record = SnapshotRecord {
        id,
        name: name.to_owned(),
        source_volume_id: source.id,
        size_bytes: source.capacity_bytes,
        created,
    };
    records::put(store.root(), &record)?;
    Ok(record)
}

/// Deletes a snapshot; a missing one is fine. Volumes made from it share its blocks but not its fate.
pub fn delete_snapshot(store: &Store, id: &str) -> Result<()> {
    if records::find::<SnapshotRecord>(store.root(), id)?.is_some() {
        records::remove::<SnapshotRecord>(store.root(), id)?;
        records::remove_file(&store.image::<SnapshotRecord>(id))?;
    }
    Ok(())
}

/// Copies the image of a volume that may be in use. The time given is when no writer ran.
fn copy_live(store: &Store, volume: &str, to: &Path) -> Result<SystemTime> {
    let image = store.image::<VolumeRecord>(volume);
    let devices = attached(&image)?;
    let frozen = filesystem_of(&devices)?
        .map(|mount| Frozen::new(&mount.mount_point))
        .transpose()?;
    if frozen.is_none() {
        // A block volume: what its writers wrote may still be in the device's own cache.
        for device in devices.iter().filter(|d| !d.read_only) {
            let synced = std::fs::File::open(&device.path).and_then(|f| f.sync_all());
            synced.map_err(Error::io("sync", &device.path))?;
        }
    }
    let created = SystemTime::now();
    let copied = store.copy_image(&image, to);
    drop(frozen);
    copied?;
    Ok(created)
}

/// Refuses what the store has no room for now: an image filled later than this must not meet a full store.
fn reserve(store: &Store, bytes: u64) -> Result<()> {
    let room = store.room()?;
    if bytes > room.total {
        return Err(Error::OutOfRange(format!(
            "{bytes} bytes are asked for; the whole store has {}",
            room.total
        )));
    }
    if bytes > room.available {
        return Err(Error::NoSpace(format!(
            "{bytes} bytes are asked for; the store has {} left: delete volumes or snapshots",
            room.available
        )));
    }
    Ok(())
}

/// The loop devices of an image, none if nobody may have attached any (the unit tests' ordinary user).
pub(crate) fn attached(image: &Path) -> Result<Vec<LoopDevice>> {
    loop_device::attached(image)
}

/// Where the filesystem on one of these devices is mounted, if anywhere.
pub(crate) fn filesystem_of(devices: &[LoopDevice]) -> Result<Option<Mount>> {
    let numbers = devices
        .iter()
        .map(LoopDevice::number)
        .collect::<Result<Vec<_>>>()?;
    Ok(mounts::table()?
        .into_iter()
        .find(|mount| numbers.contains(&mount.device)))
}

/// Every mount that shows an image: its filesystem, and bind mounts of its device node.
pub(crate) fn mounts_of(image: &Path) -> Result<Vec<Mount>> {
    let devices = attached(image)?;
    let numbers = devices
        .iter()
        .map(LoopDevice::number)
        .collect::<Result<Vec<_>>>()?;
    let shows = |mount: &Mount| {
        let node = || {
            devices.iter().any(|d| {
                d.path
                    .file_name()
                    .is_some_and(|name| mount.root == format!("/{}", name.to_string_lossy()))
            })
        };
        numbers.contains(&mount.device) || node()
    };
    Ok(mounts::table()?.into_iter().filter(shows).collect())
}

/// A record for a new volume.
pub fn record(
    name: &str,
    capacity_bytes: u64,
    block: bool,
    filesystem: Filesystem,
    source: Option<Source>,
) -> VolumeRecord {
    VolumeRecord {
        id: records::id_for::<VolumeRecord>(name),
        name: name.to_owned(),
        capacity_bytes,
        block,
        filesystem,
        source,
        linked: false,
    }
}

/// The size of what a source names, which must exist; `root` is the folder of the records.
pub fn source_bytes(root: &Path, source: &Source) -> Result<u64> {
    match source {
        Source::Snapshot(id) => records::get::<SnapshotRecord>(root, id).map(|s| s.size_bytes),
        Source::Volume(id) => records::get::<VolumeRecord>(root, id).map(|v| v.capacity_bytes),
    }
}

/// Thaws what a killed driver left frozen.
pub fn thaw_all(store: &Store) -> Result<()> {
    for volume in records::list::<VolumeRecord>(store.root())? {
        let devices = attached(&store.image::<VolumeRecord>(&volume.id))?;
        if let Some(mount) = filesystem_of(&devices)?
            && crate::freeze::thaw_leftover(&mount.mount_point)?
        {
            tracing::warn!(
                volume = volume.id,
                "Thawed a filesystem that an earlier driver left frozen"
            );
        }
    }
    Ok(())
}

/// Takes everything of this store off the machine: mounts and loop devices of every volume. Data stays. A volume that
/// cannot be taken does not keep the others; the last such error is returned.
pub fn release_all(store: &Store) -> Result<()> {
    let mut released = Ok(());
    for volume in records::list::<VolumeRecord>(store.root())? {
        if let Err(cause) = release(&store.image::<VolumeRecord>(&volume.id)) {
            released = Err(cause);
        }
    }
    released
}

fn release(image: &Path) -> Result<()> {
    for mount in mounts_of(image)?.into_iter().rev() {
        mounts::unmount(&mount.mount_point)?;
    }
    for device in attached(image)? {
        // The kubelet lays a loop device of its own over a block volume's, and may have died without taking it away.
        for above in attached(&device.path)? {
            loop_device::detach(&above.path)?;
        }
        loop_device::detach(&device.path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::folder(folder.path().to_owned()).unwrap();
        (folder, store)
    }

    fn filled(store: &Store, name: &str, content: &[u8]) -> VolumeRecord {
        let volume = record(name, 1 << 20, true, Filesystem::Ext4, None);
        create(store, &volume).unwrap();
        let image = std::fs::File::options()
            .write(true)
            .open(store.image::<VolumeRecord>(&volume.id))
            .unwrap();
        std::os::unix::fs::FileExt::write_all_at(&image, content, 5000).unwrap();
        volume
    }

    #[test]
    fn a_volume_from_a_snapshot_holds_what_was_there_then_and_outlives_it() {
        let (_folder, store) = store();
        let volume = filled(&store, "a", b"before");
        let taken = snapshot(&store, "s", &volume.id).unwrap();
        filled(&store, "a", b"after!");
        let copy = record(
            "b",
            2 << 20,
            true,
            Filesystem::Ext4,
            Some(Source::Snapshot(taken.id.clone())),
        );
        create(&store, &copy).unwrap();
        delete_snapshot(&store, &taken.id).unwrap();
        delete(&store, &volume.id).unwrap();
        let image = std::fs::read(store.image::<VolumeRecord>(&copy.id)).unwrap();
        assert_eq!((&image[5000..5006], image.len()), (&b"before"[..], 2 << 20));
    }

    #[test]
    fn a_repeated_snapshot_request_finds_its_snapshot_and_one_of_another_volume_is_refused() {
        let (_folder, store) = store();
        let (a, b) = (filled(&store, "a", b"x"), filled(&store, "b", b"y"));
        let taken = snapshot(&store, "s", &a.id).unwrap();
        assert_eq!(snapshot(&store, "s", &a.id).unwrap(), taken);
        assert!(matches!(
            snapshot(&store, "s", &b.id),
            Err(Error::AlreadyExists(_))
        ));
        assert!(matches!(
            snapshot(&store, "t", "vol-none"),
            Err(Error::NotFound { .. })
        ));
    }

    #[test]
    fn deleting_is_idempotent_and_expanding_never_shrinks() {
        let (_folder, store) = store();
        let volume = filled(&store, "a", b"x");
        let grown = expand(&store, volume.clone(), 3 << 20).unwrap();
        assert_eq!(
            records::get::<VolumeRecord>(store.root(), &volume.id).unwrap(),
            grown
        );
        assert_eq!(expand(&store, grown.clone(), 1 << 20).unwrap(), grown);
        delete(&store, &volume.id).unwrap();
        delete(&store, &volume.id).unwrap();
        assert!(records::list::<VolumeRecord>(store.root()).unwrap().is_empty());
    }

    #[test]
    fn a_volume_larger_than_the_store_is_refused_with_both_sizes() {
        let (_folder, store) = store();
        let huge = record("huge", 1 << 60, true, Filesystem::Ext4, None);
        assert!(matches!(create(&store, &huge), Err(Error::OutOfRange(_))));
    }
}
