//! What Kopia loses of a file and a request may ask to be kept: extended attributes (POSIX ACLs are two of them) and that
//! several names are one file. Both lie in the directory entry, in members that Kopia overlooks, so that nothing of them
//! can be collected by Kopia's maintenance.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};

use caravel_repository::EntryType;
use rustix::io::Errno;

use super::entry::Described;
use super::rules::Rules;
use crate::error::{Result, UploaderError};

/// What the kernel lets one value, and the list of names, be (XATTR_SIZE_MAX).
const MOST_BYTES: usize = 64 << 10;

/// Notes in `described` what is to be kept; nothing where nothing was asked for. `directory` holds the name.
pub(crate) fn note(rules: &Rules, directory: impl AsFd, described: &mut Described, path: &str) -> Result<()> {
    if rules.hard_links && described.kind == EntryType::File && described.stat.st_nlink > 1 {
        let id = format!("{:x}:{:x}", described.stat.st_dev, described.stat.st_ino);
        described.hard_link = Some(id.into());
    }
    if rules.extended_attributes {
        let found = read(directory, &described.name)
            .map_err(|error| UploaderError::entry(path, "read the attributes of", error))?;
        described.extended_attributes = (!found.is_empty()).then_some(found);
    }
    Ok(())
}

/// Of a name that is not followed, be it a link.
fn read(directory: impl AsFd, name: &CStr) -> Result<BTreeMap<String, Vec<u8>>, Errno> {
    // There is no call for a name in an open directory; this path is one to the kernel.
    let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    let mut names = vec![0; MOST_BYTES];
    let length = match rustix::fs::llistxattr(path.as_slice(), names.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error),
    };
    let mut found = BTreeMap::new();
    let mut value = vec![0; if length == 0 { 0 } else { MOST_BYTES }];
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        match rustix::fs::lgetxattr(path.as_slice(), name, value.as_mut_slice()) {
            Ok(length) => {
                let name = String::from_utf8_lossy(name).into_owned();
                found.insert(name, value[..length].to_vec());
            }
            // Removed since, or not there on links.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
