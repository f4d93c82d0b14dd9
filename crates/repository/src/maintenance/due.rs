//! What may run now: plain functions over the schedule (kopia-format.md 11.3, 11.5). This file is the
//! specification of *when*; its neighbours say *what*.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{
    MaintenanceParameters, Safety,
    schedule::{Run, Schedule, Task},
};

/// What the caller asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Full, quick or nothing, as the schedule says.
    #[default]
    Auto,
    Quick,
    Full,
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Keeps the index small.
    Quick,
    /// Also removes what nobody needs.
    Full,
}

/// The answer to "shall we?"
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    Run(Kind),
    NotYet,
    /// Only this client may.
    OwnedBy(String),
}

/// Whether `who` may and should maintain now. `force` lets another than the owner run what it names.
pub fn due(
    mode: Mode,
    force: bool,
    who: &str,
    parameters: &MaintenanceParameters,
    schedule: &Schedule,
    now: Timestamp,
) -> Due {
    let owns = parameters.owner == who;
    if !owns && !force {
        return Due::OwnedBy(parameters.owner.clone());
    }
    let reached = |next: Option<Timestamp>| next.is_none_or(|next| now >= next);
    match mode {
        Mode::Quick => Due::Run(Kind::Quick),
        Mode::Full => Due::Run(Kind::Full),
        Mode::Auto if !owns => Due::NotYet,
        Mode::Auto if parameters.full.enabled && reached(schedule.next_full) => Due::Run(Kind::Full),
        Mode::Auto if parameters.quick.enabled && reached(schedule.next_quick) => Due::Run(Kind::Quick),
        Mode::Auto => Due::NotYet,
    }
}

/// The times after which this kind is due again; full counts as quick too.
pub fn next_times(
    kind: Kind,
    parameters: &MaintenanceParameters,
    schedule: &Schedule,
    now: Timestamp,
) -> (Option<Timestamp>, Option<Timestamp>) {
    let after = |nanos: i64| now.checked_add(SignedDuration::from_nanos(nanos)).ok();
    let full = match kind {
        Kind::Full => after(parameters.full.interval),
        Kind::Quick => schedule.next_full,
    };
    (full, after(parameters.quick.interval))
}

fn latest_success(schedule: &Schedule, tasks: &[Task]) -> Option<Timestamp> {
    let runs = tasks.iter().flat_map(|task| schedule.runs_of(*task));
    runs.filter(|run| run.success).map(|run| run.end).max()
}

/// Whether contents may be moved: not before the packs that the last move emptied are gone, or moving would
/// forever put off deleting.
pub fn may_rewrite(schedule: &Schedule, safety: &Safety) -> bool {
    let moved = latest_success(schedule, &[Task::FullRewriteContents]);
    let deleted = latest_success(schedule, &[Task::FullDeleteBlobs, Task::QuickDeleteBlobs]);
    match moved {
        None => true,
        Some(_) if safety.min_rewrite_to_orphan_deletion_delay == 0 => true,
        Some(moved) => deleted.is_some_and(|deleted| deleted >= moved),
    }
}

/// When packs may be deleted next: an hour after contents were last moved. Moves that failed, or whose end was never
/// noted, count too: they may have moved some.
pub fn packs_deletable_from(schedule: &Schedule, safety: &Safety) -> Option<Timestamp> {
    let tasks = [Task::FullRewriteContents, Task::QuickRewriteContents];
    let last = tasks
        .iter()
        .flat_map(|task| schedule.runs_of(*task))
        .map(|run| run.end)
        .max()?;
    Some(later(last, safety.min_rewrite_to_orphan_deletion_delay))
}

/// The second up to which tombstones may be dropped: two collections, far enough apart, have both found what was
/// marked before the older one began. The younger one would have revived what a snapshot, racing with the older
/// one, still needs.
pub fn safe_drop_time(schedule: &Schedule, safety: &Safety, now: Timestamp) -> Option<Timestamp> {
    if !safety.require_two_gc_cycles {
        return Some(now);
    }
    let mut runs: Vec<&Run> = schedule
        .runs_of(Task::SnapshotGc)
        .iter()
        .filter(|run| run.success)
        .collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.start));
    let (newest, older) = runs.split_first()?;
    let far_enough = |run: &&&Run| {
        newest.start.duration_since(run.end) > SignedDuration::from_secs(safety.margin_between_snapshot_gc)
    };
    let older = older.iter().find(far_enough)?;
    Some(later(older.start, -safety.drop_content_extra_margin))
}

fn later(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hours * HOUR).unwrap()
    }

    fn run(from: i64, to: i64, success: bool) -> Run {
        Run {
            start: at(from),
            end: at(to),
            success,
            error: String::new(),
            extra: Vec::new(),
        }
    }

    fn schedule(runs: &[(Task, i64, i64, bool)]) -> Schedule {
        let mut schedule = Schedule::default();
        for (task, from, to, success) in runs {
            schedule.add(*task, run(*from, *to, *success));
        }
        schedule
    }

    #[test]
    fn owner_runs_full_before_quick_and_others_nothing_unless_forced() {
        let ours = MaintenanceParameters::standard("u@h");
        let mut times = Schedule::default();
        let ask = |mode, force, who: &str, times: &Schedule| due(mode, force, who, &ours, times, at(0));
        assert_eq!(ask(Mode::Auto, false, "u@h", &times), Due::Run(Kind::Full));
        times.next_full = Some(at(1));
        assert_eq!(ask(Mode::Auto, false, "u@h", &times), Due::Run(Kind::Quick));
        times.next_quick = Some(at(1));
        assert_eq!(ask(Mode::Auto, false, "u@h", &times), Due::NotYet);
        assert_eq!(ask(Mode::Full, false, "u@h", &times), Due::Run(Kind::Full));
        assert_eq!(ask(Mode::Full, false, "x@h", &times), Due::OwnedBy("u@h".into()));
        assert_eq!(ask(Mode::Full, true, "x@h", &times), Due::Run(Kind::Full));
        assert_eq!(ask(Mode::Auto, true, "x@h", &times), Due::NotYet);
    }

    #[test]
    fn cycle_that_is_off_is_never_due() {
        let mut off = MaintenanceParameters::standard("u@h");
        off.full.enabled = false;
        let ask = |p: &MaintenanceParameters| due(Mode::Auto, false, "u@h", p, &Schedule::default(), at(0));
        assert_eq!(ask(&off), Due::Run(Kind::Quick));
        off.quick.enabled = false;
        assert_eq!(ask(&off), Due::NotYet);
    }

    #[test]
    fn full_moves_both_times_and_quick_only_its_own() {
        let ours = MaintenanceParameters::standard("u@h");
        let times = Schedule {
            next_full: Some(at(5)),
            ..Schedule::default()
        };
        assert_eq!(
            next_times(Kind::Full, &ours, &times, at(0)),
            (Some(at(24)), Some(at(1)))
        );
        assert_eq!(
            next_times(Kind::Quick, &ours, &times, at(0)),
            (Some(at(5)), Some(at(1)))
        );
    }

    #[test]
    fn contents_move_again_only_after_packs_were_deleted() {
        use Task::{FullDeleteBlobs as Deleted, FullRewriteContents as Moved};
        let full = Safety::full();
        assert!(may_rewrite(&schedule(&[]), &full));
        assert!(!may_rewrite(&schedule(&[(Moved, 0, 1, true)]), &full));
        assert!(may_rewrite(&schedule(&[(Moved, 0, 1, true)]), &Safety::none()));
        assert!(may_rewrite(
            &schedule(&[(Moved, 0, 1, true), (Deleted, 2, 3, true)]),
            &full
        ));
        assert!(!may_rewrite(
            &schedule(&[(Moved, 0, 1, true), (Deleted, 2, 3, false)]),
            &full
        ));
    }

    #[test]
    fn packs_stay_an_hour_after_any_move_even_one_that_failed() {
        use Task::FullRewriteContents as Moved;
        let from = |runs: &[_]| packs_deletable_from(&schedule(runs), &Safety::full());
        assert_eq!(from(&[]), None);
        assert_eq!(from(&[(Moved, 0, 1, true)]), Some(at(2)));
        assert_eq!(from(&[(Moved, 0, 1, true), (Moved, 3, 4, false)]), Some(at(5)));
    }

    #[test]
    fn tombstones_go_only_after_two_collections_four_hours_apart() {
        use Task::SnapshotGc as Gc;
        let time = |runs: &[_]| safe_drop_time(&schedule(runs), &Safety::full(), at(100));
        assert_eq!(time(&[]), None);
        assert_eq!(time(&[(Gc, 0, 1, true)]), None);
        assert_eq!(
            time(&[(Gc, 0, 1, true), (Gc, 5, 6, true)]),
            None,
            "exactly four hours are not more"
        );
        assert_eq!(time(&[(Gc, 0, 1, true), (Gc, 6, 7, true)]), Some(at(-1)));
        assert_eq!(
            time(&[(Gc, 0, 1, true), (Gc, 6, 7, false)]),
            None,
            "a failed one does not count"
        );
        assert_eq!(
            time(&[(Gc, 0, 1, true), (Gc, 9, 10, true), (Gc, 12, 13, true)]),
            Some(at(-1))
        );
        assert_eq!(
            safe_drop_time(&Schedule::default(), &Safety::none(), at(3)),
            Some(at(3))
        );
    }
}
