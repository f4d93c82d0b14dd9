//! What happens on the node: an image becomes a mounted filesystem or a device at a path of the kubelet's.
//!
//! ```text
//! Filesystem   stage: loop device -> mount at the staging path     publish: bind mount of that
//! Block        stage: loop device                                  publish: bind mount of its node
//! Block, read-only                                                 publish: a read-only loop device of its own
//! ```
//! A bind mount cannot make a device node read-only, therefore the last line. A mounted filesystem's loop device is
//! detached at once: the kernel keeps it until the unmount, so nothing leaks when the driver dies.

use std::fs::{self, File};
use std::path::Path;

use crate::error::{Error, Result};
use crate::filesystem::{self, Filesystem, Preparation};
use crate::loop_device::{self, LoopDevice};
use crate::mounts::{self, Mount};
use crate::records::VolumeRecord;
use crate::request::Access;
use crate::store::Store;
use crate::volume::{attached, filesystem_of, mounts_of};

/// Makes a volume usable on this node; repeated, it finds its work done.
pub fn stage(store: &Store, volume: &VolumeRecord, staging: &Path, access: &Access) -> Result<()> {
    let image = store.image::<VolumeRecord>(&volume.id);
    let devices = attached(&image)?;
    if access.block {
        if !access.read_only && !devices.iter().any(|d| !d.read_only) {
            loop_device::attach(&image, false)?;
        }
        return Ok(());
    }
    create_folder(staging)?;
    if let Some(mount) = mounts::at(staging)? {
        return match shows(&mount, &devices)? {
            true => Ok(()),
            false => Err(Error::AlreadyExists(format!(
                "something other than volume {} is mounted at {}",
                volume.id,
                staging.display()
            ))),
        };
    }
    if let Some(elsewhere) = filesystem_of(&devices)? {
        let place = elsewhere.mount_point.display();
        return Err(Error::FailedPrecondition(format!(
            "volume {} is staged at {place} already",
            volume.id
        )));
    }
    // Left by a driver that died between attaching and mounting.
    for device in &devices {
        loop_device::detach(&device.path)?;
    }
    mount_image(store, volume, &image, staging, access)
}

fn mount_image(
    store: &Store,
    volume: &VolumeRecord,
    image: &Path,
    staging: &Path,
    access: &Access,
) -> Result<()> {
    let found = filesystem::probe(image)?;
    let preparation = filesystem::prepare(
        &volume.id,
        found,
        volume.capacity_bytes,
        access.filesystem,
        volume.filesystem,
    )?;
    match preparation {
        Preparation::Format(is) => filesystem::format(image, volume.capacity_bytes, is)?,
        // On a copy, which then takes the image's place: interrupted, the image is as it was.
        Preparation::Grow(Filesystem::Ext4) => {
            let temporary = image.with_extension("tmp");
            store.copy_image(image, &temporary)?;
            filesystem::grow_unmounted_ext4(&temporary)?;
            fs::rename(&temporary, image).map_err(Error::io("rename", &temporary))?;
        }
        Preparation::Grow(Filesystem::Xfs) | Preparation::Mount(_) => {}
    }
    let (Preparation::Format(is) | Preparation::Mount(is) | Preparation::Grow(is)) = preparation;
    // Writable also for readers: a journal may have to be replayed.
    let device = loop_device::attach(image, false)?;
    let mounted = mounts::mount_filesystem(&device.path, staging, is, &access.mount_flags, access.read_only);
    loop_device::detach(&device.path)?;
    mounted?;
    if preparation == Preparation::Grow(Filesystem::Xfs) && !access.read_only {
        // XFS grows only mounted. A stage that failed must not look done when it is repeated.
        filesystem::grow_mounted(is, &device.path, staging)
            .or_else(|cause| mounts::unmount(staging).and(Err(cause)))?;
    }
    Ok(())
}

/// Takes a volume off this node, except where it is still published.
pub fn unstage(store: &Store, id: &str, staging: &Path) -> Result<()> {
    mounts::unmount(staging)?;
    let image = store.image::<VolumeRecord>(id);
    if mounts_of(&image)?.is_empty() {
        for device in attached(&image)? {
            loop_device::detach(&device.path)?;
        }
    }
    Ok(())
}

/// Shows a staged volume at a pod's path.
pub fn publish(
    store: &Store,
    volume: &VolumeRecord,
    staging: &Path,
    target: &Path,
    access: &Access,
    read_only: bool,
) -> Result<()> {
    let image = store.image::<VolumeRecord>(&volume.id);
    let devices = attached(&image)?;
    let read_only = read_only || access.read_only;
    if let Some(mount) = mounts::at(target)? {
        return repeated(volume, &mount, &devices, read_only);
    }
    let others: Vec<Mount> = mounts_of(&image)?
        .into_iter()
        .filter(|m| !is_at(m, staging))
        .collect();
    if let (true, Some(other)) = (access.single_writer, others.first()) {
        return Err(Error::FailedPrecondition(format!(
            "volume {} is for one writer (ReadWriteOncePod) and published at {} already",
            volume.id,
            other.mount_point.display()
        )));
    }
    let unstaged = || {
        Error::FailedPrecondition(format!(
            "volume {} is not staged at {}",
            volume.id,
            staging.display()
        ))
    };
    if access.block {
        let staged = devices.into_iter().find(|d| !d.read_only);
        return publish_block(&image, staged, target, read_only, unstaged);
    }
    mounts::at(staging)?
        .filter(|mount| shows(mount, &devices).unwrap_or(false))
        .ok_or_else(unstaged)?;
    create_folder(target)?;
    mounts::bind(staging, target, read_only)
}

fn publish_block(
    image: &Path,
    staged: Option<LoopDevice>,
    target: &Path,
    read_only: bool,
    unstaged: impl FnOnce() -> Error,
) -> Result<()> {
    if let Some(folder) = target.parent() {
        create_folder(folder)?;
    }
    File::options()
        .create(true)
        .append(true)
        .open(target)
        .map_err(Error::io("create", target))?;
    if !read_only {
        return mounts::bind(&staged.ok_or_else(unstaged)?.path, target, false);
    }
    let own = loop_device::attach(image, true)?;
    mounts::bind(&own.path, target, true).inspect_err(|_| {
        if let Err(cause) = loop_device::detach(&own.path) {
            tracing::warn!(device = %own.path.display(), %cause, "A read-only device stays attached");
        }
    })
}

fn repeated(volume: &VolumeRecord, mount: &Mount, devices: &[LoopDevice], read_only: bool) -> Result<()> {
    let place = mount.mount_point.display();
    if !shows(mount, devices)? {
        return Err(Error::AlreadyExists(format!(
            "something other than volume {} is mounted at {place}",
            volume.id
        )));
    }
    if mount.read_only != read_only {
        return Err(Error::AlreadyExists(format!(
            "volume {} is published at {place} with another read-only setting",
            volume.id
        )));
    }
    Ok(())
}

/// Takes a volume off a pod's path, and removes the path (CSI: the plugin must).
pub fn unpublish(store: &Store, id: &str, target: &Path) -> Result<()> {
    let own = mounts::at(target)?.map(|mount| mount.root);
    mounts::unmount(target)?;
    let shown = |d: &LoopDevice| {
        own.as_deref()
            == d.path
                .file_name()
                .map(|name| format!("/{}", name.to_string_lossy()))
                .as_deref()
    };
    for device in attached_if_present(&store.image::<VolumeRecord>(id))?
        .iter()
        .filter(|d| d.read_only && shown(d))
    {
        loop_device::detach(&device.path)?;
    }
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() => fs::remove_dir(target).map_err(Error::io("remove", target)),
        Ok(_) => fs::remove_file(target).map_err(Error::io("remove", target)),
        Err(_) => Ok(()),
    }
}

/// Lets the device and the filesystem of a volume in use follow its image. Unused, staging does it.
pub fn grow(store: &Store, volume: &VolumeRecord) -> Result<()> {
    let devices = attached(&store.image::<VolumeRecord>(&volume.id))?;
    for device in &devices {
        loop_device::refresh_size(&device.path)?;
    }
    let (Some(mount), Some(device)) = (filesystem_of(&devices)?, devices.first()) else {
        return Ok(());
    };
    match filesystem::probe(&device.path)? {
        filesystem::Found::Formatted(is, _) => filesystem::grow_mounted(is, &device.path, &mount.mount_point),
        _ => Ok(()),
    }
}

/// Whether a mount shows what these devices hold.
fn shows(mount: &Mount, devices: &[LoopDevice]) -> Result<bool> {
    for device in devices {
        let name = device
            .path
            .file_name()
            .map(|name| format!("/{}", name.to_string_lossy()));
        if mount.device == device.number()? || Some(&mount.root) == name.as_ref() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_at(mount: &Mount, path: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|path| path == mount.mount_point)
}

fn attached_if_present(image: &Path) -> Result<Vec<LoopDevice>> {
    if image.exists() {
        attached(image)
    } else {
        Ok(Vec::new())
    }
}

fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io("create", path))
}
