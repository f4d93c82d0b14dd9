//! All manifests of a repository: every `m` content, merged by id, deletions applied (kopia-format.md 8).

use std::{
    collections::HashMap,
    io::{Read, Write},
    sync::Arc,
};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use parking_lot::Mutex;

use super::{CONTENT_PREFIX, Entries, Entry, Labels, Manifest};
use crate::{
    content::{ContentId, reader::ContentReader},
    error::{RepositoryError, RepositoryErrorKind, Result},
};

/// `m` contents are under 8 MiB packed; this is what one may unfold to.
const MAX_PLAIN: u64 = 1 << 30;
/// Another client may compact manifests while we read them.
const ATTEMPTS: usize = 4;

/// Parsed `m` contents; they never change, so each is read once.
#[derive(Default)]
pub(crate) struct ManifestCache(Mutex<HashMap<ContentId, Arc<Vec<Entry>>>>);

impl ManifestCache {
    pub fn forget(&self) {
        self.0.lock().clear();
    }
}

/// The newest entry of each manifest, and which contents were read.
pub(crate) struct Loaded {
    newest: HashMap<String, Entry>,
    pub contents: Vec<ContentId>,
}

impl Loaded {
    /// Live manifests that carry all of `labels`, oldest first.
    pub fn find(&self, labels: &Labels) -> Vec<Manifest> {
        let matches = |entry: &&Entry| {
            let own = entry.labels.as_ref();
            labels
                .iter()
                .all(|(key, value)| own.and_then(|own| own.get(key)) == Some(value))
        };
        let mut found: Vec<Manifest> = self.newest.values().filter(matches).filter_map(live).collect();
        found.sort_by(|a, b| a.modified.cmp(&b.modified).then_with(|| a.id.cmp(&b.id)));
        found
    }

    /// The live manifest of this id.
    pub fn get(&self, id: &str) -> Option<Manifest> {
        self.newest.get(id).and_then(live)
    }

    /// Every live entry, for compaction.
    pub fn live_entries(&self) -> Vec<Entry> {
        let mut live: Vec<Entry> = self.newest.values().filter(|e| !e.deleted).cloned().collect();
        live.sort_by(|a, b| a.id.cmp(&b.id));
        live
    }
}

fn live(entry: &Entry) -> Option<Manifest> {
    if entry.deleted {
        return None;
    }
    Some(Manifest {
        id: entry.id.parse().ok()?,
        labels: entry.labels.clone().unwrap_or_default(),
        modified: entry.modified,
        payload: entry.data.clone()?,
    })
}

/// Reads the index again and then all manifests.
pub(crate) fn load(reader: &ContentReader, cache: &ManifestCache) -> Result<Loaded> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match try_load(reader, cache) {
            Err(e) if e.kind() == RepositoryErrorKind::NotFound || e.is_missing_blob() => last = Some(e),
            done => return done,
        }
    }
    Err(last.expect("every attempt but a failed one returns"))
}

fn try_load(reader: &ContentReader, cache: &ManifestCache) -> Result<Loaded> {
    let reading = reader.committed.refresh()?;
    let mut lying: Vec<_> = reading.index.live_with_prefix(CONTENT_PREFIX).collect();
    let contents: Vec<ContentId> = lying.iter().map(|entry| entry.id).collect();
    // Their ids are hashes: read in that order, each would want another window of another pack.
    lying.sort_unstable_by_key(|entry| (entry.pack, entry.pack_offset));
    for entry in &lying {
        read_content(reader, cache, &entry.id)?;
    }
    let mut newest: HashMap<String, Entry> = HashMap::new();
    for id in &contents {
        for entry in read_content(reader, cache, id)?.iter() {
            match newest.get(&entry.id) {
                Some(known) if known.modified >= entry.modified => {}
                _ => drop(newest.insert(entry.id.clone(), entry.clone())),
            }
        }
    }
    cache.0.lock().retain(|id, _| contents.binary_search(id).is_ok());
    Ok(Loaded { newest, contents })
}

fn read_content(reader: &ContentReader, cache: &ManifestCache, id: &ContentId) -> Result<Arc<Vec<Entry>>> {
    if let Some(known) = cache.0.lock().get(id) {
        return Ok(known.clone());
    }
    let bytes = reader.read(id)?;
    let entries =
        Arc::new(decode(&bytes).map_err(|e| e.while_doing(format_args!("cannot read manifests {id}")))?);
    cache.0.lock().insert(*id, entries.clone());
    Ok(entries)
}

/// The bytes of an `m` content.
pub(crate) fn encode(entries: Vec<Entry>) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    serde_json::to_writer(
        &mut gzip,
        &Entries {
            entries: Some(entries),
        },
    )
    .expect("manifests are plain JSON");
    gzip.write_all(b"\n").expect("memory takes all bytes");
    gzip.finish().expect("memory takes all bytes")
}

/// The entries of an `m` content's bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Entry>> {
    let damaged =
        |cause: String| RepositoryError::damaged(format!("the manifests are not well formed: {cause}"));
    let mut json = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(MAX_PLAIN)
        .read_to_end(&mut json)
        .map_err(|e| damaged(e.to_string()))?;
    let entries: Entries = serde_json::from_slice(&json).map_err(|e| damaged(e.to_string()))?;
    Ok(entries.entries.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use proptest::prelude::*;

    fn entry(deleted: bool) -> Entry {
        let modified = "2026-11-20T21:25:34.294641769Z".parse().unwrap();
        let labels = (!deleted).then(|| Labels::from([("type".into(), "policy".into())]));
        let data = (!deleted).then(|| RawValue::from_string("{\"a\":1.50}".into()).unwrap());
        Entry {
            id: "8f".repeat(16),
            labels,
            modified,
            deleted,
            data,
        }
    }

    #[test]
    fn deletion_is_an_entry_without_labels_and_data() {
        let json = serde_json::to_string(&entry(true)).unwrap();
        let expected = format!(
            "{{\"id\":\"{}\",\"labels\":null,\"modified\":\"2026-11-20T21:25:34.294641769Z\",\"deleted\":true,\"data\":null}}",
            "8f".repeat(16)
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn payloads_survive_byte_for_byte() {
        let back = decode(&encode(vec![entry(false), entry(true)])).unwrap();
        assert_eq!(back[0].data.as_ref().unwrap().get(), "{\"a\":1.50}");
        assert!(back[1].deleted && back[1].data.is_none());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            gzip.write_all(&bytes).unwrap();
            let _ = decode(&gzip.finish().unwrap());
        }
    }
}
