//! What the watches have told of all data movements, in the order in which it happened, and whether it was as the node
//! agent's ConfigMap says. Nobody is asked here and no clock is read.
//!
//! First come, first served means: places in preparation are given by age (`controllers/src/data_movement/place.rs`). An
//! agent learns of an older volume a moment after another one has been taken, so a few are overtaken; one that is
//! overtaken by more than all places and all agents together starves.

use std::collections::BTreeMap;
use std::time::Duration;

use caravel_api::v2alpha1::DataMovementPhase;
use jiff::Timestamp;

/// What may be at work at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Loads {
    /// Data movers on a node (`loadConcurrency.globalConfig`).
    pub at_once: usize,
    /// Data movers on the node [`FIRST_NODE`] (`loadConcurrency.perNodeConfig`).
    pub on_the_first: usize,
    /// Movements in preparation, over all nodes (`loadConcurrency.prepareQueueLength`).
    pub prepared: usize,
    /// Nodes, which is node agents.
    pub nodes: usize,
}

/// The node with a number of its own.
pub const FIRST_NODE: &str = "sandbox-0";

impl Loads {
    fn of(&self, node: &str) -> usize {
        if node == FIRST_NODE {
            self.on_the_first
        } else {
            self.at_once
        }
    }

    /// How many younger ones may be taken into preparation before a volume that waits: all places may just be given, and
    /// each agent may be at one more.
    fn overtaken(&self) -> usize {
        self.prepared + self.nodes
    }

    /// How many that were prepared later on the same node may start before one that is: no more than are in preparation.
    fn passed(&self) -> usize {
        self.prepared
    }
}

/// What is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    Upload,
    /// One that is InProgress may only be handing its volume over, which takes no data mover: not counted for the nodes.
    Download,
}

/// One look at one movement.
#[derive(Clone, Debug)]
pub struct Sight {
    pub direction: Direction,
    pub name: String,
    pub created: Timestamp,
    pub phase: DataMovementPhase,
    /// Empty before it is prepared.
    pub node: String,
}

#[derive(Debug)]
struct Movement {
    created: Timestamp,
    phase: DataMovementPhase,
    node: String,
    seen_at: Duration,
    /// Counted in looks: when it was first seen with its data mover pod.
    prepared: Option<u64>,
    started_at: Option<Duration>,
    overtaken: usize,
    passed: usize,
}

impl Movement {
    fn has_been_taken(&self) -> bool {
        self.phase != DataMovementPhase::New
    }
}

/// All movements since somebody watches.
#[derive(Debug, Default)]
pub struct Movements {
    all: BTreeMap<(Direction, String), Movement>,
    looks: u64,
    /// Uploads InProgress at one moment, by node.
    at_once: BTreeMap<String, usize>,
    /// Movements Accepted or Prepared at one moment.
    prepared: usize,
    /// How often a watch had to begin anew: changes in between were not seen.
    pub gaps: usize,
}

impl Movements {
    /// What a watch has shown, so long after the beginning.
    pub fn note(&mut self, sight: Sight, at: Duration) {
        self.looks += 1;
        let key = (sight.direction, sight.name);
        let known = self.all.get(&key);
        let was_taken = known.is_some_and(Movement::has_been_taken);
        let has_started = known.is_some_and(|known| known.started_at.is_some());
        let is_taken = !was_taken && sight.phase != DataMovementPhase::New;
        // Only whoever has run knows its node and has an end other than Failed or Canceled.
        let starts = !has_started
            && matches!(
                sight.phase,
                DataMovementPhase::InProgress | DataMovementPhase::Completed
            );
        if key.0 == Direction::Upload && is_taken {
            self.taken_before_others(sight.created, &key.1);
        }
        if key.0 == Direction::Upload && starts {
            self.starts_before_others(&key.1, &sight.node);
        }
        let looks = self.looks;
        let movement = self.all.entry(key).or_insert_with(|| Movement {
            created: sight.created,
            phase: DataMovementPhase::New,
            node: String::new(),
            seen_at: at,
            prepared: None,
            started_at: None,
            overtaken: 0,
            passed: 0,
        });
        if sight.phase == DataMovementPhase::Prepared && movement.prepared.is_none() {
            movement.prepared = Some(looks);
        }
        if starts {
            movement.started_at = Some(at);
        }
        movement.phase = sight.phase;
        movement.node = sight.node;
        self.count();
    }

    /// Somebody is taken into preparation: whoever is older and still waits has been overtaken.
    fn taken_before_others(&mut self, created: Timestamp, name: &str) {
        for ((direction, other), movement) in &mut self.all {
            let is_older = (movement.created, other.as_str()) < (created, name);
            if *direction == Direction::Upload && is_older && !movement.has_been_taken() {
                movement.overtaken += 1;
            }
        }
    }

    /// Somebody starts on a node: whoever was prepared there before and still waits has been passed.
    fn starts_before_others(&mut self, name: &str, node: &str) {
        let mine = self.all.get(&(Direction::Upload, name.to_owned()));
        let mine = mine.and_then(|movement| movement.prepared).unwrap_or(self.looks);
        for ((direction, other), movement) in &mut self.all {
            let waits = movement.phase == DataMovementPhase::Prepared && movement.node == node;
            let was_first = movement.prepared.is_some_and(|theirs| theirs < mine);
            if *direction == Direction::Upload && other != name && waits && was_first {
                movement.passed += 1;
            }
        }
    }

    fn count(&mut self) {
        let mut running: BTreeMap<&str, usize> = BTreeMap::new();
        let mut prepared = 0;
        for ((direction, _), movement) in &self.all {
            match movement.phase {
                DataMovementPhase::Accepted | DataMovementPhase::Prepared => prepared += 1,
                DataMovementPhase::InProgress | DataMovementPhase::Canceling
                    if *direction == Direction::Upload =>
                {
                    *running.entry(&movement.node).or_default() += 1;
                }
                _ => {}
            }
        }
        for (node, count) in running {
            let most = self.at_once.entry(node.to_owned()).or_default();
            *most = (*most).max(count);
        }
        self.prepared = self.prepared.max(prepared);
    }

    /// How many of them have ended.
    pub fn ended(&self, direction: Direction) -> usize {
        self.of(direction)
            .filter(|(_, movement)| movement.phase.is_finished())
            .count()
    }

    /// How many uploads have had a data mover at work.
    pub fn started(&self) -> usize {
        self.of(Direction::Upload)
            .filter(|(_, movement)| movement.started_at.is_some())
            .count()
    }

    fn of(&self, wanted: Direction) -> impl Iterator<Item = (&str, &Movement)> {
        let all = self.all.iter();
        all.filter(move |((direction, _), _)| *direction == wanted)
            .map(|((_, name), movement)| (name.as_str(), movement))
    }

    /// The figures, a line each.
    pub fn figures(&self, loads: &Loads) -> Vec<String> {
        let mut lines: Vec<String> = self
            .at_once
            .iter()
            .map(|(node, most)| {
                let moved = self
                    .of(Direction::Upload)
                    .filter(|(_, movement)| movement.node == *node);
                format!(
                    "node {node}: {} volumes, at most {most} data mover(s) at once, {} may be",
                    moved.count(),
                    loads.of(node)
                )
            })
            .collect();
        lines.push(format!(
            "in preparation: at most {}, {} may be",
            self.prepared, loads.prepared
        ));
        lines.extend(self.waits());
        let most = |count: fn(&Movement) -> usize| {
            let counts = self.of(Direction::Upload).map(|(_, movement)| count(movement));
            counts.max().unwrap_or_default()
        };
        lines.push(format!(
            "first come, first served: a volume was overtaken by at most {} younger ones, {} may be; on its node by {}, {} may be",
            most(|movement| movement.overtaken),
            loads.overtaken(),
            most(|movement| movement.passed),
            loads.passed()
        ));
        if self.gaps > 0 {
            lines.push(format!(
                "a watch began anew {} time(s): changes in between were not seen",
                self.gaps
            ));
        }
        lines
    }

    /// From the first sight of a DataUpload until its data mover works.
    fn waits(&self) -> Option<String> {
        let wait = |movement: &Movement| Some(movement.started_at?.saturating_sub(movement.seen_at));
        let mut waits: Vec<(Duration, &str)> = self
            .of(Direction::Upload)
            .filter_map(|(name, movement)| Some((wait(movement)?, name)))
            .collect();
        waits.sort();
        let (shortest, _) = waits.first()?;
        let (middle, _) = waits.get(waits.len() / 2)?;
        let (longest, name) = waits.last()?;
        Some(format!(
            "waits for a data mover: {:.1} s the shortest, {:.1} s in the middle, {:.1} s the longest (DataUpload {name})",
            shortest.as_secs_f64(),
            middle.as_secs_f64(),
            longest.as_secs_f64()
        ))
    }

    /// What was not as it must be, when so many volumes should have been saved and restored.
    pub fn broken(&self, loads: &Loads, volumes: usize) -> Vec<String> {
        let mut broken = Vec::new();
        for (direction, kind) in [
            (Direction::Upload, "DataUpload"),
            (Direction::Download, "DataDownload"),
        ] {
            let completed = self
                .of(direction)
                .filter(|(_, movement)| movement.phase == DataMovementPhase::Completed)
                .count();
            let all = self.of(direction).count();
            if completed != volumes || all != volumes {
                broken.push(format!(
                    "{completed} of {all} {kind}s are Completed; there are {volumes} volumes"
                ));
            }
        }
        for (node, most) in &self.at_once {
            let may = loads.of(node);
            if *most > may {
                broken.push(format!(
                    "node {node} ran {most} data movers at once, {may} may be"
                ));
            }
        }
        if self.prepared > loads.prepared {
            broken.push(format!(
                "{} movements were in preparation, {} may be",
                self.prepared, loads.prepared
            ));
        }
        for (name, movement) in self.of(Direction::Upload) {
            let starved = [
                (movement.overtaken, loads.overtaken(), "was overtaken by"),
                (
                    movement.passed,
                    loads.passed(),
                    "waited on its node while there started",
                ),
            ];
            for (count, may, what) in starved.into_iter().filter(|(count, may, _)| count > may) {
                broken.push(format!(
                    "DataUpload {name} {what} {count} younger ones, {may} may be: it starved"
                ));
            }
        }
        broken
    }
}

#[cfg(test)]
mod tests;
