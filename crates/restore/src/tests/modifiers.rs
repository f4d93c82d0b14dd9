//! Velero's tables of `internal/resourcemodifiers`.

use caravel_cases::{Case, each, same};
use serde_json::{Value, json};

use crate::resource_modifiers::{
    JsonPatch, PatchData, ResourceModifierRule, ResourceModifiers, from_config_map,
};

fn fails<T: std::fmt::Debug>(wanted: bool, result: &Result<T, String>) -> Result<(), String> {
    match (wanted, result) {
        (true, Ok(made)) => Err(format!("should fail, gives {made:?}")),
        (false, Err(error)) => Err(format!("fails: {error}")),
        _ => Ok(()),
    }
}

/// Rules of a case under Go's names at the top, and YAML's below.
fn modifiers(value: &Value) -> ResourceModifiers {
    let field = |go: &str, yaml: &str| {
        if value[yaml].is_null() {
            value[go].clone()
        } else {
            value[yaml].clone()
        }
    };
    let document = json!({"version": field("Version", "version"), "resourceModifierRules": field("ResourceModifierRules", "resourceModifierRules")});
    serde_json::from_value(document).unwrap()
}

fn applied(case: &Case, rules: &Value, object: &Value, group_resource: &Value) -> Result<(), String> {
    let mut ours = object.clone();
    let errors = modifiers(rules).apply(&mut ours, group_resource.as_str().unwrap());
    same(&!errors.is_empty(), &(case.want("wantErr") == true)).map_err(|why| format!("{why} {errors:?}"))?;
    let wanted = case.want("wantObj");
    if wanted.is_null() {
        Ok(())
    } else {
        same(&ours, wanted)
    }
}

#[test]
fn rules_change_what_they_change_in_velero() {
    each(
        "internal_resourcemodifiers/TestResourceModifiers_ApplyResourceModifierRules.json",
        |case| {
            let args = case.input("args");
            applied(case, case.input("fields"), &args["obj"], &args["groupResource"])
        },
    );
    for file in [
        "internal_resourcemodifiers/TestResourceModifiers_ApplyResourceModifierRules_JSONMergePatch.json",
        "internal_resourcemodifiers/TestResourceModifiers_ApplyResourceModifierRules_StrategicMergePatch.json",
        "internal_resourcemodifiers/TestResourceModifiers_conditional_patches.json",
        "internal_resourcemodifiers/TestResourceModifiers_wildcard_in_GroupResource.json",
    ] {
        each(file, |case| {
            applied(
                case,
                case.input("rm"),
                case.input("obj"),
                case.input("groupResource"),
            )
        });
    }
}

#[test]
fn rules_are_refused_where_velero_refuses_them() {
    each(
        "internal_resourcemodifiers/TestResourceModifiers_Validate.json",
        |case| {
            fails(
                case.want("wantErr") == true,
                &modifiers(case.input("fields")).validate(),
            )
        },
    );
    each("internal_resourcemodifiers/TestJsonPatch_Validate.json", |case| {
        let field = |name: &str| case.input("fields")[name].as_str().unwrap_or_default().to_owned();
        let patch = JsonPatch {
            operation: field("Operation"),
            path: field("Path"),
            value: field("Value"),
            ..JsonPatch::default()
        };
        fails(case.want("wantErr") == true, &patch.validate())
    });
    each(
        "internal_resourcemodifiers/TestGetResourceModifiersFromConfig.json",
        |case| {
            let given = &case.input("args")["cm"];
            if given.is_null() {
                // There is no ConfigMap to read: in Rust that is a type.
                return Ok(());
            }
            let map = serde_json::from_value(given.clone()).unwrap();
            let ours = from_config_map(&map).map_err(|error| error.to_string());
            fails(case.want("wantErr") == true, &ours)?;
            let Ok(ours) = ours else { return Ok(()) };
            // Whether a block without a last line break ends in one is the YAML reader's; to a patch it is the same.
            let trimmed = |mut modifiers: ResourceModifiers| {
                for rule in &mut modifiers.resource_modifier_rules {
                    for patch in rule.merge_patches.iter_mut().chain(&mut rule.strategic_patches) {
                        patch.patch_data.truncate(patch.patch_data.trim_end().len());
                    }
                }
                modifiers
            };
            same(&trimmed(ours), &trimmed(modifiers(case.want("want"))))
        },
    );
}

#[test]
fn the_text_of_a_value_means_what_it_means_in_velero() {
    each("internal_resourcemodifiers/TestJSONPatch_ToString.json", |case| {
        let field = |name: &str| case.input("fields")[name].as_str().unwrap_or_default().to_owned();
        let patch = JsonPatch {
            operation: field("Operation"),
            from: field("From"),
            path: field("Path"),
            value: field("Value"),
        };
        let wanted: Value =
            serde_json::from_str(case.want("want").as_str().unwrap()).map_err(|error| error.to_string())?;
        same(&patch.operation()?, &wanted)
    });
}

#[test]
fn patches_that_are_none_are_errors() {
    let rule = |data: &Value, strategic: bool| {
        let patch = PatchData {
            patch_data: data.as_str().unwrap().to_owned(),
        };
        let mut rule = ResourceModifierRule::default();
        rule.conditions.group_resource = "*".to_owned();
        if strategic {
            rule.strategic_patches.push(patch)
        } else {
            rule.merge_patches.push(patch)
        }
        ResourceModifiers {
            version: "v1".to_owned(),
            resource_modifier_rules: vec![rule],
        }
    };
    each(
        "internal_resourcemodifiers/TestJsonMergePatchFailure.json",
        |case| {
            let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap"});
            same(
                &rule(case.input("data"), false)
                    .apply(&mut object, "configmaps")
                    .len(),
                &1,
            )
        },
    );
    each(
        "internal_resourcemodifiers/TestStrategicMergePatchFailure.json",
        |case| {
            let value = case.input("value");
            let mut object = json!({"apiVersion": "v1", "kind": value["kind"], "metadata": {"name": "a"}});
            same(
                &rule(&value["data"], true).apply(&mut object, "configmaps").len(),
                &1,
            )
        },
    );
}
