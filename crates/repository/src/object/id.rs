//! What an object is called: `I`* `Z`? and a content id (kopia-format.md 9).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{content::ContentId, error::RepositoryError};

/// Lists of lists of lists: 8 MiB lists of 60-byte entries reach any size by the third level.
const MAX_LEVELS: u8 = 8;

/// An object's name: `7394…` (one content), `Z7394…` (one content, compressed before it was named: format version 1),
/// `Ix5bee…` (a list of pieces), `k5bee…` (a directory).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ObjectId {
    /// How many lists lie above the bytes.
    pub levels: u8,
    /// Whether the content's bytes are a compressed stream with its header in front (never with lists above).
    pub compressed: bool,
    /// The content that holds the bytes, or the list.
    pub content: ContentId,
}

impl ObjectId {
    /// An object of one content.
    pub fn direct(content: ContentId) -> Self {
        Self {
            levels: 0,
            compressed: false,
            content,
        }
    }

    /// An object of one content that holds a compressed stream.
    pub(crate) fn compressed(content: ContentId) -> Self {
        Self {
            compressed: true,
            ..Self::direct(content)
        }
    }

    /// The object whose list of pieces is this one.
    pub fn indirect(self) -> Self {
        Self {
            levels: self.levels + 1,
            ..self
        }
    }

    /// The object that holds the list of this one's pieces; `None` for one content.
    pub fn list(self) -> Option<Self> {
        self.levels.checked_sub(1).map(|levels| Self { levels, ..self })
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for _ in 0..self.levels {
            f.write_str("I")?;
        }
        let marker = if self.compressed { "Z" } else { "" };
        write!(f, "{marker}{}", self.content)
    }
}

impl std::str::FromStr for ObjectId {
    type Err = RepositoryError;

    fn from_str(text: &str) -> Result<Self, RepositoryError> {
        let rest = text.trim_start_matches('I');
        let levels = u8::try_from(text.len() - rest.len()).unwrap_or(u8::MAX);
        if levels > MAX_LEVELS {
            return Err(RepositoryError::invalid(format!(
                "the object name {text:?} has too many levels"
            )));
        }
        let (compressed, rest) = match rest.strip_prefix('Z') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if compressed && levels > 0 {
            return Err(RepositoryError::invalid(format!(
                "the object name {text:?} is of a list and of compressed bytes at once"
            )));
        }
        let content = rest.strip_prefix('D').unwrap_or(rest);
        Ok(Self {
            levels,
            compressed,
            content: content.parse()?,
        })
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_odd_forms_are_told_apart() {
        for text in [
            "IIx00112233445566778899aabbccddeeff",
            "k00112233445566778899aabbccddeeff",
            "Z00112233445566778899aabbccddeeff",
        ] {
            assert_eq!(text.parse::<ObjectId>().unwrap().to_string(), text);
        }
        let legacy: ObjectId = "D00112233445566778899aabbccddeeff".parse().unwrap();
        assert_eq!(legacy.to_string(), "00112233445566778899aabbccddeeff");
        let compressed_index = format!("I{}", "Z00112233445566778899aabbccddeeff");
        assert!(compressed_index.parse::<ObjectId>().is_err());
        let deep = "I".repeat(300) + "00112233445566778899aabbccddeeff";
        assert!(deep.parse::<ObjectId>().is_err());
    }
}
