//! The vectors of kopia-format.md 4.5.

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
