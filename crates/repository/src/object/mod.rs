//! Objects: byte strings of any length, made of contents (kopia-format.md 9).
//! Neighbours: `id.rs`, `indirect.rs` (the list of a long object's pieces), `writer.rs`, `reader.rs`.

pub mod id;
pub mod indirect;
pub mod reader;
pub mod writer;

pub use id::ObjectId;
