//! What a directory holds now, and what it held in earlier snapshots.
//!
//! The walker looks into one directory after the other, and workers that have little to do into the next small ones before it
//! comes ([`Row`]): listing, asking the attributes of every name and reading the parent snapshot's directory are most of a
//! backup in which little has changed. What is found early is held until then, so it is bounded by names, and only what the
//! walker comes to soon is looked at: a file system may be in use.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use caravel_repository::{DirectoryEntry, EntryError, ObjectId};
use rustix::fs::{Dir, OFlags};

use super::ahead::Ahead;
use super::attributes;
use super::entry::{Described, follow, join, open};
use super::list::list;
use super::parent::Before;
use super::rules::Scope;
use super::walk::{Job, Walk};
use crate::error::Result;
use crate::job::Queue;
use crate::request::LeftOut;

/// Directories that the walker knows the names of, beside its next one.
const ROW: usize = 8;
/// Looks that workers were asked for and the walker has not taken yet, in the whole tree: each holds a descriptor and what was
/// found.
const MOST_LOOKS: usize = 8;
/// What a directory that is looked into early may hold, itself and in the parent snapshot: these lie in memory until the
/// walker comes.
const MOST_NAMES: u64 = 1000;

/// A directory that is known by its name.
pub(crate) struct Unseen {
    /// Where its name is.
    pub holder: Arc<OwnedFd>,
    /// The path of the directory that it is in.
    pub above: Arc<str>,
    pub described: Described,
    /// The same directory in earlier snapshots.
    pub before: Before<ObjectId>,
    /// How many names the parent snapshot has in it and below.
    pub names_before: Option<u64>,
    /// The ignore rules of the directory above.
    pub scope: Scope,
}

/// The same, opened.
pub(crate) struct Opened {
    pub descriptor: Arc<OwnedFd>,
    pub path: Arc<str>,
    pub own: Described,
    pub before: Before<ObjectId>,
    pub scope: Scope,
}

/// A directory that was looked into.
pub(crate) struct Inside {
    pub descriptor: Arc<OwnedFd>,
    pub path: Arc<str>,
    pub own: Described,
    /// Its own ignore rules and those above.
    pub scope: Scope,
    /// What is saved of it, directories first.
    pub children: Vec<Described>,
    /// What earlier snapshots have in it.
    pub before: BTreeMap<Vec<u8>, Before<DirectoryEntry>>,
    /// What a policy leaves out of it.
    pub excluded: Vec<Described>,
    /// What no snapshot can hold, where that counts as a failure.
    pub unknown: Vec<EntryError>,
    /// The same where it does not.
    pub left_out: Vec<LeftOut>,
}

impl Unseen {
    fn path(&self) -> String {
        join(&self.above, self.described.name.to_bytes())
    }

    /// Whether the parent snapshot says that there is little in it and below: so little that the walker comes soon to what
    /// follows.
    fn was_small(&self) -> bool {
        self.names_before.is_some_and(|names| names <= MOST_NAMES)
    }
}

impl Walk<'_> {
    /// Opens a directory and looks inside; runs on the walker.
    pub fn look(&self, mut unseen: Box<Unseen>) -> Result<Inside> {
        let (descriptor, path) = self.open(&mut unseen)?;
        self.look_inside(unseen.opened(descriptor, path))
    }

    /// The same on a worker, before the walker comes. A directory that has become large is handed back, so that it is held
    /// only while the walker is in it.
    pub fn look_early(&self, mut unseen: Box<Unseen>) -> Result<Result<Inside>, Box<Unseen>> {
        let opened = self.open(&mut unseen);
        if opened
            .as_ref()
            .is_ok_and(|(descriptor, _)| !holds_little(descriptor))
        {
            return Err(unseen);
        }
        Ok(opened.and_then(|(descriptor, path)| self.look_inside(unseen.opened(descriptor, path))))
    }

    /// The open directory, and its path.
    fn open(&self, unseen: &mut Unseen) -> Result<(OwnedFd, String)> {
        let path = unseen.path();
        follow(&path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let descriptor = open(&unseen.holder, &unseen.described.name, flags, &path)?;
        attributes::note(self.rules, &unseen.holder, &mut unseen.described, &path)?;
        Ok((descriptor, path))
    }

    /// Lists a directory, leaves out what its policy leaves out, and reads what earlier snapshots have of it. Nothing is
    /// counted yet.
    pub fn look_inside(&self, opened: Opened) -> Result<Inside> {
        let Opened {
            descriptor,
            path,
            own,
            before,
            scope: above,
        } = opened;
        let (mut unknown, mut left_out) = (Vec::new(), Vec::new());
        let fails = self.rules.unknown_types_fail();
        let mut children = list(&descriptor, &path, &mut |found| {
            let (path, what) = (join(&path, found.name.to_bytes()), found.word());
            match fails {
                true => unknown.push(EntryError {
                    path,
                    error: format!("it is a {what}, which no snapshot can hold"),
                }),
                false => left_out.push(LeftOut {
                    path,
                    what: what.to_owned(),
                }),
            }
        })?;
        let scope = self.rules.enter(&above, &descriptor, &path, &children)?;
        let device = own.stat.st_dev;
        let is_excluded = |child: &mut Described| {
            let saves = |scope| {
                let path = join(&path, child.name.to_bytes());
                self.rules.saves(scope, child, &path, device)
            };
            !scope.as_ref().is_some_and(saves)
        };
        let excluded = children.extract_if(.., is_excluded).collect();
        self.cancel.check()?;
        Ok(Inside {
            before: before.entries(self.repository, &path)?,
            scope: scope.unwrap_or(above),
            descriptor,
            path,
            own,
            children,
            excluded,
            unknown,
            left_out,
        })
    }
}

impl Unseen {
    fn opened(self, descriptor: OwnedFd, path: String) -> Opened {
        Opened {
            descriptor: Arc::new(descriptor),
            path: path.into(),
            own: self.described,
            before: self.before,
            scope: self.scope,
        }
    }
}

/// Whether a directory has no more names than may be looked at early; one that cannot be listed fails in the look itself.
fn holds_little(directory: &OwnedFd) -> bool {
    let dots = 2;
    Dir::read_from(directory)
        .is_ok_and(|names| names.take(MOST_NAMES as usize + dots + 1).count() <= MOST_NAMES as usize + dots)
}

/// One directory, looked into by whoever comes first.
pub(crate) type Look = Ahead<Box<Unseen>, Result<Inside>>;

/// The directories of one directory that the walker comes to next.
#[derive(Default)]
pub(crate) struct Row(VecDeque<Next>);

struct Next {
    name: CString,
    look: Arc<Look>,
    was_small: bool,
    /// Whether it counts among the looks that workers were asked for.
    offered: bool,
}

impl Row {
    /// Fills the row from `unseen`, and offers to the workers what the walker comes to soon: what follows its own next one, up
    /// to a directory that may take long. Only the walker calls this, and so only it counts in `Walk::looks`.
    pub fn fill(
        &mut self,
        walk: &Walk<'_>,
        queue: &Queue<'_, Job>,
        mut unseen: impl FnMut() -> Option<Unseen>,
    ) {
        while self.0.len() <= ROW {
            let Some(unseen) = unseen() else { break };
            self.0.push_back(Next {
                name: unseen.described.name.clone(),
                was_small: unseen.was_small(),
                look: Arc::new(Look::new(Box::new(unseen))),
                offered: false,
            });
        }
        if !self.0.front().is_some_and(|own| own.was_small) {
            return;
        }
        let soon = self.0.iter_mut().skip(1).take_while(|next| next.was_small);
        for next in soon.filter(|next| !next.offered) {
            let may = walk.looks.load(Ordering::Relaxed) < MOST_LOOKS;
            if !may || !queue.offer(Job::Look(next.look.clone())) {
                return;
            }
            next.offered = true;
            walk.looks.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The walker's next directory, with its name.
    pub fn next(&mut self, walk: &Walk<'_>) -> Option<(CString, Arc<Look>)> {
        let Next {
            name, look, offered, ..
        } = self.0.pop_front()?;
        if offered {
            walk.looks.fetch_sub(1, Ordering::Relaxed);
        }
        Some((name, look))
    }
}
