//! Entry points for fuzzing: one decoder each, fed with bytes that nobody vouches for. What an authenticated layer
//! guards in a repository is called here directly, so that a key that got out is not also a way into the process.
//! `tests/fuzz.rs` runs them on stable with mutated samples; `fuzz/` is the same for cargo-fuzz.

use crate::{
    content::{compression, compression::Compressor, pack::Postamble},
    crypto::{Algorithms, Cipher, ErrorCorrection, HashAlgorithm, Sealer, ecc},
    environment::Environment,
    epoch::{EpochState, legacy},
    format::{self, config::Config},
    index::{self, PackNames, Table},
    manifest::{self, ManifestId},
    object::indirect,
    snapshot::{SnapshotManifest, directory},
};

mod samples;

/// What a compressed sample may unfold to here.
const UNFOLDED: usize = 1 << 20;

/// From an inside to an input.
pub type Wrap = fn(&[u8]) -> Vec<u8>;

/// One decoder.
pub struct Target {
    /// What it decodes.
    pub name: &'static str,
    /// Must return, whatever the bytes.
    pub run: fn(&[u8]),
    /// Well formed inputs to start from.
    pub samples: fn() -> Vec<Vec<u8>>,
    /// Makes a mutated inside into an input again (a checksum, a gzip stream), where there is such a layer.
    pub wrap: Option<Wrap>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("format blob", format_blob, samples::format_blob, None),
    target("index version 1", index, samples::index_v1, None),
    target("index version 2", index, samples::index_v2, None),
    target("pack", pack, samples::pack, Some(samples::with_postamble_sum)),
    target("manifests", manifests, samples::manifests, Some(samples::gzipped)),
    target("snapshot", snapshot, samples::snapshot, None),
    target("directory", directories, samples::directory, None),
    target("compressed content", compressed, samples::compressed, None),
    target(
        "error correction",
        error_correction,
        samples::error_correction,
        None,
    ),
    target("list of pieces", pieces, samples::pieces, None),
    target("names", names, samples::names, None),
];

const fn target(
    name: &'static str,
    run: fn(&[u8]),
    samples: fn() -> Vec<Vec<u8>>,
    wrap: Option<Wrap>,
) -> Target {
    Target {
        name,
        run,
        samples,
        wrap,
    }
}

/// The outer JSON of `kopia.repository`, the settings inside, retention, and the replica in packs.
pub fn format_blob(bytes: &[u8]) {
    let _ = format::parse_outer(bytes);
    if let Ok(config) = Config::parse(bytes) {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let _ = config.check_supported(now);
        let _ = config.split_rule();
        let again = Config::parse(&config.to_json());
        assert!(
            again.is_ok(),
            "settings that were read can be written and read again"
        );
    }
    let _ = format::retention::decode(bytes);
    let _ = format::replica::find(bytes);
}

/// An index of either version: all entries out, and those of a whole one in again.
pub fn index(bytes: &[u8]) {
    let (mut packs, mut entries) = (PackNames::default(), Vec::new());
    let decoded = index::decode(bytes, &mut packs, &mut entries);
    let table = Table::read("fuzz", bytes.to_vec().into(), &mut PackNames::default());
    let Ok(Some(table)) = table else {
        return;
    };
    assert!(
        decoded.is_ok(),
        "one reader must not accept what the other refuses"
    );
    for n in 0..table.len() {
        let entry = table.get(n);
        assert_eq!(table.find(&entry.id).map(|found| found.id), Some(entry.id));
    }
    index::keep_winners(&mut entries, &packs);
    let _ = index::encode(1, &entries, &packs);
    if let Ok(again) = index::encode(2, &entries, &packs) {
        let mut back = Vec::new();
        let read = index::decode(&again, &mut PackNames::default(), &mut back);
        assert!(read.is_ok() && back.len() == entries.len());
    }
}

/// The end of a pack, a sealed segment, a blob by its name.
pub fn pack(bytes: &[u8]) {
    if let Some(postamble) = Postamble::find(bytes) {
        let _ = postamble.offset.checked_add(postamble.length);
    }
    let algorithms = Algorithms {
        hash: HashAlgorithm::Blake2b256Cut128,
        cipher: Cipher::Aes256Gcm,
        correction: None,
    };
    if let Some(sealer) = Sealer::new(algorithms, &[1; 32], &[2; 32], Environment::system()) {
        let _ = sealer.open(&[0; 16], bytes);
        let _ = sealer.open_blob(&String::from_utf8_lossy(bytes), bytes);
    }
}

/// An `m` content, and the compaction logs of old indexes.
pub fn manifests(bytes: &[u8]) {
    let _ = manifest::load::decode(bytes);
    let _ = legacy::decode(bytes);
}

/// The payload of a snapshot's manifest.
pub fn snapshot(bytes: &[u8]) {
    if let Ok(manifest) = serde_json::from_slice::<SnapshotManifest>(bytes) {
        let again = serde_json::to_vec(&manifest);
        assert!(again.is_ok(), "a snapshot that was read can be written");
    }
}

/// A directory object; what was read can be written and read again.
pub fn directories(bytes: &[u8]) {
    if let Ok(mut directory) = directory::decode(bytes) {
        let mut again = Vec::new();
        let summary = directory.summary.unwrap_or_default();
        let written = directory::encode(&mut directory.entries, &summary, |piece| {
            again.extend_from_slice(piece);
            Ok(())
        });
        assert!(written.is_ok() && directory::decode(&again).is_ok());
        directory.entries.iter().for_each(|entry| drop(entry.file_name()));
    }
}

/// A compressed content, by the header in front and by each id.
pub fn compressed(bytes: &[u8]) {
    let _ = compression::decompress_by_header(bytes, UNFOLDED);
    for compressor in Compressor::ALL {
        let _ = compression::decompress(compressor.id(), bytes, bytes.len());
    }
}

/// Error correction of several overheads.
pub fn error_correction(bytes: &[u8]) {
    use std::sync::LazyLock;
    static CORRECTIONS: LazyLock<Vec<ErrorCorrection>> =
        LazyLock::new(|| [1, 5, 50].map(ErrorCorrection::new).into());
    for correction in &*CORRECTIONS {
        let _ = correction.decode(bytes);
    }
    let _ = ErrorCorrection::by_name(ecc::ALGORITHM, bytes.len() as i64);
}

/// The list of a long object's pieces.
pub fn pieces(bytes: &[u8]) {
    if let Ok(pieces) = indirect::decode(bytes) {
        let again = indirect::encode(pieces.clone());
        assert_eq!(indirect::decode(&again).ok(), Some(pieces));
    }
}

/// Names of contents, objects, manifests and index blobs.
pub fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(id) = text.parse::<crate::ObjectId>() {
        assert_eq!(id.to_string().parse::<crate::ObjectId>().ok(), Some(id));
    }
    let _ = text.parse::<crate::ContentId>();
    let _ = text.parse::<ManifestId>();
    let state = EpochState::of(text.split('\n'));
    assert!(state.index_blobs.len() <= text.len());
}
