//! What can go wrong, and the gRPC code that tells the caller what to do about it
//! (the table "error scheme" of the CSI specification, one section a call).

use std::path::{Path, PathBuf};

use tonic::{Code, Status};

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A refused or failed operation. Every message names the volume, snapshot or path, and the cause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong in itself; repeating it does not help.
    #[error("{0}")]
    Invalid(String),
    /// The volume, snapshot or path does not exist.
    #[error("{what} {id:?} does not exist")]
    NotFound {
        /// "volume", "snapshot" or "path".
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// The name is taken by something incompatible with the request.
    #[error("{0}")]
    AlreadyExists(String),
    /// The size asked for cannot be served by this driver at all.
    #[error("{0}")]
    OutOfRange(String),
    /// The store has no room now.
    #[error("{0}")]
    NoSpace(String),
    /// The volume is in a state in which this is not allowed.
    #[error("{0}")]
    FailedPrecondition(String),
    /// A listing token that this driver has not given.
    #[error("{0}")]
    Aborted(String),
    /// The machine refused.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The machine's answer.
        source: std::io::Error,
    },
    /// A command of the system failed.
    #[error("`{command}` failed ({status}): {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit status, or why it could not be started.
        status: String,
        /// What it said.
        stderr: String,
    },
    /// A state file that cannot be understood.
    #[error("the record {} is damaged: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Error {
    /// For `map_err` on an I/O result.
    pub fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }

    /// A request without a field that it must have.
    pub fn missing(field: &str) -> Self {
        Self::Invalid(format!("the request has no {field}"))
    }

    fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::NotFound { .. } => Code::NotFound,
            Self::AlreadyExists(_) => Code::AlreadyExists,
            Self::OutOfRange(_) => Code::OutOfRange,
            Self::NoSpace(_) => Code::ResourceExhausted,
            Self::FailedPrecondition(_) => Code::FailedPrecondition,
            Self::Aborted(_) => Code::Aborted,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Code::ResourceExhausted
            }
            Self::Io { .. } | Self::Command { .. } | Self::Damaged { .. } => Code::Internal,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Status::new(error.code(), error.to_string())
    }
}
