//! Maintenance's way of writing: tombstones, and segments copied from pack to pack as they are. A segment's key comes
//! from its content's name, so it can be opened wherever it lies. Neighbour: `commit.rs` makes both visible.

use std::sync::Arc;

use super::ContentWriter;
use crate::{content::reader::ContentReader, error::Result, index::Entry};

impl ContentWriter {
    /// Marks a committed content as deleted with the next commit.
    pub(crate) fn tombstone(&self, entry: &Entry, pack: &str) {
        let timestamp = self.outdoing(entry);
        let mut state = self.state.lock();
        let tombstone = Entry {
            deleted: true,
            timestamp,
            pack: state.packs.number(pack),
            ..*entry
        };
        if let Some(open) = &mut state.metadata {
            open.note(tombstone, pack);
        }
        state.pending.put(&tombstone);
    }

    /// Copies a committed content into an open pack, for the next commit.
    ///
    /// A live copy is as new as now. A copied tombstone is newer than the old one by a second only: it must be dropped
    /// when the old one would have been, and must not outdo a copy that another client writes now.
    ///
    /// Errors: as of [`ContentReader::sealed_segment`], and of sending a pack that this one filled.
    pub(crate) fn copy(
        &self,
        reader: &ContentReader,
        (entry, pack, pack_end): (&Entry, &Arc<str>, u64),
        deleted: bool,
    ) -> Result<()> {
        self.uploads.check()?;
        let segment = reader.sealed_segment(entry, pack, pack_end)?;
        let timestamp = match deleted {
            true => entry.timestamp.saturating_add(1),
            false => self.outdoing(entry),
        };
        let copied = Entry {
            deleted,
            timestamp,
            ..*entry
        };
        self.make_way(&entry.id, segment.len())?;
        match self.append(copied, segment.len(), |pack| pack.extend_from_slice(&segment)) {
            Some(full) => self.send(full),
            None => Ok(()),
        }
    }

    /// How many contents the next commit changes.
    pub(crate) fn pending(&self) -> usize {
        self.state.lock().pending.len()
    }

    fn outdoing(&self, entry: &Entry) -> u32 {
        let now = u32::try_from(self.environment.now_secs()).unwrap_or(u32::MAX);
        now.max(entry.timestamp.saturating_add(1))
    }
}
