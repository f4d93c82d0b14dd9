use caravel_cases::{Case, each, same};
use serde_json::{Value, json};

use super::{fails, policies, wants};
use crate::cluster::text;
use crate::resource_policies::{Policies, Volume};
use crate::volume_choice::{VolumeChoice, volume_of};

fn policies_of(case: &Case) -> Option<Policies> {
    let given = case.input("resourcePolicies");
    (!given.is_null()).then(|| policies(given).unwrap())
}

fn choice<'a>(case: &Case, policies: &'a Option<Policies>) -> VolumeChoice<'a> {
    VolumeChoice {
        policies: policies.as_ref(),
        snapshot_volumes: case.input("snapshotVolumesFlag").as_bool(),
        default_to_fs_backup: case.input("defaultVolumesToFSBackup") == true,
        leave_claims: case.input("backupExcludePVC") == true,
    }
}

fn is_claim(case: &Case) -> bool {
    case.input("groupResource")["Resource"] == "persistentvolumeclaims"
}

/// What every one of these tests puts into its cluster.
fn bound_volume() -> Value {
    json!({"metadata": {"name": "pv-1"}, "spec": {"storageClassName": "gp2-csi"}})
}

fn found<'a>(claim: &Value, volumes: &'a [Value]) -> Option<&'a Value> {
    volumes
        .iter()
        .find(|volume| text(volume, "/metadata/name") == text(claim, "/spec/volumeName"))
}

#[test]
fn a_volume_is_snapshotted_where_velero_snapshots_it() {
    for file in [
        "internal_volumehelper/TestVolumeHelperImpl_ShouldPerformSnapshot.json",
        "internal_volumehelper/TestVolumeHelperImplWithCache_ShouldPerformSnapshot.json",
    ] {
        each(file, |case| {
            let policies = policies_of(case);
            let choice = choice(case, &policies);
            let pod = case.input("pod");
            let pods: Vec<Value> = if pod.is_null() {
                Vec::new()
            } else {
                vec![pod.clone()]
            };
            let ours = if is_claim(case) {
                choice.snapshot(case.input("inputObj"), None, &pods)
            } else {
                Ok(choice.snapshot_of_volume(case.input("inputObj"), &pods))
            };
            fails(wants(case, "expectedErr"), &ours)?;
            same(&ours.unwrap_or_default(), &wants(case, "shouldSnapshot"))
        });
    }
    each(
        "internal_volumehelper/TestVolumeHelperImpl_ShouldPerformSnapshot_UnboundPVC.json",
        |case| {
            let policies = policies_of(case);
            let ours = choice(case, &policies).snapshot(case.input("inputPVC"), None, &[]);
            fails(wants(case, "expectedErr"), &ours)?;
            same(&ours.unwrap_or_default(), &wants(case, "shouldSnapshot"))
        },
    );
}

#[test]
fn a_volume_goes_through_its_pod_where_it_does_in_velero() {
    let check = |case: &Case, resources: &[Value]| {
        let policies = policies_of(case);
        let choice = choice(case, &policies);
        let pod = case.input("pod");
        let volume = &pod["spec"]["volumes"][0];
        let claim_name = text(volume, "/persistentVolumeClaim/claimName");
        let of_kind = |kind: &str| {
            resources
                .iter()
                .filter(|object| object["kind"] == kind)
                .cloned()
                .collect::<Vec<_>>()
        };
        let volumes = of_kind("PersistentVolume");
        let claims = of_kind("PersistentVolumeClaim");
        let claim = claims
            .iter()
            .find(|claim| text(claim, "/metadata/name") == claim_name);
        let ours = choice.fs_backup(volume, pod, claim.map(|claim| (claim, found(claim, &volumes))));
        fails(wants(case, "expectedErr"), &ours)?;
        same(&ours.unwrap_or_default(), &wants(case, "shouldFSBackup"))
    };
    for file in [
        "internal_volumehelper/TestVolumeHelperImpl_ShouldPerformFSBackup.json",
        "internal_volumehelper/TestVolumeHelperImplWithCache_ShouldPerformFSBackup.json",
    ] {
        each(file, |case| {
            check(
                case,
                case.input("resources")
                    .as_array()
                    .map(Vec::as_slice)
                    .unwrap_or_default(),
            )
        });
    }
    each(
        "internal_volumehelper/TestVolumeHelperImpl_ShouldPerformFSBackup_UnboundPVC.json",
        |case| check(case, &[case.input("pvc").clone()]),
    );
    each(
        "internal_volumehelper/TestVolumeHelperImpl_ShouldIncludeVolumeInBackup.json",
        |case| {
            let choice = VolumeChoice {
                leave_claims: case.input("backupExcludePVC") == true,
                ..VolumeChoice::default()
            };
            same(
                &choice.can_go_through_the_pod(case.input("vol")),
                &wants(case, "shouldInclude"),
            )
        },
    );
}

fn asked<'a>(case: &'a Case, volumes: &'a [Value]) -> Volume<'a> {
    let object = case.input("inputObj");
    if is_claim(case) {
        let volume = volume_of(object, found(object, volumes)).ok();
        Volume {
            persistent_volume: volume,
            claim: Some(object),
            ..Volume::default()
        }
    } else {
        Volume {
            persistent_volume: Some(object),
            ..Volume::default()
        }
    }
}

#[test]
fn the_action_and_its_parameters_are_those_of_velero() {
    let volumes = [bound_volume()];
    each(
        "internal_volumehelper/TestShouldPerformCustomAction.json",
        |case| {
            let policies = policies_of(case);
            let wanted = serde_json::from_value(case.input("matchParams").clone()).unwrap_or_default();
            let ours = choice(case, &policies).custom(asked(case, &volumes), &wanted);
            same(&ours, &wants(case, "expected"))
        },
    );
    each("internal_volumehelper/TestGetActionParameters.json", |case| {
        let policies = policies_of(case);
        let action = choice(case, &policies).action(asked(case, &volumes));
        same(&action.is_some(), &wants(case, "expectedMatched"))?;
        let Some(action) = action else { return Ok(()) };
        same(&json!(action.kind.to_string()), case.want("expectedAction"))?;
        let wanted = case.want("expectedParams").clone();
        same(
            &json!(action.parameters),
            &if wanted.is_null() { json!({}) } else { wanted },
        )
    });
    each("internal_volumehelper/TestGetPVAndMatchAction.json", |case| {
        let policies = policies_of(case);
        let object = case.input("inputObj");
        let asked = asked(case, &volumes);
        let missing = is_claim(case) && volume_of(object, found(object, &volumes)).is_err();
        same(&missing, &wants(case, "expectedErr"))?;
        let action = choice(case, &policies)
            .action(asked)
            .map(|action| action.kind.to_string());
        let wanted = &case.want("expectedAction")["Type"];
        if missing {
            Ok(())
        } else {
            same(&json!(action), wanted)
        }
    });
}
