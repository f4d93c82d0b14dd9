//! Each check can fail: a world with the defect that it is there to find fails it, and the same history without fails
//! nothing.

use caravel_simulation::{Operation, Plan, Sabotage, What, play, play_broken};

/// Seed of the histories.
const SEED: u64 = 1;

/// One backup of both applications.
fn plan() -> Plan {
    one(What::Backup { namespaces: 3 })
}

fn one(what: What) -> Plan {
    Plan::Given(vec![Operation { after_steps: 1, what }])
}

/// The history in which this defect matters.
fn plan_for(sabotage: Sabotage) -> Plan {
    match sabotage {
        Sabotage::KeptSnapshotIsLost => one(What::Snapshot { namespaces: 3 }),
        _ => plan(),
    }
}

#[test]
fn every_check_finds_the_defect_that_it_is_for() {
    let sound = play(SEED, &plan());
    assert_eq!(sound.violations, []);
    // Broken worlds are given an hour.
    assert!(sound.virtual_time.as_secs() < 3600, "{:?}", sound.virtual_time);
    assert_eq!((sound.backups, sound.compared), (1, 3));
    for sabotage in Sabotage::ALL {
        let broken = play_broken(SEED, &plan_for(sabotage), Some(sabotage));
        let seen: Vec<_> = broken.violations.iter().map(|it| it.invariant).collect();
        assert!(
            seen.contains(&sabotage.breaks_what()),
            "{sabotage:?} should break {:?}, and broke {:#?}",
            sabotage.breaks_what(),
            broken.violations
        );
    }
}
