//! New contents: deduplicated, sealed, packed, and made visible by one commit (kopia-format.md 6.2, 7.7, 7.10).
//! Neighbours: `commit.rs` and `rewrite.rs` are the rest of this type, `pending.rs` what waits for the commit, `buffers.rs`
//! the memory of long pieces.
//!
//! ```text
//! write ─ hash ─ known? ─ seal ─▶ open pack (p or q) ─ full ─▶ queue ─▶ storage
//! commit: finish open packs ▶ wait for all ▶ index blob xn… ▶ delete session marker
//! ```
//! A crash before the index blob leaves packs that nobody refers to; after it, a marker. Both are garbage that
//! maintenance removes, and the repository opens either way.

mod buffers;
mod commit;
mod pending;
mod rewrite;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    ContentId,
    committed::Committed,
    compression::{self, Compressor},
    pack::{PackBuilder, PackFormat},
};
use crate::{
    blob::{
        Blobs,
        names::{PackKind, SessionId, SessionMarker, pack_name},
        pack_memory::PackMemory,
        upload::PackUploads,
    },
    crypto::Sealer,
    environment::Environment,
    epoch::IndexManager,
    error::Result,
    format::{Format, guard::FormatGuard},
    index::{Entry, PackNames},
};
pub(crate) use buffers::LONG;
use buffers::LongBuffers;
use pending::Pending;

/// What a pack may have beyond its size. A content that would take it further begins the next one, if this one is not
/// short for maintenance (60 %, `maintenance/rewrite.rs`): contents have up to 8 MiB, and each of the packs in memory would
/// need room for one more.
const PACK_EXCESS: usize = 2 << 20;
/// From this part of its size on, a pack may be sent.
const LONG_ENOUGH_PERCENT: usize = 70;
/// The longest content.
const LONGEST_CONTENT: usize = 8 << 20;
/// A pack's padding and its own index.
const PACK_END: usize = 1 << 20;

/// From how many bytes on a pack of this size may be sent.
fn long_enough(pack_size: usize) -> usize {
    pack_size / 100 * LONG_ENOUGH_PERCENT
}

/// How many bytes the memory of a pack of this size must hold.
fn most_bytes(pack_size: usize) -> usize {
    (pack_size + PACK_EXCESS).max(long_enough(pack_size) + LONGEST_CONTENT) + PACK_END
}

/// Who writes, for the session marker.
#[derive(Clone, Debug)]
pub struct Identity {
    pub username: String,
    pub hostname: String,
}

/// Writes contents of one session after another. Threads may write at the same time; only one may commit, when
/// the others are done.
pub struct ContentWriter {
    blobs: Blobs,
    sealer: Arc<Sealer>,
    environment: Environment,
    committed: Arc<Committed>,
    identity: Identity,
    layout: Layout,
    format: Arc<Format>,
    guard: Arc<FormatGuard>,
    uploads: PackUploads,
    session: Mutex<Session>,
    state: Mutex<State>,
    new_bytes: AtomicU64,
    /// Of the objects that are written through it.
    pub(crate) buffers: LongBuffers,
}

struct Session {
    id: SessionId,
    /// The marker's blob name once it is durable.
    marker: Option<String>,
}

#[derive(Default)]
struct State {
    /// Contents since the last commit.
    pending: Pending,
    packs: PackNames,
    data: Option<PackBuilder>,
    metadata: Option<PackBuilder>,
}

impl State {
    fn open_pack(&mut self, kind: PackKind) -> &mut Option<PackBuilder> {
        match kind {
            PackKind::Data => &mut self.data,
            PackKind::Metadata => &mut self.metadata,
        }
    }
}

/// How this repository keeps what is written.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Stored with every content.
    pub format_version: u8,
    /// When a pack is full, in bytes.
    pub pack_size: usize,
    pub packs: PackFormat,
    pub manager: IndexManager,
}

impl Layout {
    pub(crate) fn of(format: &Format) -> Result<Self> {
        Ok(Self {
            format_version: format.config.version(),
            pack_size: format.config.pack_size(),
            packs: PackFormat {
                index_version: format.config.index_version(),
                replica: format.pack_replica()?.into(),
                full: most_bytes(format.config.pack_size()),
            },
            manager: format.config.index_manager(),
        })
    }
}

/// What a new writer needs to know of its repository.
pub(crate) struct WriterParts {
    pub blobs: Blobs,
    pub sealer: Arc<Sealer>,
    pub environment: Environment,
    pub committed: Arc<Committed>,
    pub identity: Identity,
    pub layout: Layout,
    pub format: Arc<Format>,
    pub guard: Arc<FormatGuard>,
}

impl ContentWriter {
    pub(crate) fn new(parts: WriterParts) -> Self {
        let session = Session {
            id: SessionId::new(&parts.environment),
            marker: None,
        };
        Self {
            uploads: PackUploads::new(parts.blobs.clone()),
            blobs: parts.blobs,
            sealer: parts.sealer,
            environment: parts.environment,
            committed: parts.committed,
            identity: parts.identity,
            layout: parts.layout,
            format: parts.format,
            guard: parts.guard,
            session: Mutex::new(session),
            state: Mutex::default(),
            new_bytes: AtomicU64::new(0),
            buffers: LongBuffers::default(),
        }
    }

    /// Plaintext bytes that were not in the repository before.
    pub fn new_bytes(&self) -> u64 {
        self.new_bytes.load(Ordering::Relaxed)
    }

    /// Makes sure that the repository will hold `plain` after the next commit, and returns its name.
    ///
    /// A content that is known and not marked for deletion is not written again. It is compressed where a compressor
    /// is given, the repository's indexes can say so, and it gets smaller. Errors: `Storage`, also for a
    /// pack that failed earlier; then nothing of this writer can be committed.
    pub fn write(
        &self,
        prefix: Option<u8>,
        plain: &[u8],
        compressor: Option<Compressor>,
    ) -> Result<ContentId> {
        self.uploads.check()?;
        let id = ContentId::new(prefix, &self.sealer.hash(plain));
        let Some(timestamp) = self.claim(&id)? else {
            return Ok(id);
        };
        self.new_bytes.fetch_add(plain.len() as u64, Ordering::Relaxed);

        let compressor = compressor.filter(|_| self.compresses_contents());
        let packed = compressor.and_then(|compressor| compression::compress(compressor, plain));
        let payload = packed.as_deref().unwrap_or(plain);
        let entry = Entry {
            id,
            deleted: false,
            format_version: self.layout.format_version,
            compression: match (&packed, compressor) {
                (Some(_), Some(compressor)) => compressor.id(),
                _ => 0,
            },
            timestamp,
            pack: 0,
            pack_offset: 0,
            packed_length: 0,
            original_length: plain.len() as u32,
        };
        let full = if self.sealer.corrects_errors() {
            // Takes long; other threads go on meanwhile.
            let mut segment = Vec::new();
            self.sealer.seal_into(id.iv(), payload, &mut segment);
            self.make_way(&id, segment.len())?;
            self.append(entry, segment.len(), |pack| pack.extend_from_slice(&segment))
        } else {
            // No slower than a copy, and needs no second buffer.
            self.make_way(&id, payload.len())?;
            self.append(entry, payload.len(), |pack| {
                self.sealer.seal_into(id.iv(), payload, pack);
            })
        };
        full.map_or(Ok(()), |pack| self.send(pack))?;
        Ok(id)
    }

    /// Notes contents whose packs are in the storage already, so that the next commit makes them known.
    pub(crate) fn adopt(&self, entries: &[Entry], packs: &PackNames) {
        let mut state = self.state.lock();
        for entry in entries {
            let pack = state.packs.number(packs.name(entry.pack));
            state.pending.put(&Entry { pack, ..*entry });
        }
    }

    /// Whether the repository's indexes can say that a content is compressed.
    pub(crate) fn compresses_contents(&self) -> bool {
        self.layout.packs.index_version >= 2
    }

    /// The timestamp to write a content with, or `None` when it need not be written. A tombstone is outdone by
    /// a copy that is newer by a second.
    fn claim(&self, id: &ContentId) -> Result<Option<u32>> {
        let committed = self.committed.fresh()?;
        let now = u32::try_from(self.environment.now_secs()).unwrap_or(u32::MAX);
        let timestamp = match committed.index.find(id) {
            Some(entry) if !entry.deleted => return Ok(None),
            Some(tombstone) => now.max(tombstone.timestamp.saturating_add(1)),
            None => now,
        };
        let is_ours = self.state.lock().pending.claim(id);
        Ok(is_ours.then_some(timestamp))
    }

    /// Sends the open pack, if a segment of `length` bytes would make it much too long. It goes before anybody waits for the
    /// memory of the next.
    fn make_way(&self, id: &ContentId, length: usize) -> Result<()> {
        let size = self.layout.pack_size;
        let mut state = self.state.lock();
        let open = state.open_pack(kind_of(id));
        let is_in_the_way = |pack: &mut PackBuilder| {
            pack.length() >= long_enough(size) && pack.length() + length > size + PACK_EXCESS
        };
        let finished = open.take_if(is_in_the_way);
        drop(state);
        finished.map_or(Ok(()), |pack| self.send(pack))
    }

    /// Adds a segment of about `length` bytes, which `write` appends, to its open pack; returns the pack when that filled
    /// it.
    fn append(
        &self,
        mut entry: Entry,
        length: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<PackBuilder> {
        let kind = kind_of(&entry.id);
        let mut state = self.state.lock();
        let open = state.open_pack(kind);
        let pack = open.get_or_insert_with(|| self.new_pack(kind));
        pack.append(&mut entry, length, write);
        let (name, full) = (pack.name.clone(), pack.length() >= self.layout.pack_size);
        let finished = if full { open.take() } else { None };
        entry.pack = state.packs.number(&name);
        state.pending.put(&entry);
        finished
    }

    /// May wait for a pack that is being sent; nobody needs the state's lock for that.
    fn new_pack(&self, kind: PackKind) -> PackBuilder {
        let name = pack_name(kind, &self.session.lock().id, &self.environment);
        let memory = match kind {
            PackKind::Data => self.uploads.memory(),
            PackKind::Metadata => PackMemory::default(),
        };
        PackBuilder::new(name, kind, &self.layout.packs, &self.environment, memory)
    }

    /// Asks the format blob whether this repository may still be written to; its answer holds for 15 minutes.
    pub(crate) fn check_format(&self) -> Result<()> {
        self.guard.check(&self.format, &self.blobs, &self.environment)
    }

    /// Hands a pack over. One that is not, whatever the reason, is lost, and with it this writer's commit: its contents are
    /// among the pending ones already.
    fn send(&self, pack: PackBuilder) -> Result<()> {
        let name = pack.name.clone();
        let finished = self
            .check_format()
            .and_then(|()| self.put_session_marker())
            .and_then(|()| pack.finish(&self.sealer, &self.environment));
        match finished {
            Ok(data) => self.uploads.send(name, data),
            Err(error) => {
                self.uploads.fail(error.clone());
                Err(error)
            }
        }
    }

    /// Before the first pack of a session: tells garbage collection that its packs are not garbage yet.
    fn put_session_marker(&self) -> Result<()> {
        let mut session = self.session.lock();
        if session.marker.is_some() {
            return Ok(());
        }
        let now = self.environment.clock.now();
        let marker = SessionMarker {
            id: session.id.as_str(),
            start_time: now,
            checkpoint_time: now,
            username: &self.identity.username,
            hostname: &self.identity.hostname,
        };
        let json = serde_json::to_vec(&marker).expect("a marker is plain JSON");
        let (name, body) = self.sealer.seal_blob("s", session.id.as_str(), &json);
        self.blobs.put(&name, Bytes::from(body))?;
        session.marker = Some(name);
        Ok(())
    }
}

/// Which packs a content goes to.
fn kind_of(id: &ContentId) -> PackKind {
    match id.prefix() {
        Some(_) => PackKind::Metadata,
        None => PackKind::Data,
    }
}

#[cfg(test)]
mod tests;
