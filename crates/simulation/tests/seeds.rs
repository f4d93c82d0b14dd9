//! The seeds that every test run plays, each twice. `cargo xtask simulate` plays others, and longer ones.

use std::path::{Path, PathBuf};

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

/// `select!` that is not `biased` polls in an order that tokio draws from a counter of the process: two runs of a seed would
/// differ now and then.
#[test]
fn what_runs_in_a_simulation_polls_in_the_order_that_is_written() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let product = [
        "api-server",
        "backup",
        "backup-store",
        "controllers",
        "csi",
        "data-mover",
        "exposer",
        "restore",
        "sandbox",
        "storage",
    ];
    let mut files = Vec::new();
    for name in product {
        sources(&crates.join(name).join("src"), &mut files);
    }
    for name in ["data_mover.rs", "node_agent.rs", "server.rs", "process.rs"] {
        files.push(crates.join("velero/src").join(name));
    }
    let mut selects = 0;
    let mut unbiased = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (place, _) in text.match_indices("select! {") {
            selects += 1;
            let rest = &text[place..];
            let code = rest
                .lines()
                .skip(1)
                .map(str::trim)
                .find(|line| !line.starts_with("//"));
            if code != Some("biased;") {
                let line = text[..place].lines().count();
                unbiased.push(format!("{}:{line}", file.display()));
            }
        }
    }
    assert!(selects > 10, "only {selects} were found: the folders have moved");
    // A process's own signals: a simulation sends none.
    unbiased.retain(|place| !place.contains("velero/src/process.rs"));
    assert!(unbiased.is_empty(), "write `biased;` first: {unbiased:#?}");
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is in the checkout") {
        let path = entry.expect("the folder is read").path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}
