//! The whole of Caravel as one property: random histories of server, node agents and data movers on the sandbox cluster,
//! in one thread, on tokio's paused clock, from a seed.
//!
//! ```text
//! interposed.rs   what libraries take from libc: time and randomness
//! coroutine.rs    the synchronous engine takes turns with everything else
//! engine.rs       what the repository engine takes from the machine
//! bucket.rs       object storage in memory, with faults
//! application.rs  what is backed up
//! world.rs        all of it together
//! operation.rs    what users and misfortune do
//! bad_input.rs    one backup of what is not as it should be: a clear end, nothing left, nothing lost
//! restarts.rs     the server is killed while a backup and a restore run
//! history.rs      one history from its beginning to its last check
//! checks.rs       what must hold at every step
//! compare.rs      what restores brought back, against what was there
//! sabotage.rs     defects that the checks must find
//! snapshots.rs    backups whose snapshots stay in the storage: they outlive their namespaces, and go with the backup
//! shrink.rs       the shortest history that still fails
//! trace.rs        what happened, step by step
//! ```
//! The same seed gives the same trace. docs/decisions/0006 says why it is made like this.

mod application;
mod bad_input;
mod bucket;
mod checks;
mod compare;
mod coroutine;
mod engine;
mod history;
mod interposed;
mod operation;
mod restarts;
mod sabotage;
mod shrink;
mod snapshots;
mod trace;
mod world;

pub use bad_input::BadInput;
pub use checks::{Invariant, Violation};
pub use history::{Plan, Report, play, play_broken};
pub use operation::{Operation, What};
pub use sabotage::Sabotage;
pub use shrink::{Shrunk, shrink};
pub use trace::difference;
