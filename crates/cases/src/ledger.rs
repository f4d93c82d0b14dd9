//! The cases that do not pass, each with its reason. Whole files that wait for something: `waits.rs`.

/// Whether a case will ever pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// We decide otherwise on purpose, or v1.18.3 does otherwise than the case, which is from main; docs/differences.md
    /// says what a user sees. No test need run it.
    Different,
    /// It needs a feature of a later issue. docs/differences.md says what a user meets who asks for that today, and names
    /// the test.
    Later,
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

const fn later(file: &'static str, indexes: &'static [usize], why: &'static str) -> Entry {
    Entry {
        file,
        indexes,
        standing: Standing::Later,
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
    different(
        "internal_resourcepolicies/TestGetMatchAction_Errors.json",
        &[0],
        "a value of another type cannot be passed in Rust",
    ),
    different(
        "internal_resourcepolicies/TestGetResourcePoliciesFromBackup.json",
        &[1],
        "a policy reference of another kind than ConfigMap is refused, and not overlooked",
    ),
    different(
        "internal_delete_actions_csi/TestTryDeleteOriginalVSC.json",
        &[0, 1, 2, 3],
        "the function is main's",
    ),
    different(
        "pkg_persistence/TestPutBackup.json",
        &[5],
        "a backup without velero-backup.json, which claims its name in the bucket, cannot be asked for",
    ),
    different(
        "pkg_persistence/TestNewObjectBackupStoreGetter.json",
        &[3],
        "credentials are read where Secrets are, by the controllers, whose error names the Secret",
    ),
    different(
        "pkg_persistence/TestNewObjectBackupStoreGetterConfig.json",
        &[3],
        "credentials never become files",
    ),
    different(
        "pkg_discovery/TestHelper_KindFor.json",
        &[0, 1],
        "discovery has no lookup by kind and version: an object is found by group and plural, in the preferred version",
    ),
    different(
        "pkg_discovery/TestHelper_ResourceFor.json",
        &[0, 1, 2],
        "discovery has no lookup by version: an object is found by group and plural, in the preferred version",
    ),
    different(
        "pkg_discovery/TestHelper_Refresh.json",
        &[0, 1],
        "discovery is asked when it is needed, and has no cache to refresh",
    ),
    different(
        "pkg_backup/TestBackupWithInvalidActions.json",
        &[0, 1],
        "the selector of an action is a value: one that does not parse cannot be made",
    ),
    different(
        "pkg_backup/TestBackupWithInvalidItemBlockActions.json",
        &[0, 1],
        "the selector of an action is a value: one that does not parse cannot be made",
    ),
    different(
        "pkg_backup/TestGetBackupCSIResources.json",
        &[0, 1, 2, 3],
        "the function is main's",
    ),
    different(
        "pkg_backup/TestTrackSkippedPV_PendingLostPVC.json",
        &[0, 1, 2],
        "levels of log lines of a tracker that is not there: a claim is looked at once, where its volume info is made",
    ),
    different(
        "pkg_backup/TestUnTrackSkippedPV_PendingLostPVC.json",
        &[0, 1, 2],
        "levels of log lines of a tracker that is not there: a claim is looked at once, where its volume info is made",
    ),
    different(
        "pkg_backup/TestFilterNamespaces.json",
        &[0],
        "Namespace objects are not collected and taken out again: they are added with their first item",
    ),
    different(
        "pkg_backup_actions_csi/TestNewDataUpload.json",
        &[0, 1, 2, 3],
        "the function, and what it writes (parent snapshot, data mover by policy), are main's",
    ),
    different(
        "pkg_controller/TestGetSnapshotsInBackup.json",
        &[0, 1, 2, 3],
        "the cluster's PodVolumeBackups are not asked: volume info, tarball and older files say which snapshots a backup has",
    ),
    different(
        "pkg_controller/TestDeleteMovedSnapshots.json",
        &[0],
        "there is no repository manager that can be absent; a repository that cannot be opened is an error",
    ),
    different(
        "pkg_controller/TestGuardSetsFailedPhaseWithReason.json",
        &[0, 1],
        "the function is main's; v1.18.3 signs whatever is asked for",
    ),
    different(
        "pkg_controller/TestNeedPatch.json",
        &[3],
        "main's: v1.18.3 patches a label whose value differs, too",
    ),
    different(
        "pkg_controller/TestProcessBackupNonProcessedItems.json",
        &[3],
        "a backup in progress that nobody runs was its last server's: it begins again",
    ),
    different(
        "pkg_controller/TestPrepareBackupRequest_SetBackupType.json",
        &[0, 1, 2],
        "spec.backupType is main's",
    ),
    different(
        "pkg_restore/TestExtractNamespacesFromBackup.json",
        &[0, 1, 2, 3, 4, 5],
        "globs are asked of each namespace of the backup when it comes, without a list of them",
    ),
    different(
        "pkg_restore/TestRestoreMustHaveResourceNamespaceEnforcement.json",
        &[1],
        "main's: v1.18.3 takes DataUploads of any namespace, since the backup's Velero may have lived in another one",
    ),
    different(
        "pkg_restore/TestRestorePersistentVolumes.json",
        &[0],
        "a claim that comes back with an empty volume is a warning (guarantee 5)",
    ),
    later(
        "pkg_restore/TestRestorePersistentVolumes.json",
        &[2, 3, 6, 7, 10, 12],
        "native snapshots",
    ),
    different(
        "pkg_restore/TestRestorePersistentVolumes.json",
        &[14],
        "that data was moved is known from the volume info and from the claim, and not from a ConfigMap in the cluster",
    ),
    later(
        "pkg_restore/TestRestorePVWithVolumeInfo.json",
        &[0],
        "native snapshots",
    ),
    different(
        "pkg_restore_actions/TestDataUploadRetrieveActionExectue.json",
        &[0],
        "the controller finds the Backup before the run",
    ),
    different(
        "pkg_restore_actions/TestDataUploadRetrieveActionExectue.json",
        &[2],
        "the fields fsType and snapshotClass are main's",
    ),
    different(
        "pkg_restore_actions/TestDataUploadRetrieveActionExectue.json",
        &[3],
        "an upload without a snapshot is an error that names the claim, and not an empty volume",
    ),
    different(
        "pkg_restore_actions_csi/TestCancel.json",
        &[1],
        "a DataDownload that is not there has nothing to cancel",
    ),
    different(
        "pkg_backup/TestUpdateVolumeInfos.json",
        &[0, 1],
        "whether a snapshot can be used is filled in when its operation has ended; Velero leaves what was known when it was cut",
    ),
    different(
        "pkg_restore/TestRestoreItems.json",
        &[15],
        "beside those who applied an object stays on record that the restore set its labels, by which a second attempt knows it",
    ),
    different(
        "pkg_restore/TestFindAPIGroup.json",
        &[0, 1],
        "the cluster's versions are looked up by resource: a version of its group may not serve it",
    ),
    different(
        "internal_volume/TestGenerateVolumeInfoForSkippedPV.json",
        &[0, 1],
        "what the volume info says of a volume is worked out where its claim is backed up, and not from lists of volumes, operations and snapshots afterwards",
    ),
    different(
        "internal_volume/TestGenerateVolumeInfoFromDataUpload.json",
        &[0, 1, 2, 3],
        "what the volume info says of a volume is worked out where its claim is backed up, and not from lists of volumes, operations and snapshots afterwards",
    ),
    later(
        "internal_volume/TestRestoreVolumeInfoResult.json",
        &[1, 2],
        "file system backup in both, native snapshots in the first; what is said of a CSI snapshot is tested beside the code",
    ),
    different(
        "pkg_backup/TestAddVolumeInfo.json",
        &[0, 1],
        "what the volume info says of a volume is worked out where its claim is backed up, and not from lists of volumes, operations and snapshots afterwards",
    ),
    different(
        "pkg_backup/TestBackupItemActionsForSkippedPV.json",
        &[0, 1],
        "a claim that nothing saves is refused before the run (guarantee 5), or its volume info says who left it out; there is no tracker of volumes",
    ),
    different(
        "pkg_backup/TestBackupWithResPoliciesLogs.json",
        &[0],
        "the policy that the case is about is not in it",
    ),
    different(
        "pkg_backup/TestGetPVName.json",
        &[0, 1, 2, 3],
        "the name of a claim's volume is read where it is needed; a claim without one has no volume info",
    ),
    different(
        "pkg_backup/TestGetResourceItems.json",
        &[0, 1, 2],
        "asserts only that an inner function gives no error for a filter that cannot match anything there",
    ),
    different(
        "pkg_controller/TestPatchResourceWorksWithStatus.json",
        &[0],
        "each status is written by the one writer of its controller, which sends what changes and not the difference of two objects",
    ),
    different(
        "pkg_controller/TestWaitRestoreExecHook.json",
        &[3],
        "each hook ends at its own timeout, and the finalizer with the last of them",
    ),
    different(
        "pkg_restore/TestHasSnapshotDataUpload.json",
        &[0, 1, 2, 3],
        "that data was moved is known from the claim and the DataUploads of the backup, and not from a ConfigMap in the cluster",
    ),
    different(
        "pkg_restore_actions/TestAddPVFromPVCActionExecute.json",
        &[0, 1, 2],
        "what becomes of a claim and of its volume is decided in one place, which restores the volume first where it comes back",
    ),
    different(
        "pkg_util_kube/TestVerifyJsonConfigs.json",
        &[0, 1],
        "the server starts without a ConfigMap that does not exist, or says nothing, and warns: the defaults hold until it does",
    ),
    different(
        "pkg_util_kube/TestGetVolumeTopology.json",
        &[0, 1, 2, 5],
        "a volume that is gone since does not stop the upload of its snapshot, whose pod may run anywhere then; a class that is gone may come back until the prepare timeout",
    ),
    different(
        "pkg_util_kube/TestGetLoadAffinityByStorageClassReturnsCopy.json",
        &[0, 1],
        "what is found is lent, and cannot be changed",
    ),
    different(
        "pkg_util_velero/TestGetAffinityFromVeleroServer.json",
        &[0, 1],
        "a getter whose whole result no Job of v1.18.3 takes: what a Job inherits is tested by pkg_repository_maintenance",
    ),
    different(
        "pkg_util_velero/TestGetNodeSelectorFromVeleroServer.json",
        &[0, 1],
        "a getter whose whole result no Job of v1.18.3 takes: what a Job inherits is tested by pkg_repository_maintenance",
    ),
    different(
        "pkg_util_velero/TestGetTolerationsFromVeleroServer.json",
        &[0, 1],
        "a getter whose whole result no Job of v1.18.3 takes: what a Job inherits is tested by pkg_repository_maintenance",
    ),
    different(
        "pkg_util_velero/TestGetVeleroServerAnnotations.json",
        &[0, 1],
        "a getter whose whole result no Job of v1.18.3 takes: what a Job inherits is tested by pkg_repository_maintenance",
    ),
    different(
        "pkg_util_velero/TestGetVeleroServerLables.json",
        &[0, 1],
        "a getter whose whole result no Job of v1.18.3 takes: what a Job inherits is tested by pkg_repository_maintenance",
    ),
    different(
        "pkg_util_kube/TestDiagnosePV.json",
        &[0],
        "why a pod or volume is not ready stands in the words of what is waited for, with its newest event",
    ),
    different(
        "pkg_util_kube/TestDiagnosePVC.json",
        &[0, 1, 2],
        "why a pod or volume is not ready stands in the words of what is waited for, with its newest event",
    ),
    different(
        "pkg_util_kube/TestDiagnosePod.json",
        &[0, 1, 2],
        "why a pod or volume is not ready stands in the words of what is waited for, with its newest event",
    ),
    different(
        "pkg_util_kube/TestEvent.json",
        &[0, 1, 2, 3, 4, 5],
        "a data mover writes each event as an object of its own, and its last word under a name that only it has",
    ),
    different(
        "pkg_util_kube/TestExitPodWithMessage.json",
        &[0, 1, 2, 3],
        "the last word of a data mover goes into an event first: a termination message that cannot be written does not change how it ended",
    ),
    different(
        "pkg_util_kube/TestGetPodContainerTerminateMessage.json",
        &[3, 4],
        "a data mover pod has one container",
    ),
    different(
        "pkg_util_kube/TestGetPodTerminateMessage.json",
        &[3],
        "a data mover pod has one container",
    ),
    different(
        "pkg_util_kube/TestHasBackupLabel.json",
        &[0, 1, 2, 3],
        "the API server selects the objects of a backup by their label",
    ),
    different(
        "pkg_util_kube/TestSpecChangePredicate.json",
        &[0, 1, 2, 3, 4],
        "controllers decide on what an object is, and not on what of it has changed",
    ),
    different(
        "pkg_backup_actions/TestNewServiceAccountAction.json",
        &[0, 1, 2],
        "clusters that this version works with (Kubernetes 1.30 and later) serve CRDs and RBAC only as v1; what the action does with bindings is tested",
    ),
    different(
        "pkg_itemblock_actions/TestNewServiceAccountAction.json",
        &[0, 1, 2],
        "clusters that this version works with (Kubernetes 1.30 and later) serve CRDs and RBAC only as v1; what the action does with bindings is tested",
    ),
    different(
        "pkg_backup_actions/TestRemapCRDVersionActionData.json",
        &[0, 1, 2, 3, 4],
        "clusters that this version works with (Kubernetes 1.30 and later) serve CRDs only as v1",
    ),
    different(
        "pkg_util_kube/TestGetPVForPVC.json",
        &[0, 1, 2],
        "a claim and its volume are looked at together: without a name there is nothing to save yet, and a volume that does not exist is an error that names it",
    ),
    different(
        "pkg_restore_actions_csi/TestExecute.json",
        &[1],
        "the controller finds the Backup before the run",
    ),
    different(
        "pkg_util_kube/TestClonePVSource.json",
        &[0, 1, 2, 3],
        "the function is main's",
    ),
    different(
        "pkg_util_kube/TestGetVolumeModeByPV.json",
        &[0, 1, 2],
        "the function is main's",
    ),
    different(
        "pkg_util_kube/TestGetVolumeModeByPVC.json",
        &[0, 1, 2],
        "the function is main's",
    ),
];

/// Files of a package that issue 6 answers for only in part (of `pkg_controller`: backup, restore, schedule, gc, queue,
/// sync, deletion and download), with whose they are. They belong to the issues of those, whether a test runs them or not.
pub const ELSEWHERE: &[(&str, &str)] = &[
    (
        "pkg_controller/TestAcceptDataDownload.json",
        "DataDownload controller",
    ),
    (
        "pkg_controller/TestAttemptDataDownloadResume.json",
        "DataDownload controller",
    ),
    (
        "pkg_controller/TestDataDownloadSetupExposeParam.json",
        "DataDownload controller",
    ),
    (
        "pkg_controller/TestFindDataDownloadForPod.json",
        "DataDownload controller",
    ),
    (
        "pkg_controller/TestOnDataDownloadCancelled.json",
        "DataDownload controller",
    ),
    (
        "pkg_controller/TestOnDataDownloadFailed.json",
        "DataDownload controller",
    ),
    (
        "pkg_controller/TestOnDataDownloadProgress.json",
        "DataDownload controller",
    ),
    (
        "pkg_controller/TestOnDdPrepareTimeout.json",
        "DataDownload controller",
    ),
    (
        "pkg_controller/TestTryCancelDataDownload.json",
        "DataDownload controller",
    ),
    (
        "pkg_controller/TestUpdateDataDownloadWithRetry.json",
        "DataDownload controller",
    ),
    (
        "pkg_controller/TestAcceptDataUpload.json",
        "DataUpload controller",
    ),
    (
        "pkg_controller/TestAttemptDataUploadResume.json",
        "DataUpload controller",
    ),
    (
        "pkg_controller/TestDataUploadSetupExposeParam.json",
        "DataUpload controller",
    ),
    (
        "pkg_controller/TestFindDataUploadForPod.json",
        "DataUpload controller",
    ),
    (
        "pkg_controller/TestOnDataUploadProgress.json",
        "DataUpload controller",
    ),
    (
        "pkg_controller/TestOnDuPrepareTimeout.json",
        "DataUpload controller",
    ),
    (
        "pkg_controller/TestTryCancelDataUpload.json",
        "DataUpload controller",
    ),
    (
        "pkg_controller/TestUpdateDataUploadWithRetry.json",
        "DataUpload controller",
    ),
    ("pkg_controller/TestAcceptPvb.json", "PodVolumeBackup controller"),
    (
        "pkg_controller/TestAttemptPVBResume.json",
        "PodVolumeBackup controller",
    ),
    (
        "pkg_controller/TestFindPvbForPod.json",
        "PodVolumeBackup controller",
    ),
    (
        "pkg_controller/TestOnPVBProgress.json",
        "PodVolumeBackup controller",
    ),
    (
        "pkg_controller/TestOnPvbPrepareTimeout.json",
        "PodVolumeBackup controller",
    ),
    (
        "pkg_controller/TestPodVolumeBackupSetupExposeParam.json",
        "PodVolumeBackup controller",
    ),
    (
        "pkg_controller/TestTryCancelPvb.json",
        "PodVolumeBackup controller",
    ),
    (
        "pkg_controller/TestUpdatePvbWithRetry.json",
        "PodVolumeBackup controller",
    ),
    (
        "pkg_controller/TestAttemptPVRResume.json",
        "PodVolumeRestore controller",
    ),
    (
        "pkg_controller/TestFindPVBForRestorePod.json",
        "PodVolumeRestore controller",
    ),
    (
        "pkg_controller/TestGetInitContainerIndex.json",
        "PodVolumeRestore controller",
    ),
    (
        "pkg_controller/TestOnPVRPrepareTimeout.json",
        "PodVolumeRestore controller",
    ),
    (
        "pkg_controller/TestOnPodVolumeRestoreCancelled.json",
        "PodVolumeRestore controller",
    ),
    (
        "pkg_controller/TestOnPodVolumeRestoreFailed.json",
        "PodVolumeRestore controller",
    ),
    (
        "pkg_controller/TestOnPodVolumeRestoreProgress.json",
        "PodVolumeRestore controller",
    ),
    (
        "pkg_controller/TestPodVolumeRestoreSetupExposeParam.json",
        "PodVolumeRestore controller",
    ),
    (
        "pkg_controller/TestShouldProcess.json",
        "PodVolumeRestore controller",
    ),
    (
        "pkg_controller/TestTryCancelPVR.json",
        "PodVolumeRestore controller",
    ),
    (
        "pkg_controller/TestUpdatePVRWithRetry.json",
        "PodVolumeRestore controller",
    ),
    (
        "pkg_controller/TestGetBackupRepositoryConfig.json",
        "BackupRepository controller",
    ),
    (
        "pkg_controller/TestNeedInvalidBackupRepo.json",
        "BackupRepository controller",
    ),
    (
        "pkg_controller/TestEnsureSingleDefaultBSL.json",
        "BackupStorageLocation controller",
    ),
    (
        "pkg_controller/TestSanitizeStorageError.json",
        "BackupStorageLocation controller",
    ),
];

/// Whose a file is, when it is not issue 6's.
pub fn elsewhere(file: &str) -> Option<&'static str> {
    ELSEWHERE
        .iter()
        .find(|(name, _)| *name == file)
        .map(|(_, whose)| *whose)
}

/// The entry of a case.
pub fn entry(file: &str, index: usize) -> Option<&'static Entry> {
    ENTRIES
        .iter()
        .find(|entry| entry.file == file && entry.indexes.contains(&index))
}
