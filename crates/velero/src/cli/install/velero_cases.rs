//! Velero's own table tests of priority classes (`pkg_install`).

use caravel_cases::{Case, each, same};
use serde_json::{Value, json};

use super::objects;
use super::options::{Args, Options};
use super::platform::PlatformArgs;

/// The priority class of the Deployment's and the DaemonSet's pods; null where there is none, or no such object.
fn classes(server: &Value, node_agent: &Value, use_node_agent: bool) -> [Value; 2] {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let args = Args {
        provider: Some("aws".into()),
        bucket: Some("b".into()),
        no_secret: Some(true),
        use_node_agent: Some(use_node_agent),
        platform: PlatformArgs {
            server_priority_class_name: text(server),
            node_agent_priority_class_name: text(node_agent),
            ..PlatformArgs::default()
        },
        ..Args::default()
    };
    let options = Options::from_args(&args, "velero".into()).expect("right flags");
    let objects = objects::objects(&options);
    ["Deployment", "DaemonSet"].map(|kind| {
        let workload = objects.iter().find(|object| object["kind"] == kind);
        workload.map_or(Value::Null, |it| {
            it["spec"]["template"]["spec"]["priorityClassName"].clone()
        })
    })
}

/// Go's zero value is what we leave out.
fn or_nothing(value: &Value) -> Value {
    if value == "" { Value::Null } else { value.clone() }
}

#[test]
fn a_workload_has_the_priority_class_that_is_named_as_in_velero() {
    for (place, file) in [
        "pkg_install/TestDeploymentWithPriorityClassName.json",
        "pkg_install/TestDaemonSetWithPriorityClassName.json",
    ]
    .into_iter()
    .enumerate()
    {
        each(file, |case: &Case| {
            let class = case.input("priorityClassName");
            same(
                &classes(class, class, true)[place],
                &or_nothing(case.want("expectedValue")),
            )
        });
    }
}

#[test]
fn server_and_node_agent_have_each_their_own_priority_class_as_in_velero() {
    each("pkg_install/TestAllResourcesWithPriorityClassName.json", |case| {
        let (server, agent) = (
            case.input("serverPriorityClassName"),
            case.input("nodeAgentPriorityClassName"),
        );
        let is_used = case.input("useNodeAgent") == &json!(true);
        let wanted = [
            or_nothing(server),
            if is_used { or_nothing(agent) } else { Value::Null },
        ];
        same(&classes(server, agent, is_used), &wanted)
    });
}
