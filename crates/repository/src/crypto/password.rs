//! From the password to the key of the format blob (kopia-format.md 2.2).

use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

use aws_lc_rs::{digest, pbkdf2};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::{RepositoryError, error::Result};

/// The name of the default derivation in the format blob.
pub const SCRYPT: &str = "scrypt-65536-8-1";
/// The name of the other derivation that Kopia knows.
pub const PBKDF2: &str = "pbkdf2-sha256-600000";

/// Derives the format key. A seam because it costs 64 MiB and 300 ms each time.
pub trait KeyDerivation: Send + Sync {
    /// The 32-byte key for `password`, salted with the repository's unique id. `algorithm` is `keyAlgo` of the
    /// format blob; an unknown one is an error of kind `Unsupported`.
    fn derive(&self, algorithm: &str, password: &[u8], salt: &[u8]) -> Result<Zeroizing<[u8; 32]>>;
}

/// Computes every time.
#[derive(Clone, Copy, Debug)]
pub struct SlowKeyDerivation;

impl KeyDerivation for SlowKeyDerivation {
    fn derive(&self, algorithm: &str, password: &[u8], salt: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let mut key = Zeroizing::new([0; 32]);
        match algorithm {
            SCRYPT => {
                let params = scrypt::Params::new(16, 8, 1).expect("2^16, 8, 1 are valid");
                scrypt::scrypt(password, salt, &params, key.as_mut()).expect("32 bytes are a valid length");
            }
            PBKDF2 => {
                let iterations = NonZeroU32::new(600_000).expect("not zero");
                pbkdf2::derive(
                    pbkdf2::PBKDF2_HMAC_SHA256,
                    iterations,
                    salt,
                    password,
                    key.as_mut(),
                );
            }
            other => {
                return Err(RepositoryError::unsupported(format!(
                    "the key derivation {other:?}"
                )));
            }
        }
        Ok(key)
    }
}

/// Computes each key once, and keeps it: for one process that plays many, each of which opens the same repositories
/// (`velero sandbox`). Who asks for a key that is being computed waits for it, so that one takes its 64 MiB, not all.
#[derive(Default)]
pub(crate) struct RememberedKeys {
    keys: Mutex<HashMap<[u8; 32], Slot>>,
}

/// Empty until the first has computed it.
type Slot = Arc<Mutex<Option<Zeroizing<[u8; 32]>>>>;

impl KeyDerivation for RememberedKeys {
    fn derive(&self, algorithm: &str, password: &[u8], salt: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let slot = self
            .keys
            .lock()
            .entry(name(algorithm, password, salt))
            .or_default()
            .clone();
        let mut known = slot.lock();
        if let Some(key) = &*known {
            return Ok(key.clone());
        }
        let key = SlowKeyDerivation.derive(algorithm, password, salt)?;
        *known = Some(key.clone());
        Ok(key)
    }
}

/// What a key is remembered by: not the password itself.
fn name(algorithm: &str, password: &[u8], salt: &[u8]) -> [u8; 32] {
    let mut all = digest::Context::new(&digest::SHA256);
    for part in [algorithm.as_bytes(), password, salt] {
        all.update(&part.len().to_be_bytes());
        all.update(part);
    }
    let mut name = [0; 32];
    name.copy_from_slice(all.finish().as_ref());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remembered_key_is_the_computed_one_and_of_its_password_salt_and_algorithm_only() {
        let remembered = RememberedKeys::default();
        let asked: [(&str, &[u8], &[u8]); 4] = [
            (SCRYPT, b"password", b"salt"),
            (SCRYPT, b"passwords", b"alt"),
            (SCRYPT, b"password", b"other"),
            (PBKDF2, b"password", b"salt"),
        ];
        for _ in 0..2 {
            for (algorithm, password, salt) in asked {
                let key = remembered.derive(algorithm, password, salt).unwrap();
                assert_eq!(key, SlowKeyDerivation.derive(algorithm, password, salt).unwrap());
            }
        }
        assert_eq!(remembered.keys.lock().len(), asked.len());
        assert!(remembered.derive("rot13", b"password", b"salt").is_err());
    }
}
