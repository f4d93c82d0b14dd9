//! The server dies, and nothing is lost. `cargo xtask simulate --restarts --seeds 100` plays others.

use caravel_simulation::{Plan, difference, play};

/// As many as an unoptimised build plays within a minute.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=4;

#[test]
fn a_backup_and_a_restore_whose_server_is_killed_end_completed_with_nothing_twice_and_nothing_missing() {
    let mut in_progress = 0;
    for seed in SEEDS {
        let report = play(seed, &Plan::Restarts);
        let seen: Vec<_> = report.violations.iter().map(ToString::to_string).collect();
        assert!(
            seen.is_empty(),
            "seed {seed}: {seen:#?}\nagain: cargo xtask simulate --restarts --seeds 1 --from {seed} --trace"
        );
        assert_eq!((report.backups, report.compared), (1, 3), "seed {seed}");
        in_progress += report.kills_in_progress;
    }
    assert!(
        in_progress > 0,
        "no kill met a backup or restore at work: choose other seeds"
    );
}

#[test]
fn a_history_of_kills_repeats() {
    let (one, other) = (play(1, &Plan::Restarts), play(1, &Plan::Restarts));
    assert_eq!(difference(&one.trace, &other.trace), None);
}

#[test]
fn of_two_servers_the_other_takes_over_within_fifteen_seconds_when_a_node_goes_off() {
    let report = play(1, &Plan::TakeOver);
    assert_eq!(report.violations, []);
    let took = report.took_over.expect("it was measured");
    assert!(took.as_secs_f64() <= 15.0, "{took:?}");
}
