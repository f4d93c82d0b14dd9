//! Keyed BLAKE2b-256, the default hash, by whichever of two crates is faster on this processor.
//!
//! Neither wins everywhere, and the features of a processor do not tell which does: plain code that compilers make wide (`blake2`)
//! hashes 1.5 GB/s on a Zen 5 where AVX2 by hand (`blake2b_simd`) has 0.8, and 0.5 on a Sapphire Rapids where the other has 0.9.
//! So both are tried once, on 64 KiB, in a millisecond. They give the same hashes; only the time can differ.

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use blake2::{
    Blake2bMac,
    digest::{FixedOutput, KeyInit, Update, consts::U32},
};

/// Bytes of a hash.
const LENGTH: usize = 32;
/// The longest key.
const MAX_KEY_LENGTH: usize = 64;
/// What each is tried on, and how often. The best time counts: anything else on the machine only makes it longer.
const TRIAL_BYTES: usize = 64 << 10;
const TRIALS: usize = 4;

/// The hash with its key, prepared once and cloned for every plaintext.
#[derive(Clone)]
pub(super) struct Blake2b256(By);

#[derive(Clone)]
enum By {
    Plain(Box<Blake2bMac<U32>>),
    Vectors(Box<blake2b_simd::State>),
}

impl Blake2b256 {
    /// With a key of up to 64 bytes, or none; `None` when it is longer.
    pub fn new(key: &[u8]) -> Option<Self> {
        static VECTORS_ARE_FASTER: LazyLock<bool> = LazyLock::new(|| {
            let time = |hash: Option<Blake2b256>| hash.map_or(Duration::MAX, |hash| hash.time());
            time(Blake2b256::by_vectors(&[])) < time(Blake2b256::plain(&[]))
        });
        match *VECTORS_ARE_FASTER {
            true => Self::by_vectors(key),
            false => Self::plain(key),
        }
    }

    fn plain(key: &[u8]) -> Option<Self> {
        let keyed = match key {
            [] => Blake2bMac::new_with_salt_and_personal(None, &[], &[]).ok()?,
            key => Blake2bMac::new_from_slice(key).ok()?,
        };
        Some(Self(By::Plain(Box::new(keyed))))
    }

    fn by_vectors(key: &[u8]) -> Option<Self> {
        // The crate panics at a longer one.
        if key.len() > MAX_KEY_LENGTH {
            return None;
        }
        let mut parameters = blake2b_simd::Params::new();
        let keyed = parameters.hash_length(LENGTH).key(key).to_state();
        Some(Self(By::Vectors(Box::new(keyed))))
    }

    /// The hash of `plaintext`.
    pub fn hash(&self, plaintext: &[u8]) -> [u8; LENGTH] {
        match &self.0 {
            By::Plain(keyed) => {
                let mut keyed = keyed.clone();
                keyed.update(plaintext);
                keyed.finalize_fixed().into()
            }
            By::Vectors(keyed) => {
                let mut keyed = keyed.clone();
                keyed.update(plaintext);
                *keyed
                    .finalize()
                    .as_array()
                    .first_chunk()
                    .expect("64 bytes hold 32")
            }
        }
    }

    fn time(&self) -> Duration {
        let plaintext = [0x5a; TRIAL_BYTES];
        let times = (0..TRIALS).map(|_| {
            // The processor's speed is asked, not the time of day: not of the clock that tests set.
            let begun = Instant::now();
            black_box(self.hash(black_box(&plaintext)));
            begun.elapsed()
        });
        times.min().unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_programs_give_the_same_hashes(
            key in proptest::collection::vec(any::<u8>(), 0..=MAX_KEY_LENGTH),
            plaintext in proptest::collection::vec(any::<u8>(), 0..1000),
        ) {
            let (plain, vectors) = (Blake2b256::plain(&key).unwrap(), Blake2b256::by_vectors(&key).unwrap());
            // Twice: a hash leaves the prepared key as it was.
            for _ in 0..2 {
                prop_assert_eq!(plain.hash(&plaintext), vectors.hash(&plaintext));
            }
        }
    }

    #[test]
    fn both_programs_give_the_same_hash_of_a_whole_content() {
        let plaintext: Vec<u8> = (0..5_000_001_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        for key in [&[][..], &[7; 32]] {
            let (plain, vectors) = (
                Blake2b256::plain(key).unwrap(),
                Blake2b256::by_vectors(key).unwrap(),
            );
            assert_eq!(plain.hash(&plaintext), vectors.hash(&plaintext));
        }
    }

    #[test]
    fn both_programs_refuse_a_key_that_is_too_long() {
        let key = [1; MAX_KEY_LENGTH + 1];
        assert!(Blake2b256::plain(&key).is_none() && Blake2b256::by_vectors(&key).is_none());
    }
}
