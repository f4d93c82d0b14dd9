//! Velero's tables of what a Backup is given and why it is refused.

use std::sync::Arc;
use std::time::Duration;

use caravel_api::labels;
use caravel_api::v1::{Backup, BackupStorageLocation};
use caravel_backup::resource_policies::{Document, Policies};
use caravel_cases::{Case, each, same};
use kube::ResourceExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::decide::{Decision, Observed, Turn, decide, location_name, turn};
use super::defaults::{Defaults, apply};
use super::snapshot_locations;

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn location(value: &Value) -> Option<BackupStorageLocation> {
    (!value.is_null()).then(|| read(value))
}

fn with(defaults: &Defaults, case: &Case, location: &str) -> Backup {
    apply(
        &read(case.input("backup")),
        defaults,
        location,
        &[],
        &Default::default(),
    )
}

/// One error each. Ours say what to do next where Velero only names its own error; those are looked at for what they name.
#[test]
fn a_backup_that_velero_refuses_is_refused_for_the_same_reason() {
    each(
        "pkg_controller/TestProcessBackupValidationFailures.json",
        |case| {
            let location = location(case.input("backupLocation"));
            let backup: Backup = read(case.input("backup"));
            let name = match &*backup.spec.storage_location {
                "" => location
                    .as_ref()
                    .map(|location| location.name_any())
                    .unwrap_or_default(),
                name => name.to_owned(),
            };
            let observed = Observed {
                backup: with(&Defaults::default(), case, &name),
                location,
                snapshot_location_errors: Vec::new(),
                policies: Ok(None),
                volume_errors: Vec::new(),
            };
            let Decision::Refuse { errors } = decide(&observed) else {
                return Err("not refused".to_owned());
            };
            let wanted = caravel_cases::texts(case.want("expectedErrs"));
            same(&errors.len(), &wanted.len())?;
            match case.name() {
                "non-existent backup location fails validation" => same(
                    &errors[0].starts_with("BackupStorageLocation nonexistent does not exist"),
                    &true,
                ),
                // Ours goes on with the location's own message.
                "BSL in unavailable state" => {
                    same(&errors[0].starts_with(wanted[0].trim_end_matches('.')), &true)
                }
                _ => same(&errors, &wanted),
            }
        },
    );
}

#[test]
fn a_backup_goes_where_veleros_goes() {
    each(
        "pkg_controller/Test_prepareBackupRequest_BackupStorageLocation.json",
        |case| {
            let mut backup: Backup = read(case.input("backup"));
            let named = case
                .input("backupLocationNameInBackup")
                .as_str()
                .unwrap_or_default();
            backup.spec.storage_location = named.to_owned();
            let all: Vec<BackupStorageLocation> =
                ["backupLocationInAPIServer", "defaultBackupLocationInAPIServer"]
                    .into_iter()
                    .filter_map(|field| location(case.input(field)))
                    .collect();
            let name = location_name(&backup, &all, "default-location");
            let found = all.iter().any(|location| location.name_any() == name);
            same(&found, &(case.want("expectedSuccess") == true))?;
            if found {
                same(
                    &*name,
                    case.want("expectedBackupLocation").as_str().unwrap_or_default(),
                )?;
            }
            Ok(())
        },
    );
}

#[test]
fn the_locations_label_is_veleros() {
    each("pkg_controller/TestBackupLocationLabel.json", |case| {
        let location = location(case.input("backupLocation")).unwrap();
        let backup = with(&Defaults::default(), case, &location.name_any());
        let wanted = case.want("expectedBackupLocation").as_str().unwrap_or_default();
        same(&*backup.labels()[labels::STORAGE_LOCATION], wanted)
    });
}

#[test]
fn a_backup_lives_as_long_as_veleros() {
    each("pkg_controller/TestDefaultBackupTTL.json", |case| {
        let defaults = Defaults {
            ttl: Duration::from_secs(720 * 3600),
            ..Defaults::default()
        };
        let ttl = with(&defaults, case, "").spec.ttl.unwrap_or_default();
        same(
            &*ttl.to_string(),
            case.want("expectedTTL").as_str().unwrap_or_default(),
        )
    });
}

#[test]
fn the_old_name_of_file_system_backup_is_understood_as_by_velero() {
    each(
        "pkg_controller/TestDefaultVolumesToResticDeprecation.json",
        |case| {
            let defaults = Defaults {
                volumes_to_fs_backup: case.input("globalVal") == true,
                ..Defaults::default()
            };
            let chosen = with(&defaults, case, "").spec.default_volumes_to_fs_backup;
            same(&chosen, &case.want("expectVal").as_bool())
        },
    );
}

#[test]
fn the_label_of_volume_groups_is_the_specs_then_the_servers() {
    each(
        "pkg_controller/TestPrepareBackupRequest_SetsVGSLabelKey.json",
        |case| {
            let defaults = Defaults {
                volume_group_label_key: case
                    .input("serverFlagKey")
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                ..Defaults::default()
            };
            let key = with(&defaults, case, "").spec.volume_group_snapshot_label_key;
            same(&*key, case.want("expectedLabelKey").as_str().unwrap_or_default())
        },
    );
}

#[test]
fn one_snapshot_location_of_each_provider_is_chosen_as_by_velero() {
    each(
        "pkg_controller/TestValidateAndGetSnapshotLocations.json",
        |case| {
            let backup: Backup = read(case.input("backup"));
            let all = case.input("locations").as_array().into_iter().flatten();
            let all: Vec<_> = all.map(read).collect();
            let defaults: Option<_> = read(case.input("defaultLocations"));
            let ours = snapshot_locations::choose(
                &backup.spec.volume_snapshot_locations,
                &all,
                &defaults.unwrap_or_default(),
            );
            same(&ours.is_ok(), &(case.want("expectedSuccess") == true))?;
            match ours {
                Ok(mut names) => {
                    names.sort();
                    same(
                        &names,
                        &caravel_cases::texts(case.want("expectedVolumeSnapshotLocationNames")),
                    )
                }
                Err(errors) => same(
                    &errors.join("\n"),
                    &case
                        .want("expectedErrors")
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                ),
            }
        },
    );
}

#[test]
fn a_backup_that_is_not_ready_to_start_is_not_touched_as_in_velero() {
    each("pkg_controller/TestProcessBackupNonProcessedItems.json", |case| {
        same(&turn(&read(case.input("backup"))), &Turn::NotOurs)
    });
}

#[test]
fn filter_policies_go_with_the_scoped_filters_as_in_velero() {
    each(
        "pkg_controller/TestPrepareBackupRequest_FilterPoliciesWithNewFilters.json",
        |case| {
            let yaml = case.input("policyYAML").as_str().unwrap_or_default();
            let policies = Policies::build(Document::read(yaml).unwrap()).unwrap();
            same(
                &policies.namespaced_filters.len(),
                &usize::try_from(case.want("expectNamespacedPolicies").as_u64().unwrap_or_default()).unwrap(),
            )?;
            same(
                &policies.cluster_scoped_filter.is_some(),
                &(case.want("expectClusterScopedPolicy") == true),
            )?;
            let mut location = BackupStorageLocation::new("loc-1", Default::default());
            location.status = read(&serde_json::json!({"phase": "Available"}));
            let observed = Observed {
                backup: with(&Defaults::default(), case, "loc-1"),
                location: Some(location),
                snapshot_location_errors: Vec::new(),
                policies: Ok(Some(Arc::new(policies))),
                volume_errors: Vec::new(),
            };
            same(&decide(&observed), &Decision::Start)
        },
    );
}
