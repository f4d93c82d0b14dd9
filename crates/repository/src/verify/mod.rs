//! Whether everything that the repository promises is there (issue 5, part 5): in levels, going on after each failure,
//! every failure naming blob, content and object. Nothing is written. Neighbours: `contents.rs` (packs and what is in
//! them), `snapshots.rs` (trees and the files in them).

mod contents;
mod snapshots;

use std::{collections::BTreeSet, fmt};

use crate::{
    ContentId, ObjectId, Repository,
    error::{RepositoryError, Result},
    manifest::ManifestId,
};

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// Indexes, manifests and directories; of packs, whether they are there and long enough.
    Structure,
    /// The same, and so many percent of all contents (0 to 100), chosen at random: authenticated, decompressed, and
    /// hashed to their names.
    Sampled(f64),
    /// The same for every content.
    AllBytes,
}

impl Level {
    /// Of contents that are read, in percent.
    fn percent(self) -> f64 {
        match self {
            Level::Structure => 0.0,
            Level::Sampled(percent) => percent.clamp(0.0, 100.0),
            Level::AllBytes => 100.0,
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The pack, where one is to blame.
    pub blob: Option<String>,
    /// The content that cannot be read.
    pub content: Option<ContentId>,
    /// The object that consists of it.
    pub object: Option<ObjectId>,
    /// The snapshot and the path in it, where that is known.
    pub file: Option<(ManifestId, String)>,
    /// What is wrong.
    pub error: RepositoryError,
}

impl Problem {
    fn new(error: RepositoryError) -> Self {
        Self {
            blob: None,
            content: None,
            object: None,
            file: None,
            error,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((snapshot, path)) = &self.file {
            write!(f, "snapshot {snapshot}, {path}: ")?;
        }
        if let Some(object) = &self.object {
            write!(f, "object {object}: ")?;
        }
        if let Some(content) = &self.content {
            write!(f, "content {content}: ")?;
        }
        if let Some(blob) = &self.blob {
            write!(f, "blob {blob}: ")?;
        }
        write!(f, "{}", self.error)
    }
}

/// What was looked at, and what was found wrong.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Packs that live contents lie in.
    pub packs: u64,
    /// Live contents.
    pub contents: u64,
    /// Of these, read whole.
    pub contents_read: u64,
    /// Stored bytes of those.
    pub bytes_read: u64,
    /// Snapshots, complete or not.
    pub snapshots: u64,
    /// Different directories.
    pub directories: u64,
    /// Different files and symlinks.
    pub files: u64,
    /// In the order found: packs first, then snapshots.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Contents that cannot be read.
    pub fn damaged_contents(&self) -> BTreeSet<ContentId> {
        self.problems
            .iter()
            .filter_map(|problem| problem.content)
            .collect()
    }
}

impl Repository {
    /// Checks the whole repository (blocking). `progress` is told after each pack and each directory how many
    /// contents and files are done; its answer `false` ends the check early.
    ///
    /// Errors: only of what keeps the check from going on: the storage does not answer, or the index is unreadable. All
    /// else is in [`Report::problems`].
    pub fn verify(&self, level: Level, progress: &mut dyn FnMut(&Report) -> bool) -> Result<Report> {
        let mut report = Report::default();
        let reading = self.inner.committed.refresh()?;
        if contents::check(self, &reading.index, level, &mut report, progress)? {
            snapshots::check(self, &mut report, progress)?;
        }
        Ok(report)
    }
}
