//! Kopia's repository format. No Kubernetes, no Velero words.
//!
//! Reads and writes repositories as Kopia v0.22 creates them by default: format version 3, epochs, index v2,
//! BLAKE2B-256-128, AES256-GCM-HMAC-SHA256, DYNAMIC-4M-BUZHASH, scrypt. Anything else is refused by name, with
//! [`RepositoryErrorKind::Unsupported`]. The layout on storage is described in kopia-format.md.
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
//! | tombstone | an index entry that marks a content as deleted | [`index::Entry`] |
//!
//! ```text
//!   Repository ── Writer ── ObjectWriter ─ splitter ─▶ ContentWriter ─▶ packs ─▶ storage
//!        └────── ObjectReader ◀─────────────────────── ContentReader ◀──────────────┘
//! ```
//! The engine is synchronous on threads of its own ([`Environment`] says how many); `async` methods move there
//! by themselves.

pub mod blob;
pub mod content;
pub mod crypto;
mod environment;
pub mod epoch;
mod error;
pub mod format;
pub mod index;
pub mod maintenance;
pub mod manifest;
pub mod object;
pub mod policy;
mod repository;
pub mod snapshot;
pub mod splitter;
mod writer;

pub use content::ContentId;
pub use crypto::password::{KeyDerivation, SlowKeyDerivation};
pub use environment::{Clock, Environment, Randomness};
pub use error::{RepositoryError, RepositoryErrorKind};
pub use manifest::{Labels, Manifest, ManifestId};
pub use object::{
    ObjectId,
    reader::{Location, ObjectReader},
    writer::ObjectWriter,
};
pub use repository::{
    CreateOptions, CreatedRepository, OpenOptions, Repository, create, open, peek_unique_id,
};
pub use snapshot::{
    Directory, DirectoryEntry, DirectorySummary, EntryError, EntryType, FileMode, Snapshot, SnapshotFilter,
    SnapshotManifest, SnapshotSource, SnapshotStats,
};
pub use writer::Writer;
