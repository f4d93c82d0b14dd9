//! The contents that wait for the next commit: a backup of many small files has 100,000 of them, so each is kept in 64
//! bytes (an [`Entry`] beside its name would take 100).

use std::collections::HashMap;

use crate::{
    content::ContentId,
    error::{RepositoryError, Result},
    index::Entry,
};

/// By name; `None` while a thread is writing it.
#[derive(Default)]
pub(super) struct Pending(HashMap<ContentId, Option<Place>>);

/// An entry without its name.
#[derive(Clone, Copy)]
struct Place {
    deleted: bool,
    format_version: u8,
    compression: u32,
    timestamp: u32,
    pack: u32,
    pack_offset: u32,
    packed_length: u32,
    original_length: u32,
}

impl Pending {
    /// Notes that the caller is going to write this content; false when it is there, or somebody else does.
    pub fn claim(&mut self, id: &ContentId) -> bool {
        let is_new = !self.0.contains_key(id);
        if is_new {
            self.0.insert(*id, None);
        }
        is_new
    }

    /// Notes where a content lies now.
    pub fn put(&mut self, entry: &Entry) {
        let place = Place {
            deleted: entry.deleted,
            format_version: entry.format_version,
            compression: entry.compression,
            timestamp: entry.timestamp,
            pack: entry.pack,
            pack_offset: entry.pack_offset,
            packed_length: entry.packed_length,
            original_length: entry.original_length,
        };
        self.0.insert(entry.id, Some(place));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them in order of names.
    ///
    /// Errors: `Invalid` when one was claimed and never written.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::with_capacity(self.0.len());
        for (id, place) in &self.0 {
            let unfinished = || RepositoryError::invalid(format!("content {id} was claimed but not written"));
            entries.push(place.ok_or_else(unfinished)?.entry(*id));
        }
        entries.sort_unstable_by_key(|entry| entry.id);
        Ok(entries)
    }
}

impl Place {
    fn entry(self, id: ContentId) -> Entry {
        Entry {
            id,
            deleted: self.deleted,
            format_version: self.format_version,
            compression: self.compression,
            timestamp: self.timestamp,
            pack: self.pack,
            pack_offset: self.pack_offset,
            packed_length: self.packed_length,
            original_length: self.original_length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str) -> Entry {
        Entry {
            id: id.repeat(16).parse().unwrap(),
            deleted: true,
            format_version: 3,
            compression: 0x1101,
            timestamp: 5,
            pack: 6,
            pack_offset: 7,
            packed_length: 8,
            original_length: 9,
        }
    }

    #[test]
    fn entries_come_back_as_they_were_in_order_of_names_and_in_little_memory() {
        let mut pending = Pending::default();
        let (first, second) = (entry("07"), entry("80"));
        pending.put(&second);
        assert!(pending.claim(&first.id) && !pending.claim(&first.id));
        assert!(pending.entries().is_err(), "one is not written yet");
        pending.put(&first);
        assert!(!pending.claim(&second.id));
        assert_eq!(
            (pending.len(), pending.entries().unwrap()),
            (2, vec![first, second])
        );
        assert!(size_of::<(ContentId, Option<Place>)>() <= 64);
    }
}
