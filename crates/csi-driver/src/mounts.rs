//! The mount table of the driver's namespace (`/proc/self/mountinfo`, proc(5)) and the mounts the driver makes.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use crate::command::run;
use crate::error::{Error, Result};
use crate::filesystem::Filesystem;

/// A line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Major and minor number of the device that the filesystem is on.
    pub device: (u32, u32),
    /// What of the filesystem is shown: `/`, or the device node of a bind-mounted one, `/loop3`.
    pub root: String,
    /// Where.
    pub mount_point: PathBuf,
    /// Whether this mount (not the filesystem) refuses writes.
    pub read_only: bool,
}

/// The whole table, in mount order: of two mounts on one point the later one is seen.
pub fn table() -> Result<Vec<Mount>> {
    let path = Path::new("/proc/self/mountinfo");
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    Ok(text.lines().filter_map(parse).collect())
}

/// What is mounted on exactly this point.
pub fn at(mount_point: &Path) -> Result<Option<Mount>> {
    let wanted = std::fs::canonicalize(mount_point).unwrap_or_else(|_| mount_point.to_owned());
    Ok(table()?.into_iter().rfind(|m| m.mount_point == wanted))
}

fn parse(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ').skip(2);
    let (major, minor) = fields.next()?.split_once(':')?;
    let root = unescape(fields.next()?);
    let mount_point = PathBuf::from(unescape(fields.next()?));
    let read_only = fields.next()?.split(',').any(|option| option == "ro");
    Some(Mount {
        device: (major.parse().ok()?, minor.parse().ok()?),
        root,
        mount_point,
        read_only,
    })
}

/// Space, tab, newline and backslash stand in the table as `\040` and so on.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

/// Mounts a filesystem. `flags` are mount options as the user wrote them in the StorageClass.
pub fn mount_filesystem(
    device: &Path,
    target: &Path,
    filesystem: Filesystem,
    flags: &[String],
    read_only: bool,
) -> Result<()> {
    let mut options: Vec<&str> = flags.iter().map(String::as_str).collect();
    if filesystem == Filesystem::Xfs {
        // A clone has its source's UUID, and both may be mounted at once.
        options.push("nouuid");
    }
    options.push(if read_only { "ro" } else { "rw" });
    let options = options.join(",");
    let words = ["-t", filesystem.name(), "-o", &options].map(AsRef::as_ref);
    run(
        "mount",
        words.into_iter().chain([device.as_os_str(), target.as_os_str()]),
    )
    .map(drop)
}

/// Shows `source` (a folder or a device node) at `target` as well, which must exist.
pub fn bind(source: &Path, target: &Path, read_only: bool) -> Result<()> {
    rustix::mount::mount_bind(source, target).map_err(|e| Error::io("bind-mount", target)(e.into()))?;
    if read_only {
        let remounted = rustix::mount::mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, "");
        if let Err(cause) = remounted {
            unmount(target)?;
            return Err(Error::io("remount read-only", target)(cause.into()));
        }
    }
    Ok(())
}

/// Takes away all that is mounted on this point. A point with nothing on it is fine. EBUSY is an error:
/// a volume in use must not vanish from under its user.
pub fn unmount(target: &Path) -> Result<()> {
    while at(target)?.is_some() {
        rustix::mount::unmount(target, UnmountFlags::NOFOLLOW)
            .map_err(|e| Error::io("unmount", target)(e.into()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mount_table_is_understood() {
        let mount = parse(r"36 35 7:11 / /var/lib/a\040b ro,noatime shared:1 - ext4 /dev/loop11 rw").unwrap();
        assert_eq!(
            mount,
            Mount {
                device: (7, 11),
                root: "/".into(),
                mount_point: "/var/lib/a b".into(),
                read_only: true
            }
        );
        let node = parse("40 35 0:6 /loop3 /publish/x rw,relatime - devtmpfs udev rw").unwrap();
        assert_eq!((node.root.as_str(), node.read_only), ("/loop3", false));
    }
}
