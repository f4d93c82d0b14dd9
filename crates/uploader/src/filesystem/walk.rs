//! Walks a mounted tree into the repository: one thread finds, several read and write what is complete.
//!
//! The walker goes depth first and never follows a link; every name is looked at and opened relative to its open
//! directory. Small directories that come next are looked into by whoever has time (`look.rs`). Unchanged files take their
//! object from an earlier snapshot and are not opened at all. Now and then everyone waits for a checkpoint
//! (`checkpoint.rs`).

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use caravel_repository::{
    DirectoryEntry, EntryError, EntryType, ObjectId, ObjectWriter, Repository, RepositoryError, Writer,
};
use parking_lot::Mutex;
use rustix::fs::OFlags;

use super::attributes;
use super::entry::{Described, join, open};
use super::look::{Inside, Look, Opened, Row, Unseen};
use super::open_directory::OpenDirectory;
use super::parent::Before;
use super::read;
use super::rules::{Rules, Tolerance};
use super::totals::Totals;
use crate::checkpoint::{self, Checkpoints};
use crate::error::{Result, UploaderError};
use crate::job::Queue;
use crate::progress::{CancelToken, Progress};
use crate::request::LeftOut;

/// Entries in complete directories that workers have yet to write, a few MB at most: with more, the walker writes a directory
/// itself, and a very large one always.
const MOST_TO_CLOSE: usize = 10_000;

/// Everything that the threads of one upload share.
pub(crate) struct Walk<'run> {
    pub repository: &'run Repository,
    pub writer: &'run Writer,
    pub rules: &'run Rules,
    pub progress: &'run Progress,
    pub cancel: &'run CancelToken,
    pub totals: Totals,
    /// What no snapshot can hold.
    pub left_out: Mutex<Vec<LeftOut>>,
    /// What the policy allows to be missing.
    pub failed: Mutex<Vec<EntryError>>,
    /// The root's entry, once the tree is complete.
    pub root: Mutex<Option<DirectoryEntry>>,
    pub checkpoints: Checkpoints<'run>,
    /// Where a checkpoint begins; none before the walk does.
    pub top: Mutex<Option<Arc<OpenDirectory>>>,
    /// Entries of the directories that workers have yet to write.
    pub to_close: AtomicUsize,
    /// Directories that workers were asked to look into before the walker comes.
    pub looks: AtomicUsize,
    /// The files that are being read, one a worker.
    pub unfinished: Mutex<Vec<Arc<Unfinished<'run>>>>,
}

/// A file that is being read.
pub(crate) struct Unfinished<'run> {
    directory: Arc<OpenDirectory>,
    described: Described,
    /// Taken when the file has been read to its end.
    object: Mutex<Option<ObjectWriter<'run>>>,
}

/// What the walker leaves to the others.
pub(crate) enum Job {
    /// A file or link, to be read.
    Read(Box<ReadJob>),
    /// A directory of which the walker knew every entry, to be written. A checkpoint that comes before finds it open still.
    Close(Arc<OpenDirectory>),
    /// A directory that the walker comes to soon, to be looked into.
    Look(Arc<Look>),
}

/// One file or link whose content is to be stored.
pub(crate) struct ReadJob {
    descriptor: Arc<OwnedFd>,
    path: String,
    described: Described,
    directory: Arc<OpenDirectory>,
}

impl<'run> Walk<'run> {
    /// Walks the tree below `root`; `before` is the root directory of earlier snapshots.
    pub fn walk(
        &self,
        root: OwnedFd,
        name: &str,
        before: Before<ObjectId>,
        queue: &Queue<'_, Job>,
    ) -> Result<()> {
        let stat = rustix::fs::fstat(&root).map_err(|error| UploaderError::entry("", "look at", error))?;
        let name = CString::new(name).map_err(|error| UploaderError::entry("", "name", error))?;
        let mut own = Described::directory(c".".to_owned(), stat);
        attributes::note(self.rules, &root, &mut own, "")?;
        own.name = name;
        let root = Opened {
            descriptor: Arc::new(root),
            path: "".into(),
            own,
            before,
            scope: self.rules.top()?,
        };
        // Without its root there is no snapshot, whatever a policy says.
        self.directory(self.look_inside(root)?, None, queue)
    }

    fn directory(
        &self,
        inside: Inside,
        above: Option<Arc<OpenDirectory>>,
        queue: &Queue<'_, Job>,
    ) -> Result<()> {
        let Inside {
            descriptor,
            path,
            own,
            scope,
            children,
            mut before,
            excluded,
            unknown,
            left_out,
        } = inside;
        queue.check()?;
        self.totals.directories.fetch_add(1, Ordering::Relaxed);
        self.totals
            .entries
            .fetch_add(children.len() as u64, Ordering::Relaxed);
        excluded.iter().for_each(|entry| self.totals.exclude(entry));
        self.left_out.lock().extend(left_out);
        let directory = OpenDirectory::new(own, above, children.len() + unknown.len());
        self.top.lock().get_or_insert_with(|| directory.clone());
        for failure in unknown {
            self.give_up(&directory, failure, false)?;
        }
        // Directories come first (`list.rs`).
        let mut children = children.into_iter().peekable();
        let mut before_of =
            |described: &Described| before.remove(described.name.to_bytes()).unwrap_or_default();
        let mut row = Row::default();
        loop {
            row.fill(self, queue, || {
                let described = children.next_if(|child| child.kind == EntryType::Directory)?;
                let before = before_of(&described);
                Some(Unseen {
                    holder: descriptor.clone(),
                    above: path.clone(),
                    names_before: before.names(),
                    before: before.directory(),
                    described,
                    scope: scope.clone(),
                })
            });
            let Some((name, look)) = row.next(self) else { break };
            self.save_checkpoint_if_due()?;
            // A worker that panicked ends the run by itself.
            let looked = look.result(|unseen| self.look(unseen));
            match looked.unwrap_or(Err(UploaderError::Canceled)) {
                Ok(inside) => self.directory(inside, Some(directory.clone()), queue)?,
                Err(error) => {
                    let _writing = self.checkpoints.writing();
                    let path = join(&path, name.to_bytes());
                    self.failed(&directory, &path, EntryType::Directory, error)?;
                }
            }
        }
        for mut described in children {
            self.save_checkpoint_if_due()?;
            let path = join(&path, described.name.to_bytes());
            let before = before_of(&described);
            if let Some(entry) = self.reuse(&descriptor, &mut described, &before, &path)? {
                let _writing = self.checkpoints.writing();
                self.fill(&directory, entry)?;
            } else {
                let (descriptor, directory) = (descriptor.clone(), directory.clone());
                queue.add(Job::Read(Box::new(ReadJob {
                    descriptor,
                    path,
                    described,
                    directory,
                })))?;
            }
        }
        if !directory.release() {
            return Ok(());
        }
        let entries = directory.entries();
        if self.to_close.fetch_add(entries, Ordering::Relaxed) + entries <= MOST_TO_CLOSE {
            return queue.add(Job::Close(directory));
        }
        self.to_close.fetch_sub(entries, Ordering::Relaxed);
        let _writing = self.checkpoints.writing();
        self.close(&directory)
    }

    /// An earlier snapshot's entry of a file that has not changed since, if its contents are all still there.
    fn reuse(
        &self,
        directory: &OwnedFd,
        now: &mut Described,
        before: &Before<DirectoryEntry>,
        path: &str,
    ) -> Result<Option<DirectoryEntry>> {
        if now.kind != EntryType::File {
            return Ok(None);
        }
        let size = now.size();
        self.progress.found(size);
        let candidates: Vec<_> = before.unchanged(now).collect();
        for (object, of_parent) in candidates {
            let reusable = self
                .repository
                .is_reusable(object)
                .map_err(|error| self.storing(path, error))?;
            if reusable {
                self.progress.finished(size);
                self.totals.reuse(size, of_parent);
                // What cannot be asked of the file makes it one that is read, and fails there.
                let asked = attributes::note(self.rules, directory, now, path);
                return Ok(asked.is_ok().then(|| now.entry(object, size)));
            }
        }
        Ok(None)
    }

    /// An entry that could not be saved: noted and overlooked, or the end of the upload. The caller holds
    /// [`Checkpoints::writing`].
    fn failed(
        &self,
        directory: &Arc<OpenDirectory>,
        path: &str,
        kind: EntryType,
        error: UploaderError,
    ) -> Result<()> {
        let ignored = match (&error, self.rules.tolerance(kind)) {
            (UploaderError::Entry { .. }, Tolerance::Noted) => false,
            (UploaderError::Entry { .. }, Tolerance::Ignored) => true,
            _ => return Err(error),
        };
        let failure = EntryError {
            path: path.to_owned(),
            error: error.to_string(),
        };
        self.give_up(directory, failure, ignored)
    }

    fn give_up(&self, directory: &Arc<OpenDirectory>, failure: EntryError, ignored: bool) -> Result<()> {
        let count = match ignored {
            true => &self.totals.ignored_errors,
            false => &self.totals.errors,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.failed.lock().push(failure.clone());
        match directory.give_up(failure, ignored) {
            true => self.close(directory),
            false => Ok(()),
        }
    }

    /// Runs on a worker.
    pub fn work(&self, job: Job) -> Result<()> {
        self.save_checkpoint_if_due()?;
        match job {
            Job::Read(job) => self.read(*job),
            Job::Close(directory) => {
                let entries = directory.entries();
                let _writing = self.checkpoints.writing();
                let closed = self.close(&directory);
                self.to_close.fetch_sub(entries, Ordering::Relaxed);
                closed
            }
            Job::Look(look) => {
                look.do_early(|unseen| self.look_early(unseen));
                Ok(())
            }
        }
    }

    /// Stores one file or link.
    fn read(&self, job: ReadJob) -> Result<()> {
        let (directory, path, kind) = (job.directory.clone(), job.path.clone(), job.described.kind);
        match self.try_read(job) {
            Err(error @ UploaderError::Entry { .. }) => {
                let _writing = self.checkpoints.writing();
                self.failed(&directory, &path, kind, error)
            }
            done => done,
        }
    }

    /// The same; an [`UploaderError::Entry`] leaves the directory's gap open.
    fn try_read(&self, job: ReadJob) -> Result<()> {
        let ReadJob {
            descriptor,
            path,
            mut described,
            directory,
        } = job;
        attributes::note(self.rules, &descriptor, &mut described, &path)?;
        if described.kind == EntryType::Symlink {
            let target = rustix::fs::readlinkat(&*descriptor, &described.name, Vec::new())
                .map_err(|error| UploaderError::entry(&path, "read the link", error))?;
            let _writing = self.checkpoints.writing();
            let mut object = self.writer.object();
            let written = object.write(target.to_bytes()).and_then(|()| object.finish());
            let (object, size) = written.map_err(|error| self.storing(&path, error))?;
            return self.fill(&directory, described.entry(object, size));
        }
        let file = open(&*descriptor, &described.name, OFlags::RDONLY, &path)?;
        let options = self.rules.object_options(&described);
        let unfinished = Arc::new(Unfinished {
            directory,
            described,
            object: Mutex::new(Some(self.writer.object_with(options))),
        });
        self.unfinished.lock().push(unfinished.clone());
        let copied = read::copy(
            &file,
            &mut Destination {
                walk: self,
                file: &unfinished,
            },
            &path,
            self.progress,
        );
        let _writing = self.checkpoints.writing();
        self.unfinished
            .lock()
            .retain(|other| !Arc::ptr_eq(other, &unfinished));
        let read = copied?;
        self.totals.read_files.fetch_add(1, Ordering::Relaxed);
        self.totals.read_bytes.fetch_add(read, Ordering::Relaxed);
        let object = unfinished.object.lock().take();
        let object = object.ok_or_else(|| UploaderError::Mismatch(format!("`{path}` was finished twice")))?;
        let (object, size) = object.finish().map_err(|error| self.storing(&path, error))?;
        self.fill(&unfinished.directory, unfinished.described.entry(object, size))
    }

    fn save_checkpoint_if_due(&self) -> Result<()> {
        self.checkpoints.save_if_due(|| {
            let top = self.top.lock().clone();
            let root = top.map(|top| self.so_far(&top)).transpose()?;
            Ok(root.map(|root| (root, self.totals.stats())))
        })
    }

    /// Writes a directory that is still open as far as it is known, and every open one below it.
    fn so_far(&self, directory: &OpenDirectory) -> Result<DirectoryEntry> {
        let below = directory.still_open();
        let mut unfinished: Vec<DirectoryEntry> = below
            .iter()
            .map(|below| self.so_far(below))
            .collect::<Result<_>>()?;
        for file in self.unfinished.lock().iter() {
            if std::ptr::eq(&*file.directory, directory) {
                unfinished.extend(self.file_so_far(file)?);
            }
        }
        let (object, summary) = directory.so_far(unfinished, |entries, summary| {
            self.writer.write_directory(entries, summary)
        });
        let own = directory.own();
        let object = object.map_err(|error| self.storing(&own.name.to_string_lossy(), error))?;
        let mut entry = own.entry(object, 0);
        entry.summary = Some(summary);
        Ok(entry)
    }

    fn file_so_far(&self, file: &Unfinished<'run>) -> Result<Option<DirectoryEntry>> {
        let object = file.object.lock();
        let so_far = object.as_ref().map_or(Ok(None), ObjectWriter::so_far);
        let so_far = so_far.map_err(|error| self.storing(&file.described.name.to_string_lossy(), error))?;
        Ok(so_far.and_then(|(object, size)| {
            let name = checkpoint::name_of_unfinished(file.described.name.to_bytes(), self.repository);
            let described = Described {
                name: CString::new(name).ok()?,
                ..file.described.clone()
            };
            Some(described.entry(object, size))
        }))
    }

    /// Fills a gap. The caller holds [`Checkpoints::writing`], here and in what follows from it.
    fn fill(&self, directory: &Arc<OpenDirectory>, entry: DirectoryEntry) -> Result<()> {
        if directory.fill(entry) {
            self.close(directory)
        } else {
            Ok(())
        }
    }

    /// Writes a complete directory, and every directory above that becomes complete by it.
    fn close(&self, complete: &Arc<OpenDirectory>) -> Result<()> {
        let mut complete = complete.clone();
        loop {
            let (mut entries, summary) = complete.close();
            let own = complete.own();
            let object = self
                .writer
                .write_directory(&mut entries, &summary)
                .map_err(|error| self.storing(&own.name.to_string_lossy(), error))?;
            let mut entry = own.entry(object, 0);
            entry.summary = Some(summary);
            let Some(above) = complete.above() else {
                *self.root.lock() = Some(entry);
                return Ok(());
            };
            if !above.fill(entry) {
                return Ok(());
            }
            complete = above.clone();
        }
    }

    fn storing(&self, path: &str, error: RepositoryError) -> UploaderError {
        UploaderError::repository(format!("storing `{path}`"), error)
    }
}

/// Where the bytes of a file go, between checkpoints.
struct Destination<'a, 'run> {
    walk: &'a Walk<'run>,
    file: &'a Unfinished<'run>,
}

impl Destination<'_, '_> {
    fn write(
        &self,
        write: impl FnOnce(&mut ObjectWriter<'_>) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let _writing = self.walk.checkpoints.writing();
        self.file.object.lock().as_mut().map_or(Ok(()), write)
    }
}

impl read::Sink for Destination<'_, '_> {
    fn data(&mut self, bytes: &[u8]) -> Result<(), RepositoryError> {
        self.write(|object| object.write(bytes))
    }

    fn zeros(&mut self, count: u64) -> Result<(), RepositoryError> {
        self.write(|object| object.write_zeros(count))
    }

    fn pause(&mut self) -> Result<()> {
        self.walk.cancel.check()?;
        self.walk.save_checkpoint_if_due()
    }
}
