//! Histories that break each of the rules.

use super::*;
use DataMovementPhase::{Accepted, Completed, Failed, InProgress, New, Prepared};

const LOADS: Loads = Loads {
    at_once: 2,
    on_the_first: 1,
    prepared: 2,
    nodes: 1,
};

/// A history of volumes; each `seen` is one look, a second after the last.
#[derive(Default)]
struct History {
    movements: Movements,
    seconds: u64,
}

impl History {
    fn seen(mut self, direction: Direction, number: usize, phase: DataMovementPhase, node: &str) -> Self {
        self.seconds += 1;
        let sight = Sight {
            direction,
            name: format!("volume-{number:03}"),
            created: Timestamp::from_second(number as i64).unwrap(),
            phase,
            node: node.into(),
        };
        self.movements.note(sight, Duration::from_secs(self.seconds));
        self
    }

    fn upload(self, number: usize, phase: DataMovementPhase, node: &str) -> Self {
        self.seen(Direction::Upload, number, phase, node)
    }

    fn to(self, number: usize, phases: &[DataMovementPhase], node: &str) -> Self {
        let each = |history: Self, phase: &DataMovementPhase| {
            let node = if *phase == DataMovementPhase::New || *phase == DataMovementPhase::Accepted {
                ""
            } else {
                node
            };
            history.upload(number, phase.clone(), node)
        };
        phases.iter().fold(self, each)
    }

    /// Moved on that node from the beginning to the end, and restored.
    fn moved(self, number: usize, node: &str) -> Self {
        self.to(number, &[New, Accepted, Prepared, InProgress], node)
            .ended(number, node)
    }

    fn ended(self, number: usize, node: &str) -> Self {
        self.upload(number, Completed, node)
            .seen(Direction::Download, number, Completed, node)
    }

    fn broken(&self, volumes: usize) -> Vec<String> {
        self.movements.broken(&LOADS, volumes)
    }
}

#[test]
fn one_after_the_other_breaks_nothing() {
    let history = (1..=20).fold(History::default(), |history, number| {
        history.moved(number, "sandbox-1")
    });
    assert_eq!(history.broken(20), Vec::<String>::new());
    let figures = history.movements.figures(&LOADS);
    assert_eq!(
        figures[0],
        "node sandbox-1: 20 volumes, at most 1 data mover(s) at once, 2 may be"
    );
    assert_eq!(figures[1], "in preparation: at most 1, 2 may be");
    assert!(figures[2].contains("3.0 s the longest"), "{}", figures[2]);
}

#[test]
fn a_volume_that_is_missing_or_has_failed_is_said() {
    let history = History::default().moved(1, "sandbox-1");
    assert_eq!(history.broken(2).len(), 2, "{:?}", history.broken(2));
    let history = history.upload(1, Failed, "sandbox-1");
    assert_eq!(
        history.broken(1),
        ["0 of 1 DataUploads are Completed; there are 1 volumes"]
    );
}

#[test]
fn one_data_mover_too_many_on_a_node_is_said_also_when_it_is_over() {
    let two = |node: &str| {
        let history = History::default()
            .to(1, &[New, Accepted, Prepared, InProgress], node)
            .to(2, &[New, Accepted, Prepared, InProgress], node);
        history.ended(1, node).ended(2, node)
    };
    assert_eq!(two("sandbox-1").broken(2), Vec::<String>::new());
    assert_eq!(
        two(FIRST_NODE).broken(2),
        ["node sandbox-0 ran 2 data movers at once, 1 may be"]
    );
}

#[test]
fn more_in_preparation_than_may_be_is_said_whatever_the_direction() {
    let mut history = History::default().to(1, &[New, Accepted], "sandbox-1").to(
        2,
        &[New, Accepted, Prepared],
        "sandbox-1",
    );
    assert_eq!(history.movements.prepared, 2);
    history = history.seen(Direction::Download, 3, Accepted, "");
    let broken = history.movements.broken(&LOADS, 0);
    assert!(
        broken.contains(&"3 movements were in preparation, 2 may be".to_owned()),
        "{broken:?}"
    );
}

#[test]
fn a_volume_that_everybody_overtakes_has_starved() {
    let overtaken = |count: usize| {
        let history = History::default().upload(1, New, "");
        let history = (2..2 + count).fold(history, |history, number| history.moved(number, "sandbox-1"));
        history.moved(1, "sandbox-1").broken(count + 1)
    };
    assert_eq!(overtaken(LOADS.prepared + LOADS.nodes), Vec::<String>::new());
    assert_eq!(
        overtaken(LOADS.prepared + LOADS.nodes + 1),
        ["DataUpload volume-001 was overtaken by 4 younger ones, 3 may be: it starved"]
    );
    let first = History::default().upload(1, New, "");
    let older = first.moved(0, "sandbox-1").moved(1, "sandbox-1");
    let waited = &older.movements.all[&(Direction::Upload, "volume-001".to_owned())];
    assert_eq!(waited.overtaken, 0, "the older one goes first");
}

#[test]
fn a_prepared_volume_whose_node_starts_all_others_has_starved() {
    let history = History::default().to(1, &[New, Accepted, Prepared], "sandbox-1");
    let history = (2..=4).fold(history, |history, number| history.moved(number, "sandbox-1"));
    let elsewhere = history.moved(5, "sandbox-2").moved(1, "sandbox-1");
    assert_eq!(
        elsewhere.broken(5),
        ["DataUpload volume-001 waited on its node while there started 3 younger ones, 2 may be: it starved"]
    );
    let figures = elsewhere.movements.figures(&LOADS);
    assert!(figures[4].ends_with("on its node by 3, 2 may be"), "{figures:?}");
}

#[test]
fn a_watch_that_began_anew_is_said() {
    let mut history = History::default().moved(1, "sandbox-1");
    assert!(
        !history
            .movements
            .figures(&LOADS)
            .iter()
            .any(|line| line.contains("anew"))
    );
    history.movements.gaps = 1;
    assert!(
        history
            .movements
            .figures(&LOADS)
            .iter()
            .any(|line| line.contains("anew 1 time"))
    );
}
