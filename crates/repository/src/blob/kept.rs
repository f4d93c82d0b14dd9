//! Reading what never changes under its name by way of the disk cache (`cache/`), where there is one: packs and index
//! blobs; and what is listed of the index. Everything else is always asked of the storage.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use caravel_storage::BlobMetadata;
use jiff::Timestamp;

use super::Blobs;
use crate::{cache::DiskCache, environment::Clock, error::Result};

/// A metadata pack of the usual size, with the content that filled it.
const FULL_PACK: u64 = 28 << 20;

impl Blobs {
    /// The same blobs by way of this cache.
    pub(crate) fn with_cache(self, cache: Arc<DiskCache>) -> Self {
        Self {
            cache: Some(cache),
            believes_cache: true,
            ..self
        }
    }

    /// The same blobs, all read from the storage. The cache still learns what is written.
    pub(crate) fn past_cache(&self) -> Self {
        Self {
            believes_cache: false,
            ..self.clone()
        }
    }

    /// Whether something that is read may come from the disk cache.
    pub(crate) fn believes_cache(&self) -> bool {
        self.believed().is_some()
    }

    /// Whether metadata packs come from the disk once they were fetched whole.
    pub(crate) fn keeps_metadata_packs(&self) -> bool {
        self.believed()
            .is_some_and(|cache| cache.metadata.takes(FULL_PACK))
    }

    fn believed(&self) -> Option<&DiskCache> {
        self.cache.as_deref().filter(|_| self.believes_cache)
    }

    /// A whole metadata pack; worth it where they are kept.
    pub(crate) fn get_metadata_pack(&self, id: &str) -> Result<Bytes> {
        let Some(cache) = self.believed() else {
            return self.get(id);
        };
        if let Some(kept) = cache.metadata.get(id) {
            return Ok(kept);
        }
        let bytes = self.get(id)?;
        cache.metadata.put(id, &bytes);
        Ok(bytes)
    }

    /// A stretch of a data pack.
    pub(crate) fn get_data_range(&self, id: &str, range: Range<u64>) -> Result<Bytes> {
        let Some(cache) = self.believed() else {
            return self.get_range(id, range);
        };
        let name = stretch(id, &range);
        // A cache that holds other bytes than were asked for would be a fault of ours.
        if let Some(kept) = cache.contents.get(&name)
            && kept.len() as u64 == range.end.saturating_sub(range.start)
        {
            return Ok(kept);
        }
        let bytes = self.get_range(id, range)?;
        cache.contents.put(&name, &bytes);
        Ok(bytes)
    }

    /// Several index blobs, in the order asked for.
    pub(crate) fn get_index_blobs(&self, ids: &[&str]) -> Result<Vec<(String, Bytes)>> {
        let Some(cache) = self.believed() else {
            return self.get_all(ids);
        };
        let kept: Vec<Option<Bytes>> = ids.iter().map(|id| cache.index_blobs.get(id)).collect();
        let missing: Vec<&str> = ids
            .iter()
            .zip(&kept)
            .filter(|(_, kept)| kept.is_none())
            .map(|(id, _)| *id)
            .collect();
        let fetched = self.get_all(&missing)?;
        for (id, bytes) in &fetched {
            cache.index_blobs.put(id, bytes);
        }
        let mut fetched = fetched.into_iter();
        let all = ids.iter().zip(kept).filter_map(|(id, kept)| match kept {
            Some(bytes) => Some(((*id).to_owned(), bytes)),
            None => fetched.next(),
        });
        Ok(all.collect())
    }

    /// Removes the copies of these: they were not what they should be.
    pub(crate) fn forget_index_blob(&self, id: &str) {
        if let Some(cache) = &self.cache {
            cache.index_blobs.forget(id);
        }
    }

    /// See [`Blobs::forget_index_blob`].
    pub(crate) fn forget_metadata_pack(&self, id: &str) {
        if let Some(cache) = &self.cache {
            cache.metadata.forget(id);
        }
    }

    /// See [`Blobs::forget_index_blob`].
    pub(crate) fn forget_data_range(&self, id: &str, range: &Range<u64>) {
        if let Some(cache) = &self.cache {
            cache.contents.forget(&stretch(id, range));
        }
    }

    /// The blobs of this prefix and when their listing began: just now, or as long ago as may be believed.
    pub(crate) fn list_believed(
        &self,
        prefix: &str,
        clock: &dyn Clock,
    ) -> Result<(Vec<BlobMetadata>, Timestamp)> {
        match self.believed().and_then(|cache| cache.lists.believed(prefix)) {
            Some(known) => Ok(known),
            None => self.list_anew(prefix, clock),
        }
    }

    /// The blobs of this prefix now, and when their listing began. It is kept for those who come next.
    pub(crate) fn list_anew(
        &self,
        prefix: &str,
        clock: &dyn Clock,
    ) -> Result<(Vec<BlobMetadata>, Timestamp)> {
        let began = clock.now();
        let listed = self.list(prefix)?;
        if let Some(cache) = &self.cache {
            cache.lists.keep(prefix, began, &listed);
        }
        Ok((listed, began))
    }

    /// A blob was written or deleted, or may have been: the answer to the call can be lost.
    pub(super) fn changed(&self, ids: &[&str]) {
        if let Some(cache) = &self.cache {
            cache.lists.changed(ids);
        }
    }
}

fn stretch(id: &str, range: &Range<u64>) -> String {
    format!("{id}+{}-{}", range.start, range.end)
}
