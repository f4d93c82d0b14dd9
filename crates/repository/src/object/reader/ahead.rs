//! Read-ahead for long objects: the next contents are fetched, opened and decompressed by threads of their own
//! while the caller is busy with this one. Without it every 5 MB wait for one answer of the storage.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use bytes::Bytes;

use super::{Location, read_location};
use crate::{content::reader::ContentReader, error::Result, object::ObjectId};

/// Contents of one object that are fetched ahead.
pub(super) const DEPTH: usize = 4;
/// Shorter objects are not worth a thread.
pub(super) const FROM_BYTES: u64 = 16 << 20;
/// Bytes fetched ahead and not taken yet, for all objects together, as long as they are unpacked: bounds memory whatever the
/// number of readers. Four contents of a usual length.
const IN_FLIGHT_BYTES: u64 = 16 << 20;

/// Counts the bytes of one repository that are fetched ahead.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Arc<AtomicU64>);

/// Held until the content's reader takes it: then it is one that is being written, and no more ahead of anything.
struct Permit {
    bytes: u64,
    all: Arc<AtomicU64>,
}

impl InFlight {
    /// For a content of so many bytes, unless there would be too many with it.
    fn permit(&self, bytes: u64) -> Option<Permit> {
        let taken = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
            taken.checked_add(bytes).filter(|all| *all <= IN_FLIGHT_BYTES)
        });
        taken.is_ok().then(|| Permit {
            bytes,
            all: self.0.clone(),
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A location, and the thread that reads it.
struct Coming {
    location: Location,
    reading: Option<(Permit, JoinHandle<Result<Bytes>>)>,
}

/// Locations in order, some of them being read.
#[derive(Default)]
pub(super) struct Ahead {
    queue: VecDeque<Coming>,
}

impl Ahead {
    /// Whether no more should be added for now.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= DEPTH
    }

    /// Adds the next location and starts to read it, unless it repeats the one before (a long run of zeros) or
    /// too much is in flight already: then the caller reads it when it is due.
    pub fn add(&mut self, contents: &Arc<ContentReader>, object: ObjectId, location: Location) {
        let repeats = self
            .queue
            .back()
            .is_some_and(|before| before.location.content == location.content);
        // Contents of a long object have a length each.
        let bytes = location.length.filter(|_| !repeats);
        let permit = bytes.and_then(|bytes| contents.in_flight.permit(bytes));
        let reading = permit.map(|permit| {
            let contents = contents.clone();
            let thread = thread::spawn(move || read_location(&contents, object, &location));
            (permit, thread)
        });
        self.queue.push_back(Coming { location, reading });
    }

    /// The location that comes first.
    pub fn front(&self) -> Option<&Location> {
        self.queue.front().map(|coming| &coming.location)
    }

    /// The first location, and its bytes if they were read ahead.
    pub fn pop(&mut self) -> Option<(Location, Option<Result<Bytes>>)> {
        let Coming { location, reading } = self.queue.pop_front()?;
        let read = reading.map(|(_held, thread)| match thread.join() {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        Some((location, read))
    }
}
