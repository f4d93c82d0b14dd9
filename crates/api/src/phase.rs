//! Phases and other words of the API, as open enums: a word this version does not know is kept as it is.
//!
//! Other people's data movers and newer servers write phases of their own; an object that holds one must still be
//! read, and written back unchanged. The known words are velero-behaviour.md section 1.1; transitions are
//! decided in `caravel-controllers`, not here.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Defines an enum of known words plus `Other`; the first word is the default.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $wire:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            /// A word that this version does not know, kept as read.
            Other(String),
        }

        impl $name {
            /// The words this version knows, in the order of the CRD.
            pub const KNOWN: &[&str] = &[$($wire),+];

            /// The word on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $wire,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($wire => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::from(Self::KNOWN[0])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self::from(&*Cow::<'de, str>::deserialize(deserializer)?))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "enum": Self::KNOWN})
            }
        }
    };
}

open_enum! {
    /// Where a Backup stands. No phase at all means `New`.
    BackupPhase {
        New = "New",
        Queued = "Queued",
        ReadyToStart = "ReadyToStart",
        FailedValidation = "FailedValidation",
        InProgress = "InProgress",
        WaitingForPluginOperations = "WaitingForPluginOperations",
        WaitingForPluginOperationsPartiallyFailed = "WaitingForPluginOperationsPartiallyFailed",
        Finalizing = "Finalizing",
        FinalizingPartiallyFailed = "FinalizingPartiallyFailed",
        Completed = "Completed",
        PartiallyFailed = "PartiallyFailed",
        Failed = "Failed",
        Deleting = "Deleting",
    }
}

impl BackupPhase {
    /// True when the backup has run to its end, well or badly.
    pub fn is_finished(&self) -> bool {
        matches!(
            self,
            Self::FailedValidation | Self::Completed | Self::PartiallyFailed | Self::Failed
        )
    }
}

open_enum! {
    /// Where a Restore stands. No phase at all means `New`.
    RestorePhase {
        New = "New",
        FailedValidation = "FailedValidation",
        InProgress = "InProgress",
        WaitingForPluginOperations = "WaitingForPluginOperations",
        WaitingForPluginOperationsPartiallyFailed = "WaitingForPluginOperationsPartiallyFailed",
        Completed = "Completed",
        PartiallyFailed = "PartiallyFailed",
        Failed = "Failed",
        Finalizing = "Finalizing",
        FinalizingPartiallyFailed = "FinalizingPartiallyFailed",
    }
}

impl RestorePhase {
    /// True when the restore has run to its end, well or badly.
    pub fn is_finished(&self) -> bool {
        matches!(
            self,
            Self::FailedValidation | Self::Completed | Self::PartiallyFailed | Self::Failed
        )
    }
}

open_enum! {
    /// Where a DataUpload, DataDownload, PodVolumeBackup or PodVolumeRestore stands. No phase at all means `New`.
    DataMovementPhase {
        New = "New",
        Accepted = "Accepted",
        Prepared = "Prepared",
        InProgress = "InProgress",
        Canceling = "Canceling",
        Canceled = "Canceled",
        Completed = "Completed",
        Failed = "Failed",
    }
}

impl DataMovementPhase {
    /// True when nothing will move any more: `Completed`, `Failed` or `Canceled`.
    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }
}

open_enum! {
    /// Whether a repository can be used.
    BackupRepositoryPhase { New = "New", Ready = "Ready", NotReady = "NotReady" }
}

open_enum! {
    /// How one run of repository maintenance ended.
    BackupRepositoryMaintenanceResult { Succeeded = "Succeeded", Failed = "Failed" }
}

open_enum! {
    /// Whether the bucket could be reached at the last validation.
    BackupStorageLocationPhase { Available = "Available", Unavailable = "Unavailable" }
}

open_enum! {
    /// Whether a location may be written to; nothing at all means `ReadWrite`.
    BackupStorageLocationAccessMode { ReadWrite = "ReadWrite", ReadOnly = "ReadOnly" }
}

open_enum! {
    /// Where a DeleteBackupRequest stands; errors are in `status.errors`, never in the phase.
    DeleteBackupRequestPhase { New = "New", InProgress = "InProgress", Processed = "Processed" }
}

open_enum! {
    /// Where a DownloadRequest stands.
    DownloadRequestPhase { New = "New", Processed = "Processed" }
}

open_enum! {
    /// What a DownloadRequest asks a signed URL for.
    DownloadTargetKind {
        BackupLog = "BackupLog",
        BackupContents = "BackupContents",
        BackupVolumeSnapshots = "BackupVolumeSnapshots",
        BackupItemOperations = "BackupItemOperations",
        BackupResourceList = "BackupResourceList",
        BackupResults = "BackupResults",
        RestoreLog = "RestoreLog",
        RestoreResults = "RestoreResults",
        RestoreResourceList = "RestoreResourceList",
        RestoreItemOperations = "RestoreItemOperations",
        CsiBackupVolumeSnapshots = "CSIBackupVolumeSnapshots",
        CsiBackupVolumeSnapshotContents = "CSIBackupVolumeSnapshotContents",
        BackupVolumeInfos = "BackupVolumeInfos",
        RestoreVolumeInfo = "RestoreVolumeInfo",
    }
}

open_enum! {
    /// What a failed hook means for its backup or restore.
    HookErrorMode { Continue = "Continue", Fail = "Fail" }
}

open_enum! {
    /// The operating system a data mover must run on; `Auto` picks by the volume.
    NodeOs { Auto = "auto", Linux = "linux", Windows = "windows" }
}

open_enum! {
    /// Where a Schedule stands.
    SchedulePhase { New = "New", Enabled = "Enabled", FailedValidation = "FailedValidation" }
}

open_enum! {
    /// Where a ServerStatusRequest stands.
    ServerStatusRequestPhase { New = "New", Processed = "Processed" }
}

open_enum! {
    /// What moves or holds the data; only `Kopia` works, `restic` is read and refused, empty means `Kopia`.
    UploaderType { Kopia = "kopia", Restic = "restic", Unset = "" }
}

open_enum! {
    /// Declared by Velero and written by nobody.
    VolumeSnapshotLocationPhase { Available = "Available", Unavailable = "Unavailable" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_from_a_newer_version_survives_a_round_trip() {
        let phase: DataMovementPhase = serde_json::from_str("\"Hibernating\"").unwrap();
        assert_eq!(phase, DataMovementPhase::Other("Hibernating".into()));
        assert_eq!(serde_json::to_string(&phase).unwrap(), "\"Hibernating\"");
    }

    #[test]
    fn every_known_word_reads_and_prints_as_itself() {
        for word in BackupPhase::KNOWN {
            assert_eq!(BackupPhase::from(*word).to_string(), *word);
            assert!(!matches!(BackupPhase::from(*word), BackupPhase::Other(_)));
        }
    }

    #[test]
    fn a_new_object_has_the_first_phase() {
        assert_eq!(BackupPhase::default(), BackupPhase::New);
        assert_eq!(DataMovementPhase::default(), DataMovementPhase::New);
    }
}
