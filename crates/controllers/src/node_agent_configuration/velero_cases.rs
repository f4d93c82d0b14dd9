//! Velero's own table tests of resources in a ConfigMap (`pkg_util_kube`).

use caravel_cases::{each, same};
use serde_json::{Value, json};

use super::*;

#[test]
fn the_resources_of_a_pod_are_read_as_velero_reads_them() {
    each("pkg_util_kube/TestParseResourceRequirements.json", |case| {
        let args = case.input("args");
        let said = json!({"podResources": {
            "cpuRequest": args["cpuRequest"], "cpuLimit": args["cpuLimit"],
            "memoryRequest": args["memRequest"], "memoryLimit": args["memLimit"],
            "ephemeralStorageRequest": args["ephemeralStorageRequest"],
            "ephemeralStorageLimit": args["ephemeralStorageLimit"],
        }});
        let reading =
            read(&said.to_string(), &Configuration::default()).map_err(|error| error.to_string())?;
        same(&!reading.refused.is_empty(), &(case.want("wantErr") == true))?;
        // What the test compared with, where the table leaves it out.
        let compared = case.0["asserts"].as_array().into_iter().flatten();
        let mut compared = compared.filter(|assert| assert["fn"] == "Equal");
        let wanted = compared.next().map_or(&Value::Null, |assert| &assert["value"]);
        let ours = reading.configuration.settings.pod_resources;
        let ours = ours.map_or(Value::Null, |ours| json!(ours));
        let is_empty = |value: &Value| value.is_null() || *value == json!({});
        if is_empty(&ours) && is_empty(wanted) {
            return Ok(());
        }
        same(&ours, wanted)
    });
}
