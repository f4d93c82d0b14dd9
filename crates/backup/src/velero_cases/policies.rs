use std::collections::BTreeMap;

use caravel_cases::{Case, each, same};
use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use serde_json::{Value, json};

use super::{fails, policies, wants, yaml_names};
use crate::cluster::name;
use crate::resource_policies::{
    self, ActionType, BuiltVolumePolicy, Capacity, Conditions, Document, Found, Policies, PoliciesError,
    Volume, VolumeFacts,
};

/// The facts that a case writes down under Go's names.
fn facts(value: &Value) -> VolumeFacts {
    let texts = |field: &str| caravel_cases::texts(&value[field]);
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let volume = json!({"spec": {"capacity": {"storage": value["capacity"]}, "csi": yaml_names(&value["csi"]), "nfs": yaml_names(&value["nfs"])}});
    let read = Volume {
        persistent_volume: Some(&volume),
        ..Volume::default()
    };
    VolumeFacts {
        storage_class: text("storageClass"),
        volume_type: text("volumeType"),
        pvc_labels: serde_json::from_value(value["pvcLabels"].clone()).unwrap_or_default(),
        pvc_phase: text("pvcPhase"),
        pvc_volume_mode: text("pvcVolumeMode"),
        pvc_access_modes: texts("pvcAccessModes"),
        ..read.facts().unwrap()
    }
}

/// One condition of a case, by its YAML name.
fn condition(case: &Case, fields: &[(&str, &str)]) -> Result<(), String> {
    let given = case.input("condition");
    let mut conditions = json!({});
    for (theirs, name) in fields {
        conditions[name] = yaml_names(&given[theirs]);
    }
    let policies = Policies {
        volumes: vec![BuiltVolumePolicy {
            capacity: Capacity::default(),
            conditions: serde_json::from_value(conditions).unwrap(),
            action: Default::default(),
        }],
        ..Policies::default()
    };
    let ours = policies.action_for(&facts(case.input("volume"))).is_some();
    same(&ours, &wants(case, "expectedMatch"))
}

#[test]
fn each_condition_matches_what_it_matches_in_velero() {
    let plain = |value: &'static str| [(value, value)];
    each("internal_resourcepolicies/TestCSIConditionMatch.json", |case| {
        condition(case, &plain("csi"))
    });
    each("internal_resourcepolicies/TestNFSConditionMatch.json", |case| {
        condition(case, &plain("nfs"))
    });
    each(
        "internal_resourcepolicies/TestStorageClassConditionMatch.json",
        |case| condition(case, &plain("storageClass")),
    );
    each("internal_resourcepolicies/TestPVCLabelsMatch.json", |case| {
        condition(case, &[("labels", "pvcLabels")])
    });
    each("internal_resourcepolicies/TestPVCPhaseMatch.json", |case| {
        condition(case, &[("phases", "pvcPhase")])
    });
    each("internal_resourcepolicies/TestPVCVolumeModeMatch.json", |case| {
        condition(case, &[("volumeMode", "pvcVolumeMode")])
    });
    each("internal_resourcepolicies/TestPVCAccessModesMatch.json", |case| {
        condition(case, &[("accessModes", "pvcAccessModes")])
    });
}

fn capacity(value: &Value) -> Capacity {
    let end = |field: &str| value[field].as_str().unwrap();
    Capacity::parse(&format!("{},{}", end("lower"), end("upper"))).unwrap()
}

#[test]
fn capacities_are_read_and_compared_as_in_velero() {
    each("internal_resourcepolicies/TestParseCapacity.json", |case| {
        let ours = Capacity::parse(case.input("input").as_str().unwrap());
        fails(!case.want("expectedErr").is_null(), &ours)?;
        let wanted = capacity(case.want("expected"));
        same(&ours.unwrap_or_default().ends(), &wanted.ends())
    });
    each(
        "internal_resourcepolicies/TestCapacityConditionValidate.json",
        |case| {
            same(
                &!capacity(case.input("capacity")).is_legal(),
                &wants(case, "wantErr"),
            )
        },
    );
    each("internal_resourcepolicies/TestCapacityIsInRange.json", |case| {
        let size = facts(&json!({"capacity": case.input("quantity")})).capacity;
        same(
            &capacity(case.input("capacity")).holds(size),
            &wants(case, "isInRange"),
        )
    });
}

fn given(value: &Value) -> Option<&Value> {
    (!value.is_null()).then_some(value)
}

#[test]
fn a_volumes_type_and_source_are_read_as_in_velero() {
    let of_pv = |volume: &Value| {
        Volume {
            persistent_volume: given(volume),
            ..Volume::default()
        }
        .facts()
    };
    let of_pod = |volume: &Value| {
        Volume {
            pod_volume: given(volume),
            ..Volume::default()
        }
        .facts()
    };
    each("internal_resourcepolicies/TestGetVolumeTypeFromPV.json", |case| {
        let facts = of_pv(case.input("inputPV")).unwrap_or_default();
        same(&Value::from(facts.volume_type), case.want("expected"))
    });
    each(
        "internal_resourcepolicies/TestGetVolumeTypeFromVolume.json",
        |case| {
            let facts = of_pod(case.input("inputVol")).unwrap_or_default();
            same(&Value::from(facts.volume_type), case.want("expected"))
        },
    );
    let sources = |case: &Case, facts: VolumeFacts| {
        let wanted = facts_of_sources(case);
        same(&(facts.csi, facts.nfs), &(wanted.csi, wanted.nfs))
    };
    each("internal_resourcepolicies/TestParsePV.json", |case| {
        sources(case, of_pv(case.input("inputVolume")).unwrap())
    });
    each("internal_resourcepolicies/TestParsePodVolume.json", |case| {
        sources(case, of_pod(case.input("inputVolume")).unwrap())
    });
    each("internal_resourcepolicies/TestParsePVC.json", |case| {
        let facts = Volume {
            claim: given(case.input("pvc")),
            ..Volume::default()
        }
        .facts()
        .unwrap_or_default();
        let labels = given(case.want("expectedLabels"))
            .cloned()
            .unwrap_or_else(|| json!({}));
        same(&json!(facts.pvc_labels), &labels)?;
        same(&Value::from(facts.pvc_phase), case.want("expectedPhase"))?;
        same(
            &Value::from(facts.pvc_volume_mode),
            case.want("expectedVolumeMode"),
        )?;
        same(
            &facts.pvc_access_modes,
            &caravel_cases::texts(case.want("expectedAccessModes")),
        )
    });
    each("internal_resourcepolicies/TestNewVolumeFilterData.json", |case| {
        let volume = Volume {
            persistent_volume: given(case.input("pv")),
            pod_volume: given(case.input("podVol")),
            claim: given(case.input("pvc")),
        };
        let anything =
            !(case.input("pv").is_null() && case.input("podVol").is_null() && case.input("pvc").is_null());
        same(&volume.facts().is_some(), &anything)
    });
}

fn facts_of_sources(case: &Case) -> VolumeFacts {
    facts(&json!({"csi": case.want("expectedCSI"), "nfs": case.want("expectedNFS")}))
}

fn load(case: &Case) -> Result<Policies, String> {
    let document =
        Document::read(case.input("yamlData").as_str().unwrap()).map_err(|error| error.to_string())?;
    Policies::build(document).map_err(|error| error.to_string())
}

#[test]
fn documents_are_read_as_strictly_as_by_velero() {
    each(
        "internal_resourcepolicies/TestLoadResourcePolicies.json",
        |case| {
            let ours = Document::read(case.input("yamlData").as_str().unwrap());
            fails(wants(case, "wantErr"), &ours)
        },
    );
    each(
        "internal_resourcepolicies/TestUnmarshalVolumeConditions.json",
        |case| {
            let mut input = case.input("input").clone();
            if input["csi"].is_object() {
                input["csi"] = yaml_names(&input["csi"]);
            }
            let ours: Result<Conditions, _> = serde_json::from_value(input);
            fails(case.want("expectedError") != "", &ours)
        },
    );
}

#[test]
fn policies_are_refused_where_velero_refuses_them() {
    each("internal_resourcepolicies/TestValidate.json", |case| {
        let ours = policies(case.input("res"))
            .and_then(|policies| policies.validate().map_err(|error| error.to_string()));
        fails(wants(case, "wantErr"), &ours)
    });
    each("internal_resourcepolicies/TestValidateForRestore.json", |case| {
        let ours = policies(case.input("res"))
            .and_then(|policies| policies.validate_for_restore().map_err(|error| error.to_string()));
        fails(wants(case, "wantErr"), &ours)
    });
    for file in [
        "internal_resourcepolicies/TestNamespacedFilterPolicies.json",
        "internal_resourcepolicies/TestClusterScopedFilterPolicies.json",
    ] {
        each(file, |case| {
            let ours = load(case).and_then(|policies| policies.validate().map_err(|error| error.to_string()));
            fails(wants(case, "wantErr"), &ours)?;
            let (said, wanted) = (
                ours.err().unwrap_or_default(),
                case.want("errMsg").as_str().unwrap(),
            );
            if said.contains(wanted) {
                Ok(())
            } else {
                Err(format!("{said:?} does not say {wanted:?}"))
            }
        });
    }
}

#[test]
fn the_action_is_that_of_the_first_matching_policy() {
    each("internal_resourcepolicies/TestGetMatchAction.json", |case| {
        let policies = load(case)?;
        policies.validate().map_err(|error| error.to_string())?;
        let volume = Volume {
            persistent_volume: given(case.input("vol")),
            pod_volume: given(case.input("podVol")),
            claim: given(case.input("pvc")),
        };
        let action = policies.action_for(&volume.facts().ok_or("nothing to look at")?);
        same(
            &action.is_some_and(|action| action.kind == ActionType::Skip),
            &wants(case, "skip"),
        )
    });
    let fixture = caravel_cases::folder()
        .map(|folder| folder.join("fixtures/internal_resourcepolicies/TestGetResourceMatchedAction.json"));
    let Some(fixture) = fixture else { return };
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(fixture).unwrap()).unwrap();
    each(
        "internal_resourcepolicies/TestGetResourceMatchedAction.json",
        |case| {
            let document = given(case.input("resourcePolicies")).unwrap_or(&fixture["resPolicies"]["value"]);
            let action = policies(document)?
                .action_for(&facts(case.input("volume")))
                .map(|action| action.kind.to_string());
            same(&json!(action), &case.want("expectedAction")["Type"])
        },
    );
}

#[test]
fn a_volume_policy_is_asked_with_something() {
    each(
        "internal_resourcepolicies/TestGetMatchAction_Errors.json",
        |case| {
            if case.input("input").is_string() {
                return Err("another type than a volume cannot be passed in Rust".to_owned());
            }
            same(
                &Volume::default().facts().is_none(),
                &!case.want("expectedErr").is_null(),
            )
        },
    );
}

fn found(name: &str, map: &Value) -> Found {
    Found {
        name: name.to_owned(),
        map: serde_json::from_value(map.clone()).unwrap(),
    }
}

#[test]
fn a_config_map_holds_one_document() {
    each(
        "internal_resourcepolicies/TestGetResourcePoliciesFromConfig.json",
        |case| {
            let wanted = !matches!(case.want("expectedErr").as_str(), None | Some(""));
            fails(
                wanted,
                &resource_policies::read(&found("velero/policies", case.input("cm"))),
            )
        },
    );
}

/// The ConfigMaps of a test's fixture, by name.
fn fixture_maps(test: &str) -> Option<BTreeMap<String, Value>> {
    let path = caravel_cases::folder()?.join(format!("fixtures/internal_resourcepolicies/{test}.json"));
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let maps = fixture
        .as_object()
        .unwrap()
        .values()
        .map(|local| local["value"].clone());
    Some(maps.map(|map| (name(&map).to_owned(), map)).collect())
}

/// What Velero's error begins with, when it is about the same ConfigMap.
fn refused_as(case: &Case, ours: Result<Option<Policies>, PoliciesError>) -> Result<(), String> {
    let wanted = case.want("expectedErr").as_str().unwrap_or_default();
    match ours {
        Ok(_) => same(&"", &wanted),
        // Velero names the Backup where it means the ConfigMap.
        Err(error) => {
            let wanted = wanted.split(" ConfigMap ").next().unwrap_or_default();
            let begins = !wanted.is_empty() && error.to_string().starts_with(wanted);
            same(&begins, &true).map_err(|_| format!("ours {error}, wanted {wanted}"))
        }
    }
}

#[test]
fn the_config_map_that_a_backup_or_restore_names_is_read_as_in_velero() {
    let Some(maps) = fixture_maps("TestGetResourcePoliciesFromBackup") else {
        return;
    };
    let named = |spec: &Value, maps: &BTreeMap<String, Value>| -> Result<Found, PoliciesError> {
        let reference: TypedLocalObjectReference =
            serde_json::from_value(spec["resourcePolicy"].clone()).unwrap();
        let name = resource_policies::referenced(&reference)?;
        let map = maps.get(name).cloned().unwrap_or_default();
        Ok(found(&format!("test-namespace/{name}"), &map))
    };
    each(
        "internal_resourcepolicies/TestGetResourcePoliciesFromBackup.json",
        |case| {
            let own = named(&case.input("backup")["spec"], &maps);
            refused_as(
                case,
                own.and_then(|own| resource_policies::for_backup(Some(&own), None)),
            )
        },
    );
    let maps = fixture_maps("TestGetResourcePoliciesFromRestore").unwrap();
    each(
        "internal_resourcepolicies/TestGetResourcePoliciesFromRestore.json",
        |case| {
            let own = named(&case.input("restore")["spec"], &maps);
            refused_as(
                case,
                own.and_then(|own| resource_policies::for_restore(&own).map(Some)),
            )
        },
    );
}

#[test]
fn global_volume_policies_come_after_the_backups_own_as_in_velero() {
    each(
        "internal_resourcepolicies/TestGetResourcePoliciesFromBackupWithGlobal.json",
        |case| {
            let looked_for = |name: &str, map: &str| {
                let name = case.input(name).as_str().unwrap_or_default();
                (!name.is_empty()).then(|| found(&format!("velero/{name}"), case.input(map)))
            };
            let (own, global) = (
                looked_for("backupRef", "backupCM"),
                looked_for("globalCMName", "globalCM"),
            );
            let ours = resource_policies::for_backup(own.as_ref(), global.as_ref());
            fails(wants(case, "expectErr"), &ours)?;
            let ours = ours.ok().flatten().unwrap_or_default();
            same(&json!(ours.volumes.len()), case.want("expectedNumPolicies"))?;
            let volume = json!({"spec": {"storageClassName": "gp2"}});
            let action = ours.action_for(&facts_of(&volume));
            let action = action.map(|action| action.kind.to_string()).unwrap_or_default();
            same(&json!(action), case.want("expectedGp2Action"))
        },
    );
}

fn facts_of(volume: &Value) -> VolumeFacts {
    let volume = Volume {
        persistent_volume: Some(volume),
        ..Volume::default()
    };
    volume.facts().unwrap()
}

#[test]
fn a_backup_whose_policy_is_not_there_is_refused_as_in_velero() {
    each(
        "internal_volumehelper/TestNewVolumeHelperImplWithCache.json",
        |case| {
            let reference = &case.input("backup")["spec"]["resourcePolicy"];
            let own = reference["name"]
                .as_str()
                .map(|name| found(&format!("velero/{name}"), case.input("resourcePolicyConfigMap")));
            fails(
                wants(case, "expectError"),
                &resource_policies::for_backup(own.as_ref(), None),
            )
        },
    );
}
