//! The committed contents: reads the index blobs, merges them, and reads them again when they are too old to
//! decide on (kopia-format.md 7.6 steps 7 and 8, 11.5 rule c).

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};

use crate::{
    blob::Blobs,
    crypto::Sealer,
    environment::Environment,
    epoch::{IndexManager, IndexSet},
    error::{RepositoryError, RepositoryErrorKind, Result},
    index::{mapped, merged::MergedIndex},
};

/// Older than this, an index must not decide that a content need not be written: its pack may be deleted an
/// hour after maintenance has rewritten it. Kopia's own figure.
const MAX_AGE_SECS: i64 = 15 * 60;
/// Kopia's patience with index blobs that vanish while being read.
const ATTEMPTS: u32 = 10;
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Index blobs that are in memory at the same time while they are read: enough to hide a storage's delay.
const TOGETHER: usize = 8;
/// And so many bytes of them, where one alone does not have more.
const TOGETHER_BYTES: u64 = 32 << 20;
/// Shorter ones are not looked at one by one.
const LONG: u64 = 1 << 20;

/// One reading of the index blobs.
pub struct Reading {
    pub index: Arc<MergedIndex>,
    /// When the listing began that it follows.
    taken_at: Timestamp,
}

/// Shared by readers and writers of one opened repository.
pub struct Committed {
    blobs: Blobs,
    sealer: Arc<Sealer>,
    environment: Environment,
    manager: IndexManager,
    /// How long one reading may take (`EpochRefreshFrequency`), in seconds.
    max_reading_secs: i64,
    current: RwLock<Arc<Reading>>,
    refreshing: Mutex<()>,
}

impl Committed {
    /// As if there were no index, until [`Committed::refresh`] reads it.
    pub(crate) fn unread(
        blobs: Blobs,
        sealer: Arc<Sealer>,
        environment: Environment,
        manager: IndexManager,
        max_reading_secs: i64,
    ) -> Self {
        let taken_at = environment.clock.now();
        let empty = Arc::new(Reading {
            index: Arc::default(),
            taken_at,
        });
        Self {
            blobs,
            sealer,
            environment,
            manager,
            max_reading_secs,
            current: RwLock::new(empty),
            refreshing: Mutex::new(()),
        }
    }

    /// The latest reading, however old.
    pub fn current(&self) -> Arc<Reading> {
        self.current.read().clone()
    }

    /// A reading young enough to decide on.
    pub fn fresh(&self) -> Result<Arc<Reading>> {
        let current = self.current();
        if self.age_secs(&current) < MAX_AGE_SECS {
            return Ok(current);
        }
        let _only_one = self.refreshing.lock();
        let current = self.current();
        if self.age_secs(&current) < MAX_AGE_SECS {
            return Ok(current);
        }
        self.read_again(false)
    }

    /// The first reading of a repository that was just opened: a listing of the index blobs that somebody on this machine
    /// made a moment ago is believed (`cache/lists.rs`). What the reading may decide is as old as that listing.
    pub(crate) fn begin(&self) -> Result<Arc<Reading>> {
        let _only_one = self.refreshing.lock();
        self.read_again(true)
    }

    /// Reads again now: what others, or our own commit, have added is seen afterwards.
    pub fn refresh(&self) -> Result<Arc<Reading>> {
        let _only_one = self.refreshing.lock();
        self.read_again(false)
    }

    fn age_secs(&self, reading: &Reading) -> i64 {
        self.environment.now_secs() - reading.taken_at.as_second()
    }

    fn read_again(&self, mut believes_lists: bool) -> Result<Arc<Reading>> {
        let mut wait = FIRST_WAIT;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match self.try_reading(believes_lists) {
                Ok(Some(reading)) => {
                    let reading = Arc::new(reading);
                    *self.current.write() = reading.clone();
                    return Ok(reading);
                }
                Ok(None) => {}
                Err(error) if error.is_missing_blob() => last = Some(error),
                Err(error) => return Err(error),
            }
            if std::mem::take(&mut believes_lists) {
                continue;
            }
            if !self.blobs.is_inline() {
                std::thread::sleep(wait);
            }
            wait *= 2;
        }
        Err(last.unwrap_or_else(|| {
            RepositoryError::new(
                RepositoryErrorKind::TooSlow,
                "reading the repository's index takes longer than others may keep it; try again",
            )
        }))
    }

    /// One attempt; `None` when it took so long that blobs may have been replaced meanwhile.
    fn try_reading(&self, believes_lists: bool) -> Result<Option<Reading>> {
        let clock = &*self.environment.clock;
        let oldest = Cell::new(clock.now());
        let lengths = RefCell::new(BTreeMap::new());
        let list = |prefix: &str| -> Result<_> {
            let (listed, began) = match believes_lists {
                true => self.blobs.list_believed(prefix, clock)?,
                false => self.blobs.list_anew(prefix, clock)?,
            };
            oldest.set(oldest.get().min(began));
            let large = listed.iter().filter(|blob| blob.length >= LONG);
            lengths
                .borrow_mut()
                .extend(large.map(|blob| (blob.id.as_str().to_owned(), blob.length)));
            Ok(listed)
        };
        let IndexSet {
            blobs: wanted,
            watermark,
        } = self.manager.active(&list, &self.blobs, &self.sealer)?;
        let taken_at = oldest.get();
        let old = self.current();
        if *old.index.blobs() == wanted && old.index.watermark() == watermark {
            return Ok(Some(Reading {
                index: old.index.clone(),
                taken_at,
            }));
        }
        let missing = old.index.missing(&wanted);
        let some_at_a_time = batches(&missing, &lengths.into_inner());
        let fetched = some_at_a_time.iter().flat_map(|some| self.fetch(some));
        let next = old
            .index
            .next(wanted.clone(), fetched, watermark, &|plain| self.keep(plain))?;
        let index = Arc::new(next);
        if self.environment.now_secs() - taken_at.as_second() > self.max_reading_secs {
            return Ok(None);
        }
        Ok(Some(Reading { index, taken_at }))
    }

    /// The plaintexts of some index blobs.
    fn fetch(&self, names: &[&str]) -> Vec<Result<(String, Bytes)>> {
        let bodies = match self.blobs.get_index_blobs(names) {
            Ok(bodies) => bodies,
            Err(error) => return vec![Err(error)],
        };
        let opened = bodies.into_iter().map(|(name, body)| {
            let plain = self.sealer.open_blob_in_place(&name, body);
            let plain = plain.map_or_else(|| self.open_past_cache(&name), Ok)?;
            Ok((name, self.keep(plain)))
        });
        opened.collect()
    }

    /// An index blob that could not be opened, from the storage: a copy may be of a time when it was damaged there.
    fn open_past_cache(&self, name: &str) -> Result<Bytes> {
        if !self.blobs.believes_cache() {
            return Err(cannot_open(name));
        }
        self.blobs.forget_index_blob(name);
        let body = self.blobs.get(name)?;
        let plain = self.sealer.open_blob_in_place(name, body);
        plain.ok_or_else(|| cannot_open(name))
    }

    /// Moves a large index into a file, where there is a folder for it.
    fn keep(&self, plain: Bytes) -> Bytes {
        let Some(folder) = &self.environment.index_folder else {
            return plain;
        };
        if plain.len() < mapped::WORTH_BYTES {
            return plain;
        }
        mapped::keep(folder, &plain).unwrap_or_else(|error| {
            tracing::warn!(folder = %folder.display(), %error, "an index stays in memory: it cannot be kept in a file");
            plain
        })
    }
}

/// Divides index blobs into those that are read together; `lengths` says how long the long ones are.
fn batches<'n>(names: &[&'n str], lengths: &BTreeMap<String, u64>) -> Vec<Vec<&'n str>> {
    let mut all: Vec<Vec<&str>> = Vec::new();
    let mut bytes = 0;
    for name in names.iter().copied() {
        let length = lengths.get(name).copied().unwrap_or(LONG);
        bytes += length;
        match all.last_mut() {
            Some(last) if last.len() < TOGETHER && bytes <= TOGETHER_BYTES => last.push(name),
            _ => {
                all.push(vec![name]);
                bytes = length;
            }
        }
    }
    all
}

fn cannot_open(name: &str) -> RepositoryError {
    RepositoryError::damaged(format!(
        "index blob {name} was altered or truncated: it cannot be opened"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_blobs_are_read_together_up_to_a_number_and_up_to_their_bytes() {
        let mib = |name: &str, length: u64| (name.to_owned(), length << 20);
        let lengths = BTreeMap::from([mib("b", 20), mib("c", 13), mib("d", 12), mib("e", 900)]);
        let names = ["a", "b", "c", "d", "e", "f"];
        assert_eq!(
            batches(&names, &lengths),
            [vec!["a", "b"], vec!["c", "d"], vec!["e"], vec!["f"]]
        );
        let many = batches(&["x"; 20], &BTreeMap::new());
        assert_eq!(many.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 4]);
        assert!(batches(&[], &lengths).is_empty());
    }
}
