//! The one place where the backup controllers write a Backup: merge patches that carry the resourceVersion.

use std::time::Duration;

use caravel_api::v1::Backup;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::attempts;

/// A Backup and the right to write it.
pub struct StatusWriter {
    api: Api<Backup>,
    pub current: Backup,
}

/// A write that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error("cannot write Backup {name}: {source}")]
    Api { name: String, source: Box<kube::Error> },
    /// Somebody moved the Backup on; what we know is out of date.
    #[error(
        "Backup {name} was {change} by somebody else meanwhile; what this process did for it is given up"
    )]
    TakenAway { name: String, change: &'static str },
}

/// Conflicts in a row before a write is given up; each is one edit by somebody else between read and write.
const TRIES: usize = 5;

/// Between two tries of [`StatusWriter::write_persistently`].
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl StatusWriter {
    pub fn new(client: &Client, current: Backup) -> Self {
        let namespace = current.namespace().unwrap_or_default();
        Self {
            api: Api::namespaced(client.clone(), &namespace),
            current,
        }
    }

    /// Merges `patch` into the object. When only unrelated fields changed meanwhile (labels, another annotation), it
    /// is tried again on the newer object.
    ///
    /// # Errors
    /// [`StatusError`].
    pub async fn write(&mut self, mut patch: Value) -> Result<(), StatusError> {
        let name = self.current.name_any();
        for _ in 0..TRIES {
            patch["metadata"]["resourceVersion"] = json!(self.current.resource_version());
            match self
                .api
                .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
            {
                Ok(written) => {
                    self.current = written;
                    return Ok(());
                }
                Err(kube::Error::Api(status)) if status.code == 409 => self.refresh().await?,
                Err(source) => return Err(api_error(&name, source)),
            }
        }
        Err(StatusError::TakenAway {
            name,
            change: "changed again and again",
        })
    }

    /// [`StatusWriter::write`], tried again for `timeout` while the API server cannot be reached: for the end of a
    /// run, which nothing would write later.
    ///
    /// # Errors
    /// [`StatusError`]: the last one.
    pub async fn write_persistently(&mut self, patch: Value, timeout: Duration) -> Result<(), StatusError> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            match self.write(patch.clone()).await {
                Err(error @ StatusError::Api { .. }) if tokio::time::Instant::now() < deadline => {
                    tracing::warn!(%error, "tried again in {} s", RETRY_INTERVAL.as_secs());
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                ended => return ended,
            }
        }
    }

    async fn refresh(&mut self) -> Result<(), StatusError> {
        let name = self.current.name_any();
        let found = self
            .api
            .get_opt(&name)
            .await
            .map_err(|source| api_error(&name, source))?;
        let Some(found) = found else {
            return Err(StatusError::TakenAway {
                name,
                change: "deleted",
            });
        };
        if found.uid() != self.current.uid() {
            return Err(StatusError::TakenAway {
                name,
                change: "deleted and created anew",
            });
        }
        if attempts::of(&found) != attempts::of(&self.current) {
            return Err(StatusError::TakenAway {
                name,
                change: "begun again",
            });
        }
        if found.phase() != self.current.phase() {
            return Err(StatusError::TakenAway {
                name,
                change: "moved to another phase",
            });
        }
        self.current = found;
        Ok(())
    }
}

fn api_error(name: &str, source: kube::Error) -> StatusError {
    StatusError::Api {
        name: name.to_owned(),
        source: Box::new(source),
    }
}
