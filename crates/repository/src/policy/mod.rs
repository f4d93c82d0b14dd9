//! Policies: how a source is backed up and how long its snapshots are kept (kopia-format.md 10.9), as manifests that
//! Kopia reads and writes too.
//!
//! - here: the document, member by member; what this version does not know is kept
//! - `inherit.rs`: which policies apply to a source, and what they say together
//! - `retention.rs`: which snapshots a policy keeps, and why · `expire.rs`: deletes the others; pins

mod expire;
mod inherit;
mod retention;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use expire::Expiry;
pub use inherit::{DefinedAt, Effective, PolicyRecord, built_in};
pub use retention::Reasons;

use crate::snapshot::SnapshotSource;

/// Members that this version does not know, kept as they are.
pub type Other = BTreeMap<String, Value>;

/// What a policy is for: a path (all three), a user of a host (no path), a host (only that), everything (all empty).
pub type PolicyTarget = SnapshotSource;

/// Declares one object of the document: every member optional, with Kopia's name, left out when unset; unknown members
/// kept.
macro_rules! members {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $($(#[$field_doc])* #[serde(skip_serializing_if = "is_unset")] pub $field: $type,)*
            #[serde(flatten)]
            pub other: Other,
        }
    };
}

fn is_unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A policy. Kopia writes every object, also empty ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    pub retention: Retention,
    pub files: Files,
    pub error_handling: ErrorHandling,
    pub scheduling: Scheduling,
    pub compression: Compression,
    pub metadata_compression: MetadataCompression,
    pub splitter: SplitterPolicy,
    pub actions: Actions,
    pub os_snapshots: OsSnapshots,
    pub logging: Logging,
    pub upload: Upload,
    /// Less specific policies do not apply.
    #[serde(skip_serializing_if = "is_unset")]
    pub no_parent: bool,
    #[serde(flatten)]
    pub other: Other,
}

members! {
    /// How many snapshots are kept, of each period the newest.
    Retention {
        keep_latest: Option<i64>,
        keep_hourly: Option<i64>,
        keep_daily: Option<i64>,
        keep_weekly: Option<i64>,
        keep_monthly: Option<i64>,
        keep_annual: Option<i64>,
        /// Whether a snapshot that is the same as the one before is not saved.
        ignore_identical_snapshots: Option<bool>,
    }
}

members! {
    /// Which files are left out.
    Files {
        /// Rules as of gitignore.
        ignore: Vec<String>,
        #[serde(rename = "noParentIgnore")]
        no_parent_ignore: bool,
        /// Names of files in the tree that hold such rules.
        ignore_dot_files: Vec<String>,
        no_parent_dot_files: bool,
        ignore_cache_dirs: Option<bool>,
        /// Bytes; 0 is no limit.
        max_file_size: i64,
        one_file_system: Option<bool>,
    }
}

members! {
    /// What does not make a snapshot fail.
    ErrorHandling {
        ignore_file_errors: Option<bool>,
        ignore_directory_errors: Option<bool>,
        ignore_unknown_types: Option<bool>,
    }
}

members! {
    /// When snapshots are taken (by Kopia's own scheduler; here it is only kept).
    Scheduling {
        interval_seconds: i64,
        time_of_day: Vec<TimeOfDay>,
        no_parent_time_of_day: bool,
        manual: bool,
        cron: Vec<String>,
        run_missed: Option<bool>,
    }
}

/// A time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TimeOfDay {
    pub hour: u8,
    #[serde(rename = "min")]
    pub minute: u8,
}

members! {
    /// How file data is compressed.
    Compression {
        /// As `zstd-fastest`; `none` and empty are none.
        compressor_name: String,
        /// Only files with these endings (`.log`).
        only_compress: Vec<String>,
        no_parent_only_compress: bool,
        /// Not files with these endings.
        never_compress: Vec<String>,
        no_parent_never_compress: bool,
        /// Bytes; smaller files are not compressed.
        min_size: i64,
        /// Bytes; larger ones are not. 0 is no limit.
        max_size: i64,
    }
}

members! {
    /// How directories and lists are compressed.
    MetadataCompression {
        compressor_name: String,
    }
}

members! {
    /// How files are cut.
    SplitterPolicy {
        algorithm: String,
    }
}

members! {
    /// Commands around a snapshot (run by Kopia when it is allowed to; never by us).
    Actions {
        before_folder: Option<Value>,
        after_folder: Option<Value>,
        before_snapshot_root: Option<Value>,
        after_snapshot_root: Option<Value>,
    }
}

/// Snapshots of the operating system. As in the policy itself, Kopia writes the empty object too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OsSnapshots {
    pub volume_shadow_copy: VolumeShadowCopy,
    #[serde(flatten)]
    pub other: Other,
}

members! {
    /// Windows' snapshots: 0 never, 1 always, 2 when available.
    VolumeShadowCopy {
        enable: Option<i64>,
    }
}

/// What Kopia logs, 0 to 10. Kopia writes empty objects too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Logging {
    pub directories: LogDetails,
    pub entries: LogDetails,
    #[serde(flatten)]
    pub other: Other,
}

members! {
    /// Details of directories or entries.
    LogDetails {
        snapshotted: Option<i64>,
        ignored: Option<i64>,
        cache_hit: Option<i64>,
        cache_miss: Option<i64>,
    }
}

members! {
    /// How an upload uses the machine.
    Upload {
        max_parallel_snapshots: Option<i64>,
        max_parallel_file_reads: Option<i64>,
        /// Bytes; longer files are uploaded in parts of this size.
        parallel_upload_above_size: Option<i64>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Velero saves it before each backup (kopia-format.md 13.4), and Kopia's writing of it.
    const VELERO: &str = "{\"retention\":{\"keepLatest\":2147483647,\"keepHourly\":2147483647,\"keepDaily\":2147483647,\
        \"keepWeekly\":2147483647,\"keepMonthly\":2147483647,\"keepAnnual\":2147483647},\"files\":{},\"errorHandling\":\
        {\"ignoreUnknownTypes\":true},\"scheduling\":{\"manual\":true},\"compression\":{\"compressorName\":\"none\"},\
        \"metadataCompression\":{},\"splitter\":{},\"actions\":{},\"osSnapshots\":{\"volumeShadowCopy\":{}},\"logging\":\
        {\"directories\":{},\"entries\":{}},\"upload\":{\"maxParallelFileReads\":2,\"parallelUploadAboveSize\":2147483648}}";

    #[test]
    fn veleros_policy_round_trips_member_by_member() {
        let policy: Policy = serde_json::from_str(VELERO).unwrap();
        let raw: Value = serde_json::from_str(VELERO).unwrap();
        assert_eq!(serde_json::to_value(&policy).unwrap(), raw);
        assert_eq!(policy.retention.keep_annual, Some(2_147_483_647));
        assert!(policy.scheduling.manual && policy.error_handling.ignore_unknown_types == Some(true));
        let again: Policy = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
        assert_eq!(again, policy);
    }

    #[test]
    fn members_of_later_versions_are_kept() {
        let json = "{\"retention\":{\"keepLatest\":1,\"keepCenturies\":2},\"newPart\":{\"a\":[1]}}";
        let policy: Policy = serde_json::from_str(json).unwrap();
        let back = serde_json::to_value(&policy).unwrap();
        assert_eq!(back["retention"]["keepCenturies"], 2);
        assert_eq!(back["newPart"]["a"][0], 1);
    }

    #[test]
    fn empty_policy_has_every_object_and_no_members() {
        let json = serde_json::to_value(Policy::default()).unwrap();
        assert_eq!(json["files"], serde_json::json!({}));
        assert!(json.get("noParent").is_none());
    }
}
