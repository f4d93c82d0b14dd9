//! Owner, mode, extended attributes and times of what was restored, in the order in which the kernel keeps them: a change of
//! owner clears setuid and capabilities, a change of mode cuts an ACL, and neither touches the times.

use std::os::fd::{AsFd, AsRawFd};

use caravel_repository::DirectoryEntry;
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::error::{Result, UploaderError};
use crate::request::RestoreRules;

/// Sets all attributes of an open file or directory.
pub(crate) fn set(rules: &RestoreRules, file: impl AsFd, entry: &DirectoryEntry, path: &str) -> Result<()> {
    let file = file.as_fd();
    if !rules.skip_owners {
        let (uid, gid) = owner(entry);
        let done = rustix::fs::fchown(file, uid, gid);
        overlook(rules, done, path, "set the owner of")?;
    }
    if !rules.skip_permissions {
        let mode = Mode::from_raw_mode(entry.mode.to_unix());
        overlook(rules, rustix::fs::fchmod(file, mode), path, "set the mode of")?;
        for (name, value) in entry.extended_attributes() {
            let done = rustix::fs::fsetxattr(file, name.as_str(), &value, XattrFlags::empty());
            overlook(rules, done, path, "set an extended attribute of")?;
        }
    }
    if rules.skip_times {
        return Ok(());
    }
    let done = rustix::fs::futimens(file, &times(entry));
    overlook(rules, done, path, "set the times of")
}

/// Sets what a symbolic link has: an owner, extended attributes and times, no mode.
pub(crate) fn set_link(
    rules: &RestoreRules,
    directory: impl AsFd,
    name: &[u8],
    entry: &DirectoryEntry,
    path: &str,
) -> Result<()> {
    let directory = directory.as_fd();
    if !rules.skip_owners {
        let (uid, gid) = owner(entry);
        let done = rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        overlook(rules, done, path, "set the owner of")?;
    }
    if !rules.skip_permissions {
        // There is no call for a name in an open directory; this path is one to the kernel.
        let mut here = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
        here.extend_from_slice(name);
        for (attribute, value) in entry.extended_attributes() {
            let flags = XattrFlags::empty();
            let done = rustix::fs::lsetxattr(here.as_slice(), attribute.as_str(), &value, flags);
            overlook(rules, done, path, "set an extended attribute of")?;
        }
    }
    if rules.skip_times {
        return Ok(());
    }
    let done = rustix::fs::utimensat(directory, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW);
    overlook(rules, done, path, "set the times of")
}

fn owner(entry: &DirectoryEntry) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
}

/// A refusal is overlooked where that is allowed; nothing else is.
fn overlook(
    rules: &RestoreRules,
    done: std::result::Result<(), Errno>,
    path: &str,
    what: &'static str,
) -> Result<()> {
    match done {
        Err(Errno::PERM | Errno::ACCESS) if rules.ignore_permission_errors => Ok(()),
        done => done.map_err(|error| UploaderError::entry(path, what, error)),
    }
}

/// Access and modification as the kernel wants them.
pub(crate) fn times(entry: &DirectoryEntry) -> Timestamps {
    // jiff keeps sign and magnitude together; the kernel wants nanoseconds that are never negative.
    let nanoseconds = entry.mtime.as_nanosecond();
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    let time = Timespec {
        tv_sec: i64::try_from(seconds).unwrap_or(0),
        tv_nsec: i64::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
