//! What the engine takes from the machine it runs on: time, randomness, threads and the cost of keys.
//! All of it is passed in (decisions.md 1), so that a simulation can run the whole engine inline on one
//! thread, and get the same bytes twice.

use std::{any::Any, fmt, panic, path::PathBuf, sync::Arc};

use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use rand::RngCore;

use crate::{
    cache::CacheSettings,
    crypto::password::{KeyDerivation, RememberedKeys, SlowKeyDerivation},
};

/// The local clock, in UTC.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Unpredictable bytes: nonces, pack names and keys of new repositories come from here.
pub trait Randomness: Send + Sync {
    /// Fills all of `buffer`.
    fn fill(&self, buffer: &mut [u8]);
}

/// A piece of synchronous work.
pub type Work = Box<dyn FnOnce() + Send>;

/// Where synchronous work is done while its asynchronous caller waits.
pub trait Blocking: Send + Sync {
    /// Does the work. A future that is dropped early leaves the work to end by itself.
    fn run(&self, work: Work) -> BoxFuture<'static, ()>;
}

struct SystemClock;
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

struct SystemRandomness;
impl Randomness for SystemRandomness {
    fn fill(&self, buffer: &mut [u8]) {
        rand::rng().fill_bytes(buffer);
    }
}

/// What the engine takes from its surroundings. Cheap to clone.
#[derive(Clone)]
pub struct Environment {
    /// Local time: content timestamps, manifest times.
    pub clock: Arc<dyn Clock>,
    /// Nonces, names and keys.
    pub randomness: Arc<dyn Randomness>,
    /// How many threads work on contents and packs; 0 runs everything inline on the calling thread and needs
    /// a storage whose futures never wait (the one in memory).
    pub cpu_threads: usize,
    /// Where synchronous work runs. None: on the runtime's threads for it; with `cpu_threads` 0 inline.
    pub blocking: Option<Arc<dyn Blocking>>,
    /// How a password becomes a key; a simulation remembers results instead of computing 300 ms each time.
    pub key_derivation: Arc<dyn KeyDerivation>,
    /// Where large indexes lie, in files without names, instead of in memory (34 bytes a content). None: in memory.
    pub index_folder: Option<PathBuf>,
    /// Where copies of what is read lie. None: everything is read from the storage.
    pub cache: Option<CacheSettings>,
}

impl Environment {
    /// The real machine: system clock, operating system's randomness, one thread a core.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            randomness: Arc::new(SystemRandomness),
            cpu_threads: std::thread::available_parallelism().map_or(1, usize::from),
            blocking: None,
            key_derivation: Arc::new(SlowKeyDerivation),
            index_folder: None,
            cache: None,
        }
    }

    /// The same, for a process that opens the same repositories as many: a password's key is computed once.
    #[must_use]
    pub fn with_remembered_keys(self) -> Self {
        Self {
            key_derivation: Arc::new(RememberedKeys::default()),
            ..self
        }
    }

    /// Whether everything runs on the caller's thread, and no other is started.
    pub fn is_inline(&self) -> bool {
        self.cpu_threads == 0
    }

    /// Does synchronous work where it may block.
    ///
    /// # Errors
    /// [`Abandoned`]: it panicked, or the runtime ended.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Abandoned> {
        let Some(blocking) = &self.blocking else {
            if self.is_inline() {
                return Ok(work());
            }
            return tokio::task::spawn_blocking(work)
                .await
                .map_err(|join| Abandoned::by(join.try_into_panic().ok()));
        };
        let done = Arc::new(Mutex::new(None));
        let there = done.clone();
        blocking
            .run(Box::new(move || {
                // The panic goes on in the caller, as a task's does.
                *there.lock() = Some(panic::catch_unwind(panic::AssertUnwindSafe(work)));
            }))
            .await;
        let result = done.lock().take();
        match result {
            Some(Ok(result)) => Ok(result),
            Some(Err(panic)) => Err(Abandoned::by(Some(panic))),
            None => Err(Abandoned::by(None)),
        }
    }

    /// `N` random bytes.
    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.randomness.fill(&mut bytes);
        bytes
    }

    /// Local time in whole seconds, as contents are stamped.
    pub(crate) fn now_secs(&self) -> i64 {
        self.clock.now().as_second()
    }
}

/// Work that gave no result: it panicked, or what ran it ended.
pub struct Abandoned(Mutex<Option<Box<dyn Any + Send>>>);

impl Abandoned {
    fn by(panic: Option<Box<dyn Any + Send>>) -> Self {
        Self(Mutex::new(panic))
    }

    /// What it panicked with.
    pub fn into_panic(self) -> Option<Box<dyn Any + Send>> {
        self.0.into_inner()
    }
}

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.0.lock() {
            Some(_) => "it panicked",
            None => "the runtime that ran it has ended",
        })
    }
}

impl fmt::Debug for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Abandoned {}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("cpu_threads", &self.cpu_threads)
            .finish_non_exhaustive()
    }
}
