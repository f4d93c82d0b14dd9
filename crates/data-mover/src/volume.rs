//! Guarantee 1: a data mover refuses to start unless its path is a mount point or a block device of non-zero size.
//!
//! A volume that was never mounted is an empty folder; a backup of it would complete with "volume was empty", and a
//! restore into it would fill the node's own disk. In a pod the kubelet binds the CSI driver's publish path into the
//! container even when the driver has mounted nothing there, so being a mount point is not enough: the mount must not
//! be the publish path's own folder on the node (its root inside its file system then ends with
//! `volumes/kubernetes.io~csi/<volume>/mount`). Source of the format: `proc_pid_mountinfo(5)`.

use std::fmt::Debug;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use caravel_uploader::VolumeMode;

/// The path is not a volume.
#[derive(Debug, thiserror::Error)]
pub enum NotAVolume {
    #[error("{path} does not exist in the data mover pod: {source}")]
    Missing {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{path} is not a mount point: the volume is not mounted, so nothing is read from or written to it"
    )]
    NotMounted { path: String },
    #[error(
        "{path} is only the folder {root} of the node: the CSI driver has published the volume without mounting it; \
         see the driver's log"
    )]
    NotPublished { path: String, root: String },
    #[error("{path} is not a block device")]
    NotADevice { path: String },
    #[error("the block device {path} has no size: the volume is not attached")]
    NoSize { path: String },
}

/// The seam of the node's volumes: who knows whether a path is a volume.
pub trait Volumes: Debug + Send + Sync {
    /// Checks the volume that the pod was given.
    ///
    /// # Errors
    /// [`NotAVolume`], naming the path and what it is instead.
    fn check(&self, path: &Path, mode: VolumeMode) -> Result<(), NotAVolume>;

    /// Whether what a restore writes must be on the disk before it is Completed. So it is on every node: a machine that
    /// dies a moment later must not have lost it. Only a make-believe node may say no.
    fn outlive_the_machine(&self) -> bool {
        true
    }
}

/// A node whose volumes are mounts and devices, as every real one's are.
#[derive(Clone, Copy, Debug)]
pub struct NodeVolumes;

impl Volumes for NodeVolumes {
    fn check(&self, path: &Path, mode: VolumeMode) -> Result<(), NotAVolume> {
        check(path, mode)
    }
}

/// Checks the volume that the pod was given, by what the kernel says.
///
/// # Errors
/// [`NotAVolume`], naming the path and what it is instead.
fn check(path: &Path, mode: VolumeMode) -> Result<(), NotAVolume> {
    let name = path.display().to_string();
    let metadata = std::fs::metadata(path).map_err(|source| NotAVolume::Missing {
        path: name.clone(),
        source,
    })?;
    match mode {
        VolumeMode::Block => {
            if !metadata.file_type().is_block_device() {
                return Err(NotAVolume::NotADevice { path: name });
            }
            if device_bytes(path) == 0 {
                return Err(NotAVolume::NoSize { path: name });
            }
            Ok(())
        }
        VolumeMode::Filesystem => {
            let mounts =
                std::fs::read_to_string("/proc/self/mountinfo").map_err(|source| NotAVolume::Missing {
                    path: "/proc/self/mountinfo".into(),
                    source,
                })?;
            is_mounted(&mounts, &name)
        }
    }
}

/// Whether `mountinfo` has a proper mount at exactly this path. The last line about a path is what is visible there.
fn is_mounted(mountinfo: &str, path: &str) -> Result<(), NotAVolume> {
    let roots = mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        // mount id, parent id, major:minor, root, mount point.
        let (root, point) = (fields.nth(3)?, fields.next()?);
        (unescaped(point) == path).then(|| unescaped(root))
    });
    match roots.reduce(|_, newest| newest) {
        None => Err(NotAVolume::NotMounted {
            path: path.to_owned(),
        }),
        Some(root) if is_publish_folder(&root) => Err(NotAVolume::NotPublished {
            path: path.to_owned(),
            root,
        }),
        Some(_) => Ok(()),
    }
}

/// The kubelet's folder for a CSI volume, as seen from the root of the node's own file system.
fn is_publish_folder(root: &str) -> bool {
    root.contains("/volumes/kubernetes.io~csi/") && root.ends_with("/mount")
}

/// `mountinfo` writes blanks and a few others as three octal digits.
fn unescaped(field: &str) -> String {
    field
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// Size of a block device: the place of its end.
fn device_bytes(path: &Path) -> u64 {
    use std::io::{Seek, SeekFrom};
    std::fs::File::open(path)
        .and_then(|mut device| device.seek(SeekFrom::End(0)))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 1 0:20 / / rw - overlay overlay rw
35 22 7:3 / /dae7c699 rw,relatime - ext4 /dev/loop3 rw
36 22 8:1 /var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/pvc-1/mount /unmounted rw - ext4 /dev/sda1 rw
37 22 8:1 /csi-data/9b1e /hostpath rw - ext4 /dev/sda1 rw
";

    #[test]
    fn guarantee_1_a_mounted_volume_is_accepted() {
        assert!(is_mounted(MOUNTINFO, "/dae7c699").is_ok());
        // A driver whose volumes are folders of the node publishes them by a bind mount.
        assert!(is_mounted(MOUNTINFO, "/hostpath").is_ok());
        assert!(check(Path::new("/proc"), VolumeMode::Filesystem).is_ok());
    }

    #[test]
    fn guarantee_1_a_plain_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = check(folder.path(), VolumeMode::Filesystem).unwrap_err();
        assert!(matches!(error, NotAVolume::NotMounted { .. }), "{error}");
        assert!(error.to_string().contains(&folder.path().display().to_string()));
    }

    #[test]
    fn guarantee_1_a_volume_that_was_published_without_a_mount_is_refused() {
        let error = is_mounted(MOUNTINFO, "/unmounted").unwrap_err();
        assert!(matches!(error, NotAVolume::NotPublished { .. }), "{error}");
    }

    #[test]
    fn guarantee_1_a_path_that_does_not_exist_is_refused() {
        let error = check(Path::new("/no/such/volume"), VolumeMode::Filesystem).unwrap_err();
        assert!(matches!(error, NotAVolume::Missing { .. }), "{error}");
    }

    #[test]
    fn guarantee_1_a_file_is_no_block_device() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = check(file.path(), VolumeMode::Block).unwrap_err();
        assert!(matches!(error, NotAVolume::NotADevice { .. }), "{error}");
    }

    #[test]
    fn a_mount_point_with_a_blank_is_found() {
        let mountinfo = "35 22 7:3 / /a\\040b rw - ext4 /dev/loop3 rw\n";
        assert!(is_mounted(mountinfo, "/a b").is_ok());
    }
}
