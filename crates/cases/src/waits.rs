//! What the files wait for that no test runs yet: so that each case "not yet" or "later" has a reason.

/// A feature, and the files that wait for it.
pub type Waiting = (&'static str, &'static [&'static str]);

/// Features of later issues. docs/differences.md has a row of each, which names every file with its number of cases.
pub const LATER: &[Waiting] = &[
    (
        "volume group snapshots",
        &[
            "pkg_backup_actions_csi/TestDeleteVGSAndVGSC",
            "pkg_backup_actions_csi/TestDetermineCSIDriver",
            "pkg_backup_actions_csi/TestDetermineVGSClass",
            "pkg_backup_actions_csi/TestFilterPVCsByVolumePolicy",
            "pkg_backup_actions_csi/TestFindExistingVSForBackup",
            "pkg_backup_actions_csi/TestGetVGSByLabels",
            "pkg_backup_actions_csi/TestHasOwnerReference",
            "pkg_backup_actions_csi/TestListGroupedPVCs",
            "pkg_backup_actions_csi/TestPatchVGSCDeletionPolicy",
            "pkg_backup_actions_csi/TestUpdateVGSCreatedVS",
            "pkg_backup_actions_csi/TestWaitForVGSAssociatedVS",
            "pkg_backup_actions_csi/TestWaitForVGSCBinding",
            "pkg_controller/TestCleanupStubVGSC",
            "pkg_controller/TestHasVolumeGroupSnapshotHandles",
            "pkg_itemblock_actions/Test_getGroupedPVCs",
            "pkg_restore_actions_csi/TestAddSnapshotHandleToVGSC",
            "pkg_restore_actions_csi/TestEnsureStubVGSCExists",
        ],
    ),
    (
        "native snapshots",
        &[
            "internal_volume/TestGenerateVolumeInfoForVeleroNativeSnapshot",
            "pkg_backup/TestBackupWithSnapshots",
            "pkg_backup/Test_zoneFromPVNodeAffinity",
            "pkg_restore/TestExecutePVAction_NoSnapshotRestores",
            "pkg_restore/TestExecutePVAction_SnapshotRestores",
            "pkg_restore/TestShouldRestore",
        ],
    ),
    (
        "file system backup",
        &[
            "internal_volume/TestGenerateVolumeInfoFromPVB",
            "pkg_backup/TestBackupWithPodVolume",
            "pkg_restore/TestRestoreWithPodVolume",
            "pkg_restore_actions/TestGetCommand",
            "pkg_restore_actions/TestGetImage",
            "pkg_restore_actions/TestPodVolumeRestoreActionExecute",
            "pkg_restore_actions/TestPodVolumeRestoreActionExecuteWithFileSystemShouldAddWaitInitContainer",
            "pkg_util_kube/TestGetPVCForPodVolume",
            "pkg_util_kube/TestGetVolumeDirectorySuccess",
            "pkg_util_kube/TestGetVolumeModeSuccess",
            "pkg_util_kube/TestIsPodRunning",
            "pkg_util_kube/TestIsPodScheduled",
            "pkg_util_kube/TestParseSecurityContext",
        ],
    ),
    (
        "Secrets and ConfigMaps that a data mover's volume needs",
        &["pkg_util_kube/TestCopyConfigMap", "pkg_util_kube/TestCopySecret"],
    ),
    (
        "Windows nodes",
        &[
            "pkg_util_kube/TestGetNodeOSType",
            "pkg_util_kube/TestGetPVCAttachingNodeOS",
            "pkg_util_kube/TestIsLinuxNode",
            "pkg_util_kube/TestWithLinuxNode",
        ],
    ),
    (
        "logs of data mover pods in the node agent's",
        &["pkg_util_kube/TestCollectPodLogs"],
    ),
];

/// What belongs to this issue and is not done.
pub const WAITS: &[Waiting] = &[];

/// What of this issue a file waits for.
pub fn waits_for(file: &str) -> Option<&'static str> {
    find(WAITS, file)
}

/// Which feature of a later issue a file waits for.
pub fn later(file: &str) -> Option<&'static str> {
    find(LATER, file)
}

fn find(waiting: &'static [Waiting], file: &str) -> Option<&'static str> {
    let name = file.strip_suffix(".json").unwrap_or(file);
    waiting
        .iter()
        .find(|(_, files)| files.contains(&name))
        .map(|(feature, _)| *feature)
}
