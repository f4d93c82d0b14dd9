//! The commit of a writer: packs durable, then one index blob, then the marker goes (kopia-format.md 7.7, 7.10).

use bytes::Bytes;

use super::{ContentWriter, Session, State};
use crate::{
    blob::names::SessionId,
    content::ContentId,
    epoch::{EpochState, IndexManager, legacy},
    error::{RepositoryError, RepositoryErrorKind, Result},
    index::{self, Entry, PackNames, shards},
};

/// How often the epoch may move on while we write before we give up.
const ATTEMPTS: usize = 3;

impl ContentWriter {
    /// Marks a content as deleted with the next commit. Its bytes stay readable until maintenance has come by.
    pub fn delete(&self, id: &ContentId) -> Result<()> {
        let committed = self.committed.fresh()?;
        if let Some(entry) = committed.index.find(id).filter(|entry| !entry.deleted) {
            self.tombstone(&entry, committed.index.pack_name(&entry));
        }
        Ok(())
    }

    /// Makes everything written so far visible to all, in one step. No other thread may write meanwhile.
    ///
    /// Errors: see [`crate::Writer::commit`]. A marker that cannot be deleted afterwards is no error.
    pub fn commit(&self) -> Result<()> {
        if self.commit_unread()? {
            self.committed.refresh()?;
        }
        Ok(())
    }

    /// The same without reading the index afterwards, which may be what is being repaired. Says whether there was
    /// anything to commit.
    pub(crate) fn commit_unread(&self) -> Result<bool> {
        self.check_format()?;
        let (data, metadata) = {
            let mut state = self.state.lock();
            (state.data.take(), state.metadata.take())
        };
        for pack in [data, metadata].into_iter().flatten() {
            self.send(pack)?;
        }
        self.uploads.drain()?;
        let (entries, packs) = self.pending_entries()?;
        if entries.is_empty() {
            return Ok(false);
        }
        self.write_index(entries, &packs)?;
        *self.state.lock() = State::default();
        self.end_session();
        Ok(true)
    }

    fn pending_entries(&self) -> Result<(Vec<Entry>, PackNames)> {
        let state = self.state.lock();
        Ok((state.pending.entries()?, state.packs.clone()))
    }

    fn write_index(&self, entries: Vec<Entry>, packs: &PackNames) -> Result<()> {
        let session = self.session.lock().id.clone();
        // Each shard goes when it is encoded: their memory is needed for the sealed blobs.
        let plain: Vec<Vec<u8>> = shards(entries)
            .into_iter()
            .map(|shard| index::encode(self.layout.packs.index_version, &shard, packs))
            .collect::<Result<_>>()?;
        if self.layout.manager == IndexManager::Legacy {
            for index in &plain {
                let (name, body) = self.sealer.seal_blob(legacy::INDEX, session.as_str(), index);
                self.blobs.put(&name, Bytes::from(body))?;
            }
            return Ok(());
        }
        for _ in 0..ATTEMPTS {
            let epoch = self.write_epoch()?;
            let mut written = Vec::new();
            for index in &plain {
                let suffix = format!("{}-c{}", session.as_str(), plain.len());
                let (name, body) = self.sealer.seal_blob(&format!("xn{epoch}_"), &suffix, index);
                self.blobs.put(&name, Bytes::from(body))?;
                written.push(name);
            }
            // Blobs of the current epoch and the one before are always read by everyone; older ones may have
            // been compacted without ours.
            if self.write_epoch()? < epoch + 2 {
                return Ok(());
            }
            for name in written {
                self.blobs.delete(&name)?;
            }
        }
        Err(RepositoryError::new(
            RepositoryErrorKind::TooSlow,
            "the commit took more than two epochs; nothing was committed, start again",
        ))
    }

    fn write_epoch(&self) -> Result<u64> {
        let markers = self.blobs.list("xe")?;
        Ok(EpochState::of(markers.iter().map(|blob| blob.id.as_str())).write_epoch)
    }

    /// Deletes the marker and starts a new session. A marker that stays is harmless.
    fn end_session(&self) {
        let mut session = self.session.lock();
        if let Some(marker) = session.marker.take()
            && let Err(error) = self.blobs.delete(&marker)
        {
            tracing::warn!(marker, %error, "cannot delete a session marker; maintenance will");
        }
        *session = Session {
            id: SessionId::new(&self.environment),
            marker: None,
        };
    }
}
