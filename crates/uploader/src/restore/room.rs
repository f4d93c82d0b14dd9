//! Is there room? Asked before the first write (guarantee 6).

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use caravel_repository::{DEEPEST, DirectoryEntry, EntryType, ObjectId};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::place::Shared;
use crate::error::{Result, UploaderError};

/// Bytes of the blocks that `stat` counts in.
const BLOCK_BYTES: u64 = 512;

/// Fails when the target cannot hold what the snapshot has. A sparse file counts by what it occupied where it came
/// from, since its holes are restored as holes; what is there already and will be replaced or left counts for it.
pub(crate) fn check(shared: &Shared<'_>, root: &DirectoryEntry, target: &OwnedFd) -> Result<()> {
    let space = rustix::fs::fstatvfs(target)
        .map_err(|error| UploaderError::entry("", "look at the space of", error))?;
    let available = space.f_bavail.saturating_mul(space.f_frsize);
    let logical = root.summary.as_ref().map_or(0, |summary| summary.size);
    // Some file systems do not say how large they are.
    if logical <= available || space.f_blocks == 0 {
        return Ok(());
    }
    let needed = needed(shared, root.object, target)?;
    if needed <= available {
        Ok(())
    } else {
        Err(UploaderError::TooSmall { needed, available })
    }
}

/// A directory of the snapshot, and the open one above the place where it goes, where that is there.
struct Pending {
    object: ObjectId,
    level: usize,
    place: Option<(Arc<OwnedFd>, Vec<u8>)>,
}

/// Bytes that the target has to grow by. Reads directories, no data; only done when room is short.
fn needed(shared: &Shared<'_>, root: ObjectId, target: &OwnedFd) -> Result<u64> {
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
        for entry in entries {
            match entry.kind {
                EntryType::Directory => pending.push(Pending {
                    object: entry.object,
                    level: directory.level + 1,
                    place: there.clone().map(|there| (there, entry.file_name())),
                }),
                EntryType::File => growth.add(&entry, there.as_deref(), shared.rules.skip_existing),
                EntryType::Symlink => {}
            }
        }
    }
    Ok(growth.bytes.saturating_add(growth.largest_replaced))
}

/// What files add to what is there.
#[derive(Default)]
struct Growth {
    bytes: u64,
    /// For a while there are both the old file and the new one.
    largest_replaced: u64,
    /// Files that have several names and are counted.
    linked: HashSet<Box<str>>,
}

impl Growth {
    fn add(&mut self, entry: &DirectoryEntry, directory: Option<&OwnedFd>, existing_stay: bool) {
        if let Some(id) = &entry.hard_link
            && !self.linked.insert(id.clone())
        {
            return;
        }
        let size = entry.allocated.unwrap_or(entry.size);
        let there = directory.map_or(0, |directory| occupied(directory, &entry.file_name()));
        if existing_stay && there > 0 {
            return;
        }
        self.bytes = self.bytes.saturating_add(size.saturating_sub(there));
        self.largest_replaced = self.largest_replaced.max(size.min(there));
    }
}

/// What a file occupies; 0 when there is none.
fn occupied(directory: &OwnedFd, name: &[u8]) -> u64 {
    let there = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    let file = there.ok().filter(|there| {
        FileType::from_raw_mode(there.st_mode) == FileType::RegularFile && there.st_nlink == 1
    });
    file.and_then(|file| u64::try_from(file.st_blocks).ok())
        .map_or(0, |blocks| blocks.saturating_mul(BLOCK_BYTES))
}

fn open(above: &OwnedFd, name: &[u8]) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(above, name, flags, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;

    use super::*;
    use crate::rules_tests::{restore_by, save};
    use crate::tests::World;
    use crate::{CancelToken, EntryRestoreRequest, Progress, RestoreRules, UploadRules};

    fn needed_in(world: &World, snapshot: &str, target: &Path, rules: RestoreRules) -> u64 {
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
        needed(&shared, root.object, &target).expect("a sum")
    }

    /// A killed restore of a snapshot that fills most of its disk could never go on, and none over the old tree begin.
    #[test]
    fn what_is_there_already_counts_and_one_file_is_there_twice_for_a_while() {
        let world = World::new();
        let source = world.folder("source");
        fs::create_dir(source.join("sub")).expect("a folder");
        for (name, length) in [("sub/a", 8 << 20), ("b", 4 << 20)] {
            fs::write(source.join(name), vec![1; length]).expect("a file");
        }
        let snapshot = save(&world, &source, UploadRules::default()).snapshot_id;
        let (back, all) = (world.folder("back"), RestoreRules::default());
        assert_eq!(needed_in(&world, &snapshot, &back, all), 12 << 20);
        restore_by(&world, &snapshot, &back, all).expect("a restore");
        assert_eq!(needed_in(&world, &snapshot, &back, all), 8 << 20);
        let left = RestoreRules {
            skip_existing: true,
            ..all
        };
        assert_eq!(needed_in(&world, &snapshot, &back, left), 0);
        fs::remove_file(back.join("sub/a")).expect("a file");
        assert_eq!(needed_in(&world, &snapshot, &back, all), (8 << 20) + (4 << 20));
    }
}
