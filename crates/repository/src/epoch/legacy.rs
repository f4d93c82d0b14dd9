//! Index blobs before there were epochs: format version 1 (kopia-format.md 7.9; Kopia
//! `repo/content/indexblob/index_blob_manager_v0.go` v0.22.3).
//!
//! ```text
//! n…   an index blob                              all of them count …
//! m…   "these n were compacted into those n"      … but the inputs, once all outputs are there
//! l…   "these m can go an hour from now"
//! ```

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{IndexSet, List};
use crate::{
    blob::Blobs,
    crypto::Sealer,
    error::{RepositoryError, Result},
};

/// First letters of index blobs, compaction logs and clean-up lists.
pub(crate) const INDEX: &str = "n";
pub(crate) const COMPACTION_LOG: &str = "m";
#[allow(dead_code)] // Maintenance writes and reads them.
pub(crate) const CLEANUP: &str = "l";
/// Written by an upgrade to epochs, so that old clients fail; no index.
pub(crate) const POISON: &str =
    "n00000000000000000000000000000000-repository_unreadable_by_this_kopia_version_upgrade_required";

/// A blob in a compaction log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoggedBlob {
    pub id: String,
    #[serde(default)]
    pub length: i64,
    #[serde(default)]
    pub timestamp: Timestamp,
}

/// The plaintext of an `m` blob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CompactionLog {
    pub input_metadata: Option<Vec<LoggedBlob>>,
    pub output_metadata: Option<Vec<LoggedBlob>>,
}

/// The plaintext of an `l` blob.
#[allow(dead_code)] // Maintenance writes and reads them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cleanup {
    #[serde(rename = "blobIDs")]
    pub blob_ids: Option<Vec<String>>,
    #[serde(rename = "cleanupScheduleTime")]
    pub cleanup_schedule_time: Timestamp,
}

/// The index blobs that count right now. There is no watermark: compaction drops tombstones itself.
pub(crate) fn active(list: List<'_>, blobs: &Blobs, sealer: &Sealer) -> Result<IndexSet> {
    // In this order: a compaction that ends in between is then seen with inputs and outputs, which merge.
    let logs = list(COMPACTION_LOG)?;
    let present = list(INDEX)?;
    let mut parsed = Vec::with_capacity(logs.len());
    for log in &logs {
        let name = log.id.as_str();
        match blobs.get(name) {
            Ok(body) => parsed.push(decode_log(name, sealer.open_blob(name, &body))?),
            // Deleted since it was listed: its inputs are gone, too.
            Err(error) if error.is_missing_blob() => {}
            Err(error) => return Err(error),
        }
    }
    let names = present.iter().map(|blob| blob.id.as_str());
    Ok(IndexSet {
        blobs: without_inputs(names.collect(), &parsed),
        watermark: 0,
    })
}

fn decode_log(name: &str, plain: Option<Vec<u8>>) -> Result<CompactionLog> {
    let plain = plain.ok_or_else(|| {
        RepositoryError::damaged(format!(
            "compaction log {name} was altered or truncated: it cannot be opened"
        ))
    })?;
    decode(&plain).map_err(|e| e.while_doing(format_args!("cannot read compaction log {name}")))
}

/// Parses the plaintext of an `m` blob.
pub(crate) fn decode(plain: &[u8]) -> Result<CompactionLog> {
    serde_json::from_slice(plain).map_err(|e| RepositoryError::damaged(format!("it is not well formed: {e}")))
}

fn without_inputs(mut present: BTreeSet<&str>, logs: &[CompactionLog]) -> BTreeSet<String> {
    let ids = |blobs: &Option<Vec<LoggedBlob>>| -> Vec<String> {
        blobs.iter().flatten().map(|blob| blob.id.clone()).collect()
    };
    let complete = logs.iter().filter(|log| {
        ids(&log.output_metadata)
            .iter()
            .all(|output| present.contains(output.as_str()))
    });
    let superseded: Vec<String> = complete.flat_map(|log| ids(&log.input_metadata)).collect();
    for input in &superseded {
        present.remove(input.as_str());
    }
    present.remove(POISON);
    present.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(inputs: &[&str], outputs: &[&str]) -> CompactionLog {
        let blobs = |ids: &[&str]| {
            let one = |id: &&str| LoggedBlob {
                id: (*id).into(),
                length: 1,
                timestamp: Timestamp::UNIX_EPOCH,
            };
            Some(ids.iter().map(one).collect())
        };
        CompactionLog {
            input_metadata: blobs(inputs),
            output_metadata: blobs(outputs),
        }
    }

    fn left(present: &[&str], logs: &[CompactionLog]) -> Vec<String> {
        without_inputs(present.iter().copied().collect(), logs)
            .into_iter()
            .collect()
    }

    #[test]
    fn compacted_blobs_do_not_count_once_every_output_is_there() {
        let present = ["n1", "n2", "n3", "n4"];
        assert_eq!(left(&present, &[log(&["n1", "n2"], &["n4"])]), ["n3", "n4"]);
        assert_eq!(left(&present, &[log(&["n1"], &["n4", "n5"])]), present);
        assert_eq!(
            left(&present, &[log(&["n1"], &["n2"]), log(&["n2"], &["n3"])]),
            ["n3", "n4"]
        );
        assert_eq!(left(&present, &[log(&["n1"], &[])]), ["n2", "n3", "n4"]);
    }

    #[test]
    fn poison_of_an_upgrade_is_no_index() {
        assert_eq!(left(&["n1", POISON], &[]), ["n1"]);
    }

    #[test]
    fn logs_are_kopias_json() {
        let json = r#"{"inputMetadata":[{"id":"n1","length":5,"timestamp":"2026-11-20T21:25:34.29Z"}],"outputMetadata":null}"#;
        let parsed = decode(json.as_bytes()).unwrap();
        assert_eq!(parsed.input_metadata.as_ref().unwrap()[0].id, "n1");
        assert!(parsed.output_metadata.is_none());
        assert_eq!(serde_json::to_string(&parsed).unwrap(), json);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes);
        }
    }
}
