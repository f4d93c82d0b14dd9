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
        ],
    ),
];

/// What belongs to this issue and is not done.
pub const WAITS: &[Waiting] = &[(
    "data mover pods and maintenance jobs: affinity, resources, security, what they inherit, their logs",
    &[
        "pkg_label/TestReturnNameOrHash",
        "pkg_util_kube/TestCollectPodLogs",
        "pkg_util_kube/TestCopyConfigMap",
        "pkg_util_kube/TestCopySecret",
        "pkg_util_kube/TestGetLoadAffinityByStorageClass",
        "pkg_util_kube/TestGetLoadAffinityByStorageClassReturnsCopy",
        "pkg_util_kube/TestGetNodeOSType",
        "pkg_util_kube/TestGetPVCAttachingNodeOS",
        "pkg_util_kube/TestGetVolumeTopology",
        "pkg_util_kube/TestIsLinuxNode",
        "pkg_util_kube/TestMakePodPVCAttachment",
        "pkg_util_kube/TestParseResourceRequirements",
        "pkg_util_kube/TestParseSecurityContext",
        "pkg_util_kube/TestToSystemAffinity",
        "pkg_util_kube/TestVerifyJsonConfigs",
        "pkg_util_kube/TestWithLinuxNode",
        "pkg_util_velero/TestGetAffinityFromVeleroServer",
        "pkg_util_velero/TestGetContainerSecurityContextsFromVeleroServer",
        "pkg_util_velero/TestGetEnvFromSourcesFromVeleroServer",
        "pkg_util_velero/TestGetEnvVarsFromVeleroServer",
        "pkg_util_velero/TestGetImagePullSecretsFromVeleroServer",
        "pkg_util_velero/TestGetNodeSelectorFromVeleroServer",
        "pkg_util_velero/TestGetPodSecurityContextsFromVeleroServer",
        "pkg_util_velero/TestGetServiceAccountFromVeleroServer",
        "pkg_util_velero/TestGetTolerationsFromVeleroServer",
        "pkg_util_velero/TestGetVeleroServerAnnotations",
        "pkg_util_velero/TestGetVeleroServerImage",
        "pkg_util_velero/TestGetVeleroServerLabelValue",
        "pkg_util_velero/TestGetVeleroServerLables",
        "pkg_util_velero/TestGetVolumeMountsFromVeleroServer",
        "pkg_util_velero/TestGetVolumesFromVeleroServer",
    ],
)];

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
