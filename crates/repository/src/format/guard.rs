//! Whether the repository may still be written to as it was opened (kopia-format.md 2.4: whoever writes looks at the
//! format blob again after 15 minutes): an upgrade lock, a new required feature or another layout may have come.

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{FORMAT_BLOB, Format, open_config, parse_outer};
use crate::{
    blob::Blobs,
    environment::Environment,
    error::{RepositoryError, RepositoryErrorKind, Result},
};

/// Kopia's own figure.
const MAX_AGE_SECS: i64 = 15 * 60;

/// Remembers when the format blob was looked at.
pub(crate) struct FormatGuard(Mutex<Timestamp>);

impl FormatGuard {
    /// The blob was read just now.
    pub fn new(environment: &Environment) -> Self {
        Self(Mutex::new(environment.clock.now()))
    }

    /// Reads the format blob again when that was too long ago. To be called before anything is written.
    ///
    /// Errors: `Locked`, `MissingFeature`, `NewerVersion`, `WrongPassword` when the password was changed meanwhile,
    /// `Locked` when the repository was upgraded, `Storage`.
    pub fn check(&self, format: &Format, blobs: &Blobs, environment: &Environment) -> Result<()> {
        let mut looked = self.0.lock();
        let now = environment.clock.now();
        // Nothing read since may hold a lock that was only announced then.
        format.config.check_supported(now)?;
        if now.as_second() - looked.as_second() < MAX_AGE_SECS {
            return Ok(());
        }
        let bytes = blobs.get(FORMAT_BLOB)?;
        if bytes != format.bytes {
            let config = open_config(&parse_outer(&bytes)?, &format.envelope)?.ok_or_else(|| {
                RepositoryError::new(
                    RepositoryErrorKind::WrongPassword,
                    "the repository's password was changed meanwhile; open it again with the new one",
                )
            })?;
            config.check_supported(now)?;
            let old = &format.config;
            if (config.index_version(), config.index_manager(), config.version())
                != (old.index_version(), old.index_manager(), old.version())
            {
                return Err(RepositoryError::new(
                    RepositoryErrorKind::Locked,
                    "the repository was upgraded meanwhile; nothing was committed, open it again",
                ));
            }
        }
        *looked = now;
        Ok(())
    }
}
