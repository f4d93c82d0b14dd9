//! What tells our own whole copies from all other files: HMAC-SHA256 over name and bytes, behind the bytes. The key is
//! Kopia's own for this purpose (`local-cache-integrity`); Kopia leaves the name out, so that one of its files could be
//! taken for another.

use aws_lc_rs::{constant_time, hmac};

use crate::crypto::hkdf_sha256;

const PURPOSE: &[u8] = b"local-cache-integrity";
const KEY_LENGTH: usize = 16;
/// What protecting adds, in bytes.
pub(crate) const TAG_LENGTH: usize = 32;

/// The key of one repository's copies.
pub(crate) struct Protection(hmac::Key);

impl Protection {
    /// From the format's `secret` and the repository's unique id.
    pub fn new(secret: &[u8], unique_id: &[u8]) -> Self {
        let key = hkdf_sha256(secret, unique_id, PURPOSE);
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key[..KEY_LENGTH]))
    }

    /// What is written behind `bytes` in the file `name`, which holds no zero byte.
    pub fn tag(&self, name: &str, bytes: &[u8]) -> [u8; TAG_LENGTH] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(name.as_bytes());
        context.update(&[0]);
        context.update(bytes);
        let mut tag = [0; TAG_LENGTH];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    /// The bytes of a file, if they are whole and were written under this name with this key.
    pub fn open(&self, name: &str, mut file: Vec<u8>) -> Option<Vec<u8>> {
        let length = file.len().checked_sub(TAG_LENGTH)?;
        let (bytes, stored) = file.split_at(length);
        constant_time::verify_slices_are_equal(&self.tag(name, bytes), stored).ok()?;
        file.truncate(length);
        Some(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: u8) -> Vec<u8> {
        (from..from + 32).collect()
    }

    #[test]
    fn the_key_is_kopias() {
        // kopia-format.md B.1
        let key = hkdf_sha256(&range(0x40), &range(0), PURPOSE);
        assert_eq!(
            hex::encode(&key[..KEY_LENGTH]),
            "f5d1b6913014e806fcd16c3638a664dd"
        );
    }

    #[test]
    fn a_copy_opens_under_its_own_name_with_its_own_key_and_whole() {
        let protection = Protection::new(&range(1), &range(2));
        let sealed = [&b"bytes"[..], &protection.tag("q1", b"bytes")].concat();
        assert_eq!(protection.open("q1", sealed.clone()).unwrap(), b"bytes");
        assert!(protection.open("q2", sealed.clone()).is_none());
        let other = Protection::new(&range(1), &range(3));
        assert!(other.open("q1", sealed.clone()).is_none());
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(protection.open("q1", altered).is_none(), "{at}");
            assert!(protection.open("q1", sealed[..at].to_vec()).is_none(), "{at}");
        }
    }
}
