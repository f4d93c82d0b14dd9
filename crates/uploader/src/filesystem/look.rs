//! What a directory holds now, and what it held in earlier snapshots.
//!
//! The walker looks into one directory after the other, and a worker with nothing else to do into the next ones before it
//! comes ([`Row`]): listing, asking the attributes of every name and reading the parent snapshot's directory are most of a
//! backup in which little has changed.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use caravel_repository::{DirectoryEntry, EntryError, ObjectId};
use rustix::fs::OFlags;

use super::ahead::Ahead;
use super::attributes;
use super::entry::{Described, join, open};
use super::list::list;
use super::parent::Before;
use super::rules::Scope;
use super::walk::{Job, Walk};
use crate::error::Result;
use crate::job::Queue;
use crate::request::LeftOut;

/// Directories of one directory that may be looked into early.
const AHEAD: usize = 8;
/// The same in the whole tree: what was found in them is held until the walker comes, and each holds a descriptor.
const MOST_LOOKS: usize = 8;
/// A directory that is larger on disk waits for the walker: some thousand names.
const LARGE_BYTES: u64 = 128 << 10;

/// A directory that is known by its name.
pub(crate) struct Unseen {
    /// Where its name is.
    pub holder: Arc<OwnedFd>,
    pub path: String,
    pub described: Described,
    /// The same directory in earlier snapshots.
    pub before: Before<ObjectId>,
    /// The ignore rules of the directory above.
    pub scope: Scope,
}

/// The same, opened.
pub(crate) struct Opened {
    pub descriptor: Arc<OwnedFd>,
    pub path: String,
    pub own: Described,
    pub before: Before<ObjectId>,
    pub scope: Scope,
}

/// A directory that was looked into.
pub(crate) struct Inside {
    pub descriptor: Arc<OwnedFd>,
    pub path: String,
    pub own: Described,
    /// Its own ignore rules and those above.
    pub scope: Scope,
    /// What is saved of it, directories first.
    pub children: Vec<Described>,
    /// What earlier snapshots have in it.
    pub before: BTreeMap<Vec<u8>, Before<DirectoryEntry>>,
    /// What no snapshot can hold, where that counts as a failure.
    pub unknown: Vec<EntryError>,
}

impl Walk<'_> {
    /// Opens a directory and looks inside.
    pub fn look(&self, unseen: Unseen) -> Result<Inside> {
        let Unseen {
            holder,
            path,
            mut described,
            before,
            scope,
        } = unseen;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let descriptor = open(&holder, &described.name, flags, &path)?;
        attributes::note(self.rules, &holder, &mut described, &path)?;
        self.look_inside(Opened {
            descriptor: Arc::new(descriptor),
            path,
            own: described,
            before,
            scope,
        })
    }

    /// Lists a directory, leaves out what its policy leaves out, and reads what earlier snapshots have of it.
    pub fn look_inside(&self, opened: Opened) -> Result<Inside> {
        let Opened {
            descriptor,
            path,
            own,
            before,
            scope: above,
        } = opened;
        let mut unknown = Vec::new();
        let mut children = self.list(&descriptor, &path, &mut unknown)?;
        let scope = self.rules.enter(&above, &descriptor, &path, &children)?;
        let device = own.stat.st_dev;
        let saves = |child: &Described| {
            scope.as_ref().is_some_and(|scope| {
                let path = join(&path, child.name.to_bytes());
                self.rules.saves(scope, child, &path, device)
            })
        };
        children.retain(|child| saves(child) || self.totals.exclude(child));
        Ok(Inside {
            before: before.entries(self.repository, &path)?,
            scope: scope.unwrap_or(above),
            descriptor,
            path,
            own,
            children,
            unknown,
        })
    }

    /// The children in the order of a stored directory. What no snapshot can hold is left out, or counts as a failure.
    fn list(&self, directory: &OwnedFd, path: &str, unknown: &mut Vec<EntryError>) -> Result<Vec<Described>> {
        let fails = self.rules.unknown_types_fail();
        list(directory, path, &mut |found| {
            let (path, what) = (join(path, found.name.to_bytes()), found.word());
            match fails {
                true => unknown.push(EntryError {
                    path,
                    error: format!("it is a {what}, which no snapshot can hold"),
                }),
                false => self.left_out.lock().push(LeftOut {
                    path,
                    what: what.to_owned(),
                }),
            }
        })
    }
}

/// One directory, looked into by whoever comes first.
pub(crate) type Look = Ahead<Unseen, Result<Inside>>;

/// The directories of one directory that the walker comes to next.
#[derive(Default)]
pub(crate) struct Row(VecDeque<Next>);

struct Next {
    path: String,
    look: Arc<Look>,
    /// Whether it counts among the looks of the workers.
    offered: bool,
}

impl Row {
    /// Fills the row from `unseen`, and offers to the workers all but the first, which is the walker's own.
    pub fn fill(
        &mut self,
        walk: &Walk<'_>,
        queue: &Queue<'_, Job>,
        mut unseen: impl FnMut() -> Option<Unseen>,
    ) {
        while self.0.len() <= AHEAD {
            let Some(unseen) = unseen() else { return };
            let path = unseen.path.clone();
            let small = unseen.described.size() <= LARGE_BYTES;
            let look = Arc::new(Look::new(unseen));
            let offered = small
                && !self.0.is_empty()
                && walk.looks.load(Ordering::Relaxed) < MOST_LOOKS
                && queue.offer(Job::Look(look.clone()));
            if offered {
                walk.looks.fetch_add(1, Ordering::Relaxed);
            }
            self.0.push_back(Next { path, look, offered });
        }
    }

    /// The walker's next directory, with its path.
    pub fn next(&mut self, walk: &Walk<'_>) -> Option<(String, Arc<Look>)> {
        let Next { path, look, offered } = self.0.pop_front()?;
        if offered {
            walk.looks.fetch_sub(1, Ordering::Relaxed);
        }
        Some((path, look))
    }
}
