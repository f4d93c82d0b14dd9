//! Kopia's own shapes, repair of every kind of damage, and hostile bytes.

use super::*;
use proptest::prelude::*;

fn noise(length: usize) -> Vec<u8> {
    let mut x = 0x9E37_79B9_7F4A_7C15u64 ^ length as u64;
    std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    })
    .take(length)
    .collect()
}

fn encoded(correction: &ErrorCorrection, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    correction.encode(plain, &mut out);
    out
}

#[test]
fn shards_are_counted_as_kopia_does() {
    assert_eq!(shards(2, 512), (164, 2));
    assert_eq!(shards(5, 128), (128, 2));
    assert_eq!(shards(1, 1024), (254, 2));
    assert_eq!(shards(100, 64), (128, 120));
}

#[test]
fn every_length_and_overhead_round_trips() {
    for percent in [1, 2, 3, 5, 10, 50, 100] {
        let correction = ErrorCorrection::new(percent);
        for length in (0..40).chain([1000, 1063, 1064, 8191, 20_000, 83_964, 83_965, 130_000, 300_001]) {
            let plain = noise(length);
            let stored = encoded(&correction, &plain);
            assert_eq!(
                correction.decode(&stored).unwrap(),
                plain,
                "{length} bytes at {percent} %"
            );
        }
    }
}

#[test]
fn two_altered_shards_of_a_block_are_repaired_and_three_are_noticed() {
    let correction = ErrorCorrection::new(5);
    for length in [10, 3000, 200_000] {
        let plain = noise(length);
        let stored = encoded(&correction, &plain);
        let sizes = correction.sizes_of_stored(stored.len());
        let framed = sizes.shard + CRC;
        let data = sizes.code.parity * framed * sizes.blocks;
        let shard = |n: usize| data + n * framed;
        let alter = |places: &[usize]| {
            let mut altered = stored.clone();
            places.iter().for_each(|at| altered[*at] ^= 0x55);
            correction.decode(&altered)
        };
        assert_eq!(alter(&[shard(0) + 1, shard(3) + CRC]).unwrap(), plain, "{length}");
        assert_eq!(
            alter(&[0, shard(2)]).unwrap(),
            plain,
            "one parity, one data: {length}"
        );
        assert!(alter(&[shard(0), shard(1), shard(2)]).is_none_or(|read| read != plain));
        // The last stored shard may be cut short.
        let mut altered = stored.clone();
        *altered.last_mut().unwrap() ^= 1;
        assert_eq!(correction.decode(&altered).unwrap(), plain, "{length}");
    }
}

#[test]
fn names_of_other_algorithms_are_refused_and_no_overhead_is_none() {
    assert!(ErrorCorrection::by_name("x", 0).unwrap().is_none());
    assert!(
        ErrorCorrection::by_name("HAMMING", 2)
            .unwrap_err()
            .to_string()
            .contains("HAMMING")
    );
    assert!(ErrorCorrection::by_name(ALGORITHM, -3).is_err());
    assert!(ErrorCorrection::by_name(ALGORITHM, i64::MAX).is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _ = ErrorCorrection::new(10).decode(&bytes);
    }

    #[test]
    fn altered_and_cut_bytes_never_panic(at in 0usize..1000, to in any::<u8>(), cut in 0usize..1100) {
        let correction = ErrorCorrection::new(7);
        let mut stored = encoded(&correction, &noise(700));
        let at = at % stored.len();
        stored[at] = to;
        stored.truncate(cut);
        let _ = correction.decode(&stored);
    }
}
