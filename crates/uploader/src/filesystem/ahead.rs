//! Work for one thread that another may have done before.

use parking_lot::{Condvar, Mutex};

/// Done once, by whoever comes first: a worker that has time, or the one who needs the result.
pub(crate) struct Ahead<Work, Done> {
    state: Mutex<State<Work, Done>>,
    changed: Condvar,
}

enum State<Work, Done> {
    Waiting(Work),
    Begun,
    Done(Done),
    /// Taken, or lost in a panic.
    Gone,
}

impl<Work, Done> Ahead<Work, Done> {
    pub fn new(work: Work) -> Self {
        Self {
            state: Mutex::new(State::Waiting(work)),
            changed: Condvar::new(),
        }
    }

    /// For the one who has time: does it, unless somebody has begun. What turns out to be better left alone is handed back,
    /// as an error.
    pub fn do_early(&self, work: impl FnOnce(Work) -> Result<Done, Work>) {
        let Some(waiting) = self.begin() else { return };
        let mut end = End {
            of: self,
            state: State::Gone,
        };
        end.state = match work(waiting) {
            Ok(done) => State::Done(done),
            Err(waiting) => State::Waiting(waiting),
        };
    }

    /// For the one who needs it: does it if nobody has begun, else waits for whoever has. To be called once; none when the
    /// other one panicked.
    pub fn result(&self, work: impl FnOnce(Work) -> Done) -> Option<Done> {
        let mut state = self.state.lock();
        self.changed
            .wait_while(&mut state, |state| matches!(state, State::Begun));
        let found = std::mem::replace(&mut *state, State::Gone);
        drop(state);
        match found {
            State::Waiting(waiting) => Some(work(waiting)),
            State::Done(done) => Some(done),
            State::Begun | State::Gone => None,
        }
    }

    fn begin(&self) -> Option<Work> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Begun) {
            State::Waiting(work) => Some(work),
            other => {
                *state = other;
                None
            }
        }
    }
}

/// Says what came of it, even when it panicked: somebody may be waiting.
struct End<'a, Work, Done> {
    of: &'a Ahead<Work, Done>,
    state: State<Work, Done>,
}

impl<Work, Done> Drop for End<'_, Work, Done> {
    fn drop(&mut self) {
        *self.of.state.lock() = std::mem::replace(&mut self.state, State::Gone);
        self.of.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_nobody_began_is_done_by_the_one_who_needs_it_and_not_again() {
        let ahead = Ahead::new(2);
        assert_eq!(ahead.result(|work| work + 1), Some(3));
        ahead.do_early(|_| unreachable!("it is done"));
    }

    #[test]
    fn what_was_done_early_is_not_done_again() {
        let ahead = Ahead::new(2);
        ahead.do_early(|work| Ok(work + 1));
        ahead.do_early(|_| unreachable!("it is done"));
        assert_eq!(ahead.result(|_| unreachable!("it is done")), Some(3));
    }

    #[test]
    fn what_was_handed_back_is_done_by_the_one_who_needs_it() {
        let ahead = Ahead::new(2);
        ahead.do_early(Err);
        assert_eq!(ahead.result(|work| work + 1), Some(3));
    }

    /// Begins on another thread, lets somebody wait, and ends with what `end` makes of it.
    fn waited_for(end: fn(i32) -> Result<i32, i32>) -> Option<i32> {
        let ahead = Ahead::new(2);
        let (begun, has_begun) = mpsc::channel();
        thread::scope(|scope| {
            let early = scope.spawn(|| {
                let work = |work| {
                    begun.send(()).unwrap();
                    // Long enough for the other one to wait, most times; the outcome is the same when it does not.
                    thread::sleep(Duration::from_millis(50));
                    end(work)
                };
                catch_unwind(AssertUnwindSafe(|| ahead.do_early(work)))
            });
            has_begun.recv().unwrap();
            let result = ahead.result(|work| work + 10);
            let _panicked = early.join().unwrap();
            result
        })
    }

    #[test]
    fn the_one_who_needs_it_waits_for_the_one_who_has_begun() {
        assert_eq!(waited_for(|work| Ok(work + 1)), Some(3));
        assert_eq!(waited_for(Err), Some(12));
        assert_eq!(waited_for(|_| panic!("as the test wants")), None);
    }

    #[test]
    fn a_thousand_are_done_once_each_whoever_is_first() {
        let all: Vec<_> = (0..1000).map(Ahead::new).collect();
        let done = AtomicUsize::new(0);
        let work = |n: usize| {
            done.fetch_add(1, Ordering::Relaxed);
            n * 2
        };
        thread::scope(|scope| {
            scope.spawn(|| all.iter().for_each(|one| one.do_early(|n| Ok(work(n)))));
            for (n, one) in all.iter().enumerate() {
                assert_eq!(one.result(work), Some(n * 2));
            }
        });
        assert_eq!(done.into_inner(), 1000);
    }
}
