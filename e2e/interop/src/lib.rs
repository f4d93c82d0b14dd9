//! Our engine and the real Kopia (v0.22.3) on one repository: the rows of kopia-format.md section 15, each a named test in
//! `tests/`, and `cargo xtask bench engine`. Both sides are programs that are run as a user runs them.
//!
//! | module | what |
//! |---|---|
//! | [`client`] | the two programs, each with a home of its own |
//! | [`tree`] | trees with everything that a file system has, and whether two are equal |
//! | [`blobs`] | the repository's folder as files: to damage, to age, to count |
//! | [`bench`] | time and memory of both, in the same run |

pub mod bench;
pub mod blobs;
pub mod client;
pub mod tree;
