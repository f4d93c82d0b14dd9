//! The seeds that every test run plays, each twice. `cargo xtask simulate` plays others, and longer ones.

use caravel_simulation::{Plan, difference, play};

/// Steps of a history before its faults end; what settles after them and the restores come on top.
const STEPS: u64 = 200;

fn holds(seed: u64) {
    let plan = Plan::Random { steps: STEPS };
    let report = play(seed, &plan);
    let again = play(seed, &plan);
    if let Some(difference) = difference(&report.trace, &again.trace) {
        panic!("seed {seed}: two runs differ:\n{difference}");
    }
    let seen: Vec<_> = report.violations.iter().map(ToString::to_string).collect();
    assert!(
        seen.is_empty(),
        "seed {seed}: {seen:#?}\nits shortest trace: cargo xtask simulate --seeds 1 --from {seed} --steps {STEPS}"
    );
}

#[test]
fn histories_of_fixed_seeds_keep_what_is_promised_and_repeat() {
    (1..=3).for_each(holds);
}

#[test]
fn other_seeds_are_other_histories() {
    let plan = Plan::Random { steps: 20 };
    let (one, other) = (play(1, &plan), play(2, &plan));
    assert!(difference(&one.trace, &other.trace).is_some());
}
