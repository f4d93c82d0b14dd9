//! Velero's tests of order, filters and mapping (`cases/pkg_restore`): the objects that the plan holds must be those
//! that Velero's restore created.

use std::collections::BTreeSet;

use caravel_api::v1::Restore;
use serde_json::{Value, json};

use super::cases::{each_case, object, same, unpack};
use crate::contents::BackupContents;
use crate::discovery::{Discovered, ServedResource};
use crate::group_resource::GroupResource;
use crate::metadata::reason_to_skip;
use crate::plan::plan;
use crate::priority::{Priorities, ordered};
use crate::selection::Selection;

#[test]
fn resources_are_ordered_as_velero_orders_them() {
    each_case("pkg_restore/Test_getOrderedResources.json", |case| {
        let input = &case["input"];
        let list = |value: &Value| {
            serde_json::from_value::<Option<Vec<String>>>(value.clone())
                .unwrap()
                .unwrap_or_default()
        };
        let priorities = Priorities {
            high: list(&input["resourcePriorities"]["HighPriorities"]),
            low: list(&input["resourcePriorities"]["LowPriorities"]),
        };
        let in_backup: Vec<&str> = input["backupResources"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        same(&json!(ordered(&priorities, in_backup)), &case["want"]["want"])
    });
}

fn discovered(resources: &Value) -> Discovered {
    let mut discovered = Discovered::default();
    for resource in resources.as_array().into_iter().flatten() {
        let text = |key: &str| resource[key].as_str().unwrap_or_default().to_owned();
        discovered.add(ServedResource {
            group_resource: GroupResource::new(text("group"), text("plural")),
            version: text("version"),
            singular: text("kind").to_lowercase(),
            kind: text("kind"),
            short_names: vec![text("shortName")],
            namespaced: resource["namespaced"] == true,
        });
    }
    discovered
}

fn planned(case: &Value, resource: &GroupResource) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    unpack(&case["input"]["tarball"], folder.path());
    let contents = BackupContents::read(folder.path()).unwrap();
    let restore: Restore = object(&case["input"]["restore"]);
    let discovered = discovered(&case["input"]["apiResources"]);
    let selection = Selection::from_spec(&restore.spec, &discovered).unwrap();
    let plan = plan(&contents, &selection, &Priorities::default(), &discovered);
    let of_resource = plan
        .resources
        .iter()
        .filter(|planned| planned.group_resource == *resource);
    of_resource
        .flat_map(|planned| &planned.items)
        .filter(|item| {
            let object = contents.object(resource, &item.namespace, &item.name).unwrap();
            reason_to_skip(resource, &object).is_none()
        })
        .map(|item| format!("{}/{}", item.target_namespace, item.name))
        .collect()
}

fn check_contents(case: &Value) -> Result<(), String> {
    for wanted in case["want"]["assertAPIContents"].as_array().into_iter().flatten() {
        let text = |key: &str| wanted["key"][key].as_str().unwrap_or_default();
        let resource = GroupResource::new(text("group"), text("plural"));
        let names: BTreeSet<String> = wanted["value"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        same(&json!(planned(case, &resource)), &json!(names))?;
    }
    Ok(())
}

#[test]
fn filters_take_what_veleros_filters_take() {
    each_case("pkg_restore/TestRestoreResourceFiltering.json", check_contents);
}

#[test]
fn namespaces_are_mapped_as_velero_maps_them() {
    each_case("pkg_restore/TestRestoreNamespaceMapping.json", check_contents);
}
