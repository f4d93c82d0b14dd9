//! Kopia's repository format. No Kubernetes, no Velero words.
//!
//! Reads and writes every repository that Kopia v0.22 does: format versions 1 to 3, all its hashes, ciphers, splitters
//! and compressors, error correction, indexes of both versions with and without epochs. Only two things are not
//! written: `lz4`, which newer versions of Kopia cannot read, and blobs under object lock. The layout on storage is
//! described in kopia-format.md.
//!
//! | word | meaning | folder |
//! |---|---|---|
//! | blob | a named object in storage | [`blob`] |
//! | format blob | `kopia.repository`: settings and keys, sealed by the password | [`format`] |
//! | content | a piece of up to 8 MiB, named by its hash, stored once | [`content`] |
//! | pack | a blob of many sealed contents: `p` file data, `q` metadata | [`content::pack`] |
//! | index blob | which pack holds which content: `xn`, `xs`, `xr` | [`index`] |
//! | epoch | a stretch of index blobs that is compacted together | [`epoch`] |
//! | object | bytes of any length: one content, or a list (`I…`) of them | [`object`] |
//! | manifest | a small labelled JSON document in an `m` content | [`manifest`] |
//! | policy | how a source is backed up, how long its snapshots stay | [`policy`] |
//! | snapshot | a manifest that names a root directory | [`snapshot`] |
//! | session | one writer's stretch between two commits, with a marker blob `s…` | [`blob::names`] |
//! | maintenance | keeps the index small, removes what nobody needs | [`maintenance`] |
//! | cache | copies on this machine of what was read | [`cache`] |
//! | tombstone | an index entry that marks a content as deleted | [`index::Entry`] |
//!
//! ```text
//!   Repository ── Writer ── ObjectWriter ─ splitter ─▶ ContentWriter ─▶ packs ─▶ storage
//!        └────── ObjectReader ◀─────────────────────── ContentReader ◀──────────────┘
//! ```
//! The engine is synchronous on threads of its own ([`Environment`] says how many); `async` methods move there
//! by themselves.

pub mod blob;
pub mod cache;
pub mod content;
pub mod crypto;
mod environment;
pub mod epoch;
mod error;
pub mod format;
pub mod fuzz;
pub mod index;
pub mod inspect;
pub mod maintenance;
pub mod manifest;
pub mod object;
mod open;
pub mod policy;
pub mod recover;
mod repository;
pub mod snapshot;
pub mod splitter;
pub mod verify;
mod writer;

pub use cache::{CacheSettings, Notice};
pub use content::{ContentId, compression::Compressor};
pub use crypto::password::{KeyDerivation, SlowKeyDerivation};
pub use crypto::{Cipher, HashAlgorithm};
pub use environment::{Abandoned, Blocking, Clock, Environment, Randomness, Work};
pub use error::{RepositoryError, RepositoryErrorKind};
pub use format::{EpochParameters, FormatOptions, ParameterChange, Retention};
pub use inspect::{ContentInfo, IndexBlobInfo};
pub use manifest::{Labels, Manifest, ManifestId};
pub use object::{
    ObjectId,
    reader::{Location, ObjectReader},
    writer::{ObjectOptions, ObjectWriter},
};
pub use open::{CreateOptions, CreatedRepository, OpenOptions, create, create_with, open, peek_unique_id};
pub use repository::Repository;
pub use snapshot::{
    DEEPEST, Directory, DirectoryEntry, DirectorySummary, EntryError, EntryType, FileMode, LONGEST_PATH,
    Snapshot, SnapshotFilter, SnapshotManifest, SnapshotSource, SnapshotStats,
};
pub use writer::Writer;
