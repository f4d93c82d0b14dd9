//! A process that dies at any storage call of an upload or of maintenance, whether the call was done or not, leaves a
//! repository that opens, restores every finished snapshot, and is clean again after later maintenance.
#![allow(clippy::unwrap_used)]

mod simulated;

use std::{collections::BTreeMap, sync::Arc};

use caravel_repository::{maintenance::*, *};
use caravel_storage::{
    Storage, StorageErrorKind,
    faulty::{Fault, FaultyStorage, Rule},
    memory::MemoryStorage,
};
use futures::FutureExt;
use simulated::*;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// More calls than any step makes.
const MANY: u64 = 2000;

/// What happens to the repository, one process after another.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// Saves a snapshot of this many bytes; the number is its seed and name.
    Save(u64, usize),
    /// Deletes it.
    Forget(u64),
    /// Full maintenance, a day later.
    Maintain,
    Wait(i64),
}

/// More than a pack, so that one is stored before the commit; or little, where it is the number of calls that counts.
const BIG: usize = 21 << 20;
const SMALL: usize = 400_000;

fn script(size: usize) -> Vec<Step> {
    let mut steps: Vec<Step> = (0..14).map(|n| Step::Save(n, 30_000)).collect();
    steps.extend([Step::Save(50, 300_000), Step::Save(51, size)]);
    for n in 60..66 {
        steps.extend([Step::Wait(5 * HOUR), Step::Save(n, 2000)]);
    }
    steps.extend([
        Step::Forget(3),
        Step::Maintain,
        Step::Forget(51),
        Step::Forget(60),
    ]);
    // Taken up again while it is about to go.
    steps.extend([
        Step::Maintain,
        Step::Maintain,
        Step::Save(3, 30_000),
        Step::Maintain,
    ]);
    steps.extend([Step::Maintain; 3]);
    steps
}

struct History {
    world: World,
    memory: Arc<MemoryStorage>,
    /// By seed: the finished snapshots that must restore.
    finished: BTreeMap<u64, (ManifestId, usize)>,
}

impl History {
    fn new() -> Self {
        let world = World::new(77);
        let memory = Arc::new(world.memory());
        world.create(memory.clone()).unwrap();
        Self {
            world,
            memory,
            finished: BTreeMap::new(),
        }
    }

    /// Another history with the same beginning.
    fn fork(&self) -> Self {
        let world = World::new(self.world.environment.clock.now().as_nanosecond() as u64);
        world.clock.set_to(&self.world.clock);
        let clock = world.clock.clone();
        let memory = self.memory.copy(Arc::new(move || clock.now()));
        Self {
            world,
            memory: Arc::new(memory),
            finished: self.finished.clone(),
        }
    }

    fn take(&mut self, step: Step, storage: Arc<dyn Storage>) -> Result<(), RepositoryError> {
        match step {
            Step::Wait(secs) => self.world.clock.advance_secs(secs),
            Step::Save(seed, length) => {
                let repository = self.world.open(storage)?;
                let id = save_file(&repository, &format!("f{seed}"), &noise(length, seed))?;
                self.finished.insert(seed, (id, length));
            }
            Step::Forget(seed) => {
                // Not expected any more, but it may be there if we die now.
                let (id, _) = self.finished.remove(&seed).unwrap();
                let repository = self.world.open(storage)?;
                repository.delete_snapshot(&id).now_or_never().unwrap()?;
            }
            Step::Maintain => {
                self.world.clock.advance_secs(DAY + 60);
                let options = MaintenanceOptions {
                    mode: Mode::Full,
                    ..MaintenanceOptions::default()
                };
                self.world.open(storage)?.run_maintenance(&options)?;
            }
        }
        Ok(())
    }

    fn check(&self, when: &str) {
        let repository = self.world.open(self.memory.clone()).unwrap();
        for (seed, (id, length)) in &self.finished {
            let data = read_file(&repository, id).unwrap_or_else(|e| panic!("{when}: snapshot {seed}: {e}"));
            assert!(
                data == noise(*length, *seed),
                "{when}: snapshot {seed} has other bytes"
            );
        }
        for content in repository.live_contents() {
            assert!(
                repository.content_matches_name(&content).unwrap(),
                "{when}: {content}"
            );
        }
    }

    /// After enough maintenance nothing is left to remove.
    fn check_clean(&mut self, when: &str) {
        for _ in 0..9 {
            self.take(Step::Maintain, self.memory.clone()).unwrap();
        }
        let repository = self.world.open(self.memory.clone()).unwrap();
        let plan = repository
            .plan_maintenance(&MaintenanceOptions {
                mode: Mode::Full,
                safety: Safety::none(),
                ..MaintenanceOptions::default()
            })
            .unwrap();
        for step in &plan.steps {
            match step {
                maintenance::Step::CollectSnapshots(gc) => assert_eq!(
                    (gc.deleted_content_count, gc.recovered_content_count),
                    (0, 0),
                    "{when}: {plan}"
                ),
                maintenance::Step::DeletePacks(packs) => {
                    assert_eq!(packs.unreferenced_pack_count, 0, "{when}: {plan}");
                }
                _ => {}
            }
        }
        let sessions = self.memory.list("s").now_or_never().unwrap().unwrap();
        assert!(sessions.is_empty(), "{when}: {sessions:?}");
    }
}

/// Dies at call `n` of step `at`, before which `history` is; says whether it did.
fn die(mut history: History, steps: &[Step], at: usize, n: u64, was_done: bool) -> bool {
    let dying = FaultyStorage::new(history.memory.clone());
    if was_done {
        dying.add(Rule::always(Fault::LostAnswer(StorageErrorKind::Unavailable)).nth(n));
        dying.add(Rule::always(Fault::Fail(StorageErrorKind::Unavailable)).after(n));
    } else {
        dying.add(Rule::always(Fault::Fail(StorageErrorKind::Unavailable)).after(n.saturating_sub(1)));
    }
    let when = format!("step {at} ({:?}), call {n}, done: {was_done}", steps[at]);
    let died = history.take(steps[at], Arc::new(dying.clone())).is_err();
    // A marker that could not be deleted after a commit is no failure, but we did die there.
    let died = died || dying.calls().len() as u64 >= n;
    history.check(&when);
    for step in &steps[at + 1..] {
        match step {
            Step::Forget(seed) if !history.finished.contains_key(seed) => {}
            step => history.take(*step, history.memory.clone()).unwrap(),
        }
    }
    history.check(&format!("{when}, at the end"));
    history.check_clean(&when);
    history.check(&format!("{when}, cleaned"));
    died
}

/// Every call of the steps that `wanted` picks. Returns how often it died.
fn die_everywhere(steps: &[Step], wanted: impl Fn(usize, Step) -> bool) -> usize {
    let mut deaths = 0;
    let mut before = History::new();
    for (at, step) in steps.iter().enumerate() {
        if !wanted(at, *step) {
            let storage = before.memory.clone();
            before.take(*step, storage).unwrap();
            continue;
        }
        for was_done in [false, true] {
            let last = (1..MANY)
                .take_while(|n| die(before.fork(), steps, at, *n, was_done))
                .count();
            assert!(
                last > 3 && last < MANY as usize - 1,
                "step {at} died {last} times"
            );
            deaths += last;
        }
        let storage = before.memory.clone();
        before.take(*step, storage).unwrap();
    }
    deaths
}

#[test]
fn upload_that_dies_at_any_call_costs_nothing_but_itself() {
    let deaths = die_everywhere(&script(BIG), |_, step| step == Step::Save(51, BIG));
    println!("{deaths} deaths");
}

#[test]
fn deletion_that_dies_at_any_call_has_happened_or_not() {
    let deaths = die_everywhere(&script(SMALL), |_, step| step == Step::Forget(51));
    println!("{deaths} deaths");
}

#[test]
fn maintenance_that_dies_at_any_call_is_made_up_for_by_later_ones() {
    let steps = script(SMALL);
    let maintenances: Vec<usize> = (0..steps.len())
        .filter(|at| steps[*at] == Step::Maintain)
        .collect();
    // The first one moves contents, the fourth revives, drops and deletes.
    let wanted = match std::env::var_os("CARAVEL_EVERY_DEATH") {
        Some(_) => maintenances,
        None => vec![maintenances[0], maintenances[3]],
    };
    let deaths = die_everywhere(&steps, |at, _| wanted.contains(&at));
    println!("{deaths} deaths");
}
