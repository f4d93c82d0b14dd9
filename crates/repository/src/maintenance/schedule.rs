//! When maintenance ran and is due next (kopia-format.md 11.2): the sealed blob `kopia.maintenance`, written over
//! in place. Every client reads it; the maintaining one writes it before and after each task.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::{
    crypto::{NONCE_LENGTH, hkdf_sha256, open_aes, seal_aes},
    error::{RepositoryError, Result},
    repository::Repository,
};

/// The blob's name.
pub const SCHEDULE_BLOB: &str = "kopia.maintenance";
const KEY_PURPOSE: &[u8] = b"maintenance schedule";
const ASSOCIATED: &[u8] = b"maintenance";
/// Go's zero time, which stands for "never".
const NEVER_SECS: i64 = -62_135_596_800;
/// How many runs of one task are remembered.
const KEPT_RUNS: usize = 50;

/// The tasks of maintenance, as Kopia names them in the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    SnapshotGc,
    QuickDeleteBlobs,
    FullDeleteBlobs,
    QuickRewriteContents,
    FullRewriteContents,
    FullDropDeletedContent,
    IndexCompaction,
    ExtendBlobRetentionTime,
    CleanupLogs,
    AdvanceEpoch,
    DeleteSupersededEpochIndexes,
    CleanupEpochMarkers,
    GenerateEpochRangeIndex,
    CompactSingleEpoch,
}

impl Task {
    /// As in the schedule.
    pub fn name(self) -> &'static str {
        match self {
            Task::SnapshotGc => "snapshot-gc",
            Task::QuickDeleteBlobs => "quick-delete-blobs",
            Task::FullDeleteBlobs => "full-delete-blobs",
            Task::QuickRewriteContents => "quick-rewrite-contents",
            Task::FullRewriteContents => "full-rewrite-contents",
            Task::FullDropDeletedContent => "full-drop-deleted-content",
            Task::IndexCompaction => "index-compaction",
            Task::ExtendBlobRetentionTime => "extend-blob-retention-time",
            Task::CleanupLogs => "cleanup-logs",
            Task::AdvanceEpoch => "advance-epoch",
            Task::DeleteSupersededEpochIndexes => "delete-superseded-epoch-indexes",
            Task::CleanupEpochMarkers => "cleanup-epoch-markers",
            Task::GenerateEpochRangeIndex => "generate-epoch-range-index",
            Task::CompactSingleEpoch => "compact-single-epoch",
        }
    }
}

/// The blob's plaintext.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// None: at once.
    #[serde(rename = "nextFullMaintenance", default, with = "go_time")]
    pub next_full: Option<Timestamp>,
    /// None: at once.
    #[serde(rename = "nextQuickMaintenance", default, with = "go_time")]
    pub next_quick: Option<Timestamp>,
    /// By the task's name, newest first; also tasks that this version does not know.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub runs: BTreeMap<String, Vec<Run>>,
}

/// One run of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub start: Timestamp,
    pub end: Timestamp,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub success: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Figures of the run, of a kind per task.
    #[serde(
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub extra: Vec<Extra>,
}

/// Figures of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Extra {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Null where a task found nothing to do; Kopia writes that too.
    #[serde(default)]
    pub data: serde_json::Value,
}

fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

mod go_time {
    use super::*;

    pub fn serialize<S: Serializer>(time: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => time.serialize(s),
            None => s.serialize_str("0001-01-01T00:00:00Z"),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<Timestamp>::deserialize(d)?.filter(|time| time.as_second() != NEVER_SECS))
    }
}

impl Schedule {
    /// Runs of a task, newest first.
    pub fn runs_of(&self, task: Task) -> &[Run] {
        self.runs.get(task.name()).map_or(&[], Vec::as_slice)
    }

    /// Adds a run; one that began at the same moment (an unfinished note of it) is replaced.
    pub fn add(&mut self, task: Task, run: Run) {
        let runs = self.runs.entry(task.name().into()).or_default();
        match runs.iter().position(|known| known.start == run.start) {
            Some(at) => runs[at] = run,
            None => runs.insert(0, run),
        }
        runs.truncate(KEPT_RUNS);
    }
}

impl Repository {
    /// What the schedule blob says; an empty schedule when there is none (blocking).
    ///
    /// Errors: `Damaged` when it cannot be opened, `Storage`.
    pub fn maintenance_schedule(&self) -> Result<Schedule> {
        let sealed = match self.inner.blobs.get(SCHEDULE_BLOB) {
            Err(error) if error.is_missing_blob() => return Ok(Schedule::default()),
            other => other?,
        };
        let damaged = |cause: String| {
            RepositoryError::damaged(format!(
                "blob {SCHEDULE_BLOB} with the times of maintenance {cause}; delete it to let maintenance start anew"
            ))
        };
        let plain = open_aes(&self.schedule_key(), ASSOCIATED, &sealed)
            .ok_or_else(|| damaged("was altered: it cannot be opened".into()))?;
        serde_json::from_slice(&plain).map_err(|e| damaged(format!("is not well formed: {e}")))
    }

    /// Writes the schedule blob.
    pub(super) fn put_schedule(&self, schedule: &Schedule) -> Result<()> {
        let json = serde_json::to_vec(schedule).expect("a schedule is plain JSON");
        let nonce = self.inner.environment.random::<NONCE_LENGTH>();
        let mut sealed = nonce.to_vec();
        sealed.extend_from_slice(&json);
        let tag = seal_aes(
            &self.schedule_key(),
            nonce,
            ASSOCIATED,
            &mut sealed[NONCE_LENGTH..],
        );
        sealed.extend_from_slice(&tag);
        self.inner.blobs.put(SCHEDULE_BLOB, sealed.into())
    }

    fn schedule_key(&self) -> Zeroizing<[u8; 32]> {
        let format = &self.inner.format;
        // Old repositories have it from the password itself.
        let from: &[u8] = match format.config.password_change_enabled() {
            true => &format.config.master_key.0,
            false => format.format_key.as_ref(),
        };
        hkdf_sha256(from, &format.unique_id, KEY_PURPOSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(second: i64) -> Run {
        let start = Timestamp::from_second(second).unwrap();
        Run {
            start,
            end: start,
            success: true,
            error: String::new(),
            extra: Vec::new(),
        }
    }

    #[test]
    fn key_is_the_one_of_the_reference() {
        let master: Vec<u8> = (0x20..0x40).collect();
        let unique: Vec<u8> = (0..0x20).collect();
        let expected = "327e5ba0d7687c8a777e26dddaccb1fc6bdcf0e21a7f753928633d8186db741f";
        assert_eq!(
            hex::encode(hkdf_sha256(&master, &unique, KEY_PURPOSE).as_ref()),
            expected
        );
    }

    #[test]
    fn never_is_gos_zero_time_and_null_lists_are_empty() {
        let json = serde_json::to_string(&Schedule::default()).unwrap();
        assert_eq!(
            json,
            "{\"nextFullMaintenance\":\"0001-01-01T00:00:00Z\",\"nextQuickMaintenance\":\"0001-01-01T00:00:00Z\",\"runs\":{}}"
        );
        assert_eq!(
            serde_json::from_str::<Schedule>(&json).unwrap(),
            Schedule::default()
        );
        let nulls = json.replace("{}", "null");
        assert_eq!(
            serde_json::from_str::<Schedule>(&nulls).unwrap(),
            Schedule::default()
        );
    }

    #[test]
    fn fifty_runs_are_kept_newest_first_and_a_note_is_replaced() {
        let mut schedule = Schedule::default();
        for second in 0..60 {
            schedule.add(Task::SnapshotGc, run(second));
        }
        let mut finished = run(59);
        finished.error = "it failed".into();
        schedule.add(Task::SnapshotGc, finished.clone());
        let runs = schedule.runs_of(Task::SnapshotGc);
        assert_eq!((runs.len(), &runs[0], &runs[49]), (50, &finished, &run(10)));
    }

    #[test]
    fn task_names_are_the_ones_that_serde_writes() {
        for task in [
            Task::SnapshotGc,
            Task::FullDropDeletedContent,
            Task::DeleteSupersededEpochIndexes,
        ] {
            assert_eq!(serde_json::to_value(task).unwrap(), task.name());
        }
    }
}
