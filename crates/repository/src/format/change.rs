//! The same repository under another password, or with other parameters (kopia-format.md 2.6): only the format blob and
//! `kopia.blobcfg` are written anew; master key and secret stay, so nothing else is sealed again.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use secrecy::SecretString;

use super::{
    BLOBCFG_BLOB, FORMAT_BLOB, Format, ParameterChange, Retention, config::Config, create::no_locks, derive,
    parse_outer, retention,
};
use crate::{
    Repository,
    blob::Blobs,
    crypto::envelope::Envelope,
    environment::Environment,
    error::{RepositoryError, RepositoryErrorKind, Result},
    maintenance::check_period,
};

impl Repository {
    /// Changes the password (blocking). Whoever has the repository open goes on for 15 minutes at most, then must open
    /// it again; so must this client.
    ///
    /// Errors: `Invalid` for an empty password, `Unsupported` in format version 1, `Locked` when somebody changed the
    /// format blob since it was read, `Storage`.
    pub fn change_password(&self, password: &SecretString) -> Result<()> {
        use secrecy::ExposeSecret as _;
        let inner = &self.inner;
        if !inner.format.config.password_change_enabled() {
            return Err(RepositoryError::unsupported(
                "format version 1, whose password cannot be changed",
            ));
        }
        if password.expose_secret().is_empty() {
            return Err(RepositoryError::invalid(
                "a repository's password cannot be empty",
            ));
        }
        let outer = parse_outer(&inner.format.bytes)?;
        let key = derive(&outer, &inner.format.unique_id, password, &inner.environment)?;
        let envelope = Envelope::new(&key, &inner.format.unique_id);
        let change = Change {
            config: &inner.format.config,
            retention: inner.format.retention.as_ref(),
            envelope: &envelope,
        };
        change.write(&inner.blobs, &inner.format, &inner.environment)
    }

    /// Changes parameters (blocking). Whoever has the repository open sees them when it is opened again.
    ///
    /// Errors: `Invalid` for values that do not work, `Locked` when somebody changed the format blob since it was read,
    /// `Storage`.
    pub fn set_parameters(&self, change: &ParameterChange) -> Result<()> {
        let inner = &self.inner;
        let config = inner.format.config.clone().with_parameters(change)?;
        let retention = match &change.retention {
            None => inner.format.retention.as_ref(),
            Some(wanted) => wanted.as_ref(),
        };
        let blobs = inner.blobs.clone().with_retention(retention, &inner.environment);
        if let Some(retention) = change.retention.as_ref().and_then(Option::as_ref) {
            retention.check()?;
            if !blobs.keeps_retention() {
                return Err(no_locks());
            }
            let maintenance = self.maintenance_parameters()?;
            let extends = maintenance.extend_object_locks;
            check_period(Some(retention), extends, maintenance.full.interval)?;
        }
        let change = Change {
            config: &config,
            retention,
            envelope: &inner.format.envelope,
        };
        change.write(&blobs, &inner.format, &inner.environment)
    }
}

/// What the two blobs are to say.
struct Change<'a> {
    config: &'a Config,
    retention: Option<&'a Retention>,
    envelope: &'a Envelope,
}

impl Change<'_> {
    /// Writes both blobs under `envelope`. A crash in between leaves a repository that opens, with the old password or the
    /// new one: a missing `kopia.blobcfg` means no retention, so where there is none it goes first and comes back last. With
    /// retention Kopia's order is kept: `kopia.blobcfg`, then the format blob.
    fn write(&self, blobs: &Blobs, format: &Format, environment: &Environment) -> Result<()> {
        let Self {
            config,
            retention,
            envelope,
        } = *self;
        if blobs.get(FORMAT_BLOB)? != format.bytes {
            return Err(RepositoryError::new(
                RepositoryErrorKind::Locked,
                "the repository's settings were changed meanwhile; nothing was written, open it again",
            ));
        }
        let settings = envelope.seal(environment, &retention::encode(retention));
        match retention {
            Some(_) => blobs.put(BLOBCFG_BLOB, settings.clone().into())?,
            None => blobs.delete(BLOBCFG_BLOB)?,
        }
        let mut outer = parse_outer(&format.bytes)?;
        outer.encrypted_block_format = BASE64_STANDARD.encode(envelope.seal(environment, &config.to_json()));
        blobs.put(FORMAT_BLOB, outer.to_bytes())?;
        if retention.is_none() {
            blobs.put(BLOBCFG_BLOB, settings.into())?;
        }
        Ok(())
    }
}
