//! The one place where the backup controllers write a Backup: merge patches that carry the resourceVersion.
//!
//! A write whose answer is lost (a connection that breaks, a 504) may have been made all the same, and taking that for
//! somebody else's change would end a backup that has ended well. It is read back: what is there is done.

use std::time::Duration;

use caravel_api::v1::{Backup, BackupPhase};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::attempts;

/// A Backup and the right to write it.
pub struct StatusWriter {
    api: Api<Backup>,
    pub current: Backup,
    /// The last write, while nobody knows whether it was made.
    in_doubt: Option<Value>,
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

impl StatusError {
    /// Whether the Backup does not exist any more, be there another one of its name or not.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::TakenAway { change, .. } if *change == DELETED || *change == MADE_ANEW)
    }
}

const DELETED: &str = "deleted";
const MADE_ANEW: &str = "deleted and created anew";

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
            in_doubt: None,
        }
    }

    /// Merges `patch` into the object. When only unrelated fields changed meanwhile (labels, another annotation), it
    /// is tried again on the newer object.
    ///
    /// # Errors
    /// [`StatusError`].
    pub async fn write(&mut self, patch: Value) -> Result<(), StatusError> {
        let name = self.current.name_any();
        for _ in 0..TRIES {
            let mut versioned = patch.clone();
            versioned["metadata"]["resourceVersion"] = json!(self.current.resource_version());
            match self
                .api
                .patch(&name, &PatchParams::default(), &Patch::Merge(&versioned))
                .await
            {
                Ok(written) => {
                    self.in_doubt = None;
                    self.current = written;
                    return Ok(());
                }
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    if self.refresh(&patch).await? {
                        return Ok(());
                    }
                }
                Err(source) => {
                    if may_be_done(&source) {
                        self.in_doubt = Some(patch.clone());
                        // What cannot be asked now is asked before the next try.
                        if self.refresh(&patch).await.unwrap_or_default() {
                            tracing::info!(backup = %name, error = %source, "the answer to a write was lost; it was made");
                            return Ok(());
                        }
                    }
                    return Err(api_error(&name, source));
                }
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

    /// Whether the Backup is still as this process left it, but for unrelated fields.
    ///
    /// # Errors
    /// [`StatusError`]: it is not, or nobody could say so for `timeout`.
    pub async fn look_again(&mut self, timeout: Duration) -> Result<(), StatusError> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            match self.refresh(&Value::Null).await {
                Err(StatusError::Api { .. }) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                seen => return seen.map(drop),
            }
        }
    }

    /// Reads the object anew. True: `patch` was in doubt, and it was made.
    async fn refresh(&mut self, patch: &Value) -> Result<bool, StatusError> {
        let name = self.current.name_any();
        let found = self
            .api
            .get_opt(&name)
            .await
            .map_err(|source| api_error(&name, source))?;
        let Some(found) = found else {
            return Err(StatusError::TakenAway {
                name,
                change: DELETED,
            });
        };
        if found.uid() != self.current.uid() {
            return Err(StatusError::TakenAway {
                name,
                change: MADE_ANEW,
            });
        }
        if self.in_doubt.as_ref() == Some(patch) && was_made(patch, &self.current, &found) {
            self.in_doubt = None;
            self.current = found;
            return Ok(true);
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
        Ok(false)
    }
}

/// Whether a request that failed like this may have been carried out. A refusal says that it was not.
fn may_be_done(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || status.code == 408,
        _ => true,
    }
}

/// Whether `found` is what came of `patch` on `before`: it has all that the patch says, or has gone on from there.
fn was_made(patch: &Value, before: &Backup, found: &Backup) -> bool {
    let Ok(mut merged) = serde_json::to_value(found) else {
        return false;
    };
    json_patch::merge(&mut merged, patch);
    let Ok(wanted) = serde_json::from_value::<Backup>(merged) else {
        return false;
    };
    // Within one attempt nobody but this process moves a Backup out of its phase, and others only on from there.
    let has_moved = attempts::of(found) == attempts::of(before)
        && wanted.phase() != before.phase()
        && (found.phase() == wanted.phase() || follows(&found.phase(), &wanted.phase()));
    wanted == *found || has_moved
}

/// Whether a backup comes to `later` after it was in `phase`.
fn follows(later: &BackupPhase, phase: &BackupPhase) -> bool {
    let rank = |phase: &BackupPhase| match phase {
        BackupPhase::WaitingForPluginOperations | BackupPhase::WaitingForPluginOperationsPartiallyFailed => {
            Some(1)
        }
        BackupPhase::Finalizing | BackupPhase::FinalizingPartiallyFailed => Some(2),
        BackupPhase::Completed | BackupPhase::PartiallyFailed => Some(3),
        _ => None,
    };
    rank(phase).is_some_and(|rank_of_phase| rank(later) > Some(rank_of_phase))
}

fn api_error(name: &str, source: kube::Error) -> StatusError {
    StatusError::Api {
        name: name.to_owned(),
        source: Box::new(source),
    }
}
