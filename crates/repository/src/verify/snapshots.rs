//! Every snapshot's tree: each directory is read, and every content of every file must be known and not among those
//! that were found damaged. What several snapshots share is looked at once, and blamed on the first.

use std::{
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

use super::{Problem, Report};
use crate::{
    ContentId, DEEPEST, DirectoryEntry, EntryType, ObjectId, Repository, Snapshot, SnapshotFilter,
    error::{RepositoryError, Result},
    object::reader,
};

struct Walk<'w> {
    repository: &'w Repository,
    damaged: BTreeSet<ContentId>,
    /// Objects that were looked at, and whether all of each is there.
    seen: HashMap<ObjectId, bool>,
    report: &'w mut Report,
    progress: &'w mut dyn FnMut(&Report) -> bool,
}

/// Checks all snapshots; `false` when `progress` said to end.
pub(super) fn check(
    repository: &Repository,
    report: &mut Report,
    progress: &mut dyn FnMut(&Report) -> bool,
) -> Result<bool> {
    let filter = SnapshotFilter {
        include_incomplete: true,
        ..SnapshotFilter::default()
    };
    let snapshots = match repository.find_snapshots(&filter) {
        Ok(snapshots) => snapshots,
        // Without manifests there is no tree to walk; the packs have been checked.
        Err(error) if error.storage().is_none() => {
            report.problems.push(Problem::new(error));
            return Ok(true);
        }
        Err(error) => return Err(error),
    };
    let mut walk = Walk {
        repository,
        damaged: report.damaged_contents(),
        seen: HashMap::new(),
        report,
        progress,
    };
    for snapshot in &snapshots {
        walk.report.snapshots += 1;
        if let Some(root) = &snapshot.manifest.root_entry
            && !walk.tree(snapshot, root)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Walk<'_> {
    fn tree(&mut self, snapshot: &Snapshot, root: &DirectoryEntry) -> Result<bool> {
        let nowhere: Rc<str> = Rc::from("");
        let mut pending = vec![(nowhere, String::new(), root.object, root.kind, 0)];
        while let Some((above, name, object, kind, level)) = pending.pop() {
            let path = match level {
                0 => String::new(),
                _ => format!("{above}/{name}"),
            };
            if let Some(whole) = self.seen.get(&object) {
                // Files are blamed wherever they are, so that nobody relies on them; folders were walked.
                if !whole && kind != EntryType::Directory {
                    let error =
                        RepositoryError::damaged("it shares damaged contents with a file named before");
                    self.blame(snapshot, &path, object, None, error);
                }
                continue;
            }
            if kind != EntryType::Directory {
                self.report.files += 1;
                self.file(snapshot, &path, object)?;
                continue;
            }
            self.report.directories += 1;
            let read = match level <= DEEPEST {
                true => {
                    let read = self.repository.read_directory(object);
                    self.seen.insert(object, read.is_ok());
                    read
                }
                // Elsewhere it may lie higher, so it has not been seen.
                false => Err(RepositoryError::damaged("its folders are nested too deeply")),
            };
            match read {
                Ok(directory) => {
                    let path: Rc<str> = path.into();
                    let below = directory.entries.into_iter().rev();
                    pending.extend(
                        below.map(|entry| (path.clone(), entry.name, entry.object, entry.kind, level + 1)),
                    );
                }
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => self.blame(snapshot, &path, object, None, error),
            }
            if !(self.progress)(self.report) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn file(&mut self, snapshot: &Snapshot, path: &str, object: ObjectId) -> Result<()> {
        let contents = &self.repository.inner.contents;
        let index = &contents.committed.current().index;
        let mut bad = Vec::new();
        let walked = reader::for_each_content(contents, object, &mut |content| {
            if self.damaged.contains(content) {
                bad.push((
                    *content,
                    RepositoryError::damaged("it cannot be read, see its pack"),
                ));
            } else if index.find(content).is_none() {
                bad.push((
                    *content,
                    RepositoryError::not_found("it is in no index of the repository"),
                ));
            }
            Ok(true)
        });
        let whole = bad.is_empty() && walked.is_ok();
        self.seen.insert(object, whole);
        for (content, error) in bad {
            self.blame(snapshot, path, object, Some(content), error);
        }
        match walked {
            Err(error) if error.is_transient() => Err(error),
            Err(error) => {
                self.blame(snapshot, path, object, None, error);
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    fn blame(
        &mut self,
        snapshot: &Snapshot,
        path: &str,
        object: ObjectId,
        content: Option<ContentId>,
        error: RepositoryError,
    ) {
        let index = &self.repository.inner.committed.current().index;
        let entry = content.and_then(|content| index.find(&content));
        let path = if path.is_empty() { "/" } else { path };
        self.report.problems.push(Problem {
            blob: entry.map(|entry| index.pack_name(&entry).to_string()),
            content,
            object: Some(object),
            file: Some((snapshot.id.clone(), path.to_owned())),
            error,
        });
    }
}
