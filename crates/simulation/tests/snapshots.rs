//! Histories with backups whose snapshots stay in the storage. `cargo xtask simulate --snapshots` plays longer ones.

use caravel_simulation::{Operation, Plan, What, difference, play};

/// Each once the one before is likely over: an idle world goes on after two minutes anyway.
fn given(all: Vec<What>) -> Plan {
    let after = |what| Operation {
        after_steps: 100_000,
        what,
    };
    Plan::Given(all.into_iter().map(after).collect())
}

#[test]
fn snapshots_outlive_their_namespaces_fill_restores_and_go_with_their_backups() {
    let plan = given(vec![
        What::Snapshot { namespaces: 3 },
        What::Write {
            volume: 0,
            changes: 3,
        },
        What::Snapshot { namespaces: 1 },
        What::Restore { backup: 0 },
        What::Backup { namespaces: 2 },
        What::DeleteBackup { backup: 1 },
    ]);
    let report = play(1, &plan);
    let seen: Vec<_> = report.violations.iter().map(ToString::to_string).collect();
    assert!(seen.is_empty(), "{seen:#?}\n{}", report.trace.join("\n"));
    assert_eq!(report.backups, 2, "one of three was deleted");
    assert!(report.compared >= 3, "{} volumes", report.compared);
    let again = play(1, &plan);
    if let Some(difference) = difference(&report.trace, &again.trace) {
        panic!("two runs differ:\n{difference}");
    }
}

#[test]
fn a_random_history_with_such_backups_keeps_what_is_promised() {
    let report = play(1, &Plan::Snapshots { steps: 200 });
    let seen: Vec<_> = report.violations.iter().map(ToString::to_string).collect();
    assert!(
        seen.is_empty(),
        "{seen:#?}\nits shortest trace: cargo xtask simulate --snapshots --seeds 1 --from 1 --steps 200"
    );
}
