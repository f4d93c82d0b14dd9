//! Every compressor both ways, streams that lie about their length, and hostile bytes.

use super::*;
use proptest::prelude::*;

fn text(length: usize) -> Vec<u8> {
    let mut x = 88_172_645_463_325_252u64;
    let words = ["alpha ", "beta ", "gamma\n", "delta ", "0123456789", "kopia "];
    let mut out = Vec::with_capacity(length + 16);
    while out.len() < length {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out.extend_from_slice(words[(x % 6) as usize].as_bytes());
        if x.is_multiple_of(11) {
            out.extend_from_slice(&x.to_le_bytes());
        }
    }
    out.truncate(length);
    out
}

#[test]
fn every_compressor_but_lz4_round_trips() {
    for compressor in Compressor::ALL.into_iter().filter(|c| c.name() != "lz4") {
        for length in [1000, 70_000, 1_200_001] {
            let plain = text(length);
            let packed = compress(compressor, &plain).unwrap();
            assert!(
                packed.len() < plain.len() * 4 / 5,
                "{compressor:?}: {} of {length}",
                packed.len()
            );
            assert_eq!(
                decompress(compressor.id(), &packed, length).unwrap(),
                plain,
                "{compressor:?}"
            );
            assert_eq!(
                decompress_by_header(&packed, 4 << 20).unwrap(),
                plain,
                "{compressor:?}"
            );
        }
        assert!(compress(compressor, b"ab").is_none(), "no room to save");
    }
}

#[test]
fn noise_in_s2_is_kept_raw_inside_the_stream() {
    let mut x = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (x >> 56) as u8
    })
    .take(2_500_000)
    .collect();
    let mut stream = Vec::new();
    s2::encode(&noise, &mut stream);
    assert!(stream.len() < noise.len() + 64);
    assert_eq!(s2::decode(&stream, noise.len()).unwrap(), noise);
}

#[test]
fn names_and_numbers_are_kopias() {
    assert_eq!(Compressor::by_name("s2-better").unwrap().unwrap().id(), 0x1201);
    assert_eq!(
        Compressor::by_id(0x1502).unwrap().name(),
        "deflate-best-compression"
    );
    assert!(Compressor::by_name("none").unwrap().is_none());
    assert!(
        Compressor::by_name("brotli")
            .unwrap_err()
            .to_string()
            .contains("brotli")
    );
    assert_eq!(
        Compressor::ALL.into_iter().filter(|c| c.is_deprecated()).count(),
        2
    );
}

#[test]
fn stream_longer_than_the_index_says_is_damaged() {
    for name in ["zstd", "gzip", "deflate-default", "s2-default"] {
        let compressor = Compressor::by_name(name).unwrap().unwrap();
        let packed = compress(compressor, &vec![0u8; 50 << 20]).unwrap();
        assert!(decompress(compressor.id(), &packed, 10).is_err(), "{name}");
        assert!(
            decompress(compressor.id(), &packed, (50 << 20) + 1).is_err(),
            "{name}"
        );
        assert!(decompress_by_header(&packed, 1 << 20).is_err(), "{name}");
        assert!(
            decompress(0x1301, &packed, 50 << 20).is_err(),
            "another header than the index says"
        );
    }
}

#[test]
fn s2_repeats_skips_and_bad_sums_are_told_apart() {
    // "abcdabcdabcd": a literal of 4, a copy of 4 from 4 back, a repeat of 4.
    let block = [12, 3 << 2, b'a', b'b', b'c', b'd', 1, 4, 1, 0];
    let mut stream = b"\xff\x06\x00\x00S2sTwO".to_vec();
    stream.extend_from_slice(&[0xfe, 3, 0, 0, 9, 9, 9]);
    stream.extend_from_slice(&[0, (block.len() + 4) as u8, 0, 0]);
    let mut raw = Vec::new();
    s2::encode(b"abcdabcdabcd", &mut raw);
    stream.extend_from_slice(&raw[14..18]);
    stream.extend_from_slice(&block);
    assert_eq!(s2::decode(&stream, 12).unwrap(), b"abcdabcdabcd");
    stream[21] ^= 1;
    assert!(s2::decode(&stream, 12).unwrap_err().contains("sum"));
    assert!(s2::decode(b"plain text", 12).is_err());
}

proptest! {
    #[test]
    fn random_streams_never_panic(n in 0usize..18, mut bytes in proptest::collection::vec(any::<u8>(), 4..300)) {
        let id = Compressor::ALL[n].id();
        bytes[..4].copy_from_slice(&id.to_be_bytes());
        let _ = decompress(id, &bytes, 1000);
        let _ = decompress_by_header(&bytes, 1000);
    }

    #[test]
    fn altered_streams_never_panic(n in 0usize..18, at in 4usize..200, to in any::<u8>(), cut in 4usize..400) {
        let compressor = Compressor::ALL[n];
        let mut packed = compress(compressor, &text(900)).unwrap_or_else(|| compressor.id().to_be_bytes().to_vec());
        let at = at % packed.len();
        packed[at] = to;
        packed.truncate(cut);
        let _ = decompress(compressor.id(), &packed, 900);
    }

    #[test]
    fn any_bytes_survive_s2(bytes in proptest::collection::vec(0u8..4, 0..5000)) {
        let mut stream = Vec::new();
        s2::encode(&bytes, &mut stream);
        prop_assert_eq!(s2::decode(&stream, bytes.len()).unwrap(), bytes);
    }
}
