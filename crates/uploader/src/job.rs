//! A fixed row of threads that works through a bounded queue of jobs and stops at the first failure.
//!
//! Both directions use it: a walker thread finds work and blocks while the queue is full, so that memory does not grow
//! with the size of the tree. Without workers the walker does each job itself, as it finds it.

use std::thread;

use caravel_repository::Repository;
use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;

use crate::error::{Result, UploaderError};
use crate::progress::CancelToken;

/// Jobs that may wait. Most hold an open directory, so this also bounds file descriptors.
const WAITING: usize = 128;
/// Jobs that may wait when one more is only offered.
const OFFERED_BEHIND: usize = 16;
/// Trees are walked by recursion, one frame and one open directory a level, as deep as `LONGEST_PATH` lets them be. What is
/// not used of it costs nothing.
pub(crate) const WALKER_STACK_BYTES: usize = 128 << 20;

/// Where jobs go; [`Queue::add`] fails once anything else has failed.
pub(crate) struct Queue<'run, Job> {
    to: To<'run, Job>,
    failure: &'run Failure<'run>,
}

enum To<'run, Job> {
    Workers(Sender<Job>),
    Here(&'run (dyn Fn(Job) + Sync)),
}

impl<Job> Queue<'_, Job> {
    /// Waits for room, then adds one job.
    pub fn add(&self, job: Job) -> Result<()> {
        self.failure.check()?;
        // The workers receive until every sender is gone, so this only fails after they all panicked.
        match &self.to {
            To::Workers(sender) => sender.send(job).map_err(|_| UploaderError::Canceled),
            To::Here(work) => {
                work(job);
                Ok(())
            }
        }
    }

    /// Adds a job that somebody else can do as well, if workers come to it soon; says whether it did.
    pub fn offer(&self, job: Job) -> bool {
        match &self.to {
            To::Workers(sender) => sender.len() < OFFERED_BEHIND && sender.try_send(job).is_ok(),
            To::Here(_) => false,
        }
    }

    /// An error when there is no point in going on.
    pub fn check(&self) -> Result<()> {
        self.failure.check()
    }
}

/// The first failure of a run, and what stops the others after it.
struct Failure<'run> {
    first: Mutex<Option<UploaderError>>,
    stop: &'run CancelToken,
}

impl Failure<'_> {
    fn check(&self) -> Result<()> {
        // After a failure it is that one which the run reports; this one only unwinds the others.
        self.stop.check()
    }

    fn note(&self, result: Result<()>) {
        if let Err(error) = result {
            // Others that only unwind say so as if they had been canceled.
            if !matches!(error, UploaderError::Canceled) {
                self.first.lock().get_or_insert(error);
            }
            self.stop.cancel();
        }
    }

    fn into_result(self) -> Result<()> {
        match self.first.into_inner() {
            Some(error) => Err(error),
            None => self.stop.check(),
        }
    }
}

/// A worker that panics ends the run: the scope waits for everybody, then panics too.
struct Ended<'run, 'token>(&'run Failure<'token>);

impl Drop for Ended<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop.cancel();
        }
    }
}

/// How many threads work: none where the engine runs inline.
pub(crate) fn workers(repository: &Repository, wish: Option<usize>) -> usize {
    if repository.environment().is_inline() {
        return 0;
    }
    wish.unwrap_or_else(crate::filesystem::one_a_core).max(1)
}

/// Runs `walk` on a thread with a deep stack and `work` on `workers` threads (0: both here, on the caller's), until the
/// walk has returned and every job is done. The first failure of any of them is returned, after all have stopped; `stop`, the
/// token of this run alone ([`CancelToken::of_a_run`]), is what stops them, in the middle of a job too.
pub(crate) fn run<Job: Send>(
    workers: usize,
    stop: &CancelToken,
    walk: impl FnOnce(&Queue<'_, Job>) -> Result<()> + Send,
    work: impl Fn(Job) -> Result<()> + Sync,
) -> Result<()> {
    let failure = Failure {
        first: Mutex::new(None),
        stop,
    };
    if workers == 0 {
        let here = |job| failure.note(work(job));
        let queue = Queue {
            to: To::Here(&here),
            failure: &failure,
        };
        failure.note(walk(&queue));
        return failure.into_result();
    }
    let (sender, jobs) = bounded::<Job>(WAITING);
    thread::scope(|scope| {
        for _ in 0..workers {
            let (jobs, failure, work) = (jobs.clone(), &failure, &work);
            scope.spawn(move || {
                let _ended = Ended(failure);
                for job in jobs {
                    // After a failure the queue is only emptied, so that the walker does not block on it.
                    if failure.check().is_ok() {
                        failure.note(work(job));
                    }
                }
            });
        }
        // Else the walker would wait for room when no worker is left.
        drop(jobs);
        let queue = Queue {
            to: To::Workers(sender),
            failure: &failure,
        };
        let walker = thread::Builder::new()
            .stack_size(WALKER_STACK_BYTES)
            .spawn_scoped(scope, {
                let failure = &failure;
                move || failure.note(walk(&queue))
            });
        if let Err(error) = walker {
            failure.note(Err(UploaderError::entry("", "start a thread for", error)));
        }
    });
    failure.into_result()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_job_is_done_once() {
        for workers in [0, 3] {
            let done = AtomicUsize::new(0);
            let walk = |queue: &Queue<'_, usize>| (0..1000).try_for_each(|n| queue.add(n));
            run(workers, &CancelToken::default(), walk, |_| {
                done.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
            .expect("nothing fails");
            assert_eq!(done.into_inner(), 1000);
        }
    }

    #[test]
    fn the_first_failure_is_returned_and_the_walk_ends() {
        let walk = |queue: &Queue<'_, usize>| (0..).try_for_each(|n| queue.add(n));
        let work = |n: usize| match n {
            7 => Err(UploaderError::Mismatch("seven".to_owned())),
            _ => Ok(()),
        };
        for workers in [0, 2] {
            let error = run(workers, &CancelToken::default(), walk, work).expect_err("job 7 fails");
            assert_eq!(error.to_string(), "seven");
        }
    }

    #[test]
    fn a_worker_that_panics_ends_the_run() {
        for workers in [1, 3] {
            let run = || {
                let walk = |queue: &Queue<'_, usize>| (0..).try_for_each(|n| queue.add(n));
                run(workers, &CancelToken::default(), walk, |n: usize| match n {
                    7 => panic!("as the test wants"),
                    _ => Ok(()),
                })
            };
            assert!(std::panic::catch_unwind(run).is_err());
        }
    }

    #[test]
    fn what_is_offered_is_done_once_or_refused_and_never_waits() {
        let (offered, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let held = AtomicBool::new(true);
        let walk = |queue: &Queue<'_, ()>| {
            let taken = (0..1000).filter(|_| queue.offer(())).count();
            offered.store(taken, Ordering::Relaxed);
            held.store(false, Ordering::Release);
            Ok(())
        };
        let work = |()| {
            while held.load(Ordering::Acquire) {
                thread::yield_now();
            }
            done.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        run(2, &CancelToken::default(), walk, work).expect("nothing fails");
        let offered = offered.into_inner();
        assert!((1..=OFFERED_BEHIND + 2).contains(&offered), "{offered}");
        assert_eq!(done.into_inner(), offered);

        let refused = |queue: &Queue<'_, ()>| {
            assert!(!queue.offer(()), "there are no workers");
            Ok(())
        };
        run(0, &CancelToken::default(), refused, |()| Ok(())).expect("nothing fails");
    }

    #[test]
    fn a_failure_stops_the_others_in_the_middle_of_their_jobs_and_nobody_outside_the_run() {
        let (cancel, begun) = (CancelToken::default(), AtomicBool::new(false));
        let stop = cancel.of_a_run();
        let walk = |queue: &Queue<'_, usize>| (0..2).try_for_each(|n| queue.add(n));
        let error = run(2, &stop, walk, |n| {
            begun.fetch_or(n == 0, Ordering::SeqCst);
            // A long one, which looks now and then, and one that fails beside it.
            while n == 0 || !begun.load(Ordering::SeqCst) {
                stop.check()?;
                thread::yield_now();
            }
            Err(UploaderError::Mismatch("one".to_owned()))
        });
        assert_eq!(error.expect_err("job 1 fails").to_string(), "one");
        assert!(stop.is_canceled() && !cancel.is_canceled());
    }

    #[test]
    fn a_canceled_run_ends_and_says_so() {
        let cancel = CancelToken::default();
        let walk = |queue: &Queue<'_, usize>| (0..).try_for_each(|n| queue.add(n));
        let error = run(2, &cancel, walk, |_| {
            cancel.cancel();
            Ok(())
        });
        assert!(matches!(error, Err(UploaderError::Canceled)));
    }
}
