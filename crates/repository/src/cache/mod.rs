//! Copies on this machine's disk of what was read from the storage (kopia-format.md 12; Kopia `internal/cache`,
//! `internal/listcache` v0.22.3). A copy saves a request and is never needed: what is missing, altered, too old or
//! unreadable comes from the storage, and a folder that takes no writes costs one sentence.
//!
//! ```text
//! FOLDER/contents/7f/p0123…-s…+20971520-2097152    a stretch of a data pack
//!        metadata/03/q4567…-s…                     a whole metadata pack
//!        index-blobs/a0/xn0_89ab…                  an index blob
//!        blob-list/…/x                             names of the index blobs, for a while
//!        own-writes/…/index                        when this machine last changed an index blob
//! ```
//! Each file ends with an HMAC over its name and its bytes (`protection.rs`), and what it holds is sealed as in the
//! storage. Several processes may use one folder; none holds a lock (`part.rs`). Neighbours: `lists.rs` (what is
//! believed of a listing), `blob/kept.rs` (who asks for copies).

mod lists;
mod part;
mod protection;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub(crate) use lists::Lists;
pub(crate) use part::Part;
pub(crate) use protection::Protection;

use crate::environment::Environment;

/// The subfolders. Nothing else in the folder is ever touched.
pub const PARTS: [&str; 5] = ["contents", "metadata", "index-blobs", "own-writes", "blob-list"];

/// Kopia's size of the content cache and of the metadata cache, in bytes.
pub const USUAL_BYTES: u64 = 5_000_000_000;
/// Kopia's duration for which a list of index blobs is believed.
pub const USUAL_LIST_DURATION: Duration = Duration::from_secs(30);

/// Where copies lie and how large they may be.
#[derive(Clone)]
pub struct CacheSettings {
    /// Made when something is first kept, for its owner alone.
    pub folder: PathBuf,
    /// Bytes of data packs; 0 keeps none.
    pub content_bytes: u64,
    /// Bytes of metadata packs, and as many of index blobs (as Kopia has it); 0 keeps none.
    pub metadata_bytes: u64,
    /// For how long a list of index blobs is believed when a repository is opened; zero: it is listed anew.
    pub list_duration: Duration,
    /// Told once of each kind of trouble: a folder that takes no writes, a copy that was altered.
    pub notice: Notice,
}

/// Where trouble with the cache is said; by default the log.
#[derive(Clone)]
pub struct Notice(Arc<dyn Fn(&str) + Send + Sync>);

impl Notice {
    /// Calls `say` with each sentence.
    pub fn new(say: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(say))
    }
}

impl Default for Notice {
    fn default() -> Self {
        Self::new(|text| tracing::warn!("{text}"))
    }
}

impl fmt::Debug for CacheSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheSettings")
            .field("folder", &self.folder)
            .field("content_bytes", &self.content_bytes)
            .field("metadata_bytes", &self.metadata_bytes)
            .field("list_duration", &self.list_duration)
            .finish_non_exhaustive()
    }
}

impl CacheSettings {
    /// Kopia's sizes in `folder`.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            content_bytes: USUAL_BYTES,
            metadata_bytes: USUAL_BYTES,
            list_duration: USUAL_LIST_DURATION,
            notice: Notice::default(),
        }
    }

    /// For somebody who must see the storage itself, as a verification must: takes nothing from the cache and puts
    /// nothing there, but others who use the folder learn when index blobs change.
    #[must_use]
    pub fn past(self) -> Self {
        Self {
            content_bytes: 0,
            metadata_bytes: 0,
            list_duration: Duration::ZERO,
            ..self
        }
    }

    /// Removes what is above the limits now, what was used longest ago first; gives the number of bytes that are left.
    ///
    /// # Errors
    /// Of the file system. That there is no folder is none.
    pub fn sweep(&self) -> io::Result<u64> {
        let limits = [
            ("contents", self.content_bytes),
            ("metadata", self.metadata_bytes),
            ("index-blobs", self.metadata_bytes),
        ];
        let swept = limits
            .iter()
            .map(|(part, limit)| part::sweep(&self.folder.join(part), *limit));
        swept.sum()
    }
}

/// The cache of one opened repository.
pub(crate) struct DiskCache {
    pub contents: Part,
    pub metadata: Part,
    pub index_blobs: Part,
    pub lists: Lists,
}

impl DiskCache {
    /// Nothing is read or made yet. `protection` is the repository's own: copies of another one are not believed.
    pub fn new(settings: &CacheSettings, protection: Protection, environment: &Environment) -> Self {
        let trouble = Arc::new(Trouble::new(settings));
        let protection = Arc::new(protection);
        let part = |name: &str, limit| {
            Part::new(
                settings.folder.join(name),
                limit,
                protection.clone(),
                trouble.clone(),
                environment,
            )
        };
        Self {
            contents: part("contents", settings.content_bytes),
            metadata: part("metadata", settings.metadata_bytes),
            index_blobs: part("index-blobs", settings.metadata_bytes),
            lists: Lists::new(
                part("blob-list", lists::LIMIT),
                part("own-writes", lists::LIMIT),
                settings.list_duration,
                environment.clock.clone(),
            ),
        }
    }
}

impl fmt::Debug for DiskCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskCache")
    }
}

/// What went wrong in the folder, said once.
pub(crate) struct Trouble {
    folder: PathBuf,
    notice: Notice,
    is_off: AtomicBool,
    said_altered: AtomicBool,
}

impl Trouble {
    fn new(settings: &CacheSettings) -> Self {
        Self {
            folder: settings.folder.clone(),
            notice: settings.notice.clone(),
            is_off: AtomicBool::new(false),
            said_altered: AtomicBool::new(false),
        }
    }

    /// Whether nothing is written any more.
    fn is_off(&self) -> bool {
        self.is_off.load(Ordering::Relaxed)
    }

    /// From now on nothing is written.
    fn unusable(&self, error: &io::Error) {
        if !self.is_off.swap(true, Ordering::Relaxed) {
            (self.notice.0)(&format!(
                "the cache in {} cannot be used ({error}): this goes on without it, and reads from the storage",
                self.folder.display()
            ));
        }
    }

    fn altered(&self, name: &str) {
        if !self.said_altered.swap(true, Ordering::Relaxed) {
            (self.notice.0)(&format!(
                "{name} in the cache in {} was altered, cut off or is another repository's: it is read from the storage again",
                self.folder.display()
            ));
        }
    }
}
