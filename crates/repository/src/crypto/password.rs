//! From the password to the key of the format blob (kopia-format.md 2.2).

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
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
