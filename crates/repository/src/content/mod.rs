//! Contents: the unit of deduplication, sealed and packed (kopia-format.md 6).
//!
//! - `id.rs`: names · `pack.rs`: bytes of a pack · `compression.rs`: the layer inside the seal
//! - `committed.rs`: the merged index and when to read it again
//! - `reader.rs`: content by id · `writer.rs`: new contents, dedup, commit

pub mod committed;
pub mod compression;
pub mod id;
pub mod pack;
pub mod reader;
pub mod writer;

pub use id::ContentId;
