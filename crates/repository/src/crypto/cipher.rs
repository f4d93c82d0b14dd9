//! The two authenticated ciphers (kopia-format.md 3.2). `nonce ‖ ciphertext ‖ tag`, 28 bytes longer than the text.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::{NONCE_LENGTH, OVERHEAD};
use crate::error::{RepositoryError, Result};

/// A cipher by Kopia's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// `AES256-GCM-HMAC-SHA256`, the default.
    Aes256Gcm,
    /// `CHACHA20-POLY1305-HMAC-SHA256`.
    ChaCha20Poly1305,
}

impl Cipher {
    /// Both, the default first.
    pub const ALL: [Cipher; 2] = [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];

    /// What the format blob calls it.
    pub fn name(self) -> &'static str {
        match self {
            Cipher::Aes256Gcm => "AES256-GCM-HMAC-SHA256",
            Cipher::ChaCha20Poly1305 => "CHACHA20-POLY1305-HMAC-SHA256",
        }
    }

    /// By the name in the format blob. Errors: `Unsupported`.
    pub fn by_name(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|cipher| cipher.name() == name)
            .ok_or_else(|| RepositoryError::unsupported(format!("the encryption {name}")))
    }

    fn key(self, key: &[u8; 32]) -> LessSafeKey {
        let algorithm: &'static Algorithm = match self {
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        LessSafeKey::new(UnboundKey::new(algorithm, key).expect("both ciphers take 32-byte keys"))
    }

    /// Seals `text` in place; the tag is returned.
    pub(crate) fn seal(
        self,
        key: &[u8; 32],
        nonce: [u8; NONCE_LENGTH],
        aad: &[u8],
        text: &mut [u8],
    ) -> [u8; 16] {
        let tag = self
            .key(key)
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text)
            .expect("a plaintext shorter than 64 GiB");
        tag.as_ref()
            .try_into()
            .expect("both ciphers have tags of 16 bytes")
    }

    /// Opens `nonce ‖ ciphertext ‖ tag`; `None` when it was made with another key or altered.
    pub(crate) fn open(self, key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let plain_length = sealed.len().checked_sub(OVERHEAD)?;
        let (nonce, rest) = sealed.split_at(NONCE_LENGTH);
        let (ciphertext, tag) = rest.split_at(plain_length);
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = vec![0; plain_length];
        self.key(key)
            .open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, &mut plain)
            .ok()?;
        Some(plain)
    }
}
