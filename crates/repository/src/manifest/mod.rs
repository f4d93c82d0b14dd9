//! Manifests: small labelled JSON documents, kept in `m` contents (kopia-format.md 8): snapshots, policies,
//! maintenance parameters. Neighbour: `load.rs` (all of them, merged).

pub mod load;

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{environment::Environment, error::RepositoryError};

/// Prefix of the contents that hold manifests.
pub const CONTENT_PREFIX: u8 = b'm';

/// What a manifest is about; `type` is always one of them.
pub type Labels = BTreeMap<String, String>;

/// A manifest's name: 32 hex digits. What a DataUpload's status calls its snapshot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestId(String);

impl ManifestId {
    pub(crate) fn new(environment: &Environment) -> Self {
        Self(hex::encode(environment.random::<16>()))
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for ManifestId {
    type Err = RepositoryError;

    fn from_str(text: &str) -> Result<Self, RepositoryError> {
        match text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            true => Ok(Self(text.to_owned())),
            false => Err(RepositoryError::invalid(format!(
                "{text:?} is not the id of a snapshot or manifest"
            ))),
        }
    }
}

/// One entry of an `m` content. A deletion is an entry without labels and data.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub id: String,
    pub labels: Option<Labels>,
    pub modified: Timestamp,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    #[serde(default)]
    pub data: Option<Box<RawValue>>,
}

/// The plaintext of an `m` content, under gzip. Nothing beside `entries`: Kopia cannot skip other members.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entries {
    pub entries: Option<Vec<Entry>>,
}

/// A live manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its name.
    pub id: ManifestId,
    /// What it is about.
    pub labels: Labels,
    /// When it was written, by the writer's clock.
    pub modified: Timestamp,
    /// The document, byte for byte as stored.
    pub payload: Box<RawValue>,
}
