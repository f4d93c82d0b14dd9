//! A content by its id: look it up, fetch its segment, open it, decompress it (kopia-format.md 6).
//!
//! Small contents are fetched with their neighbours and kept in a bounded cache (`cache.rs`); large ones are fetched as
//! ranges and not kept in memory. Where there is a disk cache (`crate::cache`), each of these is looked for there first,
//! and metadata packs (`q`) are fetched whole into it, as Kopia does.

mod cache;

use std::{ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use cache::PackCache;

use super::{ContentId, committed::Committed, compression};
use crate::{
    blob::Blobs,
    crypto::Sealer,
    error::{RepositoryError, RepositoryErrorKind, Result},
    index::Entry,
    object::reader::ahead::InFlight,
};

/// Below this many bytes a content's neighbourhood is fetched with it: in a pack files and directories lie in the order
/// in which they were found, so the next ones are wanted next.
const SMALL: u32 = 256 << 10;
/// What is fetched around a small content: large enough to hide an answer's delay, small enough when the
/// neighbours are not wanted after all.
const WINDOW: u64 = 2 << 20;

/// Reads committed contents. Everything returned was authenticated, also what came from the disk cache.
pub struct ContentReader {
    blobs: Blobs,
    sealer: Arc<Sealer>,
    pub(crate) committed: Arc<Committed>,
    cache: PackCache,
    pub(crate) in_flight: InFlight,
}

impl ContentReader {
    pub fn new(blobs: Blobs, sealer: Arc<Sealer>, committed: Arc<Committed>) -> Self {
        let capacity = match blobs.keeps_metadata_packs() {
            true => cache::OF_PACKS,
            false => cache::OF_WINDOWS,
        };
        Self {
            blobs,
            sealer,
            committed,
            cache: PackCache::of(capacity),
            in_flight: InFlight::default(),
        }
    }

    /// The bytes of a content. When it cannot be found, or its pack is gone, the index is read again once:
    /// maintenance may have moved it.
    ///
    /// Errors: `NotFound`, `Damaged` (naming content, pack and offset), `Unsupported` (compression), `Storage`.
    pub fn read(&self, id: &ContentId) -> Result<Bytes> {
        let mut first_failure = None;
        for refreshed in [false, true] {
            let reading = if refreshed {
                self.committed.refresh()?
            } else {
                self.committed.current()
            };
            let Some(entry) = reading.index.find(id) else {
                continue;
            };
            let pack = reading.index.pack_name(&entry);
            match self.read_entry(&entry, pack, reading.index.pack_end(&entry)) {
                Err(error) if error.is_missing_blob() => first_failure = Some(error),
                done => return done.map_err(|e| e.while_doing(format_args!("cannot read content {id}"))),
            }
        }
        Err(first_failure.unwrap_or_else(|| {
            RepositoryError::not_found(format!("content {id} is in no index of the repository"))
        }))
    }

    /// Whether a content can be referred to by something new: known and not marked for deletion.
    pub fn is_live(&self, id: &ContentId) -> Result<bool> {
        Ok(self
            .committed
            .fresh()?
            .index
            .find(id)
            .is_some_and(|entry| !entry.deleted))
    }

    /// The sealed bytes of an entry, as they lie in its pack. They were opened once to authenticate them, so that
    /// what is copied elsewhere is not damaged already.
    ///
    /// Errors: as of [`ContentReader::read`], but the index is not read again.
    pub(crate) fn sealed_segment(&self, entry: &Entry, pack: &Arc<str>, pack_end: u64) -> Result<Bytes> {
        let naming = |e: RepositoryError| e.while_doing(format_args!("cannot read content {}", entry.id));
        let segment = self.segment(entry, pack, pack_end).map_err(naming)?;
        match self.sealer.open(entry.id.iv(), &segment) {
            Some(_) => Ok(segment),
            None => Err(naming(RepositoryError::damaged(format!(
                "the segment at {} of pack {pack} was altered: its authentication failed",
                entry.pack_offset
            )))),
        }
    }

    /// Whether everything runs on the calling thread (simulation).
    pub(crate) fn is_inline(&self) -> bool {
        self.blobs.is_inline()
    }

    /// Forgets the packs in memory.
    pub fn forget_cached(&self) {
        self.cache.clear();
    }

    /// A reader with nothing in memory that takes nothing from the disk cache: what it returns has come from storage.
    pub fn past_caches(&self) -> Self {
        Self::new(
            self.blobs.past_cache(),
            self.sealer.clone(),
            self.committed.clone(),
        )
    }

    fn read_entry(&self, entry: &Entry, pack: &Arc<str>, pack_end: u64) -> Result<Bytes> {
        match self.read_by_caches(entry, pack, pack_end) {
            // A copy may be of a time when the pack was damaged in the storage, and no time is too late to mend it.
            Err(error) if error.kind() == RepositoryErrorKind::Damaged && self.blobs.believes_cache() => {
                let bytes = self.past_caches().read_by_caches(entry, pack, pack_end)?;
                self.forget_copies(entry, pack, pack_end);
                Ok(bytes)
            }
            done => done,
        }
    }

    /// Removes whatever copy the bytes of an entry may have come from.
    fn forget_copies(&self, entry: &Entry, pack: &Arc<str>, pack_end: u64) {
        let start = u64::from(entry.pack_offset);
        let segment = start..start + u64::from(entry.packed_length);
        self.forget_cached();
        self.blobs.forget_metadata_pack(pack);
        for window in cache::windows(segment.clone(), WINDOW, pack_end) {
            self.blobs.forget_data_range(pack, &window);
        }
        self.blobs.forget_data_range(pack, &segment);
    }

    fn read_by_caches(&self, entry: &Entry, pack: &Arc<str>, pack_end: u64) -> Result<Bytes> {
        let segment = self.segment(entry, pack, pack_end)?;
        self.opened(entry, pack, self.sealer.open_owned(entry.id.iv(), segment))
    }

    /// The content of an entry from the bytes of its segment.
    ///
    /// Errors: `Damaged`, naming pack and offset.
    pub(crate) fn open_segment(&self, entry: &Entry, pack: &str, segment: &[u8]) -> Result<Bytes> {
        let opened = self.sealer.open(entry.id.iv(), segment);
        self.opened(entry, pack, opened.map(Bytes::from))
    }

    /// The content of what a segment held, none being an altered one.
    fn opened(&self, entry: &Entry, pack: &str, payload: Option<Bytes>) -> Result<Bytes> {
        let at = || format!("the segment at {} of pack {pack}", entry.pack_offset);
        let payload = payload.ok_or_else(|| {
            RepositoryError::damaged(format!("{} was altered: its authentication failed", at()))
        })?;
        if entry.compression == 0 {
            return match payload.len() == entry.original_length as usize {
                true => Ok(payload),
                false => Err(RepositoryError::damaged(format!(
                    "{} has another length than the index says",
                    at()
                ))),
            };
        }
        compression::decompress(entry.compression, &payload, entry.original_length as usize)
            .map(Bytes::from)
            .map_err(|e| e.while_doing(at()))
    }

    fn segment(&self, entry: &Entry, pack: &Arc<str>, pack_end: u64) -> Result<Bytes> {
        let (start, length) = (u64::from(entry.pack_offset), u64::from(entry.packed_length));
        let end = start + length;
        if pack.starts_with('q') && self.blobs.keeps_metadata_packs() {
            let whole = self.cache.get(pack, 0, || self.blobs.get_metadata_pack(pack))?;
            return match whole.len() as u64 >= end {
                true => Ok(whole.slice(start as usize..end as usize)),
                false => Err(RepositoryError::damaged(format!(
                    "pack {pack} is truncated: it has {} bytes, a content needs {end}",
                    whole.len()
                ))),
            };
        }
        if entry.packed_length >= SMALL {
            return self.blobs.get_data_range(pack, start..end);
        }
        match self.windowed(start..end, pack, pack_end) {
            // A pack that was cut off costs only what was behind the cut, not its neighbours in the window.
            Err(error) if error.is_missing_blob() || error.is_transient() => Err(error),
            Err(_) => self.blobs.get_range(pack, start..end),
            found => found,
        }
    }

    fn windowed(&self, segment: Range<u64>, pack: &Arc<str>, pack_end: u64) -> Result<Bytes> {
        let Range { start, end } = segment;
        let mut segment = BytesMut::with_capacity((end - start) as usize);
        for window in cache::windows(start..end, WINDOW, pack_end) {
            let bytes = self.cache.get(pack, window.start, || {
                self.blobs.get_data_range(pack, window.clone())
            })?;
            let from = start.max(window.start) - window.start;
            let to = end.min(window.end) - window.start;
            // A window that was kept before the pack was known to be longer.
            let some = bytes.get(from as usize..to as usize).ok_or_else(|| {
                RepositoryError::damaged(format!(
                    "the {} bytes at {} of pack {pack} end before {end}",
                    bytes.len(),
                    window.start
                ))
            })?;
            segment.extend_from_slice(some);
        }
        Ok(segment.freeze())
    }
}
