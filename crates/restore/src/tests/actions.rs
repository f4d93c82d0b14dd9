//! Velero's tests of its restore item actions (`cases/pkg_restore_actions`).

use caravel_api::v1::{Backup, Restore};
use caravel_api::v2alpha1::DataUpload;
use serde_json::{Value, json};

use super::cases::{each_case, object, same};
use crate::group_resource::GroupResource;
use crate::item_actions::{claim, data_upload, pod, service, small};
use crate::{existing, metadata};

#[test]
fn pods_are_changed_as_velero_changes_them() {
    each_case("pkg_restore_actions/TestPodActionExecute.json", |case| {
        let mut pod = case["input"]["obj"].clone();
        let class = pod::execute(&mut pod);
        same(&pod, &case["want"]["expectedRes"])?;
        let wanted = case["want"]["additionalItems"][0]["Name"].as_str();
        same(&json!(class), &json!(wanted))
    });
}

#[test]
fn services_are_changed_as_velero_changes_them() {
    each_case("pkg_restore_actions/TestServiceActionExecute.json", |case| {
        let restore: Restore = object(&case["input"]["restore"]);
        let mut service = case["input"]["obj"].clone();
        service::execute(&mut service, restore.spec.preserve_node_ports == Some(true));
        same(&service, &case["want"]["expectedRes"])
    });
}

#[test]
fn jobs_are_changed_as_velero_changes_them() {
    each_case("pkg_restore_actions/TestJobActionExecute.json", |case| {
        let mut job = case["input"]["obj"].clone();
        small::job(&mut job);
        same(&job, &case["want"]["expectedRes"])
    });
}

#[test]
fn the_claims_of_a_pod_come_with_it() {
    each_case(
        "pkg_restore_actions/TestAddPVCFromPodActionExecute.json",
        |case| {
            let names = pod::claims(&case["input"]["item"]);
            let wanted: Vec<&Value> = case["want"]["want"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|item| &item["Name"])
                .collect();
            same(&json!(names), &json!(wanted))
        },
    );
}

#[test]
fn service_accounts_lose_their_token_secrets() {
    each_case(
        "pkg_restore_actions/TestServiceAccountActionExecute.json",
        |case| {
            let named = |names: &Value| -> Vec<Value> {
                names
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|name| json!({"name": name}))
                    .collect()
            };
            let mut account =
                json!({"metadata": {"name": "bar"}, "secrets": named(&case["input"]["secrets"])});
            small::service_account(&mut account);
            same(&account["secrets"], &json!(named(&case["want"]["expected"])))
        },
    );
}

#[test]
fn token_secrets_are_left_out_or_emptied() {
    each_case("pkg_restore_actions/TestSecretActionExecute.json", |case| {
        let mut secret = case["input"]["input"].clone();
        let account_exists = !case["input"]["serviceAccount"].is_null();
        let token = small::is_token_secret(&secret);
        let skipped = token && account_exists && small::auto_created_for(&secret).is_some();
        same(&json!(skipped), &case["want"]["skipped"])?;
        if skipped {
            return Ok(());
        }
        if token {
            small::token_secret(&mut secret);
        }
        same(&secret, &case["want"]["output"])
    });
}

#[test]
fn role_bindings_follow_their_namespaces() {
    for file in [
        "pkg_restore_actions/TestRoleBindingActionExecute.json",
        "pkg_restore_actions/TestClusterRoleBindingActionExecute.json",
    ] {
        each_case(file, |case| {
            let subjects = |names: &Value| -> Vec<Value> {
                names
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|name| json!({"namespace": name}))
                    .collect()
            };
            let mapping =
                serde_json::from_value(case["input"]["namespaceMapping"].clone()).unwrap_or_default();
            let mut binding = json!({"subjects": subjects(&case["input"]["namespaces"])});
            small::role_binding(&mut binding, &mapping);
            same(&binding["subjects"], &json!(subjects(&case["want"]["expected"])))
        });
    }
}

#[test]
fn webhook_configurations_get_side_effects_that_v1_knows() {
    each_case(
        "pkg_restore_actions/TestNewAdmissionWebhookConfigurationActionExecute.json",
        |case| {
            let mut configuration: Value =
                serde_json::from_str(case["input"]["itemJSON"].as_str().unwrap()).unwrap();
            small::webhook_configuration(&mut configuration);
            for (list, is_none) in [("NoneSideEffectsIndex", true), ("NotNoneSideEffectsIndex", false)] {
                for index in case["want"][list]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_u64)
                {
                    let effects = &configuration["webhooks"][usize::try_from(index).unwrap()]["sideEffects"];
                    same(&json!(effects == "None"), &json!(is_none))?;
                }
            }
            Ok(())
        },
    );
}

#[test]
fn claims_forget_the_node_of_the_old_cluster() {
    each_case("pkg_restore_actions/TestPVCActionExecute.json", |case| {
        let mut pvc = case["input"]["pvc"].clone();
        claim::forget_traces(&mut pvc);
        same(&pvc, &case["want"]["want"])
    });
}

/// The cases' uploads have no phase; those of a backup that can be restored do.
#[test]
fn a_data_upload_becomes_the_config_map_that_velero_makes() {
    each_case(
        "pkg_restore_actions/TestDataUploadRetrieveActionExectue.json",
        |case| {
            let input = &case["input"];
            if input["veleroObjs"].is_null() {
                return Err("the controller finds the Backup before the run".to_owned());
            }
            let mut upload: DataUpload = object(&input["dataUpload"]);
            upload.status.get_or_insert_default().phase = Some("Completed".into());
            let backup: Backup = object(&input["veleroObjs"][0]);
            let map = data_upload::result_config_map(&upload, &object(&input["restore"]), &backup);
            let map = serde_json::to_value(map.map_err(|error| error.to_string())?).unwrap();
            let wanted = &case["want"]["expectedDataUploadResult"];
            same(&map["metadata"]["labels"], &wanted["metadata"]["labels"])?;
            let result = |map: &Value| -> Value {
                let text = map["data"]["testingUID"].as_str().unwrap();
                serde_json::from_str(text).unwrap()
            };
            same(&result(&map), &result(wanted))
        },
    );
}

#[test]
fn service_accounts_merge_as_velero_merges_them() {
    each_case("pkg_restore/TestMergeServiceAccountBasic.json", |case| {
        let merged =
            existing::merge_service_account(&case["input"]["fromCluster"], &case["input"]["fromBackup"]);
        same(&merged, &case["want"]["expectedRes"])
    });
}

#[test]
fn finished_pods_and_jobs_are_known() {
    each_case("pkg_restore/TestIsCompleted.json", |case| {
        let object = serde_json::from_str::<Value>(case["input"]["content"].as_str().unwrap());
        let object = object.map_err(|error| error.to_string())?;
        let resource = &case["input"]["groupResource"];
        let resource = GroupResource::new(
            resource["Group"].as_str().unwrap_or_default(),
            resource["Resource"].as_str().unwrap_or_default(),
        );
        same(
            &json!(metadata::is_completed(&resource, &object)),
            &case["want"]["expected"],
        )
    });
}
