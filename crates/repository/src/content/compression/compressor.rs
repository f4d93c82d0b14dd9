//! Compressors by Kopia's names (kopia-format.md 5.1).

use crate::error::{RepositoryError, Result};

/// A compressor: what policies name and index entries number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Compressor {
    id: u32,
    name: &'static str,
    level: i32,
}

/// Streams of one format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Gzip,
    Zstd,
    S2,
    Lz4,
    Deflate,
}

const fn row(id: u32, name: &'static str, level: i32) -> Compressor {
    Compressor { id, name, level }
}

impl Compressor {
    /// `zstd-fastest`, what Kopia compresses metadata with.
    pub const ZSTD_FASTEST: Compressor = row(0x1101, "zstd-fastest", 1);

    /// All that Kopia v0.22 knows. Levels are those of our own encoders that come nearest to Kopia's.
    pub const ALL: [Compressor; 18] = [
        row(0x1000, "gzip", 6),
        row(0x1001, "gzip-best-speed", 1),
        row(0x1002, "gzip-best-compression", 9),
        row(0x1100, "zstd", 3),
        Self::ZSTD_FASTEST,
        row(0x1102, "zstd-better-compression", 7),
        row(0x1103, "zstd-best-compression", 11),
        row(0x1200, "s2-default", 0),
        row(0x1201, "s2-better", 0),
        row(0x1202, "s2-parallel-4", 0),
        row(0x1203, "s2-parallel-8", 0),
        row(0x1300, "pgzip", 6),
        row(0x1301, "pgzip-best-speed", 1),
        row(0x1302, "pgzip-best-compression", 9),
        row(0x1400, "lz4", 0),
        row(0x1500, "deflate-default", 6),
        row(0x1501, "deflate-best-speed", 1),
        row(0x1502, "deflate-best-compression", 9),
    ];

    /// By the name in a policy; `None` for `none` and the empty name.
    ///
    /// Errors: `Unsupported` for names that Kopia does not know either.
    pub fn by_name(name: &str) -> Result<Option<Self>> {
        if matches!(name, "" | "none") {
            return Ok(None);
        }
        let known = Self::ALL.into_iter().find(|compressor| compressor.name == name);
        known
            .map(Some)
            .ok_or_else(|| RepositoryError::unsupported(format!("the compressor {name}")))
    }

    /// By the number in an index entry or in front of a stream.
    pub fn by_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|compressor| compressor.id == id)
    }

    /// What policies call it.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The number in index entries and in front of streams.
    pub fn id(self) -> u32 {
        self.id
    }

    /// Whether Kopia advises against it. `lz4` is read only, since newer versions of Kopia cannot read it.
    pub fn is_deprecated(self) -> bool {
        matches!(self.name, "lz4" | "zstd-best-compression")
    }

    pub(super) fn level(self) -> i32 {
        self.level
    }

    pub(super) fn family(self) -> Family {
        match self.id >> 8 {
            0x11 => Family::Zstd,
            0x12 => Family::S2,
            0x14 => Family::Lz4,
            0x15 => Family::Deflate,
            _ => Family::Gzip,
        }
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
