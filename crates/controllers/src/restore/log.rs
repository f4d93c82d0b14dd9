//! The restore's own log, `restores/<r>/restore-<r>-logs.gz`: logrus text lines, because readers of `velero restore
//! logs` parse them (velero-behaviour.md 9.2). Every line goes to the server's log too.
//!
//! `time="2026-11-21T03:46:59Z" level=info msg="Created" groupResource=pods name=app namespace=shop restore=velero/r1`

use std::fmt::Write as _;

use caravel_restore::log::{Level, RestoreLog};
use parking_lot::Mutex;

/// Collects lines in memory: a line an object, some 200 bytes each.
#[derive(Debug)]
pub struct LogrusLog {
    restore: String,
    lines: Mutex<String>,
}

impl LogrusLog {
    /// `restore` is `namespace/name`.
    pub fn new(restore: String) -> Self {
        Self {
            restore,
            lines: Mutex::default(),
        }
    }

    /// All lines so far.
    pub fn text(&self) -> String {
        self.lines.lock().clone()
    }
}

impl RestoreLog for LogrusLog {
    fn line(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let now = jiff::Timestamp::now();
        self.lines
            .lock()
            .push_str(&format_line(now, level, message, fields, &self.restore));
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
