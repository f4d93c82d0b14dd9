//! A content by its id: look it up, fetch its segment, open it, decompress it (kopia-format.md 6).
//!
//! Metadata packs (`q`) and packs of small contents are fetched whole and kept in a bounded cache; large file
//! contents are fetched as ranges and not kept.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{ContentId, committed::Committed, compression};
use crate::{
    blob::Blobs,
    crypto::Sealer,
    error::{RepositoryError, Result},
    index::Entry,
    object::reader::ahead::InFlight,
};

/// Packs kept in memory, in bytes: four full ones and some.
const CACHE_BYTES: usize = 96 << 20;
/// Below this many bytes a content's whole pack is fetched: its neighbours are wanted next.
const SMALL: u32 = 256 << 10;

/// Reads committed contents. Everything returned was authenticated.
pub struct ContentReader {
    blobs: Blobs,
    sealer: Arc<Sealer>,
    pub(crate) committed: Arc<Committed>,
    cache: Mutex<PackCache>,
    pub(crate) in_flight: InFlight,
}

#[derive(Default)]
struct PackCache {
    packs: HashMap<Arc<str>, (u64, Slot)>,
    clock: u64,
}

/// Empty until the first reader has fetched the pack; others wait for it.
type Slot = Arc<Mutex<Option<Bytes>>>;

impl ContentReader {
    pub fn new(blobs: Blobs, sealer: Arc<Sealer>, committed: Arc<Committed>) -> Self {
        Self {
            blobs,
            sealer,
            committed,
            cache: Mutex::default(),
            in_flight: InFlight::default(),
        }
    }

    /// The bytes of a content. When it cannot be found, or its pack is gone, the index is read again once:
    /// maintenance may have moved it.
    ///
    /// Errors: `NotFound`, `Damaged` (naming content, pack and offset), `Unsupported` (compression), `Storage`.
    pub fn read(&self, id: &ContentId) -> Result<Vec<u8>> {
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
            let pack = reading.index.pack_name(entry);
            match self.read_entry(entry, pack) {
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

    /// Whether everything runs on the calling thread (simulation).
    pub(crate) fn is_inline(&self) -> bool {
        self.blobs.is_inline()
    }

    /// Forgets cached packs, so that what is read next comes from storage.
    pub fn forget_cached(&self) {
        self.cache.lock().packs.clear();
    }

    fn read_entry(&self, entry: &Entry, pack: &Arc<str>) -> Result<Vec<u8>> {
        let at = || format!("the segment at {} of pack {pack}", entry.pack_offset);
        let segment = self.segment(entry, pack)?;
        let payload = self.sealer.open(&entry.id.hash(), &segment).ok_or_else(|| {
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
            .map_err(|e| e.while_doing(at()))
    }

    fn segment(&self, entry: &Entry, pack: &Arc<str>) -> Result<Bytes> {
        let (start, length) = (u64::from(entry.pack_offset), u64::from(entry.packed_length));
        if !pack.starts_with('q') && entry.packed_length >= SMALL {
            return self.blobs.get_range(pack, start..start + length);
        }
        let whole = self.whole_pack(pack)?;
        let range = start as usize..(start + length) as usize;
        if range.end > whole.len() {
            return Err(RepositoryError::damaged(format!(
                "pack {pack} is truncated: it has {} bytes, a content needs {}",
                whole.len(),
                range.end
            )));
        }
        Ok(whole.slice(range))
    }

    fn whole_pack(&self, pack: &Arc<str>) -> Result<Bytes> {
        let slot = self.cache.lock().slot(pack);
        let mut fetched = slot.lock();
        if let Some(bytes) = &*fetched {
            return Ok(bytes.clone());
        }
        let bytes = self.blobs.get(pack)?;
        *fetched = Some(bytes.clone());
        drop(fetched);
        self.cache.lock().evict(pack);
        Ok(bytes)
    }
}

impl PackCache {
    fn slot(&mut self, pack: &Arc<str>) -> Slot {
        self.clock += 1;
        let (used, slot) = self.packs.entry(pack.clone()).or_default();
        *used = self.clock;
        slot.clone()
    }

    /// Drops the packs used longest ago until the rest fits; never `newest`, and none that is being fetched.
    fn evict(&mut self, newest: &str) {
        let size = |slot: &Slot| {
            slot.try_lock()
                .and_then(|s| s.as_ref().map(Bytes::len))
                .unwrap_or(0)
        };
        let mut total: usize = self.packs.values().map(|(_, slot)| size(slot)).sum();
        while total > CACHE_BYTES {
            let oldest = self
                .packs
                .iter()
                .filter(|(name, (_, slot))| &***name != newest && size(slot) > 0)
                .min_by_key(|(_, (used, _))| *used)
                .map(|(name, (_, slot))| (name.clone(), size(slot)));
            let Some((name, bytes)) = oldest else { return };
            self.packs.remove(&name);
            total -= bytes;
        }
    }
}
