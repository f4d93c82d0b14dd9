//! The inner text of `kopia.repository` and all of `kopia.blobcfg`: `nonce ‖ AES-256-GCM ‖ tag` under keys
//! that come from the password (kopia-format.md 2.2, 2.3).

use zeroize::Zeroizing;

use super::{NONCE_LENGTH, hkdf_sha256, open_aes, seal_aes};
use crate::environment::Environment;

/// Key and additional data of the format's texts.
pub struct Envelope {
    key: Zeroizing<[u8; 32]>,
    aad: Zeroizing<[u8; 32]>,
}

impl Envelope {
    /// From the derived format key and the repository's unique id.
    pub fn new(format_key: &[u8; 32], unique_id: &[u8]) -> Self {
        Self {
            key: hkdf_sha256(format_key, unique_id, b"AES"),
            aad: hkdf_sha256(format_key, unique_id, b"CHECKSUM"),
        }
    }

    /// Seals with a fresh nonce.
    pub fn seal(&self, environment: &Environment, plaintext: &[u8]) -> Vec<u8> {
        let nonce = environment.random::<NONCE_LENGTH>();
        let mut out = nonce.to_vec();
        out.extend_from_slice(plaintext);
        let tag = seal_aes(&self.key, nonce, self.aad.as_ref(), &mut out[NONCE_LENGTH..]);
        out.extend_from_slice(&tag);
        out
    }

    /// Opens; `None` means another password, or altered bytes.
    pub fn open(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        open_aes(&self.key, self.aad.as_ref(), sealed).map(Zeroizing::new)
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> (String, String) {
        (hex::encode(self.key.as_ref()), hex::encode(self.aad.as_ref()))
    }
}
