//! What a content is called (kopia-format.md 6.1): an optional letter `g`…`z` and the hash of its bytes.

use std::fmt;

use crate::{crypto::HASH_LENGTH, error::RepositoryError};

/// Length of the binary form: prefix byte (0 for none) and hash.
pub const KEY_LENGTH: usize = 1 + HASH_LENGTH;

/// A content's name, in the binary form that indexes are sorted by. As text: `k00112233445566778899aabbccddeeff`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId([u8; KEY_LENGTH]);

impl ContentId {
    /// From an optional prefix letter and the hash.
    pub fn new(prefix: Option<u8>, hash: [u8; HASH_LENGTH]) -> Self {
        let mut key = [0; KEY_LENGTH];
        key[0] = prefix.unwrap_or(0);
        key[1..].copy_from_slice(&hash);
        Self(key)
    }

    /// From an index key.
    pub fn from_key(key: [u8; KEY_LENGTH]) -> Self {
        Self(key)
    }

    /// The index key.
    pub fn key(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }

    /// The letter, when there is one.
    pub fn prefix(&self) -> Option<u8> {
        (self.0[0] != 0).then_some(self.0[0])
    }

    /// The hash, which is also the iv of the sealed segment.
    pub fn hash(&self) -> [u8; HASH_LENGTH] {
        self.0[1..].try_into().expect("16 bytes follow the prefix")
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(prefix) = self.prefix() {
            write!(f, "{}", prefix as char)?;
        }
        f.write_str(&hex::encode(&self.0[1..]))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for ContentId {
    type Err = RepositoryError;

    fn from_str(text: &str) -> Result<Self, RepositoryError> {
        let invalid = || RepositoryError::invalid(format!("{text:?} is not the name of a content"));
        let first = *text.as_bytes().first().ok_or_else(invalid)?;
        let (prefix, digits) = match first {
            b'g'..=b'z' => (Some(first), &text[1..]),
            _ => (None, text),
        };
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(invalid());
        }
        let hash = hex::decode(digits).map_err(|_| invalid())?;
        if matches!(hash.len(), 28 | 32) {
            return Err(RepositoryError::unsupported(format!(
                "content names of {} bytes",
                hash.len()
            )));
        }
        Ok(Self::new(prefix, hash.try_into().map_err(|_| invalid())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_garbage_is_refused() {
        for text in [
            "k00112233445566778899aabbccddeeff",
            "00112233445566778899aabbccddeeff",
        ] {
            assert_eq!(text.parse::<ContentId>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "k",
            "kk0",
            "é",
            "K00112233445566778899aabbccddeeff",
            "00112233445566778899AABBCCDDEEFF",
        ] {
            assert!(text.parse::<ContentId>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_without_prefix_sort_first() {
        let plain: ContentId = "ff112233445566778899aabbccddeeff".parse().unwrap();
        let prefixed: ContentId = "k00112233445566778899aabbccddeeff".parse().unwrap();
        assert!(plain < prefixed);
    }
}
