//! The reading rules of kopia-format.md 7.6, one by one.

use super::*;
use proptest::prelude::*;

fn blobs(names: &[&str]) -> Vec<String> {
    let mut chosen = EpochState::of(names.iter().copied()).index_blobs;
    chosen.sort();
    chosen
}

#[test]
fn empty_repository_writes_into_epoch_0_and_has_no_index() {
    assert_eq!(EpochState::of(std::iter::empty()), EpochState::default());
}

#[test]
fn newest_marker_and_watermark_count() {
    let state = EpochState::of(["xe1", "xe12", "xe3", "xw100", "xw99", "xe", "xeabc", "xw-5"].into_iter());
    assert_eq!((state.write_epoch, state.watermark), (12, 100));
}

#[test]
fn every_uncompacted_blob_counts_up_to_the_next_epoch() {
    let names = ["xe1", "xn0_a-s1-c2", "xn1_b-s2-c1", "xn2_c-s3-c1", "xn3_d-s4-c1"];
    assert_eq!(blobs(&names), ["xn0_a-s1-c2", "xn1_b-s2-c1", "xn2_c-s3-c1"]);
}

#[test]
fn compacted_epoch_replaces_its_blobs_only_when_settled_and_complete() {
    let settled = ["xe2", "xn0_a-s1-c1", "xs0_b-s9-c1"];
    assert_eq!(blobs(&settled), ["xs0_b-s9-c1"]);
    let unsettled = ["xe1", "xn0_a-s1-c1", "xs0_b-s9-c1"];
    assert_eq!(blobs(&unsettled), ["xn0_a-s1-c1"]);
    let incomplete = ["xe2", "xn0_a-s1-c1", "xs0_b-s9-c2"];
    assert_eq!(blobs(&incomplete), ["xn0_a-s1-c1"]);
    let two_sets = ["xe2", "xn0_a-s1-c1", "xs0_b-s8-c2", "xs0_c-s9-c2", "xs0_d-s9-c2"];
    assert_eq!(blobs(&two_sets), ["xs0_c-s9-c2", "xs0_d-s9-c2"]);
}

#[test]
fn longest_chain_of_ranges_comes_first() {
    let names = [
        "xe9",
        "xr0_3_a-s1-c1",
        "xr4_6_b-s2-c1",
        "xr0_4_c-s3-c1",
        "xn2_d-s4-c1",
        "xn7_e-s5-c1",
        "xn8_f-s6-c1",
    ];
    assert_eq!(
        blobs(&names),
        ["xn7_e-s5-c1", "xn8_f-s6-c1", "xr0_3_a-s1-c1", "xr4_6_b-s2-c1"]
    );
    let shorter = ["xe9", "xr0_3_a-s1-c1", "xr4_6_b-s2-c1", "xr0_6_c-s3-c1"];
    assert_eq!(blobs(&shorter), ["xr0_6_c-s3-c1"]);
}

#[test]
fn range_of_one_epoch_is_never_used() {
    assert_eq!(blobs(&["xe2", "xr0_0_a-s1-c1", "xn0_b-s2-c1"]), ["xn0_b-s2-c1"]);
}

proptest! {
    #[test]
    fn any_names_are_survived(names in proptest::collection::vec("x[nsrew][0-9_]{0,6}[-_sc0-9]{0,8}", 0..20)) {
        let state = EpochState::of(names.iter().map(String::as_str));
        prop_assert!(state.index_blobs.iter().all(|b| names.contains(b)));
    }
}
