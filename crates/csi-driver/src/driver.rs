//! The driver as a whole: configuration, the store, and how a call is run.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tonic::{Response, Status};

use crate::error::{Error, Result};
use crate::folder::{Folders, Now};
use crate::medium::Medium;
use crate::store::{self, Store};
use crate::writers::{self, Still};
use crate::{mounts, volume};

/// How a driver is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The CSI socket; absolute, the kubelet gets it as it is.
    pub endpoint: PathBuf,
    /// Name of the node that volumes are mounted on.
    pub node_id: String,
    /// Everything that the driver keeps.
    pub state_dir: PathBuf,
    /// Where the kubelet looks for new plug-ins; not registered when absent.
    pub registration_dir: Option<PathBuf>,
    /// As in CSIDriver and StorageClass.
    pub driver_name: String,
    /// Room of the store, in bytes, used when it is made.
    pub store_bytes: u64,
}

/// Serves all CSI services; cheap to clone.
#[derive(Clone, Debug)]
pub struct Driver {
    shared: Arc<Shared>,
    /// Calls are answered on the caller's own thread.
    inline: bool,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    medium: Box<dyn Medium>,
    /// One operation at a time. Most take milliseconds, and losetup's choice of a free device is no race then.
    operation: Mutex<()>,
}

impl Driver {
    /// Opens the state dir, as new or as an earlier driver left it: volumes are images. Needs root.
    pub fn open(config: Config) -> Result<Self> {
        let store = Store::open(&config.state_dir, config.store_bytes)?;
        volume::thaw_all(&store)?;
        Ok(Self::over(config, Box::new(store)))
    }

    /// As [`Self::open`], but volumes are folders ([`crate::folder`]); needs no root. `store_bytes` is not used.
    /// Snapshots are dated by `now`.
    pub fn open_folders(config: Config, now: Now) -> Result<Self> {
        let folders = Folders::open(&config.state_dir, now)?;
        Ok(Self::over(config, Box::new(folders)))
    }

    fn over(config: Config, medium: Box<dyn Medium>) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                medium,
                operation: Mutex::new(()),
            }),
            inline: false,
        }
    }

    /// Does all work on the thread that calls, so that a run on one thread and a paused clock repeats exactly. Nothing else
    /// runs on that thread meanwhile.
    #[must_use]
    pub fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// Takes everything that a state dir's driver mounted off the machine again, the store last. Data stays.
    pub fn release(state_dir: &std::path::Path) -> Result<()> {
        if !state_dir.join("store").exists() {
            return Ok(());
        }
        let root = store::mount_point(state_dir)?;
        if mounts::at(&root)?.is_some() {
            volume::release_all(&Store::folder(root.clone())?)?;
        }
        mounts::unmount(&root)
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn medium(&self) -> &dyn Medium {
        self.shared.medium.as_ref()
    }

    /// Waits until no writer of the volume is in the middle of a change; none begins one until the guard is dropped.
    /// Here, not on the thread that does the work: a writer may need that thread, or the clock, to get on.
    pub(crate) async fn still(&self, volume: &str) -> Result<Option<Still>> {
        let Some(writers) = self.medium().writers(volume) else {
            return Ok(None);
        };
        match writers.still(writers::PATIENCE).await {
            Some(still) => Ok(Some(still)),
            None => Err(Error::Aborted(format!(
                "volume {volume}: a writer has held the volume's lock for {} s; try again later",
                writers::PATIENCE.as_secs()
            ))),
        }
    }

    /// Runs the work of a call, on a thread that may block unless it is to be inline, and logs what came of it.
    pub(crate) async fn run<T, W>(
        &self,
        call: &'static str,
        object: String,
        work: W,
    ) -> std::result::Result<Response<T>, Status>
    where
        T: Send + 'static,
        W: FnOnce(&Driver) -> Result<T> + Send + 'static,
    {
        let driver = self.clone();
        let work = move || {
            // A panicked operation left records whole (they are written atomically), so the next may go on.
            let _one = driver
                .shared
                .operation
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let started = Instant::now();
            let answer = work(&driver);
            let millis = started.elapsed().as_millis();
            match &answer {
                Ok(_) if object.is_empty() => tracing::debug!(call, millis, "Answered"),
                Ok(_) => tracing::info!(call, object, millis, "Done"),
                Err(cause) => tracing::warn!(call, object, millis, %cause, "Refused"),
            }
            answer
        };
        let answer = if self.inline {
            work()
        } else {
            tokio::task::spawn_blocking(work)
                .await
                .map_err(|panic| Status::internal(format!("{call}: {panic}")))?
        };
        answer.map(Response::new).map_err(Status::from)
    }
}
