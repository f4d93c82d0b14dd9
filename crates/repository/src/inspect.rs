//! A repository as its blobs, contents and settings: what the commands that list, show and verify work with. Nothing
//! here changes anything. Neighbours: `repository.rs` (snapshots and objects), `epoch/report.rs` (the epochs).

use std::{borrow::Borrow, sync::Arc};

use bytes::Bytes;
use caravel_storage::BlobMetadata;

use crate::{
    content::ContentId,
    epoch::{EpochState, report::EpochReport},
    error::{RepositoryError, Result},
    format::config::Key,
    index::{self, Entry, PackNames},
    repository::Repository,
};

/// Where a content lies, as an index says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentInfo {
    /// Its name.
    pub id: ContentId,
    /// The blob that holds it.
    pub pack: Arc<str>,
    /// Where its segment starts in the pack, in bytes.
    pub pack_offset: u32,
    /// Bytes of the sealed segment.
    pub packed_length: u32,
    /// Bytes of the content itself.
    pub original_length: u32,
    /// Unix seconds.
    pub timestamp: u32,
    /// Compression header id (kopia-format.md 5.1), 0 for none.
    pub compression: u32,
    /// Whether it is marked for deletion.
    pub deleted: bool,
    /// The format version that it was written under.
    pub format_version: u8,
}

impl ContentInfo {
    fn of(entry: impl Borrow<Entry>, pack: impl Fn(&Entry) -> Arc<str>) -> Self {
        let entry = entry.borrow();
        Self {
            id: entry.id,
            pack: pack(entry),
            pack_offset: entry.pack_offset,
            packed_length: entry.packed_length,
            original_length: entry.original_length,
            timestamp: entry.timestamp,
            compression: entry.compression,
            deleted: entry.deleted,
            format_version: entry.format_version,
        }
    }
}

/// A blob of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexBlobInfo {
    /// What the storage's listing says of it.
    pub blob: BlobMetadata,
    /// Whether readers use it; else it is replaced by a compacted one.
    pub active: bool,
}

impl Repository {
    /// The settings inside the format blob under Kopia's names, without the keys.
    pub fn settings(&self) -> Result<serde_json::Value> {
        let mut without_keys = self.inner.format.config.clone();
        without_keys.secret = Key::default();
        without_keys.master_key = Key::default();
        let mut json: serde_json::Value = serde_json::from_slice(&without_keys.to_json())
            .map_err(|e| RepositoryError::invalid(format!("the settings cannot be shown: {e}")))?;
        let mut format = json["format"].take();
        if let Some(format) = format.as_object_mut() {
            format.retain(|name, _| !matches!(name.as_str(), "secret" | "masterKey"));
        }
        Ok(format)
    }

    /// Every content in order of names, with those that are marked for deletion, as of the last reading of the index
    /// (blocking).
    pub fn contents(&self) -> Vec<ContentInfo> {
        let reading = self.inner.committed.current();
        let pack = |entry: &Entry| reading.index.pack_name(entry).clone();
        let all = reading.index.all();
        all.map(|entry| ContentInfo::of(entry, pack)).collect()
    }

    /// One content (blocking). `None` when no index knows it.
    pub fn content_info(&self, id: &ContentId) -> Option<ContentInfo> {
        let reading = self.inner.committed.current();
        let pack = |entry: &Entry| reading.index.pack_name(entry).clone();
        Some(ContentInfo::of(reading.index.find(id)?, pack))
    }

    /// The blobs that start with `prefix`, as the storage lists them (blocking).
    pub fn blobs(&self, prefix: &str) -> Result<Vec<BlobMetadata>> {
        self.inner.blobs.list(prefix)
    }

    /// The bytes of a blob as stored (blocking).
    pub fn read_blob(&self, name: &str) -> Result<Bytes> {
        self.inner.blobs.get(name)
    }

    /// The plaintext of a blob that is sealed on its own: index blobs, session markers, logs (blocking).
    ///
    /// Errors: `Invalid` for blobs of other kinds, `Damaged` when it cannot be opened.
    pub fn open_blob(&self, name: &str) -> Result<Vec<u8>> {
        if !is_sealed_alone(name) {
            return Err(RepositoryError::invalid(format!(
                "blob {name} is not sealed on its own, so it cannot be decrypted as a whole"
            )));
        }
        let body = self.read_blob(name)?;
        self.inner
            .sealer
            .open_blob(name, &body)
            .ok_or_else(|| RepositoryError::damaged(format!("blob {name} was altered: it cannot be opened")))
    }

    /// The index blobs by name; with `superseded` also those that no reader uses any more (blocking).
    pub fn index_blobs(&self, superseded: bool) -> Result<Vec<IndexBlobInfo>> {
        let listing = self.inner.blobs.list("x")?;
        let state = EpochState::of(listing.iter().map(|blob| blob.id.as_str()));
        let info = |blob: BlobMetadata| IndexBlobInfo {
            active: state.index_blobs.iter().any(|name| name == blob.id.as_str()),
            blob,
        };
        let holds_entries =
            |blob: &BlobMetadata| ["xn", "xs", "xr"].iter().any(|p| blob.id.as_str().starts_with(p));
        let all = listing.into_iter().filter(holds_entries).map(info);
        Ok(all.filter(|found| found.active || superseded).collect())
    }

    /// The entries of one index blob, in order of names (blocking).
    pub fn read_index_blob(&self, name: &str) -> Result<Vec<ContentInfo>> {
        let plain = self.open_blob(name)?;
        let (mut packs, mut entries) = (PackNames::default(), Vec::new());
        index::decode(&plain, &mut packs, &mut entries)
            .map_err(|e| e.while_doing(format_args!("cannot read index blob {name}")))?;
        Ok(entries
            .iter()
            .map(|entry| ContentInfo::of(entry, |entry: &Entry| packs.name(entry.pack).clone()))
            .collect())
    }

    /// The epochs that the index consists of (blocking).
    pub fn epochs(&self) -> Result<EpochReport> {
        Ok(EpochReport::of(&self.inner.blobs.list("x")?))
    }

    /// Reads the index again (blocking form of [`Repository::refresh`]).
    pub fn refresh_blocking(&self) -> Result<()> {
        self.inner.committed.refresh().map(drop)
    }

    /// Every content that an object consists of, its lists included, until `visit` says `false` (blocking).
    ///
    /// Errors: those of `visit`, and of reading the lists.
    pub fn for_each_content(
        &self,
        id: crate::object::ObjectId,
        visit: &mut dyn FnMut(&ContentId) -> Result<bool>,
    ) -> Result<bool> {
        crate::object::reader::for_each_content(&self.inner.contents, id, visit)
    }
}

/// Whether the blob's name holds the iv of its own seal.
fn is_sealed_alone(name: &str) -> bool {
    ["xn", "xs", "xr", "_log_", "s", "n", "m", "l"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}
