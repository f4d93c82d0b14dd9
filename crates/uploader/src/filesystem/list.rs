//! The names in a directory, each looked at once.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use caravel_repository::EntryType;
use rustix::fs::Dir;

use super::entry::{Described, Found};
use crate::error::{Result, UploaderError};

/// The children in the order of a stored directory: directories first, each group by the bytes of the name, so that
/// data lands in packs in the order in which it will be read back. `unknown` is told of what no snapshot can hold.
pub(crate) fn list(
    directory: &OwnedFd,
    path: &str,
    unknown: &mut dyn FnMut(&Found),
) -> Result<Vec<Described>> {
    let failed = |error: rustix::io::Errno| UploaderError::entry(path, "list", error);
    let mut children = Vec::new();
    for listed in Dir::read_from(directory).map_err(failed)? {
        let listed = listed.map_err(failed)?;
        let name: &CStr = listed.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let found = Found::look(directory, name, path)?;
        match found.kind() {
            Some(kind) => children.push(found.into_described(kind)),
            None => unknown(&found),
        }
    }
    children.sort_by(|a, b| {
        let rank = |child: &Described| child.kind != EntryType::Directory;
        rank(a).cmp(&rank(b)).then_with(|| a.name.cmp(&b.name))
    });
    Ok(children)
}
