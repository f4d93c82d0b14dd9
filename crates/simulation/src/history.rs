//! One history: a world, operations until there are enough steps, then faults end, everything settles, every Completed
//! backup is restored, and what must hold is looked at.

use std::collections::BTreeMap;
use std::sync::Once;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::DynamicObject;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::application::Content;
use crate::bad_input::{self, BadInput};
use crate::checks::{BYSTANDER, Invariant, Violation, is_terminal};
use crate::compare;
use crate::interposed;
use crate::operation::{Operation, create_restore, perform, phase};
use crate::restarts;
use crate::sabotage::Sabotage;
use crate::snapshots;
use crate::world::{NODES, VELERO, World};

/// What is played.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Random operations until there are so many steps.
    Random { steps: u64 },
    /// The same, with backups whose snapshots stay in the storage (`snapshots.rs`).
    Snapshots { steps: u64 },
    /// These.
    Given(Vec<Operation>),
    /// One backup and one restore, while the server is killed (`restarts.rs`).
    Restarts,
    /// Two servers, one of which loses its node (`restarts.rs`).
    TakeOver,
    /// One backup of what is not as it should be (`bad_input.rs`).
    BadInput(BadInput),
}

/// How it ended.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub seed: u64,
    pub operations: Vec<Operation>,
    pub trace: Vec<String>,
    pub violations: Vec<Violation>,
    pub steps: u64,
    pub faults: u64,
    /// Backups that were Completed at the end and restored.
    pub backups: usize,
    /// Volumes of restores that were compared with what their snapshots held.
    pub compared: usize,
    /// Times that the server was killed on purpose, and those of them while the Backup or Restore was InProgress.
    pub kills: usize,
    pub kills_in_progress: usize,
    /// How long nobody held the server's Lease, of a history about that.
    pub took_over: Option<Duration>,
    pub virtual_time: Duration,
    pub real_time: Duration,
}

/// A queue without work waits at most this long for the next operation.
const IDLE: Duration = Duration::from_secs(120);
/// After the faults everything has ended by then: item operations time out after 4 h, data movers are prepared within 30
/// minutes, and a crash loop waits up to 5 minutes.
const SETTLES_WITHIN: Duration = Duration::from_secs(6 * 3600);
/// The same in a world with a defect. `tests/sabotage.rs` shows that a sound one needs less.
const BROKEN_SETTLES_WITHIN: Duration = Duration::from_secs(3600);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// More steps than this after the operations mean that something goes round in circles.
const MOST_STEPS_AFTER: u64 = 60_000;
/// A history of a few seconds, of two minutes unoptimised on a busy machine, that takes this long hangs; its thread is left
/// behind.
const REAL_TIME: Duration = Duration::from_secs(900);
/// Room for what the product does in one poll in an unoptimised build.
const STACK_BYTES: usize = 64 << 20;

/// Steps of the history that nobody looks at.
const WARMING_UP: u64 = 150;
static WARMED_UP: Once = Once::new();

/// Plays a history on a thread of its own.
pub fn play(seed: u64, plan: &Plan) -> Report {
    play_broken(seed, plan, None)
}

/// As [`play`], in a world that has this defect.
pub fn play_broken(seed: u64, plan: &Plan, sabotage: Option<Sabotage>) -> Report {
    // What libraries make once a process (hash keys, tables) they make here, from the same seed: else the first history
    // of a process would draw more random bytes than others, and would not be the one that it is as the second.
    WARMED_UP.call_once(|| drop(played(0, &Plan::Random { steps: WARMING_UP }, None)));
    played(seed, plan, sabotage)
}

fn played(seed: u64, plan: &Plan, sabotage: Option<Sabotage>) -> Report {
    let plan = plan.clone();
    let begun = std::time::Instant::now();
    let (ended, end) = std::sync::mpsc::channel();
    let body = move || {
        // Dropped with the thread's last breath, also in a panic.
        let _ended: std::sync::mpsc::Sender<()> = ended;
        let entered = interposed::enter(seed);
        // The jitter of kube's backoff is drawn from it, and it would take its seed from the thread's number.
        fastrand::seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            // What another thread wakes comes after all that this one has to do, so that its timing does not matter.
            .global_queue_interval(u32::MAX)
            .max_blocking_threads(1)
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return failed(seed, format!("no runtime: {error}")),
        };
        runtime.block_on(async {
            let start = Instant::now();
            entered.follow(start);
            Box::pin(history(seed, &plan, sabotage, start)).await
        })
    };
    let thread = std::thread::Builder::new()
        .name(format!("seed {seed}"))
        .stack_size(STACK_BYTES)
        .spawn(body);
    // Nothing is sent: what ends the wait is the sender's end, or that there is none.
    if let (Ok(_), Err(std::sync::mpsc::RecvTimeoutError::Timeout)) = (&thread, end.recv_timeout(REAL_TIME)) {
        return failed(
            seed,
            format!("the history does not end: {} s of real time", REAL_TIME.as_secs()),
        );
    }
    let report = thread.map(std::thread::JoinHandle::join);
    let mut report = match report {
        Ok(Ok(report)) => report,
        Ok(Err(_)) => failed(seed, "the history panicked".to_owned()),
        Err(error) => failed(seed, format!("no thread: {error}")),
    };
    report.real_time = begun.elapsed();
    report
}

fn failed(seed: u64, seen: String) -> Report {
    Report {
        seed,
        violations: vec![Violation {
            invariant: Invariant::Alive,
            seen,
        }],
        ..Report::default()
    }
}

async fn history(seed: u64, plan: &Plan, sabotage: Option<Sabotage>, start: Instant) -> Report {
    let world = match Box::pin(World::start(seed, start)).await {
        Ok(world) => world,
        Err(error) => return failed(seed, format!("{error:#}")),
    };
    let mut report = Report {
        seed,
        ..Report::default()
    };
    let ran = match plan {
        Plan::Restarts => Box::pin(restarts::run(&world, &mut report)).await,
        Plan::TakeOver => Box::pin(restarts::take_over(&world, &mut report)).await,
        Plan::BadInput(bad) => Box::pin(bad_input::run(&world, *bad)).await,
        Plan::Random { .. } | Plan::Snapshots { .. } | Plan::Given(_) => {
            Box::pin(run(&world, plan, sabotage, &mut report)).await
        }
    };
    if let Err(error) = ran {
        world.checks.violated(Invariant::Alive, format!("{error:#}"));
    }
    report.steps = world.trace.steps();
    report.faults = world.trace.faults();
    report.virtual_time = world.trace.elapsed();
    report.violations = world.checks.violations();
    report.trace = world.trace.take();
    world.sandbox.shutdown().await;
    report
}

async fn run(
    world: &World,
    plan: &Plan,
    sabotage: Option<Sabotage>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let untouched = bystander(world).await?;
    // A world that is broken on purpose need not be waited for as long as one that may still come to its end.
    let within = sabotage.map_or(SETTLES_WITHIN, |_| BROKEN_SETTLES_WITHIN);
    let breaks = |world| {
        if let Some(sabotage) = sabotage {
            sabotage.breaks(world);
        }
    };
    breaks(world);
    world.trace.note("operations begin");
    operate(world, plan, report).await?;
    world.trace.note("faults end");
    world.api_faults.clear();
    world.csi_faults.clear();
    world.bucket.heal();
    breaks(world);
    for number in 0..NODES {
        let node = format!("sandbox-{number}");
        world.sandbox.machines().recover_node(&node).await?;
    }
    if !settle(world, within).await? {
        return Ok(());
    }
    if let Some(sabotage) = sabotage {
        Box::pin(sabotage.strikes(world)).await?;
    }
    Box::pin(snapshots::outlive_their_namespaces(world, within)).await?;
    let backups = restore_all(world).await?;
    report.backups = backups;
    if !settle(world, within).await? {
        return Ok(());
    }
    if let Some(sabotage) = sabotage {
        sabotage.strikes_at_last(world)?;
    }
    report.compared = Box::pin(compare::restores(world)).await?;
    Box::pin(snapshots::go_with_their_backups(world, within)).await?;
    left_over(world).await?;
    let (objects, content) = bystander(world).await?;
    let is_same = content.is_none() || content == untouched.1;
    if objects != untouched.0 || !is_same {
        let seen = format!(
            "namespace {BYSTANDER} is not what it was: {:?} → {objects:?}",
            untouched.0
        );
        world.checks.violated(Invariant::OthersUntouched, seen);
    }
    Ok(())
}

async fn operate(world: &World, plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(report.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let begun = world.trace.steps();
    for number in 0.. {
        let operation = match plan {
            Plan::Random { steps } | Plan::Snapshots { steps } if world.trace.steps() - begun >= *steps => {
                break;
            }
            Plan::Random { .. } => Operation::random(&mut rng),
            Plan::Snapshots { .. } => Operation::random_with_snapshots(&mut rng),
            Plan::Given(operations) => match operations.get(number) {
                Some(operation) => operation.clone(),
                None => break,
            },
            Plan::Restarts | Plan::TakeOver | Plan::BadInput(_) => break,
        };
        let due = world.trace.steps() + u64::from(operation.after_steps);
        // Nothing may be going on: then time passes until something is.
        let _ = tokio::time::timeout(IDLE, world.trace.reached(due)).await;
        report.operations.push(operation.clone());
        perform(world, number, &operation).await?;
        if !world.checks.violations().is_empty() {
            break;
        }
    }
    Ok(())
}

/// Waits until every backup, restore and movement has ended. False: they do not, or something is wrong already.
pub async fn settle(world: &World, within: Duration) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let steps = world.trace.steps();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let going = going(world).await?;
        if going.is_empty() {
            // What is deleted in the background goes meanwhile.
            tokio::time::sleep(LOOK_EVERY * 8).await;
            return Ok(world.checks.violations().is_empty());
        }
        let is_endless = world.trace.steps() - steps > MOST_STEPS_AFTER;
        if begun.elapsed() > within || is_endless {
            let seen = format!(
                "after {:?} and {} steps without faults: {}",
                begun.elapsed(),
                world.trace.steps() - steps,
                going.join(", ")
            );
            world.checks.violated(Invariant::EverythingEnds, seen);
            return Ok(false);
        }
    }
}

const WORK: [(&str, &str); 5] = [
    ("v1", "Backup"),
    ("v1", "Restore"),
    ("v1", "DeleteBackupRequest"),
    ("v2alpha1", "DataUpload"),
    ("v2alpha1", "DataDownload"),
];

async fn going(world: &World) -> anyhow::Result<Vec<String>> {
    let mut going = Vec::new();
    for (version, kind) in WORK {
        for object in world.list("velero.io", version, kind).await? {
            // What a deletion that failed has left waits for the next one.
            let has_ended = is_terminal(phase(&object)) || matches!(phase(&object), "Processed" | "Deleting");
            if !has_ended || object.metadata.deletion_timestamp.is_some() {
                going.push(format!("{kind} {} is {:?}", object.name_any(), phase(&object)));
            }
        }
    }
    Ok(going)
}

/// Restores every Completed backup; the number of them.
async fn restore_all(world: &World) -> anyhow::Result<usize> {
    let mut completed = world.list("velero.io", "v1", "Backup").await?;
    completed.retain(|backup| phase(backup) == "Completed");
    for backup in &completed {
        let name = backup.name_any();
        create_restore(world, &format!("last-{name}"), &name).await?;
    }
    Ok(completed.len())
}

/// What must not be there any more.
pub async fn left_over(world: &World) -> anyhow::Result<()> {
    let left = |what: String| world.checks.violated(Invariant::NothingLeft, what);
    for (group, version, kind) in [
        ("snapshot.storage.k8s.io", "v1", "VolumeSnapshot"),
        ("snapshot.storage.k8s.io", "v1", "VolumeSnapshotContent"),
    ] {
        for object in world.list(group, version, kind).await? {
            // A restore gives the snapshots of its backup objects in the restored namespaces, as Velero's does.
            if !object.labels().contains_key("velero.io/restore-name") {
                left(format!("{kind} {}", full_name(&object)));
            }
        }
    }
    for kind in ["PersistentVolumeClaim", "Pod"] {
        for object in world.list("", "v1", kind).await? {
            let is_ours = object.namespace().as_deref() == Some(VELERO);
            let is_product = ["velero-", "node-agent-"]
                .iter()
                .any(|prefix| object.name_any().starts_with(prefix));
            // The last maintenance Jobs are kept, and their pods with them.
            let is_kept = object.labels().contains_key(caravel_api::labels::REPO_NAME);
            let stays = kind == "Pod" && (is_product || is_kept);
            if is_ours && !stays {
                left(format!("{kind} {}", full_name(&object)));
            }
        }
    }
    for kind in ["DataUpload", "DataDownload"] {
        for object in world.list("velero.io", "v2alpha1", kind).await? {
            if !object.finalizers().is_empty() {
                left(format!("finalizer of {kind} {}", full_name(&object)));
            }
        }
    }
    // No object leads to these any more: they would cost money for ever.
    for snapshot in world.checks.kept_snapshots() {
        left(format!("snapshot {snapshot} of the storage, without an object"));
    }
    for volume in world.list("", "v1", "PersistentVolume").await? {
        let phase = phase(&volume);
        if phase != "Bound" {
            left(format!("PersistentVolume {} that is {phase}", volume.name_any()));
        }
    }
    Ok(())
}

fn full_name(object: &DynamicObject) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

/// What users have written of the bystander's objects, and what its volume holds. `None`: no pod has it mounted now.
async fn bystander(world: &World) -> anyhow::Result<(BTreeMap<String, String>, Option<Content>)> {
    let mut objects = BTreeMap::new();
    for (group, version, kind) in [
        ("", "v1", "ConfigMap"),
        ("", "v1", "PersistentVolumeClaim"),
        ("apps", "v1", "Deployment"),
    ] {
        for object in world.list(group, version, kind).await? {
            if object.namespace().as_deref() == Some(BYSTANDER) {
                // Kubernetes' own controllers write the status, as when a node goes off.
                let metadata = (object.labels(), object.annotations(), object.finalizers());
                let data = (&object.data["spec"], &object.data["data"]);
                let written = format!("{:?} {metadata:?} {data:?}", object.uid());
                objects.insert(format!("{kind} {}", object.name_any()), written);
            }
        }
    }
    let volume = world.applications.volume(BYSTANDER, "data");
    let content = volume.map(|volume| Content::of(&volume)).transpose()?;
    Ok((objects, content))
}
