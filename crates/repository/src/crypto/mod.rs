//! Hashing and encryption of contents and blobs (kopia-format.md 3). Neighbours: `hash.rs` (what names bytes; `blake2b.rs`: the
//! default, by the faster of two programs), `cipher.rs` (what seals them), `ecc.rs` (error correction around a segment), `password.rs` (password to key),
//! `envelope.rs` (the nonce-in-front form used by `kopia.repository` and its sisters).
//!
//! ```text
//! contentSecret = HKDF-SHA256(masterKey, salt "encryption", info "")
//! key(iv)       = HMAC-SHA256(contentSecret, iv)            the iv selects the key, it is not the nonce
//! segment       = nonce(12 random) ‖ AEAD(key(iv), nonce, plaintext, aad = iv) ‖ tag(16)      [inside ECC]
//! ```

mod blake2b;
pub mod cipher;
pub mod ecc;
pub mod envelope;
pub mod hash;
pub mod password;

use aws_lc_rs::{hkdf, hmac};
use bytes::Bytes;
use zeroize::Zeroizing;

pub use cipher::Cipher;
pub use ecc::ErrorCorrection;
pub use hash::{Hash, HashAlgorithm};

use crate::environment::Environment;
use hash::KeyedHash;

/// Bytes of a nonce in front of every sealed text.
pub const NONCE_LENGTH: usize = 12;
/// What sealing adds, before error correction: nonce and tag.
pub const OVERHEAD: usize = NONCE_LENGTH + 16;
/// Bytes of an iv taken from a name: the last ones of the hash.
pub const IV_LENGTH: usize = 16;

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
    Cipher::Aes256Gcm.seal(key, nonce, aad, text)
}

/// Opens `nonce ‖ ciphertext ‖ tag`; `None` when it was made with another key or altered.
pub(crate) fn open_aes(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    Cipher::Aes256Gcm.open(key, aad, sealed)
}

/// Which algorithms a repository seals with.
#[derive(Clone, Debug)]
pub struct Algorithms {
    /// Names plaintexts.
    pub hash: HashAlgorithm,
    /// Seals them.
    pub cipher: Cipher,
    /// Around what was sealed, where the repository has it.
    pub correction: Option<ErrorCorrection>,
}

/// The keys that name and seal every content and index blob of one repository.
pub struct Sealer {
    hash: KeyedHash,
    cipher: Cipher,
    correction: Option<ErrorCorrection>,
    content_secret: hmac::Key,
    environment: Environment,
}

impl Sealer {
    /// From the format's `secret` (hash key) and `masterKey`; `None` when the hash cannot take such a key.
    pub fn new(
        algorithms: Algorithms,
        hash_secret: &[u8],
        master_key: &[u8],
        environment: Environment,
    ) -> Option<Self> {
        let secret = hkdf_sha256(master_key, b"encryption", b"");
        Some(Self {
            hash: KeyedHash::new(algorithms.hash, hash_secret)?,
            cipher: algorithms.cipher,
            correction: algorithms.correction,
            content_secret: hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()),
            environment,
        })
    }

    /// The name of `plaintext`.
    pub fn hash(&self, plaintext: &[u8]) -> Hash {
        self.hash.hash(plaintext)
    }

    /// How long names are, in bytes.
    pub fn hash_length(&self) -> usize {
        self.hash.algorithm().length()
    }

    /// Whether what is sealed gets error correction around it.
    pub(crate) fn corrects_errors(&self) -> bool {
        self.correction.is_some()
    }

    fn key(&self, iv: &[u8]) -> Zeroizing<[u8; 32]> {
        let tag = hmac::sign(&self.content_secret, iv);
        Zeroizing::new(tag.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes"))
    }

    /// Appends the sealed form of `plaintext` to `out`: [`OVERHEAD`] bytes longer, and error correction around it
    /// where the repository has it.
    pub fn seal_into(&self, iv: &[u8], plaintext: &[u8], out: &mut Vec<u8>) {
        let nonce = self.environment.random::<NONCE_LENGTH>();
        match &self.correction {
            None => self.seal_with_nonce(iv, nonce, plaintext, out),
            Some(correction) => {
                let mut sealed = Vec::new();
                self.seal_with_nonce(iv, nonce, plaintext, &mut sealed);
                correction.encode(&sealed, out);
            }
        }
    }

    pub(crate) fn seal_with_nonce(
        &self,
        iv: &[u8],
        nonce: [u8; NONCE_LENGTH],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) {
        out.reserve(plaintext.len() + OVERHEAD);
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plaintext);
        let tag = self.cipher.seal(&self.key(iv), nonce, iv, &mut out[start..]);
        out.extend_from_slice(&tag);
    }

    /// The plaintext of a segment; `None` when it was altered beyond what error correction repairs, or belongs
    /// elsewhere.
    pub fn open(&self, iv: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        match &self.correction {
            None => self.cipher.open(&self.key(iv), iv, sealed),
            Some(correction) => self.cipher.open(&self.key(iv), iv, &correction.decode(sealed)?),
        }
    }

    /// The same, in the segment's own memory where nobody else holds it.
    pub(crate) fn open_owned(&self, iv: &[u8], sealed: Bytes) -> Option<Bytes> {
        match &self.correction {
            None => self.cipher.open_in_place(&self.key(iv), iv, sealed.into()),
            Some(_) => self.open(iv, &sealed).map(Bytes::from),
        }
    }

    /// Name and body of a blob of its own (index, session marker): `prefix ‖ hex(hash) [‖ "-" ‖ suffix]`.
    pub fn seal_blob(&self, prefix: &str, suffix: &str, plaintext: &[u8]) -> (String, Vec<u8>) {
        let hash = self.hash(plaintext);
        let mut body = Vec::new();
        self.seal_into(iv_of(&hash), plaintext, &mut body);
        let dash = if suffix.is_empty() { "" } else { "-" };
        (format!("{prefix}{}{dash}{suffix}", hex::encode(&*hash)), body)
    }

    /// Opens a blob by its name: the iv is the last 32 hex digits before the first `-`.
    pub fn open_blob(&self, name: &str, body: &[u8]) -> Option<Vec<u8>> {
        self.open(&iv_in_name(name)?, body)
    }

    /// The same without a second copy of a large blob.
    pub(crate) fn open_blob_in_place(&self, name: &str, body: Bytes) -> Option<Bytes> {
        let iv = iv_in_name(name)?;
        match &self.correction {
            None => self.cipher.open_in_place(&self.key(&iv), &iv, body.into()),
            Some(_) => self.open(&iv, &body).map(Bytes::from),
        }
    }
}

fn iv_in_name(name: &str) -> Option<[u8; IV_LENGTH]> {
    let stem = name.split('-').next()?;
    let digits = stem.get(stem.len().checked_sub(2 * IV_LENGTH)?..)?;
    hex::decode(digits).ok()?.try_into().ok()
}

/// The iv of a content or blob: the last 16 bytes of its hash (the whole of a short one).
pub fn iv_of(hash: &[u8]) -> &[u8] {
    &hash[hash.len().saturating_sub(IV_LENGTH)..]
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(keys)")
    }
}

#[cfg(test)]
mod tests;
