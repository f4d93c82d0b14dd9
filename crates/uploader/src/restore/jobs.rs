//! What the walker hands to the workers: files of one directory, several small ones at a time.

use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use caravel_repository::{DirectoryEntry, ObjectId};

use super::made::Made;
use super::place::Place;
use crate::error::Result;
use crate::filesystem::entry::join;
use crate::job::Queue;

/// Files of one batch. A worker takes a small file from a full queue, and wakes the walker for it, more slowly than it
/// writes one.
const BATCH_FILES: usize = 64;
/// Bytes of one batch from which on it goes out. What all workers have in their batches should lie in few windows of a pack
/// (2 MiB each), and no worker should be the last one for long.
const BATCH_BYTES: u64 = 256 << 10;

/// One file or link to be written. It has no path of its own: thousands may wait, and paths may be long.
pub(crate) struct WriteJob<'run> {
    pub directory: Arc<Made<'run>>,
    pub name: Vec<u8>,
    pub entry: DirectoryEntry,
    /// To be set when the entry is in its place, for other names of the file.
    pub is_whole: Option<Arc<AtomicBool>>,
}

impl WriteJob<'_> {
    /// Where it is, from the target on.
    pub fn path(&self) -> String {
        join(&self.directory.path, &self.name)
    }

    /// Where it goes; `path` is [`WriteJob::path`].
    pub fn place<'job>(&'job self, path: &'job str) -> Place<'job> {
        Place {
            directory: self.directory.descriptor.as_fd(),
            name: &self.name,
            entry: &self.entry,
            path,
        }
    }
}

/// Files that a worker writes one after the other.
pub(crate) type Batch<'run> = Vec<WriteJob<'run>>;

/// The files of one directory that are not yet in the queue.
#[derive(Default)]
pub(crate) struct Waiting<'run> {
    batch: Batch<'run>,
    bytes: u64,
}

impl<'run> Waiting<'run> {
    /// Adds one file, and hands the batch on when it is large enough.
    pub fn add(&mut self, job: WriteJob<'run>, queue: &Queue<'_, Batch<'run>>) -> Result<()> {
        self.bytes = self.bytes.saturating_add(job.entry.size);
        self.batch.push(job);
        if self.batch.len() >= BATCH_FILES || self.bytes >= BATCH_BYTES {
            self.hand_on(queue)?;
        }
        Ok(())
    }

    /// Hands on what waits, in time for the directory to be left.
    pub fn hand_on(&mut self, queue: &Queue<'_, Batch<'run>>) -> Result<()> {
        self.bytes = 0;
        match std::mem::take(&mut self.batch) {
            none if none.is_empty() => Ok(()),
            batch => queue.add(batch),
        }
    }
}

/// Files under several names (kept on request): the first name is written as any file, the others are made names of it
/// when everything else is done. They hold their directories, whose times are set afterwards.
#[derive(Default)]
pub(crate) struct Links<'run> {
    pub first: HashMap<Linked, FirstName<'run>>,
    pub others: Vec<WriteJob<'run>>,
}

/// What the names of one file have in common. The object too: while a tree was saved that somebody changed, a file that was
/// deleted may have left its number to another one.
pub(crate) type Linked = (Box<str>, ObjectId);

/// Which file with several names an entry is.
pub(crate) fn linked(entry: &DirectoryEntry) -> Option<Linked> {
    Some((entry.hard_link.clone()?, entry.object))
}

/// Where a file with several names is.
pub(crate) struct FirstName<'run> {
    pub directory: Arc<Made<'run>>,
    pub name: Vec<u8>,
    /// Not set: the file could not be written, or something else that has the name stays.
    pub is_whole: Arc<AtomicBool>,
}

impl<'run> Links<'run> {
    /// The job, unless it is another name of a file that is written already.
    pub fn first_name(&mut self, mut job: WriteJob<'run>) -> Option<WriteJob<'run>> {
        let Some(id) = linked(&job.entry) else {
            return Some(job);
        };
        if self.first.contains_key(&id) {
            self.others.push(job);
            return None;
        }
        let first = FirstName {
            directory: job.directory.clone(),
            name: job.name.clone(),
            is_whole: Arc::default(),
        };
        job.is_whole = Some(first.is_whole.clone());
        self.first.insert(id, first);
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;
    use crate::restore::notes::Notes;
    use crate::rules_tests::save;
    use crate::tests::World;
    use crate::{RestoreRules, UploadRules};

    /// As of a file that was deleted while the tree was saved, and left its number to another one.
    #[test]
    fn files_that_had_one_number_and_not_one_content_stay_two() {
        let world = World::new();
        let source = world.folder("source");
        fs::write(source.join("a"), "one file").expect("a file");
        fs::hard_link(source.join("a"), source.join("b")).expect("a link");
        let rules = UploadRules {
            hard_links: true,
            ..UploadRules::default()
        };
        let first = save(&world, &source, rules.clone());
        fs::write(source.join("a"), "other bytes").expect("a file");
        let second = save(&world, &source, rules);
        // One directory with `a` of one moment and `b` of the other.
        let repository = world.repository();
        let entry_of = |snapshot: &str, name: &str| {
            let root = super::super::load(&repository, snapshot).expect("a snapshot");
            let entries = repository
                .read_directory(root.object)
                .expect("a directory")
                .entries;
            entries.into_iter().find(|entry| entry.name == name).expect("it")
        };
        let (a, b) = (
            entry_of(&first.snapshot_id, "a"),
            entry_of(&second.snapshot_id, "b"),
        );
        assert!(a.hard_link == b.hard_link && a.hard_link.is_some());
        let notes = Notes::new(false);
        let mut links = Links::default();
        let directory = Arc::new(Made {
            descriptor: File::open(&source).expect("a folder").into(),
            entry: a.clone(),
            path: String::new(),
            level: 0,
            rules: RestoreRules::default(),
            notes: &notes,
            above: None,
        });
        let job = |entry: &DirectoryEntry| WriteJob {
            directory: directory.clone(),
            name: entry.file_name(),
            entry: entry.clone(),
            is_whole: None,
        };
        assert!(links.first_name(job(&a)).is_some() && links.first_name(job(&b)).is_some());
        assert!(links.first_name(job(&a)).is_none(), "another name of the first");
    }
}
