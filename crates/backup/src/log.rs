//! The log of one backup (or restore): logrus text lines, gzip, uploaded as `<backup>-logs.gz`.
//!
//! Velero's format to the letter, because scripts read `velero backup logs`. Errors and warnings of a backup are
//! counted here and nowhere else, and `results.gz` is made of the same lines (velero-behaviour.md 3.7; upstream
//! `pkg/util/logging/log_counter_hook.go`). Warnings and errors also go to the server's own log.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write};
use std::panic::Location;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use caravel_backup_store::results::ResultSet;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

/// Weight of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Warning,
    Error,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The item a line is about; empty words are left out of the line.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
    /// `persistentvolumeclaims`, `deployments.apps`.
    pub resource: &'a str,
    /// `None`: the line is about the backup as a whole; empty: a cluster-scoped item.
    pub namespace: Option<&'a str>,
    pub name: &'a str,
}

/// An open log. Cheap to write to from several tasks; a line is written whole.
pub struct BackupLog {
    /// `velero/b1`.
    backup: String,
    state: Mutex<State>,
}

struct State {
    file: GzEncoder<File>,
    errors: ResultSet,
    warnings: ResultSet,
    broken: Option<io::Error>,
}

/// What is left of a closed log.
#[derive(Debug)]
pub struct Closed {
    pub errors: ResultSet,
    pub warnings: ResultSet,
}

impl BackupLog {
    /// Starts a log at `path`; `backup` is its `<namespace>/<name>`.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path, backup: impl Into<String>) -> io::Result<Self> {
        let state = State {
            file: GzEncoder::new(File::create(path)?, Compression::default()),
            errors: ResultSet::default(),
            warnings: ResultSet::default(),
            broken: None,
        };
        Ok(Self {
            backup: backup.into(),
            state: Mutex::new(state),
        })
    }

    #[track_caller]
    pub fn info(&self, message: impl fmt::Display) {
        self.line(Level::Info, About::default(), &message.to_string(), None);
    }

    /// A line about one item.
    #[track_caller]
    pub fn item(&self, about: About<'_>, message: impl fmt::Display) {
        self.line(Level::Info, about, &message.to_string(), None);
    }

    #[track_caller]
    pub fn warn(&self, about: About<'_>, message: impl fmt::Display) {
        tracing::warn!(backup = %self.backup, resource = about.resource, item = about.name, "{message}");
        self.line(Level::Warning, about, &message.to_string(), None);
    }

    /// Something of the backup is missing: it will end `PartiallyFailed`.
    #[track_caller]
    pub fn error(&self, about: About<'_>, message: impl fmt::Display, error: impl fmt::Display) {
        tracing::error!(backup = %self.backup, resource = about.resource, item = about.name, %error, "{message}");
        self.line(
            Level::Error,
            about,
            &message.to_string(),
            Some(&error.to_string()),
        );
    }

    /// How many error lines there are so far.
    pub fn errors(&self) -> usize {
        self.lock().errors.count()
    }

    /// Ends the file and hands out what was counted.
    ///
    /// # Errors
    /// The first error of writing the file, or that of ending it.
    pub fn close(self) -> io::Result<Closed> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.broken {
            return Err(error);
        }
        state.file.finish()?.sync_all()?;
        Ok(Closed {
            errors: state.errors,
            warnings: state.warnings,
        })
    }

    #[track_caller]
    fn line(&self, level: Level, about: About<'_>, message: &str, error: Option<&str>) {
        let line = format_line(
            Timestamp::now(),
            level,
            &self.backup,
            about,
            message,
            error,
            Location::caller(),
        );
        let mut state = self.lock();
        let state = &mut *state;
        let messages = match level {
            Level::Info => None,
            Level::Warning => Some(&mut state.warnings),
            Level::Error => Some(&mut state.errors),
        };
        if let Some(messages) = messages {
            add(messages, about, message, error);
        }
        if state.broken.is_none() {
            state.broken = state.file.write_all(line.as_bytes()).err();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line as logrus writes it: time, level and message first, then the fields by name.
pub fn format_line(
    time: Timestamp,
    level: Level,
    backup: &str,
    about: About<'_>,
    message: &str,
    error: Option<&str>,
    source: &Location<'_>,
) -> String {
    let source = format!("caravel/{}:{}", source.file(), source.line());
    let namespace = about.namespace.unwrap_or_default();
    let fields = [
        ("backup", backup),
        ("error", error.unwrap_or_default()),
        ("logSource", &source),
        ("name", about.name),
        ("namespace", namespace),
        ("resource", about.resource),
    ];
    let mut line = format!(
        "time=\"{time:.0}\" level={} msg={}",
        level.as_str(),
        quoted(message)
    );
    for (name, value) in fields {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(line, " {name}={}", quoted(value));
        }
    }
    line.push('\n');
    line
}

/// logrus quotes what holds anything but letters, digits and `-._/@^+`, with Go's escapes.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn add(messages: &mut ResultSet, about: About<'_>, message: &str, error: Option<&str>) {
    let mut text = String::new();
    for (label, value) in [
        ("resource", about.resource),
        ("name", about.name),
        ("message", message),
        ("error", error.unwrap_or_default()),
    ] {
        if !value.is_empty() {
            let _ = write!(text, " {label}: /{value}");
        }
    }
    match about.namespace {
        None => messages.velero.push(text),
        Some("") => messages.cluster.push(text),
        Some(namespace) => messages
            .namespaces
            .entry(namespace.to_owned())
            .or_default()
            .push(text),
    }
}

/// One line, a warning or an error, as a further member of the gzip file: what the finalizer appends to a log that is uploaded
/// already (gzip files may be joined, and Go's reader as well as ours reads all members).
///
/// # Errors
/// Never in practice: compressing into memory.
#[track_caller]
pub fn appended_line(
    level: Level,
    backup: &str,
    about: About<'_>,
    message: &str,
    into: &mut ResultSet,
) -> io::Result<Vec<u8>> {
    add(into, about, message, None);
    let line = format_line(
        Timestamp::now(),
        level,
        backup,
        about,
        message,
        None,
        Location::caller(),
    );
    let mut member = GzEncoder::new(Vec::new(), Compression::default());
    member.write_all(line.as_bytes())?;
    member.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::MultiGzDecoder;

    use super::*;

    const PVC: About<'static> = About {
        resource: "persistentvolumeclaims",
        namespace: Some("shop"),
        name: "data",
    };

    #[test]
    fn lines_look_like_logrus() {
        let time: Timestamp = "2026-11-21T03:46:59.123Z".parse().unwrap();
        let here = Location::caller();
        let line = format_line(
            time,
            Level::Error,
            "velero/b1",
            PVC,
            "Error backing up \"item\"",
            Some("a: b"),
            here,
        );
        let expected = format!(
            "time=\"2026-11-21T03:46:59Z\" level=error msg=\"Error backing up \\\"item\\\"\" backup=velero/b1 error=\"a: b\" \
             logSource=\"caravel/{}:{}\" name=data namespace=shop resource=persistentvolumeclaims\n",
            here.file(),
            here.line()
        );
        assert_eq!(line, expected);
        assert_eq!(quoted("velero/fix1"), "velero/fix1");
    }

    #[test]
    fn errors_and_warnings_are_counted_by_namespace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = BackupLog::create(&path, "velero/b1").unwrap();
        log.info("hello");
        log.error(PVC, "Error backing up item", "no class");
        log.warn(About::default(), "nothing matches");
        log.warn(
            About {
                namespace: Some(""),
                name: "pv1",
                ..About::default()
            },
            "odd",
        );
        let closed = log.close().unwrap();
        assert_eq!(
            closed.errors.namespaces["shop"],
            [
                " resource: /persistentvolumeclaims name: /data message: /Error backing up item error: /no class"
            ]
        );
        assert_eq!(
            (closed.warnings.velero.len(), closed.warnings.cluster.len()),
            (1, 1)
        );
        let mut bytes = std::fs::read(&path).unwrap();
        let mut more = ResultSet::default();
        bytes.extend(appended_line(Level::Warning, "velero/b1", PVC, "left out: fifo", &mut more).unwrap());
        let mut text = String::new();
        MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 5);
        assert!(text.lines().last().unwrap().contains("left out: fifo"));
        assert_eq!(more.count(), 1);
    }
}
