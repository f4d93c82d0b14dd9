//! `velero kopia repository validate-provider`: does the storage keep the promises that a repository rests on? It writes
//! blobs under a name of their own (`z…`, which no repository has) and removes them again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use caravel_storage::{BlobId, Storage, StorageError, StorageErrorKind};
use parking_lot::Mutex;
use rand::{Rng as _, RngCore as _};

use crate::{
    app::App,
    failure::{Failure, Outcome},
    units,
};

/// Check that the storage can hold a repository.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long many work at the same time.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = units::parse_duration)]
    concurrency_test_duration: i64,
    /// Writers at the same time.
    #[arg(long, value_name = "N", default_value_t = 3)]
    put_blob_workers: usize,
    /// Readers at the same time.
    #[arg(long, value_name = "N", default_value_t = 3)]
    get_blob_workers: usize,
}

/// Bytes of the first blob.
const LENGTH: usize = 5_000_000;
/// Bytes of the longest of many.
const MANY_LENGTH: usize = 1_000_000;

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let storage = app.open_to_write()?.storage();
    let check = Check {
        app,
        storage,
        prefix: format!("z{:032x}", rand::random::<u128>()),
    };
    let result = check.one_blob().and_then(|()| check.many(args));
    let left = check.clean_up();
    result?;
    left?;
    app.console.say("All good.");
    Ok(())
}

struct Check<'a> {
    app: &'a App,
    storage: Arc<dyn Storage>,
    prefix: String,
}

/// The storage did something else than it must.
fn broken(promise: &str, what: impl std::fmt::Display) -> Failure {
    Failure::new(format!("the storage cannot hold a repository: {promise}: {what}"))
        .next("velero kopia repository sync-to --help    (to another storage)")
}

fn must_be_missing<T>(promise: &str, result: Result<T, StorageError>) -> Outcome {
    match result {
        Err(error) if error.kind() == StorageErrorKind::NotFound => Ok(()),
        Err(error) => Err(broken(promise, error)),
        Ok(_) => Err(broken(promise, "it was there")),
    }
}

impl Check<'_> {
    fn say(&self, what: &str) {
        self.app.console.say(format!("Validating {what}..."));
    }

    fn count(&self, prefix: &str, expected: usize) -> Outcome {
        let found = self.app.wait(self.storage.list(prefix))?.len();
        match found == expected {
            true => Ok(()),
            false => Err(broken(
                "a listing shows what was written, at once",
                format!("{found} blobs instead of {expected}"),
            )),
        }
    }

    fn one_blob(&self) -> Outcome {
        let (app, storage) = (self.app, &self.storage);
        let id = BlobId::from(format!("{}a1", self.prefix));
        let mut data = vec![0; LENGTH];
        rand::rng().fill_bytes(&mut data);
        self.say("answers about what is not there");
        self.count(&self.prefix, 0)?;
        let promise = "a missing blob is said to be missing";
        must_be_missing(promise, app.wait(storage.get(&id)))?;
        must_be_missing(promise, app.wait(storage.get_range(&id, 0..5)))?;
        must_be_missing(promise, app.wait(storage.metadata(&id)))?;
        self.say("writing");
        app.wait(storage.put(&id, data.clone().into()))?;
        self.say("conditional writing");
        match app.wait(storage.put_if_absent(&id, vec![99].into())) {
            Err(error)
                if matches!(
                    error.kind(),
                    StorageErrorKind::AlreadyExists | StorageErrorKind::Unsupported
                ) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => {
                return Err(broken(
                    "a blob is written only if there is none",
                    "it was written over",
                ));
            }
        }
        self.say("listing");
        self.count(&self.prefix, 1)?;
        self.count(&format!("{}a", self.prefix), 1)?;
        self.count(&format!("{}b", self.prefix), 0)?;
        self.say("reading");
        for (start, length) in [(0, 10), (1, 10), (2, 1), (5, 0), (LENGTH - 5, 5)] {
            let range = start as u64..(start + length) as u64;
            if app.wait(storage.get_range(&id, range.clone()))? != data[start..start + length] {
                return Err(broken(
                    "a part of a blob is what was written",
                    format!("{range:?} is not"),
                ));
            }
        }
        if app.wait(storage.get(&id))? != data {
            return Err(broken("a blob is what was written", "it is not"));
        }
        self.times(&id)
    }

    fn times(&self, id: &BlobId) -> Outcome {
        self.say("times");
        let metadata = self.app.wait(self.storage.metadata(id))?;
        if metadata.length != LENGTH as u64 {
            let said = metadata.length;
            return Err(broken(
                "a blob's length is known",
                format!("{said} instead of {LENGTH}"),
            ));
        }
        let now = self.app.environment.clock.now();
        let skew = metadata.timestamp.duration_since(now).unsigned_abs();
        if skew > Duration::from_secs(180) {
            return Err(Failure::new(format!(
                "the storage's clock and this host's differ by {} s (3 minutes are allowed)",
                skew.as_secs()
            ))
            .next("timedatectl status    (set this host's clock right)"));
        }
        Ok(())
    }

    /// Writers and readers at the same time: a reader sees a whole blob or none.
    fn many(&self, args: &Args) -> Outcome {
        let duration = Duration::from_nanos(args.concurrency_test_duration.unsigned_abs());
        self.say(&format!(
            "many at the same time for {}",
            units::duration(args.concurrency_test_duration)
        ));
        let end = Instant::now() + duration;
        let many = Many {
            check: self,
            end,
            blobs: Mutex::new(Vec::new()),
            failed: Mutex::new(None),
            read: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        };
        thread::scope(|scope| {
            for _ in 0..args.put_blob_workers.clamp(1, 64) {
                scope.spawn(|| many.work(Many::write));
            }
            for _ in 0..args.get_blob_workers.clamp(1, 64) {
                scope.spawn(|| many.work(Many::read));
            }
        });
        let (written, read) = (many.blobs.lock().len(), many.read.load(Ordering::Relaxed));
        self.app
            .console
            .say(format!("  {written} blobs written, {read} times read"));
        many.failed.into_inner().map_or(Ok(()), Err)
    }

    fn clean_up(&self) -> Outcome {
        for blob in self.app.wait(self.storage.list(&self.prefix))? {
            self.app.wait(self.storage.delete(&blob.id))?;
        }
        must_be_missing(
            "what was deleted is gone",
            self.app
                .wait(self.storage.get(&BlobId::from(format!("{}a1", self.prefix)))),
        )
    }
}

struct Many<'a> {
    check: &'a Check<'a>,
    end: Instant,
    /// Name, seed and length; whether it is there for certain.
    blobs: Mutex<Vec<(BlobId, u8, usize, bool)>>,
    failed: Mutex<Option<Failure>>,
    read: AtomicU64,
    stop: AtomicBool,
}

impl Many<'_> {
    fn work(&self, step: impl Fn(&Self) -> Outcome) {
        while Instant::now() < self.end && !self.stop.load(Ordering::Relaxed) {
            if let Err(failure) = step(self) {
                self.stop.store(true, Ordering::Relaxed);
                self.failed.lock().get_or_insert(failure);
            }
        }
    }

    fn write(&self) -> Outcome {
        let mut random = rand::rng();
        let (seed, length) = (random.random::<u8>(), random.random_range(1..MANY_LENGTH));
        let id = BlobId::from(format!("{}b{:016x}", self.check.prefix, random.random::<u64>()));
        let position = {
            let mut blobs = self.blobs.lock();
            blobs.push((id.clone(), seed, length, false));
            blobs.len() - 1
        };
        let data = vec![seed; length];
        self.check.app.wait(self.check.storage.put(&id, data.into()))?;
        self.blobs.lock()[position].3 = true;
        Ok(())
    }

    fn read(&self) -> Outcome {
        let chosen = {
            let blobs = self.blobs.lock();
            let at = rand::rng().random_range(0..blobs.len().max(1));
            blobs.get(at).cloned()
        };
        let Some((id, seed, length, there)) = chosen else {
            thread::sleep(Duration::from_millis(5));
            return Ok(());
        };
        match self.check.app.wait(self.check.storage.get(&id)) {
            Ok(data) if data.len() == length && data.iter().all(|byte| *byte == seed) => {}
            Ok(_) => {
                return Err(broken(
                    "a reader sees a whole blob or none",
                    format!("{id} is neither"),
                ));
            }
            Err(error) if error.kind() == StorageErrorKind::NotFound && !there => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.read.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
