//! One subfolder of the cache: files by name, limited by their bytes; those used longest ago go first.
//!
//! No process asks another. A file appears whole (written beside its place and renamed) and is whole or gone for whoever
//! opens it; one that was removed while somebody read it is read to its end. Each process counts the bytes itself and
//! looks at the folder again after writing a sixteenth of the limit, so that several keep to it together, up to that
//! sixteenth and one file for each of the others.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    Trouble,
    protection::{Protection, TAG_LENGTH},
};
use crate::environment::{Clock, Environment, Randomness};

/// A use is noted in the file's time only when the last note is older than this (Kopia's `DefaultTouchThreshold`).
const TOUCHED_AFTER: Duration = Duration::from_secs(10 * 60);
/// Longer names are no blob's.
const MAX_NAME: usize = 200;
/// Of the limit: after writing this part of it the folder is looked at, and a sweep makes this much room.
const SHARE: u64 = 16;

/// A subfolder.
pub(crate) struct Part {
    folder: PathBuf,
    /// In bytes of files.
    limit: u64,
    protection: Arc<Protection>,
    trouble: Arc<Trouble>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    filling: Mutex<Filling>,
}

#[derive(Default)]
struct Filling {
    /// Bytes of all files when the folder was last looked at, and of ours since; `None` before the first look.
    bytes: Option<u64>,
    written_since: u64,
}

impl Part {
    pub fn new(
        folder: PathBuf,
        limit: u64,
        protection: Arc<Protection>,
        trouble: Arc<Trouble>,
        environment: &Environment,
    ) -> Self {
        Self {
            folder,
            limit,
            protection,
            trouble,
            clock: environment.clock.clone(),
            randomness: environment.randomness.clone(),
            filling: Mutex::default(),
        }
    }

    /// Whether a file of this many bytes could be kept here.
    pub fn takes(&self, bytes: u64) -> bool {
        self.limit >= bytes + TAG_LENGTH as u64 && !self.trouble.is_off()
    }

    /// The bytes kept under `name`, if they are there and whole. An altered file is removed.
    pub fn get(&self, name: &str) -> Option<Bytes> {
        if self.limit == 0 {
            return None;
        }
        let path = self.path(name)?;
        let read = File::open(&path).and_then(|file| self.read(file));
        let file = match read {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                self.trouble.unusable(&error);
                return None;
            }
        };
        let bytes = file.and_then(|file| self.protection.open(name, file));
        if bytes.is_none() {
            self.trouble.altered(name);
            self.forget(name);
        }
        bytes.map(Bytes::from)
    }

    /// A file's bytes; `None` when it is larger than any of ours can be.
    fn read(&self, mut file: File) -> io::Result<Option<Vec<u8>>> {
        let metadata = file.metadata()?;
        let mut bytes = Vec::new();
        let fits = metadata.len() <= self.limit
            && usize::try_from(metadata.len()).is_ok_and(|length| bytes.try_reserve_exact(length).is_ok());
        if !fits {
            return Ok(None);
        }
        // Not more than was looked at, should somebody else be writing to it.
        (&mut file).take(metadata.len()).read_to_end(&mut bytes)?;
        let now = self.now();
        let used_before = metadata.modified().ok();
        if used_before.is_none_or(|before| now.duration_since(before).is_ok_and(|age| age > TOUCHED_AFTER)) {
            // Only its place in the line is lost.
            let _ = file.set_modified(now);
        }
        Ok(Some(bytes))
    }

    /// Keeps a copy, where there is room for one. What goes wrong is said once, and nothing is written any more.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let length = (bytes.len() + TAG_LENGTH) as u64;
        if length > self.limit || self.trouble.is_off() {
            return;
        }
        let Some(path) = self.path(name) else {
            return;
        };
        let written = self
            .make_room(length)
            .and_then(|()| self.write(&path, name, bytes));
        match written {
            Ok(()) => {}
            // Somebody clears the cache.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => self.trouble.unusable(&error),
        }
    }

    /// Removes a copy.
    pub fn forget(&self, name: &str) {
        let Some(path) = self.path(name) else {
            return;
        };
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => self.trouble.unusable(&error),
        }
    }

    /// Names come from indexes, which others may write: none may lead out of the folder.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let plain = !name.is_empty()
            && name.len() <= MAX_NAME
            && !name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        let shard = format!("{:02x}", crc32fast::hash(name.as_bytes()) & 0xff);
        plain.then(|| self.folder.join(shard).join(name))
    }

    fn now(&self) -> SystemTime {
        SystemTime::from(self.clock.now())
    }

    fn write(&self, path: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.folder);
        let mut random = [0; 8];
        self.randomness.fill(&mut random);
        let beside = folder.join(format!(".tmp.{}", hex::encode(random)));
        let create = || {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&beside)
        };
        let mut file = match create() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                create()?
            }
            created => created?,
        };
        // Not flushed to the disk: a copy that a power cut has left in pieces is not believed.
        let written = file
            .write_all(bytes)
            .and_then(|()| file.write_all(&self.protection.tag(name, bytes)))
            .and_then(|()| file.set_modified(self.now()))
            .and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// Counts `length` more bytes, and sweeps when they are too many.
    fn make_room(&self, length: u64) -> io::Result<()> {
        let mut filling = self.filling.lock();
        let known = filling
            .bytes
            .filter(|_| filling.written_since < self.limit / SHARE);
        let mut bytes = match known {
            Some(bytes) => bytes,
            None => {
                filling.written_since = 0;
                look(&self.folder)?.iter().map(|file| file.length).sum()
            }
        };
        if bytes.saturating_add(length) > self.limit {
            let wanted = self.limit - length;
            // Some more room than for this one; but what is there is worth more than an empty folder.
            bytes = sweep(&self.folder, wanted.saturating_sub(self.limit / SHARE))?;
            filling.written_since = 0;
            if bytes > wanted {
                filling.bytes = None;
                return Err(io::Error::other("files in it cannot be removed"));
            }
        }
        filling.bytes = Some(bytes.saturating_add(length));
        filling.written_since = filling.written_since.saturating_add(length);
        Ok(())
    }
}

/// A file of a part.
struct Kept {
    path: PathBuf,
    length: u64,
    used: SystemTime,
}

/// Every file of a part; none when there is no such folder. What vanishes meanwhile is left out.
fn look(folder: &Path) -> io::Result<Vec<Kept>> {
    let mut found = Vec::new();
    for shard in entries(folder)? {
        for file in entries(&shard)? {
            let metadata = match fs::symlink_metadata(&file) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if metadata.is_file() {
                found.push(Kept {
                    path: file,
                    length: metadata.len(),
                    used: metadata.modified()?,
                });
            }
        }
    }
    Ok(found)
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        listed => listed?.map(|entry| entry.map(|entry| entry.path())).collect(),
    }
}

/// Removes what was used longest ago until no more than `limit` bytes are left; says how many are. A file that cannot be
/// removed counts, and the next one goes in its place.
pub(super) fn sweep(folder: &Path, limit: u64) -> io::Result<u64> {
    let mut files = look(folder)?;
    let mut bytes = files.iter().map(|file| file.length).sum::<u64>();
    files.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
    for file in files {
        if bytes <= limit {
            break;
        }
        match fs::remove_file(&file.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {}
            _ => bytes -= file.length,
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use jiff::Timestamp;

    use super::*;
    use crate::cache::{CacheSettings, Notice};

    struct Ticking(AtomicI64);

    impl Clock for Ticking {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
        }
    }

    struct World {
        folder: tempfile::TempDir,
        clock: Arc<Ticking>,
        said: Arc<Mutex<Vec<String>>>,
    }

    impl World {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
                clock: Arc::new(Ticking(AtomicI64::new(1_790_000_000))),
                said: Arc::default(),
            }
        }

        /// A part as one process has it.
        fn part(&self, limit: u64) -> Part {
            let said = self.said.clone();
            let settings = CacheSettings {
                notice: Notice::new(move |text| said.lock().push(text.to_owned())),
                ..CacheSettings::in_folder(self.folder.path())
            };
            let environment = Environment {
                clock: self.clock.clone(),
                ..Environment::system()
            };
            Part::new(
                self.folder.path().join("part"),
                limit,
                Arc::new(Protection::new(b"secret", b"unique")),
                Arc::new(Trouble::new(&settings)),
                &environment,
            )
        }

        fn bytes(&self) -> u64 {
            let files = look(&self.folder.path().join("part")).unwrap();
            files.iter().map(|file| file.length).sum()
        }

        fn only_file(&self) -> PathBuf {
            let mut files = look(&self.folder.path().join("part")).unwrap();
            assert_eq!(files.len(), 1);
            files.remove(0).path
        }

        fn later(&self, seconds: i64) {
            self.clock.0.fetch_add(seconds, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_one_process_keeps_another_finds() {
        let world = World::new();
        let (one, other) = (world.part(1 << 20), world.part(1 << 20));
        assert!(other.get("q1").is_none());
        one.put("q1", b"bytes");
        assert_eq!(other.get("q1").unwrap(), &b"bytes"[..]);
        other.forget("q1");
        assert!(one.get("q1").is_none());
        assert!(world.said.lock().is_empty());
    }

    #[test]
    fn an_altered_or_shortened_file_is_not_believed_and_said_once() {
        let world = World::new();
        let part = world.part(1 << 20);
        for at in [0, 7, 40] {
            part.put("q1", &[7; 100]);
            let path = world.only_file();
            let mut file = fs::read(&path).unwrap();
            match at {
                0 => file.truncate(50),
                at => file[at] ^= 1,
            }
            fs::write(&path, file).unwrap();
            assert!(part.get("q1").is_none());
            assert!(!path.exists(), "it is gone, for the next one to be whole");
        }
        assert_eq!(world.said.lock().len(), 1);
    }

    #[test]
    fn the_limit_holds_and_what_was_used_longest_ago_goes_first() {
        let world = World::new();
        let part = world.part(100_000);
        part.put("first", &[1; 9_000]);
        for n in 0..50 {
            world.later(700);
            part.put(&format!("p{n}"), &[2; 9_000]);
            assert!(part.get("first").is_some(), "it is used all the time");
            assert!(world.bytes() <= 100_000);
        }
        assert!(part.get("p0").is_none() && part.get("p49").is_some());
        part.put("large", &[3; 100_000]);
        assert!(
            part.get("large").is_none(),
            "it would be alone, and still too large"
        );
        assert!(world.bytes() > 80_000, "nothing was removed for it");
    }

    #[test]
    fn several_processes_keep_to_one_limit_up_to_a_sixteenth_each() {
        let world = World::new();
        let parts = [world.part(160_000), world.part(160_000), world.part(160_000)];
        for n in 0..60 {
            for (m, part) in parts.iter().enumerate() {
                world.later(1);
                part.put(&format!("p{n}-{m}"), &[2; 2_000]);
            }
            assert!(
                world.bytes() <= 160_000 + 3 * 160_000 / SHARE,
                "{}",
                world.bytes()
            );
        }
        assert!(world.bytes() > 100_000);
    }

    #[test]
    fn names_that_would_lead_elsewhere_are_kept_nowhere() {
        let world = World::new();
        let part = world.part(1 << 20);
        for name in ["", "../q1", "q/1", "..", ".q", &"q".repeat(201), "q\n"] {
            part.put(name, b"bytes");
            assert!(part.get(name).is_none(), "{name:?}");
        }
        assert_eq!(world.bytes(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_said_once_and_costs_nothing() {
        let world = World::new();
        // A file where the folder should be: no account may write there, root neither.
        fs::write(world.folder.path().join("part"), "mine").unwrap();
        let part = world.part(1 << 20);
        part.put("q1", b"bytes");
        part.put("q2", b"bytes");
        assert!(part.get("q1").is_none());
        assert_eq!(world.said.lock().len(), 1, "{:?}", world.said.lock());
        assert_eq!(fs::read(world.folder.path().join("part")).unwrap(), b"mine");
    }

    #[test]
    fn a_limit_of_nothing_keeps_nothing() {
        let world = World::new();
        let part = world.part(0);
        part.put("q1", b"bytes");
        assert!(part.get("q1").is_none());
        assert!(!world.folder.path().join("part").exists());
    }

    #[test]
    fn what_is_cleared_while_others_work_is_made_anew() {
        let world = World::new();
        let part = world.part(1 << 20);
        part.put("q1", b"bytes");
        fs::remove_dir_all(world.folder.path().join("part")).unwrap();
        assert!(part.get("q1").is_none());
        part.put("q1", b"bytes");
        assert!(part.get("q1").is_some() && world.said.lock().is_empty());
    }
}
