//! How a command fails: what failed, because of what, and what to type next. Each kind of trouble with a repository has
//! advice of its own.

use std::fmt;

use caravel_repository::{RepositoryError, RepositoryErrorKind};
use caravel_storage::{StorageError, StorageErrorKind};
use caravel_uploader::UploaderError;

/// A failure as the user reads it.
#[derive(Debug)]
pub struct Failure {
    message: String,
    next: Option<String>,
    usage: bool,
}

/// What every verb returns.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Something went wrong while doing what was asked: exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            next: None,
            usage: false,
        }
    }

    /// What was asked makes no sense: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            usage: true,
            ..Self::new(message)
        }
    }

    /// The command to try next.
    #[must_use]
    pub fn next(mut self, command: impl Into<String>) -> Self {
        self.next = Some(command.into());
        self
    }

    /// The same, saying first what was being done.
    #[must_use]
    pub fn while_doing(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to type next, where there is advice.
    pub fn advice(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// The exit code for the shell.
    pub fn code(&self) -> u8 {
        if self.usage { 2 } else { 1 }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "An error occurred: {}", self.message)?;
        match &self.next {
            Some(next) => write!(f, "\nNext: {next}"),
            None => Ok(()),
        }
    }
}

/// What to do about a kind of trouble.
fn advice(error: &RepositoryError) -> Option<&'static str> {
    Some(match error.kind() {
        RepositoryErrorKind::WrongPassword => {
            "velero repo export-password    (prints the password of Velero's repositories; give it as KOPIA_PASSWORD or --password)"
        }
        RepositoryErrorKind::NotInitialized => {
            "velero kopia repository create --help    (or check the path, bucket and prefix: a repository lies where kopia.repository is)"
        }
        RepositoryErrorKind::AlreadyInitialized => "velero kopia repository connect --help",
        RepositoryErrorKind::Unsupported => {
            "kopia repository connect --help    (Kopia itself; nothing was written)"
        }
        RepositoryErrorKind::Locked => {
            "kopia repository upgrade --help    (wait until the upgrade is finished; nothing was written)"
        }
        RepositoryErrorKind::Damaged => "velero kopia content verify --full    (says what else is damaged)",
        RepositoryErrorKind::NewerVersion | RepositoryErrorKind::MissingFeature => {
            "kopia repository connect --help    (a newer Kopia itself; nothing was written)"
        }
        RepositoryErrorKind::ForeignFiles => {
            "velero kopia repository create --help    (an empty folder or prefix, for nothing but the repository)"
        }
        RepositoryErrorKind::NoSpace => "df -h    (make room; what was written so far does no harm)",
        RepositoryErrorKind::ReadOnly => {
            "velero kopia repository status    (where is it? it must be writable)"
        }
        RepositoryErrorKind::ClockSkew => "timedatectl status    (set this host's clock right)",
        RepositoryErrorKind::NotOwner => {
            "velero kopia maintenance set --owner=me    (takes it over; or --force, once)"
        }
        RepositoryErrorKind::TooSlow => "the same command again",
        RepositoryErrorKind::Storage => return error.storage().and_then(advice_on_storage),
        _ => return None,
    })
}

fn advice_on_storage(error: &StorageError) -> Option<&'static str> {
    Some(match error.kind() {
        StorageErrorKind::Denied => {
            "velero kopia repository connect --help    (with an access key that may do this)"
        }
        StorageErrorKind::Unavailable => "the same command again, when the storage answers",
        StorageErrorKind::Misconfigured => {
            "velero kopia repository connect --help    (with the settings of the storage)"
        }
        StorageErrorKind::NotFound | StorageErrorKind::Damaged => {
            "velero kopia content verify    (says what else is missing)"
        }
        _ => return None,
    })
}

impl From<RepositoryError> for Failure {
    fn from(error: RepositoryError) -> Self {
        let failure = Self::new(error.to_string());
        match advice(&error) {
            Some(next) => failure.next(next),
            None => failure,
        }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        let failure = Self::new(error.to_string());
        match advice_on_storage(&error) {
            Some(next) => failure.next(next),
            None => failure,
        }
    }
}

impl From<UploaderError> for Failure {
    fn from(error: UploaderError) -> Self {
        match &error {
            UploaderError::Repository { source, .. } => {
                let failure = Self::new(error.to_string());
                match advice(source) {
                    Some(next) => failure.next(next),
                    None => failure,
                }
            }
            _ => Self::new(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_ends_with_the_next_command() {
        let failure = Failure::new("no").next("velero kopia ls").while_doing("listing");
        assert_eq!(
            failure.to_string(),
            "An error occurred: listing: no\nNext: velero kopia ls"
        );
        assert_eq!((failure.code(), Failure::usage("x").code()), (1, 2));
    }
}
