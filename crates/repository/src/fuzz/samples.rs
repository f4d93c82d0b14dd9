//! Well formed inputs, small, made by our own encoders.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use crate::{
    content::{
        compression::{self, Compressor},
        pack::postamble,
    },
    crypto::ErrorCorrection,
    environment::Environment,
    format::{FormatOptions, config::Config},
    index::{self, Entry, PackNames},
};

fn text() -> Vec<u8> {
    "a line that comes again and again, with numbers 0123456789\n"
        .repeat(20)
        .into_bytes()
}

pub(super) fn format_blob() -> Vec<Vec<u8>> {
    let outer = br#"{"tool":"https://github.com/kopia/kopia","buildVersion":"v0.22.3","buildInfo":"x","uniqueID":"AAECAwQFBgcICQoLDA0ODw==","keyAlgo":"scrypt-65536-8-1","encryption":"AES256_GCM","encryptedBlockFormat":"AAEC"}"#;
    let locked = br#"{"format":{"version":3,"upgradeLock":{"ownerID":"a","creationTime":"2026-11-20T12:00:00Z","advanceNoticeDuration":7,"ioDrainTimeout":900000000000,"maxPermittedClockDrift":300000000000},"requiredFeatures":[{"feature":"x","ifNotUnderstood":{"warn":true,"message":"m","url":"u","upgradeToVersion":"9"}}]}}"#;
    let mut all = vec![
        outer.to_vec(),
        locked.to_vec(),
        br#"{"retentionMode":"GOVERNANCE","retentionPeriod":172800000000000}"#.to_vec(),
    ];
    for version in [1, 3] {
        let options = FormatOptions {
            version,
            ..FormatOptions::default()
        };
        let config = Config::new(&options, &Environment::system());
        all.extend(config.map(|config| config.to_json().to_vec()));
    }
    all.extend(crate::format::replica::encode(outer));
    all
}

fn entries(packs: &mut PackNames) -> Vec<Entry> {
    let ids = ["00112233445566778899aabbccddeeff", "k0", "mff", "x7f"];
    let one = |(n, text): (u32, &str)| {
        let padded = format!("{text:0<32}");
        let id = match text.len() {
            32 => text.parse(),
            _ => format!("{padded}0").parse(),
        };
        Some(Entry {
            id: id.ok()?,
            deleted: n % 2 == 1,
            format_version: 3,
            compression: 0,
            timestamp: 1_700_000_000 + n,
            pack: packs.number(&format!("p{n}-s0123456789abcdef13f")),
            pack_offset: 32 * n,
            packed_length: 128 + n,
            original_length: 100 + n,
        })
    };
    (0..).zip(ids).filter_map(one).collect()
}

pub(super) fn index_v1() -> Vec<Vec<u8>> {
    let mut packs = PackNames::default();
    let entries = entries(&mut packs);
    index::encode(1, &entries, &packs).into_iter().collect()
}

pub(super) fn index_v2() -> Vec<Vec<u8>> {
    let mut packs = PackNames::default();
    let mut entries = entries(&mut packs);
    let small = index::encode(2, &entries, &packs);
    entries[1].compression = Compressor::ZSTD_FASTEST.id();
    entries[2].original_length = 1 << 25;
    let large = index::encode(2, &entries, &packs);
    small.into_iter().chain(large).collect()
}

pub(super) fn pack() -> Vec<Vec<u8>> {
    let iv: Vec<u8> = (0..32).collect();
    let tail = |iv: &[u8]| [&text()[..100], &postamble(iv, 64, 36)].concat();
    vec![
        tail(&iv),
        tail(&iv[..16]),
        b"xn0_00112233445566778899aabbccddeeff-s1-c1".to_vec(),
    ]
}

/// Bytes with a sum and a length behind them, as a postamble has.
pub(super) fn with_postamble_sum(payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(200)];
    let mut out = payload.to_vec();
    out.extend_from_slice(&crc32fast::hash(payload).to_be_bytes());
    out.push(out.len() as u8);
    out
}

fn manifest_json() -> &'static [u8] {
    br#"{"entries":[{"id":"8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f","labels":{"type":"policy","policyType":"global"},"modified":"2026-11-20T21:25:34.294641769Z","data":{"a":[1,2.5,null,true,"x"],"b":{}}},{"id":"1c","labels":null,"modified":"2026-11-20T21:25:34Z","deleted":true,"data":null}]}"#
}

pub(super) fn manifests() -> Vec<Vec<u8>> {
    let log = br#"{"inputMetadata":[{"id":"n1","length":5,"timestamp":"2026-11-20T21:25:34.29Z"}],"outputMetadata":null}"#;
    vec![gzipped(manifest_json()), manifest_json().to_vec(), log.to_vec()]
}

pub(super) fn gzipped(inside: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let written = gzip.write_all(inside).and_then(|()| gzip.finish());
    written.unwrap_or_default()
}

const ENTRY: &str = r#"{"name":"sub","type":"d","mode":"040000755","size":3,"mtime":"2026-11-20T21:25:34.294641769Z","uid":7,"gid":8,"obj":"kb608ffee5511223344556677889900aa","summ":{"size":12,"files":1,"symlinks":0,"dirs":1,"maxTime":"2026-11-20T21:25:34Z","numFailed":1,"numIgnoredErrors":2,"errors":[{"path":"x","error":"y"}]},"rawName":"/w==","allocated":4096}"#;

pub(super) fn directory() -> Vec<Vec<u8>> {
    let whole = format!(
        r#"{{"stream":"kopia:directory","entries":[{ENTRY},{{"name":"a.txt","type":"f","mode":"0644","size":12,"obj":"Z73940011223344556677889900aabbcc"}},{{"name":"l","type":"s","obj":"IIx73940011223344556677889900aabbcc"}}],"summary":null}}"#
    );
    let empty = r#"{"stream":"kopia:directory","entries":null,"summary":{"size":0,"files":0,"symlinks":0,"dirs":1,"maxTime":"1754-08-30T22:43:41.128654848Z","numFailed":0}}"#;
    vec![whole.into_bytes(), empty.as_bytes().to_vec()]
}

pub(super) fn snapshot() -> Vec<Vec<u8>> {
    let whole = format!(
        r#"{{"id":"","source":{{"host":"default","userName":"default","path":"/a"}},"description":"Kopia Uploader","startTime":"2026-11-20T21:25:34Z","endTime":"2026-11-20T21:25:35.5Z","stats":{{"totalSize":1,"excludedTotalSize":0,"fileCount":1,"cachedFiles":0,"nonCachedFiles":1,"dirCount":1,"excludedFileCount":0,"excludedDirCount":0,"ignoredErrorCount":0,"errorCount":0}},"incomplete":"checkpoint","rootEntry":{ENTRY},"tags":{{"tag:a":"b"}},"pins":["velero-pin"]}}"#
    );
    vec![whole.into_bytes()]
}

pub(super) fn compressed() -> Vec<Vec<u8>> {
    let packed = |compressor| compression::compress(compressor, &text());
    let mut all: Vec<Vec<u8>> = Compressor::ALL.into_iter().filter_map(packed).collect();
    // An LZ4 frame with one raw block; we write none.
    let mut lz4 = 0x1400u32.to_be_bytes().to_vec();
    lz4.extend_from_slice(&[
        0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82, 3, 0, 0, 0x80, b'a', b'b', b'c', 0, 0, 0, 0,
    ]);
    all.push(lz4);
    all
}

pub(super) fn error_correction() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (percent, length) in [(1, 10), (5, 700), (5, 3000), (50, 9000)] {
        let mut out = Vec::new();
        ErrorCorrection::new(percent).encode(&text().repeat(8)[..length], &mut out);
        all.push(out);
    }
    all
}

pub(super) fn pieces() -> Vec<Vec<u8>> {
    let list = br#"{"stream":"kopia:indirect","entries":[{"l":4970332,"o":"f17200112233445566778899aabbccdd"},{"s":4970332,"l":2223643,"o":"Ixf9780112233445566778899aabbccdd0"}]}"#;
    vec![
        list.to_vec(),
        br#"{"stream":"kopia:indirect","entries":null}"#.to_vec(),
    ]
}

pub(super) fn names() -> Vec<Vec<u8>> {
    let epochs = "xe9\nxr0_3_a-s1-c1\nxr4_6_b-s2-c1\nxs7_a-s1-c2\nxn2_d-s4-c1\nxw1700000000\nxn8_f-s6-c1";
    [
        epochs,
        "IIx00112233445566778899aabbccddeeff",
        "Dk00112233445566778899aabbccddeeff",
    ]
    .map(|name| name.as_bytes().to_vec())
    .into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_decoder_has_samples_and_survives_them() {
        for target in super::super::TARGETS {
            let samples = (target.samples)();
            assert!(!samples.is_empty(), "{}", target.name);
            samples.iter().for_each(|sample| (target.run)(sample));
        }
        assert_eq!(super::index_v1().len() + super::index_v2().len(), 3);
    }
}
