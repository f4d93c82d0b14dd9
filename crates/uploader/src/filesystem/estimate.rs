//! What an upload would save, from names and attributes alone (Kopia `snapshot/upload/estimate.go`, v0.22.3).

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use caravel_repository::EntryType;
use rustix::fs::{Mode, OFlags, fstat};

use super::entry::{Described, follow, join, open};
use super::list::list;
use super::rules::{Rules, Scope};
use crate::descriptors;
use crate::error::{Result, UploaderError};
use crate::request::UploadRules;

/// What was met. Paths are below the root; the root's own is empty.
#[derive(Debug)]
pub enum Estimated<'a> {
    /// A directory that is looked into.
    Directory(&'a str),
    /// A file that would be saved.
    File { path: &'a str, size: u64 },
    /// A file or link that a policy leaves out.
    ExcludedFile { path: &'a str, size: u64 },
    /// A directory that a policy leaves out, with all below it.
    ExcludedDirectory(&'a str),
    /// What no snapshot can hold, in the user's word for it.
    LeftOut { path: &'a str, what: &'static str },
    /// A directory that cannot be read.
    Failed(&'a UploaderError),
}

/// A directory that is still to be looked into: its name in the one above, which stays open as long.
struct Waiting {
    above: Arc<OwnedFd>,
    name: CString,
    path: String,
    scope: Scope,
}

/// Walks the tree as [`crate::upload`] would with these rules, and reads no file.
///
/// # Errors
/// The root cannot be read, or the rules cannot be followed.
pub(crate) fn estimate(root: &Path, rules: &UploadRules, visit: &mut dyn FnMut(Estimated<'_>)) -> Result<()> {
    descriptors::allow_all();
    let rules = Rules::new(rules)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty())
        .map_err(|error| UploaderError::entry("", "open", error))?;
    let mut waiting = Vec::new();
    look_inside(&rules, &Arc::new(root), "", &rules.top()?, visit, &mut waiting)?;
    while let Some(next) = waiting.pop() {
        let Waiting {
            above,
            name,
            path,
            scope,
        } = next;
        let looked = follow(&path)
            .and_then(|()| open(&*above, &name, OFlags::RDONLY | OFlags::DIRECTORY, &path))
            .and_then(|opened| look_inside(&rules, &Arc::new(opened), &path, &scope, visit, &mut waiting));
        if let Err(error) = looked {
            visit(Estimated::Failed(&error));
        }
    }
    Ok(())
}

fn look_inside(
    rules: &Rules,
    directory: &Arc<OwnedFd>,
    path: &str,
    above: &Scope,
    visit: &mut dyn FnMut(Estimated<'_>),
    waiting: &mut Vec<Waiting>,
) -> Result<()> {
    visit(Estimated::Directory(path));
    let children = list(directory, path, &mut |found| {
        let path = join(path, found.name.to_bytes());
        visit(Estimated::LeftOut {
            path: &path,
            what: found.word(),
        });
    })?;
    let device = fstat(directory)
        .map_err(|error| UploaderError::entry(path, "look at", error))?
        .st_dev;
    let scope = rules.enter(above, directory, path, &children)?;
    // The last one waiting comes first.
    for child in children.into_iter().rev() {
        let path = join(path, child.name.to_bytes());
        let scope = scope.as_ref();
        match scope.filter(|scope| rules.saves(scope, &child, &path, device)) {
            None => visit(excluded(&child, &path)),
            Some(scope) if child.kind == EntryType::Directory => waiting.push(Waiting {
                above: directory.clone(),
                name: child.name,
                path,
                scope: scope.clone(),
            }),
            Some(_) if child.kind == EntryType::File => visit(Estimated::File {
                path: &path,
                size: child.size(),
            }),
            Some(_) => {}
        }
    }
    Ok(())
}

fn excluded<'a>(child: &Described, path: &'a str) -> Estimated<'a> {
    match child.kind {
        EntryType::Directory => Estimated::ExcludedDirectory(path),
        EntryType::File | EntryType::Symlink => Estimated::ExcludedFile {
            path,
            size: child.size(),
        },
    }
}
