//! The restore's own log, `restores/<r>/restore-<r>-logs.gz`: logrus text lines, because readers of `velero restore
//! logs` parse them (velero-behaviour.md 9.2). Every line goes to the server's log too.
//!
//! `time="2026-11-21T03:46:59Z" level=info msg="Created" groupResource=pods name=app namespace=shop restore=velero/r1`

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use caravel_restore::log::{Level, RestoreLog};
use flate2::Compression;
use flate2::write::GzEncoder;
use parking_lot::Mutex;

/// Writes lines into a gzip file on the scratch volume: there is one for each object, so they do not stay in memory.
#[derive(Debug)]
pub struct LogrusLog {
    restore: String,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// There is no scratch volume yet; these wait for it.
    Waiting(String),
    Open(GzEncoder<File>),
    /// What could not be written; a hook may go on to log after the end.
    Closed(Option<io::Error>),
}

impl LogrusLog {
    /// `restore` is `namespace/name`.
    pub fn new(restore: String) -> Self {
        Self {
            restore,
            state: Mutex::new(State::Waiting(String::new())),
        }
    }

    /// Writes to this file from now on, beginning with what was logged before.
    ///
    /// # Errors
    /// The file cannot be created or written.
    pub fn write_to(&self, file: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let mut encoder = GzEncoder::new(File::create(file)?, Compression::default());
        if let State::Waiting(lines) = &*state {
            encoder.write_all(lines.as_bytes())?;
        }
        *state = State::Open(encoder);
        Ok(())
    }

    /// Ends the file. Later lines are the server's only.
    ///
    /// # Errors
    /// The first error of writing the file, or that of ending it.
    pub fn close(&self) -> io::Result<()> {
        match std::mem::replace(&mut *self.state.lock(), State::Closed(None)) {
            State::Open(encoder) => encoder.finish()?.sync_all(),
            State::Closed(Some(error)) => Err(error),
            State::Waiting(_) | State::Closed(None) => Ok(()),
        }
    }

    fn push(&self, line: &str) {
        let mut state = self.state.lock();
        let failed = match &mut *state {
            State::Waiting(lines) => {
                lines.push_str(line);
                None
            }
            State::Open(encoder) => encoder.write_all(line.as_bytes()).err(),
            State::Closed(_) => None,
        };
        if let Some(error) = failed {
            *state = State::Closed(Some(error));
        }
    }
}

impl RestoreLog for LogrusLog {
    fn line(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let now = jiff::Timestamp::now();
        self.push(&format_line(now, level, message, fields, &self.restore));
        match level {
            Level::Info => tracing::debug!(restore = %self.restore, ?fields, "{message}"),
            Level::Warning => tracing::warn!(restore = %self.restore, ?fields, "{message}"),
            Level::Error => tracing::error!(restore = %self.restore, ?fields, "{message}"),
        }
    }
}

fn format_line(
    now: jiff::Timestamp,
    level: Level,
    message: &str,
    fields: &[(&str, &str)],
    restore: &str,
) -> String {
    let time = now.strftime("%Y-%m-%dT%H:%M:%SZ");
    let mut line = format!(
        "time=\"{time}\" level={} msg={}",
        level.as_str(),
        quoted(message, true)
    );
    let mut fields: Vec<(&str, &str)> = fields
        .iter()
        .copied()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    fields.push(("restore", restore));
    fields.sort_unstable();
    for (key, value) in fields {
        // Writing into a String cannot fail.
        let _ = write!(line, " {key}={}", quoted(value, false));
    }
    line.push('\n');
    line
}

/// Logrus quotes what holds anything but letters, digits and `-._/@^+`; Go's %q escapes as JSON does for our texts.
fn quoted(text: &str, always: bool) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !always && text.chars().all(plain) {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_from_before_the_file_stand_in_it_and_those_after_the_end_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log.gz");
        let log = LogrusLog::new("velero/r1".to_owned());
        log.line(Level::Info, "first", &[]);
        log.write_to(&file).unwrap();
        log.line(Level::Info, "second", &[]);
        log.close().unwrap();
        log.line(Level::Info, "late", &[]);
        let mut text = String::new();
        let mut reader = flate2::read::MultiGzDecoder::new(File::open(&file).unwrap());
        io::Read::read_to_string(&mut reader, &mut text).unwrap();
        let messages: Vec<bool> = ["first", "second", "late"]
            .iter()
            .map(|word| text.contains(&format!("msg=\"{word}\"")))
            .collect();
        assert_eq!(messages, [true, true, false], "{text}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn a_line_reads_as_logrus_writes_it() {
        let now: jiff::Timestamp = "2026-11-21T03:46:59.5Z".parse().unwrap();
        let line = format_line(
            now,
            Level::Warning,
            "say \"hi\"",
            &[("name", "a b"), ("namespace", "")],
            "velero/r1",
        );
        assert_eq!(
            line,
            "time=\"2026-11-21T03:46:59Z\" level=warning msg=\"say \\\"hi\\\"\" name=\"a b\" restore=velero/r1\n"
        );
    }
}
