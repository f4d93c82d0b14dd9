//! What could not be restored: the end of the restore, or noted where the others go on.

use caravel_repository::EntryError;
use parking_lot::Mutex;

use crate::error::{Result, UploaderError};

/// What went wrong so far.
pub(crate) struct Notes {
    ignore_errors: bool,
    failed: Mutex<Vec<EntryError>>,
    /// The first failure that nobody was there to return.
    late: Mutex<Option<UploaderError>>,
}

impl Notes {
    /// With `ignore_errors` the others go on (`RestoreRules::ignore_errors`).
    pub fn new(ignore_errors: bool) -> Self {
        Self {
            ignore_errors,
            failed: Mutex::default(),
            late: Mutex::default(),
        }
    }

    /// A failure, or the note of one where the others go on.
    pub fn tolerate(&self, path: &str, done: Result<()>) -> Result<()> {
        match done {
            Err(error) if self.ignore_errors && !matches!(error, UploaderError::Canceled) => {
                self.failed.lock().push(EntryError {
                    path: path.to_owned(),
                    error: error.to_string(),
                });
                Ok(())
            }
            done => done,
        }
    }

    /// The same where a failure cannot be returned.
    pub fn note(&self, path: &str, done: Result<()>) {
        if let Err(error) = self.tolerate(path, done) {
            self.late.lock().get_or_insert(error);
        }
    }

    /// What was noted, by path, or the failure that nobody returned.
    pub fn into_failed(self) -> Result<Vec<EntryError>> {
        if let Some(error) = self.late.into_inner() {
            return Err(error);
        }
        let mut failed = self.failed.into_inner();
        failed.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> Result<()> {
        Err(UploaderError::Mismatch(text.to_owned()))
    }

    #[test]
    fn with_errors_ignored_everything_is_noted_but_that_it_was_canceled() {
        let notes = Notes::new(true);
        notes.tolerate("z", failure("one")).expect("the others go on");
        notes.note("a", failure("two"));
        notes
            .tolerate("b", Err(UploaderError::Canceled))
            .expect_err("nobody goes on");
        let failed = notes.into_failed().expect("no failure");
        let noted: Vec<_> = failed
            .iter()
            .map(|it| (it.path.as_str(), it.error.as_str()))
            .collect();
        assert_eq!(noted, [("a", "two"), ("z", "one")]);
    }

    #[test]
    fn otherwise_a_failure_that_nobody_returned_ends_the_restore() {
        let notes = Notes::new(false);
        assert!(notes.tolerate("z", failure("one")).is_err());
        notes.note("a", failure("two"));
        notes.note("b", failure("three"));
        assert_eq!(notes.into_failed().expect_err("a failure").to_string(), "two");
    }
}
