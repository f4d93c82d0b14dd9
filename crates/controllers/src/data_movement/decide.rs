//! What happens next to a DataUpload or DataDownload. This file is the specification: no client, no clock, no log.
//!
//! ```text
//! New ──► Accepted ──► Prepared ──► InProgress ──► Completed
//!  │         │             │            │   └────► Failed       (from every state, with the reason)
//!  │         │             │        Canceling ───► Canceled
//!  └─────────┴─────────────┴───────────────────────► Canceled   (cancel acts at once in every state)
//! ```
//! Velero's ladder is velero-behaviour.md 5.2. We differ where it is slow or silent: a cancel before the movement has
//! begun acts at once (Velero: after 5 minutes); a pod that cannot start fails the movement with its reason; a lost
//! pod fails it too, also that of a lost node, which another node's agent notices (Velero: nobody, until the operation
//! timeout of 4 hours and an hour more); a rebind that fails ends it. Observed by `observe.rs`, written by `transition.rs`.

use std::time::Duration;

use caravel_exposer::{Next, Step};
use jiff::{SignedDuration, Timestamp};

use super::place::Place;
use super::state::{Ending, Facts, State};
use super::transition::{Moved, Transition};

/// Which way the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Upload,
    Download,
}

impl Direction {
    /// The kind whose objects go this way.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Upload => "DataUpload",
            Self::Download => "DataDownload",
        }
    }

    fn gerund(self) -> &'static str {
        match self {
            Self::Upload => "data upload",
            Self::Download => "data download",
        }
    }
}

/// What this node agent goes by.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Name of the node this agent runs on.
    pub node: String,
    /// Its operating system, written to `status.nodeOS` of uploads.
    pub node_os: String,
    /// How long Accepted may last. 30 minutes: Velero's `--data-mover-prepare-timeout`.
    pub prepare_timeout: Duration,
    /// How much later than the owner another node's agent acts on an Accepted or Finished movement of a silent owner.
    pub stranger_grace: Duration,
    /// The same for a cancel of a Prepared or Canceling movement. 5 minutes, Velero's stale-cancel rule.
    pub stranger_cancel_grace: Duration,
    /// The same for a cancel of a running movement. 1 hour, Velero's stale-cancel rule.
    pub stranger_running_cancel_grace: Duration,
    /// How long nothing has been heard of another node's movement before this agent asks whether its data mover is still
    /// there. Its owner needs milliseconds.
    pub lost_grace: Duration,
    /// How long a data mover that was asked to stop may take before its pod is deleted: half of what may pass until
    /// everything temporary is gone.
    pub cancel_grace: Duration,
}

impl Policy {
    /// Velero's times, for the agent of this node.
    pub fn for_node(node: &str, node_os: &str, prepare_timeout: Duration) -> Self {
        Self {
            node: node.into(),
            node_os: node_os.into(),
            prepare_timeout,
            stranger_grace: Duration::from_secs(60),
            stranger_cancel_grace: Duration::from_secs(5 * 60),
            stranger_running_cancel_grace: Duration::from_secs(3600),
            lost_grace: Duration::from_secs(10),
            cancel_grace: Duration::from_secs(15),
        }
    }
}

/// The data mover pod and its last word.
#[derive(Clone, Debug, PartialEq)]
pub enum Mover {
    /// No pod, and no final Event.
    Absent,
    /// The pod exists and does not run yet.
    Pending { reason: String },
    /// The pod can never run.
    Broken { why: String },
    /// Its container runs on this node.
    Running { node: String },
    /// It has said its last word, or its container has ended.
    Ended(End),
}

/// A data mover's last word.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    Completed { moved: Moved, message: String },
    Failed { message: String },
    Canceled { message: String },
}

/// The BackupRepository of the movement.
#[derive(Clone, Debug, PartialEq)]
pub enum Repository {
    /// No such object.
    Absent,
    /// The server has not prepared it yet.
    Preparing,
    Ready,
    NotReady {
        message: String,
    },
}

/// What this agent knows of a movement that another node's agent runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Elsewhere {
    /// Since when this agent has seen no change of the object.
    pub quiet_since: Timestamp,
    /// Asked for only after [`Policy::lost_grace`] of quiet.
    pub mover: Option<Mover>,
}

/// Whether this node may run one more data mover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    Free,
    Full,
}

/// Everything a decision rests on.
#[derive(Clone, Debug)]
pub struct Observed {
    pub direction: Direction,
    pub facts: Facts,
    pub state: State,
    /// Since when this agent has seen `spec.cancel`.
    pub cancel_seen: Option<Timestamp>,
    /// Why a new movement cannot be accepted yet (a download without its target PVC).
    pub not_admitted: Option<String>,
    /// Of a new movement: its place among those in preparation.
    pub place: Place,
    pub mover: Mover,
    /// Of a movement that is prepared or running on another node.
    pub elsewhere: Option<Elsewhere>,
    pub repository: Repository,
    pub slot: Slot,
    /// What the exposer would do next in this state: expose (Accepted), rebind (InProgress download whose mover has
    /// completed) or delete the temporary objects (Finished).
    pub next: Next,
    /// Since when a completed download is being rebound.
    pub rebind_since: Option<Timestamp>,
    /// Why this agent's last try on this movement failed.
    pub last_error: Option<String>,
}

/// What to do next. Printed in the log, asserted in tests.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Not ours to act on; nothing wakes us but the object itself.
    Leave { why: String },
    /// Nothing to do until something changes, or until this time.
    Wait { what: String, until: Option<Timestamp> },
    /// Change the object itself.
    Write(Transition),
    /// Create the BackupRepository object, so that the server prepares it.
    EnsureRepository,
    /// One step of exposing, rebinding or cleaning up.
    Take(Step),
}

/// Decides.
pub fn decide(observed: &Observed, policy: &Policy, now: Timestamp) -> Decision {
    let facts = &observed.facts;
    if !facts.is_ours() {
        return leave(format!("data mover {:?} moves it", facts.datamover));
    }
    match &observed.state {
        State::Unknown { phase } => return leave(format!("phase {phase:?} is of a newer version")),
        State::Finished { at, .. } => return clean_up(observed, *at, policy, now),
        _ => {}
    }
    if facts.deleting && !facts.cancel {
        let message = format!(
            "Cancel {} because it is being deleted",
            observed.direction.kind().to_lowercase()
        );
        return Decision::Write(Transition::AskToCancel { message });
    }
    if let State::Malformed { why } = &observed.state {
        return finish(
            Ending::Failed,
            format!("the object contradicts itself: {why}"),
            now,
        );
    }
    if facts.cancel {
        return canceled(observed, policy, now);
    }
    match &observed.state {
        State::New => new(observed, policy, now),
        State::Accepted { by, since } => accepted(observed, by, *since, policy, now),
        State::Prepared { node, since } => prepared(observed, node, *since, policy, now),
        State::InProgress { node, .. } => in_progress(observed, node, policy, now),
        // Without spec.cancel somebody has taken the wish back; the mover has been told all the same.
        State::Canceling { .. } => canceled(observed, policy, now),
        State::Finished { .. } | State::Unknown { .. } | State::Malformed { .. } => {
            leave("decided above".into())
        }
    }
}

fn new(observed: &Observed, policy: &Policy, now: Timestamp) -> Decision {
    let node = policy.node.clone();
    if let Some(what) = &observed.not_admitted {
        return match &observed.place {
            Place::Lost => Decision::Write(Transition::GiveBack),
            Place::Reserved { since, .. } => {
                let turn = after(*since, policy.lost_grace);
                if now >= turn {
                    Decision::Write(Transition::GiveBack)
                } else {
                    wait_until(what.clone(), turn)
                }
            }
            _ => wait(what.clone()),
        };
    }
    match &observed.place {
        Place::Given => Decision::Write(Transition::Accept { node, at: now }),
        Place::Open => Decision::Write(Transition::Reserve { node }),
        Place::Lost => Decision::Write(Transition::GiveBack),
        Place::Full { length } => wait_until(
            format!("one of the {length} movements in preparation to start (prepareQueueLength)"),
            after(now, QUEUE_RETRY),
        ),
        Place::Contended { length } => wait_until(
            format!("those beyond the {length} movements in preparation to step back (prepareQueueLength)"),
            after(now, CONTENDED_RETRY),
        ),
        Place::Reserved { by, since } => {
            let turn = after(*since, policy.lost_grace);
            if now >= turn {
                return Decision::Write(Transition::Reserve { node });
            }
            wait_until(format!("node {by} to accept it"), turn)
        }
    }
}

fn accepted(observed: &Observed, by: &str, since: Timestamp, policy: &Policy, now: Timestamp) -> Decision {
    // Whoever accepted it: the agent of the node that the pod runs on goes on.
    if let Mover::Running { node } = &observed.mover
        && *node == policy.node
    {
        return Decision::Write(Transition::Prepare { node: node.clone() });
    }
    let mine = by == policy.node;
    let grace = if mine {
        Duration::ZERO
    } else {
        policy.stranger_grace
    };
    let deadline = after(since, policy.prepare_timeout + grace);
    if now >= deadline {
        let message = format!(
            "timeout on preparing {} after {}: {}",
            observed.direction.gerund(),
            caravel_api::Duration(policy.prepare_timeout),
            reason(observed)
        );
        return finish(Ending::Failed, message, now);
    }
    if !mine {
        return wait_until(format!("node {by} to expose the volume"), deadline);
    }
    match &observed.mover {
        Mover::Broken { why } => {
            return finish(Ending::Failed, format!("data mover pod cannot start: {why}"), now);
        }
        Mover::Ended(end) => {
            return finish(
                Ending::Failed,
                format!("data mover ended early: {}", last_word(end)),
                now,
            );
        }
        _ => {}
    }
    match &observed.repository {
        Repository::Absent => return Decision::EnsureRepository,
        Repository::NotReady { message } => return finish(Ending::Failed, message.clone(), now),
        Repository::Preparing | Repository::Ready => {}
    }
    match &observed.next {
        Next::Do(step) => Decision::Take(*step),
        Next::Impossible { why } => finish(Ending::Failed, format!("error exposing the volume: {why}"), now),
        Next::Wait { what, within } => {
            let until = within.map_or(deadline, |limit| after(since, limit).min(deadline));
            if now >= until {
                return finish(
                    Ending::Failed,
                    format!("timeout exposing the volume: {what}"),
                    now,
                );
            }
            wait_until(what.clone(), until)
        }
        Next::Done => wait_until(awaited(observed), deadline),
    }
}

fn prepared(observed: &Observed, node: &str, since: Timestamp, policy: &Policy, now: Timestamp) -> Decision {
    if node != policy.node {
        return elsewhere(observed, node, "to start the data mover", policy, now);
    }
    match &observed.mover {
        Mover::Absent => return finish(Ending::Failed, lost_pod(observed), now),
        Mover::Broken { why } => {
            return finish(Ending::Failed, format!("data mover pod cannot start: {why}"), now);
        }
        Mover::Ended(end) => {
            return finish(
                Ending::Failed,
                format!("data mover ended early: {}", last_word(end)),
                now,
            );
        }
        Mover::Pending { .. } | Mover::Running { .. } => {}
    }
    match &observed.repository {
        Repository::Absent => Decision::EnsureRepository,
        Repository::NotReady { message } => finish(Ending::Failed, message.clone(), now),
        Repository::Preparing => {
            let deadline = after(since, policy.prepare_timeout);
            if now >= deadline {
                return finish(Ending::Failed, "timeout waiting for the backup repository: the server has not prepared it; see the log of deployment/velero".into(), now);
            }
            wait_until("the server to prepare the backup repository".into(), deadline)
        }
        Repository::Ready if observed.slot == Slot::Full => {
            wait("another data movement on this node to end".into())
        }
        Repository::Ready => {
            let node_os = match observed.direction {
                Direction::Upload => policy.node_os.clone(),
                // A DataDownload has no such field.
                Direction::Download => String::new(),
            };
            Decision::Write(Transition::Start { at: now, node_os })
        }
    }
}

fn in_progress(observed: &Observed, node: &str, policy: &Policy, now: Timestamp) -> Decision {
    if node != policy.node {
        return elsewhere(observed, node, "to move the data", policy, now);
    }
    match &observed.mover {
        Mover::Running { .. } | Mover::Pending { .. } => wait("the data mover to end".into()),
        Mover::Absent => finish(Ending::Failed, lost_pod(observed), now),
        Mover::Broken { why } => finish(Ending::Failed, format!("data mover pod broke: {why}"), now),
        Mover::Ended(End::Failed { message }) => finish(Ending::Failed, message.clone(), now),
        Mover::Ended(End::Canceled { message }) => finish(Ending::Canceled, message.clone(), now),
        Mover::Ended(End::Completed { moved, message }) => completed(observed, moved, message, now),
    }
}

/// Another node's movement. Its agent acts at once on whatever happens; where it does not, its node is lost, and any other
/// agent may say what is plain to see.
fn elsewhere(observed: &Observed, node: &str, does: &str, policy: &Policy, now: Timestamp) -> Decision {
    let what = format!("node {node} {does}");
    let Some(seen) = &observed.elsewhere else {
        return wait(what);
    };
    let runs = matches!(observed.state, State::InProgress { .. });
    match &seen.mover {
        None => wait_until(what, after(seen.quiet_since, policy.lost_grace)),
        Some(Mover::Absent) => finish(Ending::Failed, lost_node(observed, node), now),
        Some(Mover::Broken { why }) => finish(
            Ending::Failed,
            format!(
                "data mover pod broke: {why}; the node agent of node {node} has not said so, is that node down?"
            ),
            now,
        ),
        Some(Mover::Ended(End::Failed { message })) => finish(Ending::Failed, message.clone(), now),
        Some(Mover::Ended(End::Canceled { message })) => finish(Ending::Canceled, message.clone(), now),
        Some(Mover::Ended(End::Completed { moved, message }))
            if runs && observed.direction == Direction::Upload =>
        {
            completed(observed, moved, message, now)
        }
        Some(_) => wait_until(what, after(now, policy.stranger_grace)),
    }
}

/// The data is where it shall be; a download's volume has still to become the target's.
fn completed(observed: &Observed, moved: &Moved, message: &str, now: Timestamp) -> Decision {
    let complete = Decision::Write(Transition::Finish {
        ending: Ending::Completed,
        at: now,
        message: message.into(),
        result: Some(moved.clone()),
    });
    if observed.direction == Direction::Upload {
        return complete;
    }
    let deadline = observed
        .rebind_since
        .map(|since| after(since, observed.facts.operation_timeout));
    match &observed.next {
        Next::Done => complete,
        Next::Impossible { why } => finish(
            Ending::Failed,
            format!("error handing over the restored volume: {why}"),
            now,
        ),
        Next::Do(step) => Decision::Take(*step),
        Next::Wait { what, .. } if deadline.is_some_and(|deadline| now >= deadline) => finish(
            Ending::Failed,
            format!("timeout handing over the restored volume: {what}"),
            now,
        ),
        Next::Wait { what, .. } => Decision::Wait {
            what: what.clone(),
            until: deadline,
        },
    }
}

fn canceled(observed: &Observed, policy: &Policy, now: Timestamp) -> Decision {
    let seen = observed.cancel_seen.unwrap_or(now);
    let me = policy.node.as_str();
    let stop = |when: &str| {
        finish(
            Ending::Canceled,
            format!("{} is canceled {when}", observed.direction.gerund()),
            now,
        )
    };
    let is_lost = observed
        .elsewhere
        .as_ref()
        .is_some_and(|seen| matches!(seen.mover, Some(Mover::Absent | Mover::Broken { .. })));
    let stranger = |node: &str, grace: Duration| {
        if is_lost {
            return stop(&format!("because {}", lost_node(observed, node)));
        }
        let deadline = after(seen, grace);
        if now >= deadline {
            return stop(&format!("because node {node} did not answer"));
        }
        let look = match &observed.elsewhere {
            Some(Elsewhere {
                quiet_since,
                mover: None,
            }) => after(*quiet_since, policy.lost_grace),
            Some(_) => after(now, policy.stranger_grace),
            None => deadline,
        };
        wait_until(format!("node {node} to cancel it"), deadline.min(look))
    };
    match &observed.state {
        State::New => stop("before it was accepted"),
        State::Accepted { by, .. } if by == me => stop("while its volume was being exposed"),
        State::Accepted { by, .. } => stranger(by, policy.stranger_grace),
        State::Prepared { node, .. } if node == me => stop("before its data mover started"),
        State::Prepared { node, .. } => stranger(node, policy.stranger_cancel_grace),
        State::InProgress { node, .. } if node != me => stranger(node, policy.stranger_running_cancel_grace),
        State::Canceling { node, .. } if node != me => stranger(node, policy.stranger_cancel_grace),
        State::InProgress { .. } | State::Canceling { .. } => match &observed.mover {
            // It had won the race: what is complete stays complete.
            Mover::Ended(End::Completed { moved, message }) => completed(observed, moved, message, now),
            Mover::Ended(_) | Mover::Absent | Mover::Broken { .. } => {
                stop("while its data mover was running")
            }
            Mover::Pending { .. } | Mover::Running { .. } => {
                if matches!(observed.state, State::InProgress { .. }) {
                    return Decision::Write(Transition::Cancel);
                }
                let deadline = after(seen, policy.cancel_grace);
                if now >= deadline {
                    return stop("and its data mover, which did not stop in time, is removed");
                }
                wait_until("the data mover to stop".into(), deadline)
            }
        },
        State::Finished { .. } | State::Unknown { .. } | State::Malformed { .. } => {
            leave("it has ended".into())
        }
    }
}

/// The end has been written; the temporary objects go, then the finalizer.
fn clean_up(observed: &Observed, at: Option<Timestamp>, policy: &Policy, now: Timestamp) -> Decision {
    let facts = &observed.facts;
    if !facts.has_finalizer() {
        return leave("it has ended and its temporary objects are gone".into());
    }
    let owner = if facts.node.is_empty() {
        &facts.accepted_by
    } else {
        &facts.node
    };
    if !owner.is_empty() && *owner != policy.node {
        let turn = after(at.unwrap_or(now), policy.stranger_grace);
        if now < turn {
            return wait_until(format!("node {owner} to delete the temporary objects"), turn);
        }
    }
    match &observed.next {
        Next::Do(step) => Decision::Take(*step),
        Next::Wait { what, .. } => wait_until(what.clone(), after(now, CLEAN_UP_RETRY)),
        Next::Done | Next::Impossible { .. } => Decision::Write(Transition::DropFinalizer),
    }
}

/// A place in the queue of prepared movements is told by watches; this is for one that was missed.
const QUEUE_RETRY: Duration = Duration::from_secs(60);

/// The same for those who step back, which takes them one write.
const CONTENDED_RETRY: Duration = Duration::from_secs(1);

/// A deletion that no watch reports on is looked at again after this.
const CLEAN_UP_RETRY: Duration = Duration::from_secs(60);

fn finish(ending: Ending, message: String, now: Timestamp) -> Decision {
    Decision::Write(Transition::Finish {
        ending,
        at: now,
        message,
        result: None,
    })
}

fn leave(why: String) -> Decision {
    Decision::Leave { why }
}

fn wait(what: String) -> Decision {
    Decision::Wait { what, until: None }
}

fn wait_until(what: String, until: Timestamp) -> Decision {
    Decision::Wait {
        what,
        until: Some(until),
    }
}

/// The same while there is time: what is waited for, and the newest reason in parentheses.
fn awaited(observed: &Observed) -> String {
    match &observed.mover {
        Mover::Pending { reason } => format!("the data mover pod to run ({reason})"),
        _ => reason(observed),
    }
}

/// Why an accepted movement has no running data mover, in the words of whoever knows best.
fn reason(observed: &Observed) -> String {
    if let (Mover::Absent, Some(error)) = (&observed.mover, &observed.last_error) {
        return error.clone();
    }
    match (&observed.mover, &observed.next) {
        (Mover::Pending { reason }, Next::Wait { what, .. }) => {
            format!("data mover pod does not run: {reason}; waiting for {what}")
        }
        (Mover::Pending { reason }, _) => format!("data mover pod does not run: {reason}"),
        (Mover::Broken { why }, _) => format!("data mover pod cannot start: {why}"),
        (Mover::Running { node }, _) => {
            format!("data mover pod runs on node {node}, whose node agent has not taken it")
        }
        (Mover::Ended(end), _) => format!("data mover ended early: {}", last_word(end)),
        (Mover::Absent, Next::Wait { what, .. }) => format!("waiting for {what}"),
        (Mover::Absent, Next::Impossible { why }) => why.clone(),
        (Mover::Absent, Next::Do(_) | Next::Done) => "there is no data mover pod".into(),
    }
}

fn lost_pod(observed: &Observed) -> String {
    format!(
        "data mover pod {}/{} is gone and left no result; was it deleted or evicted?",
        observed.facts.namespace, observed.facts.name
    )
}

fn lost_node(observed: &Observed, node: &str) -> String {
    format!(
        "data mover pod {}/{} is gone and left no result, and the node agent of node {node} has not said so; is that node down?",
        observed.facts.namespace, observed.facts.name
    )
}

fn last_word(end: &End) -> &str {
    match end {
        End::Completed { .. } => "it says Completed before it was told to start",
        End::Failed { message } | End::Canceled { message } => message,
    }
}

/// `at` plus a span, at most the end of time.
fn after(at: Timestamp, span: Duration) -> Timestamp {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}
