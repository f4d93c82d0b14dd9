//! The eleven keyed hashes that name contents (kopia-format.md 3.1).

use blake2::{
    Blake2sMac,
    digest::{FixedOutput, KeyInit, Update, consts::U16, consts::U32},
};
use hmac::SimpleHmac;
use sha3::{Sha3_224, Sha3_256};

use super::blake2b::Blake2b256;
use crate::error::{RepositoryError, Result};

/// The longest hash of them all.
pub const MAX_HASH_LENGTH: usize = 32;

/// What a plaintext is called: 16, 28 or 32 bytes. Derefs to them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash {
    bytes: [u8; MAX_HASH_LENGTH],
    length: u8,
}

impl Hash {
    fn cut(bytes: &[u8], length: usize) -> Self {
        let mut own = [0; MAX_HASH_LENGTH];
        own[..length].copy_from_slice(&bytes[..length]);
        Self {
            bytes: own,
            length: length as u8,
        }
    }
}

impl std::ops::Deref for Hash {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length as usize]
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(&**self))
    }
}

/// A hash by Kopia's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// The default: keyed BLAKE2b-256, of which 16 bytes are kept.
    Blake2b256Cut128,
    Blake2b256,
    /// A true 128-bit BLAKE2s, unlike `BLAKE2B-256-128`.
    Blake2s128,
    Blake2s256,
    Blake3,
    Blake3Cut128,
    HmacSha256,
    HmacSha256Cut128,
    HmacSha224,
    HmacSha3Of224,
    HmacSha3Of256,
}

use HashAlgorithm as A;

impl HashAlgorithm {
    /// All of them, the default first.
    pub const ALL: [HashAlgorithm; 11] = [
        A::Blake2b256Cut128,
        A::Blake2b256,
        A::Blake2s128,
        A::Blake2s256,
        A::Blake3,
        A::Blake3Cut128,
        A::HmacSha256,
        A::HmacSha256Cut128,
        A::HmacSha224,
        A::HmacSha3Of224,
        A::HmacSha3Of256,
    ];

    /// What the format blob calls it.
    pub fn name(self) -> &'static str {
        match self {
            A::Blake2b256Cut128 => "BLAKE2B-256-128",
            A::Blake2b256 => "BLAKE2B-256",
            A::Blake2s128 => "BLAKE2S-128",
            A::Blake2s256 => "BLAKE2S-256",
            A::Blake3 => "BLAKE3-256",
            A::Blake3Cut128 => "BLAKE3-256-128",
            A::HmacSha256 => "HMAC-SHA256",
            A::HmacSha256Cut128 => "HMAC-SHA256-128",
            A::HmacSha224 => "HMAC-SHA224",
            A::HmacSha3Of224 => "HMAC-SHA3-224",
            A::HmacSha3Of256 => "HMAC-SHA3-256",
        }
    }

    /// By the name in the format blob. Errors: `Unsupported`.
    pub fn by_name(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| RepositoryError::unsupported(format!("the hash {name}")))
    }

    /// Bytes of a hash: 16, 28 or 32.
    pub fn length(self) -> usize {
        match self {
            A::Blake2b256Cut128 | A::Blake2s128 | A::Blake3Cut128 | A::HmacSha256Cut128 => 16,
            A::HmacSha224 | A::HmacSha3Of224 => 28,
            A::Blake2b256 | A::Blake2s256 | A::Blake3 | A::HmacSha256 | A::HmacSha3Of256 => 32,
        }
    }
}

/// A hash with its key, prepared once and cloned for every plaintext.
#[derive(Clone)]
enum State {
    Blake2b(Blake2b256),
    Blake2s128(Box<Blake2sMac<U16>>),
    Blake2s256(Box<Blake2sMac<U32>>),
    Blake3(Box<blake3::Hasher>),
    Hmac(Box<aws_lc_rs::hmac::Key>),
    HmacSha3Of224(Box<SimpleHmac<Sha3_224>>),
    HmacSha3Of256(Box<SimpleHmac<Sha3_256>>),
}

/// Names plaintexts.
#[derive(Clone)]
pub(crate) struct KeyedHash {
    algorithm: HashAlgorithm,
    state: State,
}

impl KeyedHash {
    /// With the format's `secret`; `None` when this hash cannot take a key of that length.
    pub fn new(algorithm: HashAlgorithm, secret: &[u8]) -> Option<Self> {
        use aws_lc_rs::hmac::{HMAC_SHA224, HMAC_SHA256, Key};
        let state = match algorithm {
            A::Blake2b256Cut128 | A::Blake2b256 => State::Blake2b(Blake2b256::new(secret)?),
            // Kopia refuses an empty key for this one.
            A::Blake2s128 if secret.is_empty() => return None,
            A::Blake2s128 => State::Blake2s128(Box::new(KeyInit::new_from_slice(secret).ok()?)),
            A::Blake2s256 if secret.is_empty() => State::Blake2s256(Box::new(
                Blake2sMac::new_with_salt_and_personal(None, &[], &[]).ok()?,
            )),
            A::Blake2s256 => State::Blake2s256(Box::new(KeyInit::new_from_slice(secret).ok()?)),
            A::Blake3 | A::Blake3Cut128 => {
                State::Blake3(Box::new(blake3::Hasher::new_keyed(&blake3_key(secret))))
            }
            A::HmacSha256 | A::HmacSha256Cut128 => State::Hmac(Box::new(Key::new(HMAC_SHA256, secret))),
            A::HmacSha224 => State::Hmac(Box::new(Key::new(HMAC_SHA224, secret))),
            A::HmacSha3Of224 => State::HmacSha3Of224(Box::new(KeyInit::new_from_slice(secret).ok()?)),
            A::HmacSha3Of256 => State::HmacSha3Of256(Box::new(KeyInit::new_from_slice(secret).ok()?)),
        };
        Some(Self { algorithm, state })
    }

    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The hash of `plaintext`.
    pub fn hash(&self, plaintext: &[u8]) -> Hash {
        fn finish<M: Update + FixedOutput + Clone>(keyed: &M, plaintext: &[u8], length: usize) -> Hash {
            let mut keyed = keyed.clone();
            keyed.update(plaintext);
            Hash::cut(&keyed.finalize_fixed(), length)
        }
        let length = self.algorithm.length();
        match &self.state {
            State::Blake2b(keyed) => Hash::cut(&keyed.hash(plaintext), length),
            State::Blake2s128(keyed) => finish(&**keyed, plaintext, length),
            State::Blake2s256(keyed) => finish(&**keyed, plaintext, length),
            State::Blake3(keyed) => {
                let mut keyed = keyed.clone();
                keyed.update(plaintext);
                Hash::cut(keyed.finalize().as_bytes(), length)
            }
            State::Hmac(key) => Hash::cut(aws_lc_rs::hmac::sign(key, plaintext).as_ref(), length),
            State::HmacSha3Of224(keyed) => finish(&**keyed, plaintext, length),
            State::HmacSha3Of256(keyed) => finish(&**keyed, plaintext, length),
        }
    }
}

fn blake3_key(secret: &[u8]) -> [u8; 32] {
    match secret.first_chunk::<32>() {
        Some(key) => *key,
        None => blake3::derive_key("kopia blake3 derived key v1", secret),
    }
}
