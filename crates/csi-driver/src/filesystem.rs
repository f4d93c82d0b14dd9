//! The filesystem inside an image: recognised by its superblock, made, and grown to the image's size.
//! Offsets: ext4 from Documentation/filesystems/ext4/super.rst, XFS from its on-disk structure document (xfs_sb).

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

use rustix::fs::SeekFrom;
use serde::{Deserialize, Serialize};

use crate::command::run;
use crate::error::{Error, Result};

/// The filesystems that a volume can be made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// The default.
    Ext4,
    /// At least 300 MiB, which is what mkfs.xfs accepts.
    Xfs,
}

impl Filesystem {
    /// As `mount -t` and `mkfs.` want it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// The smallest image that it fits in, in bytes.
    pub fn smallest(self) -> u64 {
        match self {
            Self::Ext4 => 4 << 20,
            Self::Xfs => 300 << 20,
        }
    }
}

impl FromStr for Filesystem {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "ext4" => Ok(Self::Ext4),
            "xfs" => Ok(Self::Xfs),
            other => Err(Error::Invalid(format!(
                "filesystem {other:?} is not supported: this driver makes ext4 and xfs"
            ))),
        }
    }
}

/// What an image holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing was ever written.
    Blank,
    /// A filesystem of this kind that reaches this far, in bytes.
    Formatted(Filesystem, u64),
    /// Data that is no filesystem known here: a block volume's.
    Other,
}

/// Looks at an image that is not mounted.
pub fn probe(image: &Path) -> Result<Found> {
    let file = File::open(image).map_err(Error::io("open", image))?;
    let mut head = [0_u8; 4096];
    let length = file.read_at(&mut head, 0).map_err(Error::io("read", image))?;
    if let Some(found) = recognise(&head[..length]) {
        return Ok(found);
    }
    match rustix::fs::seek(&file, SeekFrom::Data(0)) {
        Err(rustix::io::Errno::NXIO) => Ok(Found::Blank),
        Ok(_) => Ok(Found::Other),
        Err(cause) => Err(Error::io("look for data in", image)(cause.into())),
    }
}

/// Reads the superblock out of an image's first 4 KiB.
fn recognise(head: &[u8]) -> Option<Found> {
    let le32 = |at: usize| {
        head.get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map(u32::from_le_bytes)
            .map(u64::from)
    };
    let be = |at: usize, n: usize| {
        head.get(at..at + n)
            .map(|b| b.iter().fold(0_u64, |v, byte| v << 8 | u64::from(*byte)))
    };
    if head.starts_with(b"XFSB") {
        return Some(Found::Formatted(Filesystem::Xfs, be(4, 4)? * be(8, 8)?));
    }
    if head.get(0x438..0x43a)? == [0x53, 0xef] {
        let is_64bit = le32(0x460)? & 0x80 != 0;
        let blocks = le32(0x404)? | if is_64bit { le32(0x550)? << 32 } else { 0 };
        return Some(Found::Formatted(
            Filesystem::Ext4,
            blocks.checked_mul(1024 << (le32(0x418)? & 0xf))?,
        ));
    }
    None
}

/// What staging has to do before it mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preparation {
    /// Make this filesystem.
    Format(Filesystem),
    /// Mount what is there.
    Mount(Filesystem),
    /// Let it fill the image, which is larger (an expanded volume, or a larger copy of a snapshot), and mount it.
    Grow(Filesystem),
}

/// Decides what staging does with an image of `image_bytes`. A filesystem of another kind than asked for is
/// refused, and so is data without one: formatting would destroy it.
pub fn prepare(
    id: &str,
    found: Found,
    image_bytes: u64,
    asked: Option<Filesystem>,
    default: Filesystem,
) -> Result<Preparation> {
    match found {
        Found::Blank => Ok(Preparation::Format(asked.unwrap_or(default))),
        Found::Other => Err(Error::FailedPrecondition(format!(
            "volume {id} holds data but neither ext4 nor xfs; it was written as a block volume: ask for it with volumeMode Block"
        ))),
        Found::Formatted(is, _) if asked.is_some_and(|a| a != is) => Err(Error::FailedPrecondition(format!(
            "volume {id} holds {} and cannot be mounted as {}; use a StorageClass with csi.storage.k8s.io/fstype: {}",
            is.name(),
            asked.unwrap_or(is).name(),
            is.name()
        ))),
        // Less than a mebibyte is what rounding to allocation groups leaves over.
        Found::Formatted(is, bytes) if bytes + (1 << 20) <= image_bytes => Ok(Preparation::Grow(is)),
        Found::Formatted(is, _) => Ok(Preparation::Mount(is)),
    }
}

/// Makes a filesystem in a blank image. The image is replaced in one step, so that a crash leaves it blank or done.
pub fn format(image: &Path, bytes: u64, filesystem: Filesystem) -> Result<()> {
    let temporary = image.with_extension("tmp");
    let fresh = File::create(&temporary).and_then(|f| f.set_len(bytes));
    fresh.map_err(Error::io("create", &temporary))?;
    let path = temporary.as_os_str();
    match filesystem {
        Filesystem::Ext4 => run(
            "mkfs.ext4",
            ["-q".as_ref(), "-F".as_ref(), "-m".as_ref(), "0".as_ref(), path],
        )?,
        Filesystem::Xfs => run("mkfs.xfs", ["-q".as_ref(), "-f".as_ref(), path])?,
    };
    fs::rename(&temporary, image).map_err(Error::io("rename", &temporary))
}

/// Lets the ext4 in an image that is not mounted fill it. Staging does it this way because growing a mounted ext4 needs
/// CAP_SYS_RESOURCE, which root in a container or on our CI machines may lack.
pub fn grow_unmounted_ext4(image: &Path) -> Result<()> {
    // resize2fs wants a checked filesystem; 1 from e2fsck means "repaired", such as a replayed journal.
    match run("e2fsck", ["-f".as_ref(), "-p".as_ref(), image.as_os_str()]) {
        Err(Error::Command { status, .. }) if status == "exit status: 1" => {}
        checked => drop(checked?),
    }
    run("resize2fs", [image]).map(drop)
}

/// Lets a mounted filesystem fill its device.
pub fn grow_mounted(filesystem: Filesystem, device: &Path, mount_point: &Path) -> Result<()> {
    match filesystem {
        Filesystem::Ext4 => run("resize2fs", [device])?,
        Filesystem::Xfs => run("xfs_growfs", ["-d".as_ref(), mount_point.as_os_str()])?,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(bytes: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(bytes).unwrap();
        file
    }

    /// A machine need not have the makers of filesystems, which are no part of building: without one the caller says so
    /// and goes on. CI installs both.
    fn can_make(filesystem: Filesystem) -> bool {
        let maker = format!("mkfs.{}", filesystem.name());
        let found = run(&maker, ["-V"]).is_ok();
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(found || !ci, "CI must have {maker}");
        if !found {
            eprintln!("what needs {maker} is skipped: it is not installed");
        }
        found
    }

    #[test]
    fn a_made_filesystem_is_recognised_with_its_size() {
        for (filesystem, bytes) in [(Filesystem::Ext4, 64 << 20), (Filesystem::Xfs, 320 << 20)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.img");
            File::create(&path).unwrap().set_len(bytes).unwrap();
            assert_eq!(probe(&path).unwrap(), Found::Blank);
            if !can_make(filesystem) {
                continue;
            }
            format(&path, bytes, filesystem).unwrap();
            assert_eq!(probe(&path).unwrap(), Found::Formatted(filesystem, bytes));
        }
    }

    #[test]
    fn an_ext4_in_a_larger_image_is_grown_without_a_mount() {
        if !can_make(Filesystem::Ext4) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.img");
        format(&path, 32 << 20, Filesystem::Ext4).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(80 << 20)
            .unwrap();
        grow_unmounted_ext4(&path).unwrap();
        assert_eq!(
            probe(&path).unwrap(),
            Found::Formatted(Filesystem::Ext4, 80 << 20)
        );
    }

    #[test]
    fn data_without_a_filesystem_is_never_formatted() {
        let file = image(1 << 20);
        file.as_file().write_at(b"raw", 900_000).unwrap();
        let found = probe(file.path()).unwrap();
        assert_eq!(found, Found::Other);
        assert!(
            prepare("vol-1", found, 1 << 20, None, Filesystem::Ext4)
                .unwrap_err()
                .to_string()
                .contains("vol-1")
        );
    }

    #[test]
    fn staging_formats_grows_mounts_or_refuses() {
        use Filesystem::{Ext4, Xfs};
        let decide = |found, asked| prepare("vol-1", found, 100 << 20, asked, Ext4);
        assert_eq!(decide(Found::Blank, None).unwrap(), Preparation::Format(Ext4));
        assert_eq!(decide(Found::Blank, Some(Xfs)).unwrap(), Preparation::Format(Xfs));
        assert_eq!(
            decide(Found::Formatted(Xfs, 100 << 20), None).unwrap(),
            Preparation::Mount(Xfs)
        );
        assert_eq!(
            decide(Found::Formatted(Ext4, 50 << 20), Some(Ext4)).unwrap(),
            Preparation::Grow(Ext4)
        );
        assert!(decide(Found::Formatted(Ext4, 100 << 20), Some(Xfs)).is_err());
    }
}
