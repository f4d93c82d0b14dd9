//! Whether this machine's clock can be relied on for what is old and what is new.

use std::time::Duration;

use crate::{
    Repository,
    error::{RepositoryError, RepositoryErrorKind, Result},
};

impl Repository {
    /// Whether the local clock lags behind the storage's (blocking): some blob was written more than `allowed` from now.
    /// Such a client takes what is new for old, and what it writes is taken for old by others. A clock that is ahead
    /// cannot be seen without writing; maintenance looks for that, as Kopia's does.
    ///
    /// Errors: `ClockSkew`, saying by how much.
    pub fn check_clock(&self, allowed: Duration) -> Result<()> {
        let mut newest = None;
        for prefix in ["kopia.", "n", "x", "s"] {
            let listed = self.inner.blobs.list(prefix)?;
            newest = newest.max(listed.iter().map(|blob| blob.timestamp).max());
        }
        let now = self.inner.environment.clock.now();
        match newest {
            Some(newest) if newest.duration_since(now).unsigned_abs() > allowed && newest > now => {
                let lag = newest.duration_since(now).as_secs();
                Err(RepositoryError::new(
                    RepositoryErrorKind::ClockSkew,
                    format!(
                        "the storage has blobs from {newest}, {lag} s after this machine's {now}; nothing was written: \
                         set the clock (NTP) and start again"
                    ),
                ))
            }
            _ => Ok(()),
        }
    }
}
