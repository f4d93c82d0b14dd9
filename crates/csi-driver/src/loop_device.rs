//! Loop devices over images, by `losetup`. The kernel's own list is the only state: what is attached to an
//! image is asked for, never remembered, so a restarted driver knows all that an earlier one did.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, makedev, mknodat};

use crate::command::run;
use crate::error::{Error, Result};

/// A loop device that is attached to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopDevice {
    /// `/dev/loop7`.
    pub path: PathBuf,
    /// Whether writes to it are refused.
    pub read_only: bool,
}

impl LoopDevice {
    /// Major and minor number.
    pub fn number(&self) -> Result<(u32, u32)> {
        device_number(&self.path)
    }
}

/// Major and minor number of the device that a path leads to.
pub fn device_number(path: &Path) -> Result<(u32, u32)> {
    let number = std::fs::metadata(path)
        .map_err(Error::io("look at", path))?
        .rdev();
    Ok((rustix::fs::major(number), rustix::fs::minor(number)))
}

/// The loop devices of an image.
pub fn attached(image: &Path) -> Result<Vec<LoopDevice>> {
    let list = ["--noheadings", "--raw", "--output", "NAME,RO", "--associated"].map(AsRef::as_ref);
    Ok(parse(&run(
        "losetup",
        list.into_iter().chain([image.as_os_str()]),
    )?))
}

fn parse(listing: &str) -> Vec<LoopDevice> {
    let device = |line: &str| {
        let (name, read_only) = line.trim().split_once(' ')?;
        Some(LoopDevice {
            path: PathBuf::from(name),
            read_only: read_only.trim() == "1",
        })
    };
    listing.lines().filter_map(device).collect()
}

/// Attaches a free loop device to the image.
pub fn attach(image: &Path, read_only: bool) -> Result<LoopDevice> {
    let mode: &[&str] = if read_only { &["--read-only"] } else { &[] };
    let arguments = || {
        ["--find", "--show"]
            .iter()
            .chain(mode)
            .map(AsRef::as_ref)
            .chain([image.as_os_str()])
    };
    let shown = run("losetup", arguments()).or_else(|_| {
        // In a container the kernel may know a device whose node is missing in /dev.
        make_missing_nodes()?;
        run("losetup", arguments())
    })?;
    Ok(LoopDevice {
        path: PathBuf::from(shown.trim()),
        read_only,
    })
}

/// Detaches a device; one in use goes when its last user does.
pub fn detach(device: &Path) -> Result<()> {
    run("losetup", ["--detach".as_ref(), device.as_os_str()]).map(drop)
}

/// Tells the device that its image has grown.
pub fn refresh_size(device: &Path) -> Result<()> {
    run("losetup", ["--set-capacity".as_ref(), device.as_os_str()]).map(drop)
}

fn make_missing_nodes() -> Result<()> {
    let system = Path::new("/sys/block");
    for entry in std::fs::read_dir(system)
        .map_err(Error::io("list", system))?
        .flatten()
    {
        let name = entry.file_name();
        let node = Path::new("/dev").join(&name);
        if !name.to_string_lossy().starts_with("loop") || node.exists() {
            continue;
        }
        let number = std::fs::read_to_string(entry.path().join("dev")).unwrap_or_default();
        if let Some((Ok(major), Ok(minor))) =
            number.trim().split_once(':').map(|(a, b)| (a.parse(), b.parse()))
        {
            let made = mknodat(
                rustix::fs::CWD,
                &node,
                FileType::BlockDevice,
                Mode::from_raw_mode(0o660),
                makedev(major, minor),
            );
            made.map_err(|e| Error::io("make the device node", &node)(e.into()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listing_of_losetup_is_understood() {
        let devices = parse("/dev/loop0 0\n/dev/loop12 1\n");
        assert_eq!(
            devices,
            [(0, false), (12, true)].map(|(n, read_only)| LoopDevice {
                path: format!("/dev/loop{n}").into(),
                read_only
            })
        );
        assert!(parse("").is_empty());
    }
}
