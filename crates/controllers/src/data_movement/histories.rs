//! Random histories of one movement among three node agents, some of them slow or dead.
//!
//! The world keeps one object with a resourceVersion, applies the real merge patches, and lets a crude cluster react.
//! Agents decide on observations that may be stale. Asserted for every history: terminal stays terminal, a cancel
//! always ends, two nodes never accept one movement, temporary objects are gone at the end.

use std::time::Duration;

use caravel_api::v2alpha1::{DataMovementPhase as Phase, DataUpload};
use caravel_exposer::{Next, Step};
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::decide::{Decision, Direction, Elsewhere, End, Mover, Observed, Policy, Repository, Slot, decide};
use super::state::{Facts, State};
use super::transition::{Moved, Transition};
use super::{Movement as _, Place};
use crate::data_upload::Upload;

const HISTORIES: u64 = 150;
const NODES: [&str; 3] = ["a", "b", "c"];

struct World {
    object: Value,
    version: u64,
    now: Timestamp,
    random: StdRng,
    mover: Mover,
    exposed: bool,
    cancel_seen: [Option<Timestamp>; 3],
    /// The version that each agent saw last, and since when.
    quiet: [(u64, Timestamp); 3],
    accepted: usize,
    ended: Option<String>,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let object = json!({
            "apiVersion": "velero.io/v2alpha1", "kind": "DataUpload",
            "metadata": {"name": "u", "namespace": "velero", "uid": "1", "resourceVersion": "1"},
            "spec": {"operationTimeout": "10m0s", "sourceNamespace": "shop", "backupStorageLocation": "default"},
        });
        Self {
            object,
            version: 1,
            now: Timestamp::UNIX_EPOCH,
            random: StdRng::seed_from_u64(seed),
            mover: Mover::Absent,
            exposed: false,
            cancel_seen: [None; 3],
            quiet: [(0, Timestamp::UNIX_EPOCH); 3],
            accepted: 0,
            ended: None,
            trace: Vec::new(),
        }
    }

    fn facts(&self) -> Facts {
        let object: DataUpload = serde_json::from_value(self.object.clone()).unwrap();
        Upload::facts(&object)
    }

    fn observe(&mut self, node: usize) -> Observed {
        let facts = self.facts();
        if facts.cancel {
            self.cancel_seen[node].get_or_insert(self.now);
        }
        let state = State::parse(&facts);
        if self.quiet[node].0 != self.version {
            self.quiet[node] = (self.version, self.now);
        }
        let quiet_since = self.quiet[node].1;
        let is_quiet = self.now.duration_since(quiet_since) >= SignedDuration::from_secs(10);
        let elsewhere = state
            .owner()
            .is_some_and(|owner| owner != NODES[node])
            .then(|| Elsewhere {
                quiet_since,
                mover: is_quiet.then(|| self.mover.clone()),
            });
        let next = match &state {
            State::Accepted { .. } if !self.exposed => Next::Do(Step::CreateMoverPod),
            State::Finished { .. } if self.exposed || self.mover != Mover::Absent => {
                Next::Do(Step::DeletePodAndPvc)
            }
            _ => Next::Done,
        };
        let repository = match self.random.random_range(0..20) {
            0 => Repository::NotReady {
                message: "wrong password".into(),
            },
            1..4 => Repository::Preparing,
            4 => Repository::Absent,
            _ => Repository::Ready,
        };
        Observed {
            direction: Direction::Upload,
            facts,
            state,
            cancel_seen: self.cancel_seen[node],
            not_admitted: None,
            place: Place::Given,
            mover: self.mover.clone(),
            elsewhere,
            repository,
            slot: if self.random.random_bool(0.2) {
                Slot::Full
            } else {
                Slot::Free
            },
            next,
            rebind_since: None,
            last_error: None,
        }
    }

    /// Writes as the API server would: only onto the version that was read.
    fn write(&mut self, node: usize, facts: &Facts, transition: &Transition) {
        if facts.resource_version != self.version.to_string() {
            return;
        }
        let was = self.facts().phase;
        json_patch::merge(&mut self.object, &transition.patch(facts));
        self.version += 1;
        self.object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.trace
            .push(format!("{} {}: {transition:?}", self.now, NODES[node]));
        let is = self.facts().phase;
        if was.is_finished() {
            assert_eq!(was, is, "terminal stays terminal: {:#?}", self.trace);
        }
        if matches!(transition, Transition::Accept { .. }) {
            self.accepted += 1;
        }
        if is.is_finished() {
            self.ended = Some(is.to_string());
        }
    }

    fn act(&mut self, node: usize, observed: &Observed, decision: Decision) {
        match decision {
            Decision::Write(transition) => self.write(node, &observed.facts, &transition),
            Decision::Take(Step::DeletePodAndPvc) => {
                self.exposed = false;
                self.mover = Mover::Absent;
            }
            Decision::Take(_) => {
                self.exposed = true;
                self.mover = Mover::Pending {
                    reason: "Unschedulable".into(),
                };
            }
            _ => {}
        }
    }

    /// The cluster and the data mover go on, or break.
    fn happen(&mut self) {
        let phase = self.facts().phase;
        let chance = self.random.random_range(0..100);
        self.mover = match (&self.mover, chance) {
            (Mover::Pending { .. }, 0..25) => Mover::Running {
                node: NODES[self.random.random_range(0..3)].into(),
            },
            (Mover::Pending { .. }, 25..27) => Mover::Broken {
                why: "ErrImageNeverPull".into(),
            },
            (Mover::Running { .. }, 0..10) if phase == Phase::InProgress => Mover::Ended(End::Completed {
                moved: Moved::default(),
                message: String::new(),
            }),
            (Mover::Running { .. }, 10..12) => Mover::Ended(End::Failed {
                message: "EIO".into(),
            }),
            (Mover::Running { .. }, 12..14) => Mover::Absent,
            (Mover::Running { .. }, 14..50) if phase == Phase::Canceling => Mover::Ended(End::Canceled {
                message: "data path is canceled".into(),
            }),
            (mover, _) => mover.clone(),
        };
        if chance == 99 && !phase.is_finished() {
            self.object["spec"]["cancel"] = json!(true);
            self.version += 1;
            self.object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        }
        self.now += SignedDuration::from_secs(self.random.random_range(0..20));
    }
}

fn policies() -> [Policy; 3] {
    NODES.map(|node| Policy::for_node(node, "linux", Duration::from_secs(1800)))
}

#[test]
fn terminal_stays_terminal_cancel_ends_nobody_shares_and_nothing_is_left_in_any_history() {
    let policies = policies();
    for seed in 0..HISTORIES {
        let mut world = World::new(seed);
        // One agent may be dead from the start.
        let dead = (seed % 4 == 0).then(|| world.random.random_range(0..3));
        let mut stale: [Option<Observed>; 3] = [None, None, None];
        for _ in 0..400 {
            world.happen();
            let node = world.random.random_range(0..3);
            if Some(node) == dead {
                continue;
            }
            let fresh = world.observe(node);
            // Sometimes an agent acts on what it saw a while ago.
            let observed = match stale[node].take() {
                Some(old) if world.random.random_bool(0.3) => old,
                _ => fresh.clone(),
            };
            stale[node] = Some(fresh);
            let decision = decide(&observed, &policies[node], world.now);
            world.act(node, &observed, decision);
        }
        settle(&mut world, &policies, dead, seed);
    }
}

/// After the storm somebody cancels, and time passes: everything must come to an end and be gone.
fn settle(world: &mut World, policies: &[Policy; 3], dead: Option<usize>, seed: u64) {
    if !world.facts().phase.is_finished() {
        world.object["spec"]["cancel"] = json!(true);
        world.version += 1;
        world.object["metadata"]["resourceVersion"] = json!(world.version.to_string());
    }
    for _ in 0..200 {
        world.now += SignedDuration::from_secs(60);
        for node in (0..3).filter(|node| Some(*node) != dead) {
            let observed = world.observe(node);
            let decision = decide(&observed, &policies[node], world.now);
            world.act(node, &observed, decision);
        }
    }
    let facts = world.facts();
    assert!(
        facts.phase.is_finished(),
        "seed {seed}: a canceled movement never ended: {:#?}",
        world.trace
    );
    assert!(
        !facts.has_finalizer(),
        "seed {seed}: the finalizer was never dropped: {:#?}",
        world.trace
    );
    assert!(
        !world.exposed,
        "seed {seed}: temporary objects are left: {:#?}",
        world.trace
    );
    assert!(
        world.accepted <= 1,
        "seed {seed}: {} nodes accepted it: {:#?}",
        world.accepted,
        world.trace
    );
    assert!(world.ended.is_some());
}
