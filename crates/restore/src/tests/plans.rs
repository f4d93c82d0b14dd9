//! Velero's tests of the order of resources (`cases/pkg_restore`).

use serde_json::{Value, json};

use super::cases::{each_case, same};
use crate::discovery::{Discovered, ServedResource};
use crate::group_resource::GroupResource;
use crate::priority::{Priorities, ordered};

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

pub(super) fn discovered(resources: &Value) -> Discovered {
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
