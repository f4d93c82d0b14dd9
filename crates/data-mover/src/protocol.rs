//! What a data mover and its node agent say to each other: event reasons and the last word.
//!
//! The last word is written twice, as the pod's termination message and as one final Event with a name that the node
//! agent can compute, so that nothing waits for the kubelet's delay. A Velero data mover's termination message reads
//! the same; its events have random names and are not needed. Source: velero-behaviour.md 5.5.

use serde::{Deserialize, Serialize};

/// The mover has seen InProgress and begins.
pub const STARTED: &str = "Data-Path-Started";
/// Final: it has completed; the message is the result's JSON.
pub const COMPLETED: &str = "Data-Path-Completed";
/// Final: it has failed; the message says why.
pub const FAILED: &str = "Data-Path-Failed";
/// Final: it was canceled.
pub const CANCELED: &str = "Data-Path-Canceled";
/// It has seen the cancel and stops.
pub const CANCELING: &str = "Data-Path-Canceling";

/// How a termination message ends when the movement was canceled (Velero's words).
pub const CANCELED_WORDS: &str = "data path is canceled";
/// Velero's words for an empty volume.
pub const EMPTY_VOLUME: &str = "volume was empty so no data was upload";

/// Longest last word, in bytes: a message of an `events.k8s.io` reader holds 1024, a termination message 4096.
pub const LONGEST_WORD: usize = 1000;

/// Whether this event is a data mover's last word.
pub fn is_final(reason: &str) -> bool {
    matches!(reason, COMPLETED | FAILED | CANCELED)
}

/// Name of the final Event of the DataUpload or DataDownload with this UID.
pub fn final_event_name(uid: &str) -> String {
    format!("{uid}.data-path-result")
}

/// Result of a backup, as Velero's mover writes it, and `leftOut`, which is ours.
///
/// ```json
/// {"snapshotID":"812e89df5a19647c8aab6e805ec69893","emptySnapshot":false,
///  "source":{"byPath":"/9be0907d-…","volumeMode":"Filesystem"},"totalBytes":13631498,"incrementalBytes":13631498,
///  "leftOut":{"count":2,"first":["a/pipe (fifo)"]}}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupResult {
    /// Kopia's manifest id.
    #[serde(rename = "snapshotID")]
    pub snapshot_id: String,
    pub empty_snapshot: bool,
    pub source: AccessPoint,
    /// Bytes of file data in the snapshot.
    pub total_bytes: u64,
    /// Of these, bytes that the parent snapshot did not have.
    pub incremental_bytes: u64,
    /// Entries that no snapshot can hold (fifos, sockets, devices).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
}

/// Result of a restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreResult {
    pub target: AccessPoint,
    pub total_bytes: u64,
}

/// The volume as the pod saw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessPoint {
    pub by_path: String,
    pub volume_mode: String,
}

/// What a snapshot leaves out: how many, and the first of them as `path (what)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeftOut {
    pub count: u64,
    pub first: Vec<String>,
}

/// Bytes of names in [`LeftOut::first`], so that a result stays a short message.
const LEFT_OUT_BYTES: usize = 400;

impl LeftOut {
    /// Counts all and names as many as fit; None when nothing was left out.
    pub fn of(entries: impl IntoIterator<Item = (String, String)>) -> Option<Self> {
        let mut left = Self::default();
        let mut bytes = 0;
        for (path, what) in entries {
            left.count += 1;
            let line = format!("{} ({what})", shortened(&path, 120));
            bytes += line.len();
            if bytes <= LEFT_OUT_BYTES {
                left.first.push(line);
            }
        }
        (left.count > 0).then_some(left)
    }
}

impl BackupResult {
    /// What a user should know about a completed backup, for `status.message`; empty when there is nothing.
    ///
    /// One line an entry that was left out, each beginning with [`LEFT_OUT_LINE`]: the backup finalizer makes warnings
    /// of them.
    pub fn remark(&self) -> String {
        if self.empty_snapshot {
            return EMPTY_VOLUME.into();
        }
        let Some(left) = &self.left_out else {
            return String::new();
        };
        let mut lines: Vec<_> = left
            .first
            .iter()
            .map(|entry| format!("{LEFT_OUT_LINE}{entry}"))
            .collect();
        let unnamed = left.count.saturating_sub(left.first.len() as u64);
        if unnamed > 0 {
            lines.push(format!("{LEFT_OUT_LINE}and {unnamed} more"));
        }
        lines.join("\n")
    }
}

/// How a line of `status.message` begins that names an entry no snapshot can hold.
pub const LEFT_OUT_LINE: &str = "left out: ";

/// A data mover's last word.
#[derive(Clone, Debug, PartialEq)]
pub enum LastWord {
    BackedUp(BackupResult),
    Restored(RestoreResult),
    Failed(String),
    Canceled(String),
}

impl LastWord {
    /// Reads it from a final Event.
    pub fn of_event(reason: &str, message: &str) -> Self {
        match reason {
            COMPLETED => Self::of_result(message),
            CANCELED => Self::Canceled(message.to_owned()),
            _ => Self::Failed(message.to_owned()),
        }
    }

    /// Reads it from an ended container: its termination message, or else what the kubelet says.
    pub fn of_pod(succeeded: bool, message: &str, kubelet: &str) -> Self {
        let message = message.trim();
        if message.ends_with(CANCELED_WORDS) {
            return Self::Canceled(message.to_owned());
        }
        match (succeeded, message.is_empty()) {
            (true, _) => Self::of_result(message),
            (false, false) => Self::Failed(message.to_owned()),
            (false, true) if kubelet.contains("OOMKilled") => Self::Failed(format!(
                "the data mover was killed because it was out of memory ({kubelet}); give it more with \
                 podResources.memoryLimit in the node agent's ConfigMap"
            )),
            (false, true) => Self::Failed(format!(
                "the data mover ended without a word ({kubelet}); see its pod's log"
            )),
        }
    }

    fn of_result(json: &str) -> Self {
        let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
        let is = |field: &str| value.get(field).is_some();
        let read = if is("snapshotID") {
            serde_json::from_value(value).map(Self::BackedUp)
        } else if is("target") {
            serde_json::from_value(value).map(Self::Restored)
        } else {
            return Self::Failed(format!(
                "the data mover ended without a result; it said {:?}",
                shortened(json, 200)
            ));
        };
        read.unwrap_or_else(|error| Self::Failed(format!("the data mover's result cannot be read: {error}")))
    }

    /// The reason of its final Event.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BackedUp(_) | Self::Restored(_) => COMPLETED,
            Self::Failed(_) => FAILED,
            Self::Canceled(_) => CANCELED,
        }
    }

    /// The text of event and termination message, at most [`LONGEST_WORD`] bytes.
    pub fn text(&self) -> String {
        match self {
            Self::BackedUp(result) => serde_json::to_string(result).unwrap_or_default(),
            Self::Restored(result) => serde_json::to_string(result).unwrap_or_default(),
            Self::Failed(message) => shortened(message, LONGEST_WORD),
            Self::Canceled(message) if message.ends_with(CANCELED_WORDS) => shortened(message, LONGEST_WORD),
            Self::Canceled(message) => format!("{}: {CANCELED_WORDS}", shortened(message, LONGEST_WORD - 40)),
        }
    }
}

/// At most this many bytes, cut at a character, with `…` where something is missing.
fn shortened(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = (0..=bytes.saturating_sub(3))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_velero_movers_termination_message_is_understood() {
        let word = LastWord::of_pod(
            true,
            r#"{"snapshotID":"812e","emptySnapshot":false,"source":{"byPath":"/u","volumeMode":"Filesystem"},"totalBytes":7,"incrementalBytes":5}"#,
            "Completed, exit code 0",
        );
        let LastWord::BackedUp(result) = word else {
            panic!("{word:?}")
        };
        assert_eq!(
            (
                result.snapshot_id.as_str(),
                result.total_bytes,
                result.incremental_bytes
            ),
            ("812e", 7, 5)
        );
        assert_eq!(result.remark(), "");
    }

    #[test]
    fn a_message_that_ends_with_the_canceled_words_is_a_cancel() {
        let said = "error running data path: data path is canceled";
        assert_eq!(LastWord::of_pod(false, said, ""), LastWord::Canceled(said.into()));
        let ours = LastWord::Canceled("the upload was canceled".into()).text();
        assert!(matches!(
            LastWord::of_pod(false, &ours, ""),
            LastWord::Canceled(_)
        ));
    }

    #[test]
    fn a_container_that_ends_without_a_result_has_failed_even_with_exit_code_0() {
        assert!(matches!(
            LastWord::of_pod(true, "", "Completed, exit code 0"),
            LastWord::Failed(_)
        ));
        let LastWord::Failed(why) = LastWord::of_pod(false, "", "OOMKilled, exit code 137") else {
            panic!()
        };
        assert!(why.contains("out of memory (OOMKilled, exit code 137)"), "{why}");
    }

    #[test]
    fn entries_that_are_left_out_are_counted_and_the_first_are_named() {
        let entries = (0..100).map(|n| (format!("folder/pipe-{n}"), "fifo".to_owned()));
        let result = BackupResult {
            snapshot_id: "1".into(),
            left_out: LeftOut::of(entries),
            ..BackupResult::default()
        };
        let remark = result.remark();
        let lines: Vec<_> = remark.lines().collect();
        assert_eq!(lines[0], "left out: folder/pipe-0 (fifo)");
        assert_eq!(
            lines[lines.len() - 1],
            format!("left out: and {} more", 100 - (lines.len() - 1))
        );
        assert!(LastWord::BackedUp(result).text().len() <= LONGEST_WORD);
    }

    #[test]
    fn a_result_survives_its_own_event() {
        let word = LastWord::Restored(RestoreResult {
            target: AccessPoint {
                by_path: "/u".into(),
                volume_mode: "Block".into(),
            },
            total_bytes: 3,
        });
        assert_eq!(LastWord::of_event(word.reason(), &word.text()), word);
    }

    #[test]
    fn a_long_error_is_cut_at_a_character() {
        let text = LastWord::Failed("ü".repeat(3000)).text();
        assert!(text.len() <= LONGEST_WORD && text.ends_with('…'));
    }
}
