//! Finished packs on their way to storage: a bounded queue and a few threads, the only bridge between the
//! synchronous engine and asynchronous storage for data that is written (decisions.md 1).
//!
//! Memory: two data packs, being filled or sent; a writer that produces faster waits for one of them
//! (`pack_memory.rs`).

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Sender, bounded};
use parking_lot::{Condvar, Mutex};

use super::{
    Blobs,
    pack_memory::{PackMemories, PackMemory},
};
use crate::error::{RepositoryError, Result};

/// Packs sent at the same time: 2 keep one connection's latency hidden behind the other.
const PARALLEL: usize = 2;

struct Finished {
    name: String,
    data: PackMemory,
}

#[derive(Default)]
struct Shared {
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    outstanding: usize,
    failed: Option<RepositoryError>,
}

/// Sends packs; [`PackUploads::drain`] says when all are durable.
pub struct PackUploads {
    blobs: Blobs,
    memories: PackMemories,
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

struct Running {
    queue: Sender<Finished>,
    threads: Vec<JoinHandle<()>>,
}

impl PackUploads {
    pub fn new(blobs: Blobs) -> Self {
        Self {
            blobs,
            memories: PackMemories::default(),
            shared: Arc::default(),
            running: Mutex::new(None),
        }
    }

    /// Memory for one more data pack; waits while all of it is with packs that are being sent.
    pub fn memory(&self) -> PackMemory {
        self.memories.take(!self.blobs.is_inline())
    }

    /// Hands one pack over; waits while the queue is full. An earlier pack's failure is returned here.
    pub fn send(&self, name: String, data: PackMemory) -> Result<()> {
        self.check()?;
        let finished = Finished { name, data };
        self.shared.progress.lock().outstanding += 1;
        if self.blobs.is_inline() {
            self.shared.put(&self.blobs, finished);
            return self.check();
        }
        let queue = self.queue();
        queue
            .send(finished)
            .expect("the threads receive until the queue is dropped");
        Ok(())
    }

    /// A pack was lost before it was handed over.
    pub fn fail(&self, error: RepositoryError) {
        self.shared.progress.lock().failed.get_or_insert(error);
    }

    /// The first failure of any pack, for ever: a writer that lost a pack must not commit.
    pub fn check(&self) -> Result<()> {
        match &self.shared.progress.lock().failed {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Waits until every pack handed over is durable.
    pub fn drain(&self) -> Result<()> {
        let mut progress = self.shared.progress.lock();
        while progress.outstanding > 0 {
            self.shared.changed.wait(&mut progress);
        }
        match &progress.failed {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn queue(&self) -> Sender<Finished> {
        let mut running = self.running.lock();
        let running = running.get_or_insert_with(|| {
            let (queue, packs) = bounded::<Finished>(0);
            let threads = (0..PARALLEL)
                .map(|_| {
                    let (blobs, shared, packs) = (self.blobs.clone(), self.shared.clone(), packs.clone());
                    thread::spawn(move || packs.iter().for_each(|pack| shared.put(&blobs, pack)))
                })
                .collect();
            Running { queue, threads }
        });
        running.queue.clone()
    }
}

impl Shared {
    fn put(&self, blobs: &Blobs, pack: Finished) {
        let already_failed = self.progress.lock().failed.is_some();
        let result = if already_failed {
            Ok(())
        } else {
            let name = pack.name;
            pack.data.lend(|data| blobs.put(&name, data))
        };
        let mut progress = self.progress.lock();
        progress.outstanding -= 1;
        if let Err(error) = result {
            progress.failed.get_or_insert(error);
        }
        self.changed.notify_all();
    }
}

impl Drop for PackUploads {
    fn drop(&mut self) {
        if let Some(Running { queue, threads }) = self.running.lock().take() {
            drop(queue);
            for thread in threads {
                let _ = thread.join();
            }
        }
    }
}
