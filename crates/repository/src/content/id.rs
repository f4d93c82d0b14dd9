//! What a content is called (kopia-format.md 6.1): an optional letter `g`…`z` and the hash of its bytes.

use std::fmt;

use crate::{
    crypto::{hash::MAX_HASH_LENGTH, iv_of},
    error::RepositoryError,
};

/// The longest binary form: prefix byte (0 for none) and hash.
pub const MAX_KEY_LENGTH: usize = 1 + MAX_HASH_LENGTH;
/// Binary forms that there are: hashes of 16, 28 and 32 bytes.
pub const KEY_LENGTHS: [usize; 3] = [17, 29, 33];

/// A content's name, in the binary form that indexes are sorted by. As text: `k00112233445566778899aabbccddeeff`.
/// All names of one repository have the same length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId {
    /// Zeros follow the name.
    key: [u8; MAX_KEY_LENGTH],
    length: u8,
}

impl ContentId {
    /// From an optional prefix letter and a hash of 16, 28 or 32 bytes (longer ones are cut).
    pub fn new(prefix: Option<u8>, hash: &[u8]) -> Self {
        let hash = &hash[..hash.len().min(MAX_HASH_LENGTH)];
        let mut key = [0; MAX_KEY_LENGTH];
        key[0] = prefix.unwrap_or(0);
        key[1..=hash.len()].copy_from_slice(hash);
        Self {
            key,
            length: 1 + hash.len() as u8,
        }
    }

    /// From an index key. Errors: `Unsupported` for a length that no hash has.
    pub fn from_key(key: &[u8]) -> Result<Self, RepositoryError> {
        if !KEY_LENGTHS.contains(&key.len()) {
            return Err(RepositoryError::unsupported(format!(
                "content names of {} bytes",
                key.len().saturating_sub(1)
            )));
        }
        Ok(Self::new(Some(key[0]), &key[1..]))
    }

    /// The index key.
    pub fn key(&self) -> &[u8] {
        &self.key[..self.length as usize]
    }

    /// The letter, when there is one.
    pub fn prefix(&self) -> Option<u8> {
        (self.key[0] != 0).then_some(self.key[0])
    }

    /// The hash.
    pub fn hash(&self) -> &[u8] {
        &self.key()[1..]
    }

    /// The iv of the sealed segment: the last 16 bytes of the hash.
    pub fn iv(&self) -> &[u8] {
        iv_of(self.hash())
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(prefix) = self.prefix() {
            write!(f, "{}", prefix as char)?;
        }
        f.write_str(&hex::encode(self.hash()))
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
        match KEY_LENGTHS.contains(&(hash.len() + 1)) {
            true => Ok(Self::new(prefix, &hash)),
            false => Err(invalid()),
        }
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
            &"ab".repeat(28),
            &format!("x{}", "cd".repeat(32)),
        ] {
            let id: ContentId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(ContentId::from_key(id.key()).unwrap(), id);
            assert_eq!(id.iv().len(), 16);
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
