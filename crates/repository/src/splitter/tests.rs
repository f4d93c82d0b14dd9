//! The vectors of kopia-format.md 4.5.

use proptest::prelude::*;

use super::*;

fn vector_input() -> Vec<u8> {
    let mut x = 0x9E37_79B9_7F4A_7C15u64;
    let mut out = Vec::with_capacity(41_943_040);
    while out.len() < 41_943_040 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out.extend_from_slice(&x.to_le_bytes());
    }
    out
}

fn cuts(rule: Rule, data: &[u8], piece: usize) -> Vec<usize> {
    let mut splitter = Splitter::new(rule);
    let (mut cuts, mut at) = (Vec::new(), 0);
    for piece in data.chunks(piece) {
        let mut rest = piece;
        while let Some(cut) = splitter.next_cut(rest) {
            at += cut;
            cuts.push(at);
            rest = &rest[cut..];
        }
        at += rest.len();
    }
    cuts
}

#[test]
fn cuts_are_kopias_whatever_the_pieces() {
    let data = vector_input();
    let four = Rule::by_name("DYNAMIC-4M-BUZHASH").unwrap();
    let expected = [
        8_388_608, 12_777_056, 20_886_011, 27_464_445, 32_053_976, 34_687_130,
    ];
    for piece in [data.len(), 1 << 20, 65_537] {
        assert_eq!(cuts(four, &data, piece), expected, "pieces of {piece}");
    }
    let one = Rule::by_name("DYNAMIC-1M-BUZHASH").unwrap();
    let expected = [
        674_347, 2_203_822, 4_300_974, 4_850_119, 6_367_179, 7_455_733, 9_552_885, 10_798_274,
    ];
    assert_eq!(cuts(one, &data, 100_003)[..8], expected);
}

#[test]
fn rabin_karp_cuts_are_kopias_whatever_the_pieces() {
    let data = vector_input();
    let four = Rule::by_name("DYNAMIC-4M-RABINKARP").unwrap();
    let expected = [
        3_697_801, 9_587_953, 17_976_561, 23_616_524, 26_622_477, 34_263_562, 38_731_648,
    ];
    for piece in [data.len(), 65_537] {
        assert_eq!(cuts(four, &data, piece), expected, "pieces of {piece}");
    }
    let one = Rule::by_name("DYNAMIC-1M-RABINKARP").unwrap();
    let expected = [
        1_079_515, 3_035_386, 3_697_801, 4_522_163, 6_619_315, 7_839_280, 9_587_953, 10_171_947,
    ];
    assert_eq!(cuts(one, &data, 100_003)[..8], expected);
}

#[test]
fn every_name_has_a_rule() {
    assert_eq!(names().len(), 23);
    for name in names() {
        Rule::by_name(&name).unwrap();
    }
}

#[test]
fn zeros_are_cut_at_half_the_average() {
    let rule = Rule::by_name("DYNAMIC-4M-BUZHASH").unwrap();
    assert_eq!(cuts(rule, &vec![0; 5 << 20], 1 << 20), [2 << 20, 4 << 20]);
    assert_eq!(rule.uniform_length(), 2 << 20);
    let rule = Rule::by_name("DYNAMIC-128K-RABINKARP").unwrap();
    assert_eq!(cuts(rule, &vec![0; 200_000], 7_000), [65_536, 131_072, 196_608]);
}

#[test]
fn fixed_sizes_cut_at_multiples() {
    let rule = Rule::by_name("FIXED-1M").unwrap();
    assert_eq!(
        cuts(rule, &vec![7; (3 << 20) + 5], 300_000),
        [1 << 20, 2 << 20, 3 << 20]
    );
}

#[test]
fn other_splitters_are_unsupported_by_name() {
    for name in ["DYNAMIC-4M-ROLLSUM", "FIXED-3M", "DYNAMIC-1G-BUZHASH", "x"] {
        assert!(Rule::by_name(name).unwrap_err().to_string().contains(name));
    }
}

/// Cuts as the rule is written: every byte rolled, none skipped, the leaving byte read from the data.
fn literal_buzhash_cuts(data: &[u8], average: usize) -> Vec<usize> {
    let (mut hash, mut start, mut cuts) = (0u32, 0, Vec::new());
    for (at, &entering) in data.iter().enumerate() {
        let leaving = at.checked_sub(WINDOW).map_or(0, |at| data[at]);
        hash = hash.rotate_left(1) ^ table::TABLE[leaving as usize] ^ table::TABLE[entering as usize];
        let count = at + 1 - start;
        if count >= average / 2 && ((hash as usize).is_multiple_of(average) || count == 2 * average) {
            start = at + 1;
            cuts.push(start);
        }
    }
    cuts
}

/// As [`cuts`], with the sizes of the pieces taken in turn.
fn cuts_by_pieces(rule: Rule, mut data: &[u8], sizes: &[usize]) -> Vec<usize> {
    let mut splitter = Splitter::new(rule);
    let (mut cuts, mut at) = (Vec::new(), 0);
    for size in sizes.iter().cycle() {
        let (mut piece, rest) = data.split_at((*size).min(data.len()));
        while let Some(cut) = splitter.next_cut(piece) {
            at += cut;
            cuts.push(at);
            piece = &piece[cut..];
        }
        at += piece.len();
        if rest.is_empty() {
            break;
        }
        data = rest;
    }
    cuts
}

/// Runs of random, repeated, zero and alternating bytes of at most `longest`, in any order.
fn mixed_data(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    let run = (any::<u8>(), any::<u64>(), 1..=longest).prop_map(|(kind, seed, length)| match kind % 8 {
        0 => vec![0; length],
        1 => vec![seed as u8; length],
        // Three bytes over and over: their hashes recur and mostly never match, so the maximum cuts.
        2 => seed.to_le_bytes()[..3]
            .iter()
            .copied()
            .cycle()
            .take(length)
            .collect(),
        _ => random_bytes(seed, length),
    });
    prop::collection::vec(run, 1..12).prop_map(|runs| runs.concat())
}

fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut x = seed | 1;
    let next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Pieces that are shorter than the window, about a scan's step, and longer than a content.
fn piece_sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(
        prop_oneof![1..200usize, 200..6_000usize, 6_000..400_000usize],
        1..8,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn buzhash_cuts_are_the_literal_ones(data in mixed_data(200_000), sizes in piece_sizes()) {
        for name in names().iter().filter(|name| name.ends_with("BUZHASH")) {
            let rule = Rule::by_name(name).unwrap();
            let expected = literal_buzhash_cuts(&data, rule.max_length() / 2);
            prop_assert_eq!(cuts_by_pieces(rule, &data, &sizes), expected, "{}", name);
        }
    }

    /// At averages that no repository has, several windows match within one step of the scan, and minimum and
    /// maximum lie anywhere in it: only the first may cut.
    #[test]
    fn the_first_of_many_matches_cuts(data in mixed_data(3_000), sizes in piece_sizes(), log in 7..13u32) {
        let average = 1 << log;
        let found = cuts_by_pieces(Rule::Buzhash(average), &data, &sizes);
        prop_assert_eq!(found, literal_buzhash_cuts(&data, average));
    }
}

/// A cut found by a scan that has seen the zeros behind it leaves the window at the cut.
#[test]
fn zeros_are_known_only_after_a_window_of_them() {
    for seed in 0..20 {
        let mut data = random_bytes(seed, 5_000);
        data.resize(10_000, 0);
        let mut splitter = Splitter::new(Rule::Buzhash(1 << 10));
        let (mut rest, mut at) = (data.as_slice(), 0);
        while let Some(cut) = splitter.next_cut(rest) {
            at += cut;
            rest = &rest[cut..];
            let known = splitter.at_start_of_zeros();
            assert_eq!(known, at >= 5_000 + WINDOW, "after {at}");
        }
        assert!(at > 9_000);
    }
}
