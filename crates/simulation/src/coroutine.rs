//! Synchronous work that takes turns with the simulation's thread.
//!
//! The engine is synchronous: it waits for storage where it stands. In a simulation its work gets a thread, but only one
//! of the two ever runs: the work runs until it asks storage for something ([`pause`]), then everything else does until
//! the answer is due.
//!
//! ```text
//! simulation  ──poll──┐            ┌─ other tasks, timers ─┐            ┌── dropped: a kill ──┐
//! work                └── hashing ─┘ pause(3 ms)           └── hashing ─┘                     └── every call fails
//! ```
//! So a data mover can be canceled and killed between any two of its storage calls, and the order is the seed's.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use caravel_repository::{Blocking, Work};
use futures::future::BoxFuture;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::interposed;

/// What the uploader's walker has, which recurses once a folder.
const STACK_BYTES: usize = 8 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Work,
    /// The work waits for so long.
    Simulation(Duration),
    Ended,
}

/// Who runs.
struct Baton {
    turn: Mutex<Turn>,
    passed: Condvar,
    killed: Mutex<bool>,
}

thread_local! {
    static HERE: RefCell<Option<Arc<Baton>>> = const { RefCell::new(None) };
}

/// The work that asked has been killed: nothing that it asks for is done any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Killed;

/// Lets the others run for so long. `None`: this thread is the simulation's own, where `tokio` does that.
pub fn pause(time: Duration) -> Option<Result<(), Killed>> {
    let baton = HERE.with_borrow(Clone::clone)?;
    if *baton.killed.lock() {
        return Some(Err(Killed));
    }
    baton.pass(Turn::Simulation(time));
    baton.wait_for(|turn| turn == Turn::Work);
    Some(if *baton.killed.lock() { Err(Killed) } else { Ok(()) })
}

impl Baton {
    fn pass(&self, to: Turn) {
        *self.turn.lock() = to;
        self.passed.notify_all();
    }

    fn wait_for(&self, wanted: impl Fn(Turn) -> bool) -> Turn {
        let mut turn = self.turn.lock();
        while !wanted(*turn) {
            self.passed.wait(&mut turn);
        }
        *turn
    }
}

/// One piece of work under way. Dropped, it is killed.
struct Coroutine {
    baton: Arc<Baton>,
    thread: Option<JoinHandle<()>>,
}

impl Coroutine {
    fn start(work: Work, start: Instant) -> Self {
        let baton = Arc::new(Baton {
            turn: Mutex::new(Turn::Simulation(Duration::ZERO)),
            passed: Condvar::new(),
            killed: Mutex::new(false),
        });
        let (seed, runtime, there) = (interposed::fork(), Handle::current(), baton.clone());
        let body = move || {
            there.wait_for(|turn| turn == Turn::Work);
            if !*there.killed.lock() {
                let _runtime = runtime.enter();
                let entered = interposed::enter(seed);
                entered.follow(start);
                HERE.set(Some(there.clone()));
                work();
                HERE.set(None);
            }
            there.pass(Turn::Ended);
        };
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(body);
        if thread.is_err() {
            baton.pass(Turn::Ended);
        }
        Self {
            baton,
            thread: thread.ok(),
        }
    }

    /// Lets it run until it waits or ends.
    fn resume(&self) -> Turn {
        if *self.baton.turn.lock() == Turn::Ended {
            return Turn::Ended;
        }
        self.baton.pass(Turn::Work);
        self.baton.wait_for(|turn| turn != Turn::Work)
    }
}

impl Drop for Coroutine {
    fn drop(&mut self) {
        *self.baton.killed.lock() = true;
        while self.resume() != Turn::Ended {}
        if let Some(thread) = self.thread.take() {
            // Its panic is the work's, which has been caught there.
            let _ = thread.join();
        }
    }
}

/// The way in which a simulation's environment does synchronous work.
pub struct Coroutines {
    start: Instant,
}

impl Coroutines {
    /// Threads of this simulation, which began at `start` of tokio's clock.
    pub fn new(start: Instant) -> Self {
        Self { start }
    }
}

impl Blocking for Coroutines {
    fn run(&self, work: Work) -> BoxFuture<'static, ()> {
        let start = self.start;
        Box::pin(async move {
            let coroutine = Coroutine::start(work, start);
            while let Turn::Simulation(time) = coroutine.resume() {
                if time.is_zero() {
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(time).await;
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_takes_turns_with_tasks_and_virtual_time() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let (there, start) = (said.clone(), Instant::now());
        let work = Coroutines::new(start).run(Box::new(move || {
            there.lock().push("work begins");
            assert_eq!(pause(Duration::from_secs(2)), Some(Ok(())));
            there.lock().push("work ends");
        }));
        let task = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            said.lock().push("a second");
        };
        tokio::join!(work, task);
        assert_eq!(*said.lock(), ["work begins", "a second", "work ends"]);
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_dropped_gets_nothing_any_more() {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let there = answers.clone();
        let mut work = Coroutines::new(Instant::now()).run(Box::new(move || {
            for _ in 0..3 {
                there.lock().push(pause(Duration::from_secs(2)));
            }
        }));
        assert!(futures::poll!(&mut work).is_pending());
        drop(work);
        assert_eq!(*answers.lock(), [Some(Err(Killed)); 3]);
        assert_eq!(pause(Duration::ZERO), None);
    }
}
