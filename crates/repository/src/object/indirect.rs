//! The list of a long object's pieces, as JSON (kopia-format.md 9).

use serde::{Deserialize, Serialize};

use super::ObjectId;
use crate::error::{RepositoryError, Result};

const STREAM: &str = "kopia:indirect";

#[derive(Serialize, Deserialize)]
struct List {
    stream: String,
    entries: Option<Vec<Piece>>,
}

/// One piece: where it starts in the object, how long it is, and what holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    #[serde(rename = "s", default, skip_serializing_if = "is_zero")]
    pub start: u64,
    #[serde(rename = "l", default, skip_serializing_if = "is_zero")]
    pub length: u64,
    #[serde(rename = "o")]
    pub object: ObjectId,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// The list's bytes, with Kopia's closing newline.
pub fn encode(pieces: Vec<Piece>) -> Vec<u8> {
    let list = List {
        stream: STREAM.into(),
        entries: Some(pieces),
    };
    let mut json = serde_json::to_vec(&list).expect("a list is plain JSON");
    json.push(b'\n');
    json
}

/// The pieces; they must follow each other without gaps from 0.
pub fn decode(bytes: &[u8]) -> Result<Vec<Piece>> {
    let damaged =
        |what: &str| RepositoryError::damaged(format!("a list of an object's pieces is damaged: {what}"));
    let list: List = serde_json::from_slice(bytes).map_err(|e| damaged(&e.to_string()))?;
    if list.stream != STREAM {
        return Err(damaged("it is something else"));
    }
    let mut end = 0u64;
    let pieces = list.entries.unwrap_or_default();
    for piece in &pieces {
        if piece.start != end {
            return Err(damaged("its pieces do not follow each other"));
        }
        end = end
            .checked_add(piece.length)
            .ok_or_else(|| damaged("its length"))?;
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_kopias_and_gaps_are_damage() {
        let object: ObjectId = "00112233445566778899aabbccddeeff".parse().unwrap();
        let pieces = vec![
            Piece {
                start: 0,
                length: 5,
                object,
            },
            Piece {
                start: 5,
                length: 2,
                object,
            },
        ];
        let json = encode(pieces.clone());
        let text = "{\"stream\":\"kopia:indirect\",\"entries\":[{\"l\":5,\"o\":\"00112233445566778899aabbccddeeff\"},\
                    {\"s\":5,\"l\":2,\"o\":\"00112233445566778899aabbccddeeff\"}]}\n";
        assert_eq!(std::str::from_utf8(&json).unwrap(), text);
        assert_eq!(decode(&json).unwrap(), pieces);
        assert!(decode(text.replace("\"s\":5", "\"s\":6").as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes);
        }
    }
}
