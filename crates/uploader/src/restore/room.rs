//! Is there room? Asked before the first write (guarantee 6).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use caravel_repository::{DEEPEST, DirectoryEntry, EntryType, ObjectId};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::place::{Place, Shared, There};
use crate::error::{Result, UploaderError};

/// Bytes of the blocks that `stat` counts in.
const BLOCK_BYTES: u64 = 512;

/// Fails when the target cannot hold what the snapshot has. A sparse file counts by what it occupied where it came
/// from, since its holes are restored as holes; what is there already and will be replaced or left counts for it.
///
/// `at_a_time` files are written at the same time. With `RestoreRules::resume`, files that a killed run left unfinished are
/// removed first.
pub(crate) fn check(
    shared: &Shared<'_>,
    root: &DirectoryEntry,
    target: &OwnedFd,
    at_a_time: usize,
) -> Result<()> {
    let logical = root.summary.as_ref().map_or(0, |summary| summary.size);
    if logical <= available(target)? {
        return Ok(());
    }
    let needed = needed(shared, root.object, target, at_a_time)?;
    let available = available(target)?;
    if needed <= available {
        Ok(())
    } else {
        Err(UploaderError::TooSmall { needed, available })
    }
}

/// Bytes that may be written; some file systems do not say how large they are.
fn available(target: &OwnedFd) -> Result<u64> {
    let space = rustix::fs::fstatvfs(target)
        .map_err(|error| UploaderError::entry("", "look at the space of", error))?;
    match space.f_blocks {
        0 => Ok(u64::MAX),
        _ => Ok(space.f_bavail.saturating_mul(space.f_frsize)),
    }
}

/// A directory of the snapshot, and the open one above the place where it goes, where that is there.
struct Pending {
    object: ObjectId,
    level: usize,
    place: Option<(Arc<OwnedFd>, Vec<u8>)>,
}

/// Bytes that the target has to grow by. Reads directories, no data; only done when room is short.
fn needed(shared: &Shared<'_>, root: ObjectId, target: &OwnedFd, at_a_time: usize) -> Result<u64> {
    let target = target.try_clone();
    let target = target.map_err(|error| UploaderError::entry("", "open", error))?;
    let mut pending = vec![Pending {
        object: root,
        level: 0,
        place: Some((Arc::new(target), b".".to_vec())),
    }];
    let mut growth = Growth::default();
    while let Some(directory) = pending.pop() {
        shared.cancel.check()?;
        if directory.level > DEEPEST {
            let message = "the folders of the snapshot are nested too deeply to add up what it needs";
            return Err(UploaderError::Mismatch(message.to_owned()));
        }
        let entries = match shared.repository.read_directory(directory.object) {
            Ok(listed) => listed.entries,
            // The restore will come to it, and name it.
            Err(_) if shared.rules.ignore_errors => continue,
            Err(error) => {
                return Err(UploaderError::repository(
                    "adding up what the snapshot needs",
                    error,
                ));
            }
        };
        let there = directory
            .place
            .and_then(|(above, name)| open(&above, &name))
            .map(Arc::new);
        if let Some(there) = there.as_deref().filter(|_| shared.rules.resume) {
            // What the killed run had not finished takes room too. Where it cannot be removed, the restore will say so.
            let _ = shared.unfinished.clear(there, "");
        }
        for entry in entries {
            match entry.kind {
                EntryType::Directory => pending.push(Pending {
                    object: entry.object,
                    level: directory.level + 1,
                    place: there.clone().map(|there| (there, entry.file_name())),
                }),
                EntryType::File => {
                    let place = there.as_deref();
                    if let Some(bytes) = place.map_or(Some(0), |there| occupied(shared, there, &entry)) {
                        growth.add(&entry, bytes, at_a_time);
                    }
                }
                EntryType::Symlink => {}
            }
        }
    }
    Ok(growth.most())
}

/// What files add to what is there.
#[derive(Default)]
struct Growth {
    bytes: u64,
    /// For a while there are both the old file and the new one: the largest of these, as many as are written at a time.
    replaced: BinaryHeap<Reverse<u64>>,
    /// Files that have several names and are counted.
    linked: HashSet<Box<str>>,
}

impl Growth {
    /// Adds one file.
    fn add(&mut self, entry: &DirectoryEntry, occupied: u64, at_a_time: usize) {
        if let Some(id) = &entry.hard_link
            && !self.linked.insert(id.clone())
        {
            return;
        }
        let size = entry.allocated.unwrap_or(entry.size);
        self.bytes = self.bytes.saturating_add(size.saturating_sub(occupied));
        self.replaced.push(Reverse(size.min(occupied)));
        if self.replaced.len() > at_a_time {
            self.replaced.pop();
        }
    }

    fn most(self) -> u64 {
        let replaced = self.replaced.into_iter().map(|Reverse(bytes)| bytes);
        replaced.fold(self.bytes, u64::saturating_add)
    }
}

/// What the file in an entry's place occupies and will free, 0 when there is none; `None` where nothing will be written.
fn occupied(shared: &Shared<'_>, directory: &OwnedFd, entry: &DirectoryEntry) -> Option<u64> {
    let name = entry.file_name();
    let place = Place {
        directory: directory.as_fd(),
        name: &name,
        entry,
        path: &entry.name,
    };
    // What must not be replaced is not: the restore will come to it, and say so.
    if !matches!(place.look(&shared.rules), Ok(There::Free)) {
        return None;
    }
    let there = rustix::fs::statat(directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
    let file = there.ok().filter(|there| {
        FileType::from_raw_mode(there.st_mode) == FileType::RegularFile && there.st_nlink == 1
    });
    let blocks = file.and_then(|file| u64::try_from(file.st_blocks).ok());
    Some(blocks.map_or(0, |blocks| blocks.saturating_mul(BLOCK_BYTES)))
}

fn open(above: &OwnedFd, name: &[u8]) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(above, name, flags, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::rules_tests::{restore_by, save};
    use crate::tests::World;
    use crate::{CancelToken, EntryRestoreRequest, Progress, RestoreRules, UploadRules};

    fn needed_in(world: &World, snapshot: &str, target: &Path, rules: RestoreRules, at_a_time: usize) -> u64 {
        let request = EntryRestoreRequest {
            path: target.to_owned(),
            sparse: false,
            parallel_files: None,
            synced: false,
            rules,
        };
        let repository = world.repository();
        let (progress, cancel) = (Progress::default(), CancelToken::default());
        let shared = super::super::shared(&repository, &request, &progress, &cancel);
        let root = super::super::load(&repository, snapshot).expect("a snapshot");
        let target = File::open(target).expect("a folder").into();
        needed(&shared, root.object, &target, at_a_time).expect("a sum")
    }

    /// A snapshot of 8 and 4 MiB, restored into the folder.
    fn restored(world: &World) -> (String, PathBuf) {
        let source = world.folder("source");
        fs::create_dir(source.join("sub")).expect("a folder");
        for (name, length) in [("sub/a", 8 << 20), ("b", 4 << 20)] {
            fs::write(source.join(name), vec![1; length]).expect("a file");
        }
        let snapshot = save(world, &source, UploadRules::default()).snapshot_id;
        let (empty, back) = (world.folder("empty"), world.folder("back"));
        let all = RestoreRules::default();
        assert_eq!(needed_in(world, &snapshot, &empty, all, 2), 12 << 20);
        restore_by(world, &snapshot, &back, all).expect("a restore");
        (snapshot, back)
    }

    #[test]
    fn files_that_are_replaced_are_there_twice_for_a_while_as_many_as_are_written_at_a_time() {
        let world = World::new();
        let (snapshot, back) = restored(&world);
        let all = RestoreRules::default();
        for (at_a_time, needed) in [(1, 8 << 20), (2, 12 << 20), (8, 12 << 20)] {
            assert_eq!(needed_in(&world, &snapshot, &back, all, at_a_time), needed);
        }
        fs::remove_file(back.join("sub/a")).expect("a file");
        assert_eq!(needed_in(&world, &snapshot, &back, all, 1), (8 << 20) + (4 << 20));
        let left = RestoreRules {
            skip_existing: true,
            ..all
        };
        assert_eq!(needed_in(&world, &snapshot, &back, left, 1), 8 << 20);
    }

    /// Else the restore of a snapshot that fills most of its disk could never go on.
    #[test]
    fn a_killed_restore_goes_on_with_room_for_what_is_missing() {
        let world = World::new();
        let (snapshot, back) = restored(&world);
        fs::remove_file(back.join("b")).expect("a file");
        let left = back.join(format!("sub/.restoring.{:032x}.3", 5));
        fs::write(&left, "half a file").expect("a file");
        let rules = RestoreRules {
            resume: true,
            ..RestoreRules::default()
        };
        assert_eq!(needed_in(&world, &snapshot, &back, rules, 2), 4 << 20);
        assert!(!left.exists(), "it takes room");
    }
}
