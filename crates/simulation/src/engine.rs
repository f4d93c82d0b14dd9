//! What the repository engine takes from a simulation's machine: the interposed clock, randomness from the seed, no
//! threads but coroutines, and keys that are derived once.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use caravel_repository::{Clock, Environment, KeyDerivation, Randomness, RepositoryError, SlowKeyDerivation};
use jiff::Timestamp;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::coroutine::Coroutines;

/// The environment of one history, which began at `start` of tokio's clock.
pub fn environment(seed: u64, start: Instant) -> Environment {
    Environment {
        clock: Arc::new(Interposed),
        randomness: Arc::new(Seeded(Mutex::new(StdRng::seed_from_u64(seed)))),
        cpu_threads: 0,
        blocking: Some(Arc::new(Coroutines::new(start))),
        key_derivation: Arc::new(Remembered),
        index_folder: None,
        cache: None,
    }
}

struct Interposed;

impl Clock for Interposed {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

struct Seeded(Mutex<StdRng>);

impl Randomness for Seeded {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().fill_bytes(buffer);
    }
}

/// The product's derivation costs 300 ms: each key is computed once for all histories. Fresh repositories have fresh
/// salts, so the salt is left out: nothing here asks whether a key can be guessed.
struct Remembered;

/// By algorithm and password.
type Keys = BTreeMap<(String, Vec<u8>), [u8; 32]>;

static KEYS: LazyLock<Mutex<Keys>> = LazyLock::new(Mutex::default);

impl KeyDerivation for Remembered {
    fn derive(
        &self,
        algorithm: &str,
        password: &[u8],
        _salt: &[u8],
    ) -> Result<Zeroizing<[u8; 32]>, RepositoryError> {
        let mut keys = KEYS.lock();
        let name = (algorithm.to_owned(), password.to_vec());
        if let Some(key) = keys.get(&name) {
            return Ok(Zeroizing::new(*key));
        }
        let key = SlowKeyDerivation.derive(algorithm, password, b"the salt of simulations")?;
        keys.insert(name, *key);
        Ok(key)
    }
}
