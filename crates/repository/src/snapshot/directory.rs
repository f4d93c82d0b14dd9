//! A directory object (kopia-format.md 10.2, 10.3).
//!
//! ```text
//! {"stream":"kopia:directory","entries":[directories…, others…],"summary":{…}}\n
//! ```
//! Four fields are ours and ignored by Kopia: `rawName` (a name that is not UTF-8, which Kopia's own form
//! loses), `allocated` (bytes that a sparse file really occupies), `xattrs` and `hardLink` (on request). They are left out of ordinary entries,
//! so ordinary directories are byte for byte Kopia's.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FileMode, go_json};
use crate::{
    error::{RepositoryError, Result},
    object::ObjectId,
};

const STREAM: &str = "kopia:directory";

/// Bytes of a directory's path below the root that a backup follows: four times what Linux takes in one path, which is where
/// Kopia ends. It bounds what a tree costs that somebody made deep on purpose: each level costs a descriptor, a frame and its
/// path.
pub const LONGEST_PATH: usize = 16 << 10;

/// Levels of directories that such a path can have; who reads a snapshot goes no deeper.
pub const DEEPEST: usize = LONGEST_PATH.div_ceil(2);

/// What an entry is. Others are refused when read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EntryType {
    #[serde(rename = "d")]
    Directory,
    #[serde(rename = "f")]
    File,
    #[serde(rename = "s")]
    Symlink,
}

/// One name in a directory, or the root of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(rename = "type")]
    pub kind: EntryType,
    #[serde(default, skip_serializing_if = "FileMode::is_zero")]
    pub mode: FileMode,
    /// Bytes of the file, or of a symlink's target; 0 for directories.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    #[serde(default = "epoch", skip_serializing_if = "is_epoch")]
    pub mtime: Timestamp,
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub uid: u32,
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub gid: u32,
    #[serde(rename = "obj")]
    pub object: ObjectId,
    #[serde(rename = "summ", default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<DirectorySummary>,
    #[serde(rename = "rawName", default, skip_serializing_if = "Option::is_none")]
    raw_name: Option<String>,
    /// Bytes that the file occupied on its volume, when that was clearly less than its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated: Option<u64>,
    /// By name: base64. ACLs are among them.
    #[serde(rename = "xattrs", default, skip_serializing_if = "Option::is_none")]
    extended_attributes: Option<Box<Attributes>>,
    /// The same for all entries of a snapshot that are one file.
    #[serde(rename = "hardLink", default, skip_serializing_if = "Option::is_none")]
    pub hard_link: Option<Box<str>>,
}

/// Extended attributes by name: base64. Most entries have none, so they lie elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Attributes(BTreeMap<String, String>);

/// Totals over everything below a directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectorySummary {
    /// Bytes of all files.
    #[serde(default)]
    pub size: u64,
    #[serde(default)]
    pub files: u64,
    #[serde(default)]
    pub symlinks: u64,
    /// Directories, this one included.
    #[serde(default)]
    pub dirs: u64,
    /// The newest modification below.
    #[serde(default = "epoch")]
    pub max_time: Timestamp,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub incomplete: String,
    #[serde(default)]
    pub num_failed: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub num_ignored_errors: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<EntryError>,
}

/// An entry that could not be saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryError {
    /// Relative to the snapshot's root.
    pub path: String,
    pub error: String,
}

#[derive(Deserialize)]
struct Stored {
    stream: String,
    entries: Option<Vec<DirectoryEntry>>,
    #[serde(default)]
    summary: Option<DirectorySummary>,
}

/// A directory as read.
#[derive(Clone, Debug, PartialEq)]
pub struct Directory {
    pub entries: Vec<DirectoryEntry>,
    pub summary: Option<DirectorySummary>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_zero_u32(value: &u32) -> bool {
    *value == 0
}

fn epoch() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn is_epoch(time: &Timestamp) -> bool {
    *time == Timestamp::UNIX_EPOCH
}

impl Default for DirectorySummary {
    /// Of nothing at all; a directory's own summary counts itself in `dirs`.
    fn default() -> Self {
        Self {
            size: 0,
            files: 0,
            symlinks: 0,
            dirs: 0,
            max_time: epoch(),
            incomplete: String::new(),
            num_failed: 0,
            num_ignored_errors: 0,
            errors: Vec::new(),
        }
    }
}

impl DirectoryEntry {
    /// An entry without size, owner, time or mode, to be filled in.
    pub fn new(kind: EntryType, file_name: &[u8], object: ObjectId) -> Self {
        let (name, raw_name) = stored_name(file_name);
        Self {
            name,
            kind,
            mode: FileMode::default(),
            size: 0,
            mtime: epoch(),
            uid: 0,
            gid: 0,
            object,
            summary: None,
            raw_name,
            allocated: None,
            extended_attributes: None,
            hard_link: None,
        }
    }

    /// Extended attributes by name, where they were kept; values that are not base64 are left out.
    pub fn extended_attributes(&self) -> BTreeMap<String, Vec<u8>> {
        let kept = self.extended_attributes.iter().flat_map(|kept| kept.0.iter());
        kept.filter_map(|(name, value)| Some((name.clone(), BASE64_STANDARD.decode(value).ok()?)))
            .collect()
    }

    /// Keeps extended attributes inside the entry.
    pub fn set_extended_attributes(&mut self, attributes: &BTreeMap<String, Vec<u8>>) {
        let encoded = attributes
            .iter()
            .map(|(name, value)| (name.clone(), BASE64_STANDARD.encode(value)))
            .collect();
        self.extended_attributes = Some(Box::new(Attributes(encoded)));
    }

    /// The name on disk, byte for byte where we saved it.
    pub fn file_name(&self) -> Vec<u8> {
        let raw = self
            .raw_name
            .as_ref()
            .and_then(|raw| BASE64_STANDARD.decode(raw).ok());
        raw.filter(|raw| stored_name(raw).0 == self.name)
            .unwrap_or_else(|| self.name.clone().into_bytes())
    }

    /// Whether the stored name is what the disk said; Kopia restores another name otherwise.
    pub fn name_is_exact(&self) -> bool {
        self.raw_name.is_none()
    }
}

/// Go's JSON form of a name: U+FFFD for every byte that is not UTF-8; and the bytes, when there was one.
fn stored_name(file_name: &[u8]) -> (String, Option<String>) {
    let mut name = String::with_capacity(file_name.len());
    let mut exact = true;
    for chunk in file_name.utf8_chunks() {
        name.push_str(chunk.valid());
        exact &= chunk.invalid().is_empty();
        chunk.invalid().iter().for_each(|_| name.push('\u{fffd}'));
    }
    (name, (!exact).then(|| BASE64_STANDARD.encode(file_name)))
}

/// The pieces of a directory object's bytes, entry by entry, so that a million entries need no second copy.
/// Sorts the entries as Kopia does: directories first, each group by the bytes of the names.
pub fn encode(
    entries: &mut [DirectoryEntry],
    summary: &DirectorySummary,
    mut write: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    entries.sort_by_cached_key(|entry| (entry.kind != EntryType::Directory, entry.file_name()));
    write(b"{\"stream\":\"kopia:directory\",\"entries\":")?;
    if entries.is_empty() {
        write(b"null")?;
    } else {
        let mut before = b'[';
        for entry in entries.iter() {
            let mut json = vec![before];
            json.extend(go_json::to_vec(entry));
            write(&json)?;
            before = b',';
        }
        write(b"]")?;
    }
    write(b",\"summary\":")?;
    write(&go_json::to_vec(summary))?;
    write(b"}\n")
}

/// Parses a directory object. Errors: `Damaged` for anything else, also for an unknown type of entry.
pub fn decode(bytes: &[u8]) -> Result<Directory> {
    let stored: Stored = serde_json::from_slice(bytes)
        .map_err(|e| RepositoryError::damaged(format!("a directory is not well formed: {e}")))?;
    if stored.stream != STREAM {
        return Err(RepositoryError::damaged(format!(
            "a directory is something else: {:?}",
            stored.stream
        )));
    }
    Ok(Directory {
        entries: stored.entries.unwrap_or_default(),
        summary: stored.summary,
    })
}

#[cfg(test)]
mod tests;
