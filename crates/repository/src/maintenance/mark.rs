//! Which contents are needed: every snapshot's tree is walked (kopia-format.md 11.5). Neighbour: `snapshot_gc.rs`.
//!
//! Memory: 9 to 18 bytes for each needed content, some 60 for each directory or long file. Directories are decoded
//! as a stream, of each entry only its kind and object are kept.

use std::{
    collections::HashSet,
    io::{BufReader, Read},
    sync::Arc,
};

use serde::Deserialize;

use crate::{
    content::{ContentId, reader::ContentReader},
    error::{RepositoryError, Result},
    manifest::{Labels, Manifest},
    object::{
        ObjectId,
        reader::{ObjectReader, for_each_content},
    },
    repository::Repository,
};

/// Contents that snapshots need. Names are kept by 8 bytes of their hash: two that share them (one chance in a million
/// for 5 million contents) keep each other alive, which is harmless; nothing is ever forgotten.
#[derive(Default)]
pub struct Needed {
    hashes: HashSet<u64>,
}

impl Needed {
    fn fingerprint(id: &ContentId) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&id.key()[1..9]);
        u64::from_be_bytes(first)
    }

    fn add(&mut self, id: &ContentId) {
        self.hashes.insert(Self::fingerprint(id));
    }

    /// Whether a snapshot needs it.
    pub fn contains(&self, id: &ContentId) -> bool {
        self.hashes.contains(&Self::fingerprint(id))
    }
}

/// What an entry is, for the walk: everything but a directory is just bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
enum Kind {
    #[serde(rename = "d")]
    Directory,
    #[serde(other)]
    Bytes,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(rename = "obj")]
    object: ObjectId,
}

#[derive(Deserialize)]
struct Directory {
    stream: String,
    #[serde(default)]
    entries: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    #[serde(default)]
    root_entry: Option<Entry>,
}

/// Walks every snapshot, complete or not.
///
/// Errors: anything that cannot be read or understood stops it, naming the snapshot: what lies behind is not known, so
/// nothing may be called unneeded.
pub fn needed(repository: &Repository) -> Result<Needed> {
    let labels = Labels::from([("type".into(), "snapshot".into())]);
    let mut walk = Walk {
        contents: &repository.inner.contents,
        needed: Needed::default(),
        seen: HashSet::new(),
        pending: Vec::new(),
    };
    for snapshot in repository.find_manifests(&labels)? {
        walk.snapshot(&snapshot).map_err(|e| {
            let id = &snapshot.id;
            e.while_doing(format_args!(
                "cannot tell what snapshot {id} needs, so nothing is removed (verify it, restore what is left of it, delete it)"
            ))
        })?;
    }
    Ok(walk.needed)
}

struct Walk<'r> {
    contents: &'r Arc<ContentReader>,
    needed: Needed,
    /// Directories and long objects that were walked. Full names: a mistake here would lose what lies below.
    seen: HashSet<(Kind, ObjectId)>,
    pending: Vec<ObjectId>,
}

impl Walk<'_> {
    fn snapshot(&mut self, manifest: &Manifest) -> Result<()> {
        let snapshot: Snapshot = serde_json::from_str(manifest.payload.get())
            .map_err(|e| RepositoryError::damaged(format!("its manifest is not well formed: {e}")))?;
        if let Some(root) = snapshot.root_entry {
            self.visit(root)?;
        }
        while let Some(directory) = self.pending.pop() {
            self.directory(directory)?;
        }
        Ok(())
    }

    fn visit(&mut self, entry: Entry) -> Result<()> {
        let Entry { kind, object } = entry;
        let is_short_file = kind == Kind::Bytes && object.list().is_none();
        if !is_short_file && !self.seen.insert((kind, object)) {
            return Ok(());
        }
        let (contents, needed) = (self.contents, &mut self.needed);
        for_each_content(contents, object, &mut |content| {
            if !needed.contains(content) {
                exists(contents, content)?;
                needed.add(content);
            }
            Ok(true)
        })?;
        if kind == Kind::Directory {
            self.pending.push(object);
        }
        Ok(())
    }

    fn directory(&mut self, object: ObjectId) -> Result<()> {
        let mut bytes = Bytes {
            object: ObjectReader::open(self.contents, object)?,
            piece: bytes::Bytes::new(),
            at: 0,
            failed: None,
        };
        let decoded = serde_json::from_reader::<_, Directory>(BufReader::with_capacity(1 << 16, &mut bytes));
        if let Some(error) = bytes.failed {
            return Err(error.while_doing(format_args!("cannot read directory {object}")));
        }
        let damaged =
            |what: String| RepositoryError::damaged(format!("directory {object} is not well formed: {what}"));
        let directory = decoded.map_err(|e| damaged(e.to_string()))?;
        if directory.stream != "kopia:directory" {
            return Err(damaged("it is something else".into()));
        }
        for entry in directory.entries.into_iter().flatten() {
            self.visit(entry)?;
        }
        Ok(())
    }
}

/// A needed content must be in the index, be it as a tombstone.
fn exists(contents: &ContentReader, id: &ContentId) -> Result<()> {
    if contents.committed.current().index.find(id).is_some() {
        return Ok(());
    }
    // Another client's snapshot may be newer than our reading.
    match contents.committed.refresh()?.index.find(id).is_some() {
        true => Ok(()),
        false => Err(RepositoryError::damaged(format!(
            "content {id} is in no index of the repository"
        ))),
    }
}

/// An object as a stream for the JSON decoder, which cannot carry our errors.
struct Bytes<'r> {
    object: ObjectReader<'r>,
    piece: bytes::Bytes,
    at: usize,
    failed: Option<RepositoryError>,
}

impl Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.piece.len() {
            match self.object.next_piece() {
                Ok(Some(piece)) => (self.piece, self.at) = (piece, 0),
                Ok(None) => return Ok(0),
                Err(error) => {
                    self.failed = Some(error);
                    return Err(std::io::Error::other("the repository could not be read"));
                }
            }
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
