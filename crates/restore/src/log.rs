//! Where a run says what it does: the restore's own log file, which `velero restore logs` shows. The implementation
//! (logrus text format, velero-behaviour.md 9.2) is the controller's; tests collect lines.
//!
//! Nothing of an object's content is ever logged, only names (guarantee 8).

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What happens.
    Info,
    /// Counted among the warnings.
    Warning,
    /// Counted among the errors.
    Error,
}

impl Level {
    /// As logrus spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Takes lines. `fields` come after the message, `key=value`.
pub trait RestoreLog: Send + Sync {
    /// Writes one line.
    fn line(&self, level: Level, message: &str, fields: &[(&str, &str)]);
}

/// Drops everything.
#[derive(Debug, Default)]
pub struct NoLog;

impl RestoreLog for NoLog {
    fn line(&self, _: Level, _: &str, _: &[(&str, &str)]) {}
}
