//! Object lock: what is put cannot be deleted, nor written over, before its time (kopia-format.md 12).

use std::fmt;

use jiff::Timestamp;

/// Who may end a lock early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Whoever has the permission to.
    Governance,
    /// Nobody.
    Compliance,
}

impl LockMode {
    /// The mode that S3 and Kopia write so: `GOVERNANCE` or `COMPLIANCE`.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "GOVERNANCE" => Some(Self::Governance),
            "COMPLIANCE" => Some(Self::Compliance),
            _ => None,
        }
    }
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        })
    }
}

/// The lock of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectLock {
    /// Who may end it early.
    pub mode: LockMode,
    /// When it ends by itself.
    pub until: Timestamp,
}

impl ObjectLock {
    /// The same in whole seconds, which many blobs share. Never later: a lock can only be extended, and whoever extends it a
    /// moment later must not come too early.
    pub(crate) fn in_seconds(self) -> Self {
        Self {
            until: Timestamp::from_second(self.until.as_second()).unwrap_or(self.until),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_second_are_left_out() {
        let lock = ObjectLock {
            mode: LockMode::Governance,
            until: "2026-11-22T10:09:59.9Z".parse().unwrap(),
        };
        assert_eq!(lock.in_seconds().until, "2026-11-22T10:09:59Z".parse().unwrap());
    }

    #[test]
    fn modes_are_called_as_in_s3() {
        for mode in [LockMode::Governance, LockMode::Compliance] {
            assert_eq!(LockMode::by_name(&mode.to_string()), Some(mode));
        }
        assert_eq!(LockMode::by_name("Locked"), None);
    }
}
