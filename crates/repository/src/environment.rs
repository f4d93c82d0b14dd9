//! What the engine takes from the machine it runs on: time, randomness, threads and the cost of keys.
//! All of it is passed in (decisions.md 1), so that a simulation can run the whole engine inline on one
//! thread, and get the same bytes twice.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use rand::RngCore;

use crate::crypto::password::{KeyDerivation, SlowKeyDerivation};

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
    /// How a password becomes a key; a simulation remembers results instead of computing 300 ms each time.
    pub key_derivation: Arc<dyn KeyDerivation>,
}

impl Environment {
    /// The real machine: system clock, operating system's randomness, one thread a core.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            randomness: Arc::new(SystemRandomness),
            cpu_threads: std::thread::available_parallelism().map_or(1, usize::from),
            key_derivation: Arc::new(SlowKeyDerivation),
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

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("cpu_threads", &self.cpu_threads)
            .finish_non_exhaustive()
    }
}
