//! The cases that do not pass, each with its reason.

/// Whether a case will ever pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// We decide otherwise on purpose, or v1.18.3 does otherwise than the case, which is from main; docs/differences.md
    /// says what a user sees. No test need run it.
    Different,
    /// It belongs to this issue, and is not done.
    NotYet,
}

/// Some cases of one file.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub file: &'static str,
    pub indexes: &'static [usize],
    pub standing: Standing,
    pub why: &'static str,
}

const fn different(file: &'static str, indexes: &'static [usize], why: &'static str) -> Entry {
    Entry {
        file,
        indexes,
        standing: Standing::Different,
        why,
    }
}

#[allow(dead_code)]
const fn not_yet(file: &'static str, indexes: &'static [usize], why: &'static str) -> Entry {
    Entry {
        file,
        indexes,
        standing: Standing::NotYet,
        why,
    }
}

/// All of them, by file.
pub const ENTRIES: &[Entry] = &[
    different(
        "internal_resourcepolicies/TestGetVolumeTypeFromVolume.json",
        &[30],
        "image volumes are main's; v1.18.3 gives them no type",
    ),
    different(
        "internal_resourcepolicies/TestValidate.json",
        &[25, 26, 27, 31, 32, 33],
        "the parameters dataMover and snapshotClass are main's; v1.18.3 leaves parameters to plug-ins",
    ),
    different(
        "internal_resourcepolicies/TestActionGetDataMover.json",
        &[0, 1, 2, 3, 4, 5, 6, 7, 8],
        "the parameter dataMover is main's",
    ),
    different(
        "internal_resourcepolicies/TestActionGetSnapshotClass.json",
        &[0, 1, 2, 3, 4, 5, 6],
        "the parameter snapshotClass is main's",
    ),
    different(
        "internal_resourcemodifiers/TestJsonMergePatchFailure.json",
        &[1],
        "{\"a\"::1} is YAML 1.2: a is \":1\"",
    ),
    different(
        "internal_resourcemodifiers/TestStrategicMergePatchFailure.json",
        &[2],
        "{\"a\"::1} is YAML 1.2: a is \":1\"",
    ),
    different(
        "pkg_backup/TestBackupResourceOrdering.json",
        &[0],
        "claims are written as soon as their snapshots are cut, which all are taken at once; no restore depends on the \
         order in a tarball",
    ),
    not_yet(
        "pkg_backup/TestBackupWithHooks.json",
        &[4],
        "item-block actions of plug-ins; our blocks are made of the claims that pods share",
    ),
    different(
        "pkg_controller/TestBackupPhaseHasNoArtifacts.json",
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        "the function is main's; v1.18.3 signs whatever is asked for",
    ),
    different(
        "pkg_controller/TestRestorePhaseHasNoArtifacts.json",
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        "the function is main's; v1.18.3 signs whatever is asked for",
    ),
    different(
        "pkg_controller/TestBackupQueueReconciler.json",
        &[13],
        "two backups of all namespaces share one; the case has a cluster without namespaces, which there is not",
    ),
    different(
        "internal_volumehelper/TestGetDataMoverFromActionParameters.json",
        &[0, 1, 2, 3, 4],
        "the parameter dataMover is main's",
    ),
];

/// The entry of a case.
pub fn entry(file: &str, index: usize) -> Option<&'static Entry> {
    ENTRIES
        .iter()
        .find(|entry| entry.file == file && entry.indexes.contains(&index))
}
