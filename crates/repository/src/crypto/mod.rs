//! Hashing and encryption of contents and blobs (kopia-format.md 3): BLAKE2B-256-128 names bytes,
//! AES256-GCM-HMAC-SHA256 seals them. Neighbours: `password.rs` (password to key), `envelope.rs` (the
//! nonce-in-front form used by `kopia.repository` and its sisters).
//!
//! ```text
//! contentSecret = HKDF-SHA256(masterKey, salt "encryption", info "")
//! key(iv)       = HMAC-SHA256(contentSecret, iv)            the iv selects the key, it is not the nonce
//! segment       = nonce(12 random) ‖ AES-256-GCM(key(iv), nonce, plaintext, aad = iv) ‖ tag(16)
//! ```

pub mod envelope;
pub mod password;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf, hmac,
};
use blake2::{
    Blake2bMac,
    digest::{FixedOutput, KeyInit, Update, consts::U32},
};
use zeroize::Zeroizing;

use crate::environment::Environment;

/// Bytes of a nonce in front of every sealed text.
pub const NONCE_LENGTH: usize = 12;
/// What sealing adds: nonce and tag.
pub const OVERHEAD: usize = NONCE_LENGTH + 16;
/// Bytes of a content hash (BLAKE2B-256 cut to 128 bits).
pub const HASH_LENGTH: usize = 16;

/// HKDF-SHA256, extract and expand. Note who is who: for contents the purpose is the *salt*, for the format
/// blob it is the *info*.
pub fn hkdf_sha256(ikm: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    struct Length;
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            32
        }
    }
    let mut out = Zeroizing::new([0; 32]);
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(ikm);
    prk.expand(&[info], Length)
        .and_then(|okm| okm.fill(out.as_mut()))
        .expect("32 bytes are less than HKDF-SHA256 can give");
    out
}

/// AES-256-GCM under `key`, in place; the tag is appended.
pub(crate) fn seal_aes(key: &[u8; 32], nonce: [u8; NONCE_LENGTH], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a 32-byte key"));
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text)
        .expect("a plaintext shorter than 64 GiB");
    tag.as_ref().try_into().expect("AES-GCM tags have 16 bytes")
}

/// Opens `nonce ‖ ciphertext ‖ tag`; `None` when it was made with another key or altered.
pub(crate) fn open_aes(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let plain_length = sealed.len().checked_sub(OVERHEAD)?;
    let (nonce, rest) = sealed.split_at(NONCE_LENGTH);
    let (ciphertext, tag) = rest.split_at(plain_length);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a 32-byte key"));
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut plain = vec![0; plain_length];
    key.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, &mut plain)
        .ok()?;
    Some(plain)
}

/// The keys that name and seal every content and index blob of one repository.
pub struct Sealer {
    hash: Blake2bMac<U32>,
    content_secret: hmac::Key,
    environment: Environment,
}

impl Sealer {
    /// From the format's `secret` (hash key) and `masterKey`.
    pub fn new(hash_secret: &[u8], master_key: &[u8], environment: Environment) -> Option<Self> {
        let secret = hkdf_sha256(master_key, b"encryption", b"");
        Some(Self {
            hash: Blake2bMac::new_from_slice(hash_secret).ok()?,
            content_secret: hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()),
            environment,
        })
    }

    /// The name of `plaintext`: the first 16 bytes of keyed BLAKE2b-256.
    pub fn hash(&self, plaintext: &[u8]) -> [u8; HASH_LENGTH] {
        let mut hash = self.hash.clone();
        hash.update(plaintext);
        let full = hash.finalize_fixed();
        full[..HASH_LENGTH].try_into().expect("16 of 32 bytes")
    }

    fn key(&self, iv: &[u8]) -> Zeroizing<[u8; 32]> {
        let tag = hmac::sign(&self.content_secret, iv);
        Zeroizing::new(tag.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes"))
    }

    /// Appends the sealed form of `plaintext` to `out` ([`OVERHEAD`] bytes longer).
    pub fn seal_into(&self, iv: &[u8; HASH_LENGTH], plaintext: &[u8], out: &mut Vec<u8>) {
        let nonce = self.environment.random::<NONCE_LENGTH>();
        self.seal_with_nonce(iv, nonce, plaintext, out);
    }

    pub(crate) fn seal_with_nonce(
        &self,
        iv: &[u8; HASH_LENGTH],
        nonce: [u8; NONCE_LENGTH],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) {
        out.reserve(plaintext.len() + OVERHEAD);
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plaintext);
        let tag = seal_aes(&self.key(iv), nonce, iv, &mut out[start..]);
        out.extend_from_slice(&tag);
    }

    /// The plaintext of a segment; `None` when it was altered or belongs elsewhere.
    pub fn open(&self, iv: &[u8; HASH_LENGTH], sealed: &[u8]) -> Option<Vec<u8>> {
        open_aes(&self.key(iv), iv, sealed)
    }

    /// Name and body of a blob of its own (index, session marker): `prefix ‖ hex(hash) [‖ "-" ‖ suffix]`.
    pub fn seal_blob(&self, prefix: &str, suffix: &str, plaintext: &[u8]) -> (String, Vec<u8>) {
        let iv = self.hash(plaintext);
        let mut body = Vec::new();
        self.seal_into(&iv, plaintext, &mut body);
        let dash = if suffix.is_empty() { "" } else { "-" };
        (format!("{prefix}{}{dash}{suffix}", hex::encode(iv)), body)
    }

    /// Opens a blob by its name: the iv is the last 32 hex digits before the first `-`.
    pub fn open_blob(&self, name: &str, body: &[u8]) -> Option<Vec<u8>> {
        let stem = name.split('-').next()?;
        let digits = stem.get(stem.len().checked_sub(2 * HASH_LENGTH)?..)?;
        let iv: [u8; HASH_LENGTH] = hex::decode(digits).ok()?.try_into().ok()?;
        self.open(&iv, body)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(keys)")
    }
}

#[cfg(test)]
mod tests;
