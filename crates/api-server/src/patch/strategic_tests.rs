use serde_json::json;

use super::*;
use crate::builtin::samples::kind;

fn patched_pod(object: Value, patch: Value) -> Value {
    strategic(&kind("", "Pod"), &object, &patch).expect("a good patch")
}

fn containers(items: Value) -> Value {
    json!({"spec": {"containers": items}})
}

#[test]
fn containers_merge_by_name() {
    let pod = containers(json!([{"name": "a", "image": "one"}, {"name": "b", "image": "two"}]));
    let patch = containers(json!([{"name": "b", "image": "three"}]));
    let wanted = containers(json!([{"name": "a", "image": "one"}, {"name": "b", "image": "three"}]));
    assert_eq!(patched_pod(pod, patch), wanted);
}

#[test]
fn a_new_container_comes_before_those_the_patch_does_not_name() {
    let pod = containers(json!([{"name": "a"}]));
    let patch = containers(json!([{"name": "b"}]));
    assert_eq!(
        patched_pod(pod, patch),
        containers(json!([{"name": "b"}, {"name": "a"}]))
    );
}

#[test]
fn set_element_order_says_the_order_without_naming_contents() {
    let pod = containers(json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]));
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
        "containers": [{"name": "a", "image": "x"}],
    }});
    let wanted = containers(json!([{"name": "b"}, {"name": "c"}, {"name": "a", "image": "x"}]));
    assert_eq!(patched_pod(pod, patch), wanted);
}

#[test]
fn a_patch_list_out_of_its_own_order_is_refused() {
    let pod = containers(json!([{"name": "a"}]));
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
        "containers": [{"name": "b"}, {"name": "a"}],
    }});
    let error = strategic(&kind("", "Pod"), &pod, &patch).expect_err("contradiction");
    assert!(error.message.starts_with("The order in patch list:\n"), "{error}");
}

#[test]
fn patch_delete_takes_one_item_out() {
    let pod = containers(json!([{"name": "a"}, {"name": "b"}]));
    let patch = containers(json!([{"$patch": "delete", "name": "a"}]));
    assert_eq!(patched_pod(pod, patch), containers(json!([{"name": "b"}])));
}

#[test]
fn patch_replace_in_a_list_makes_the_patch_the_list() {
    let pod = containers(json!([{"name": "a", "image": "x"}, {"name": "b"}]));
    let patch = containers(json!([{"name": "a"}, {"$patch": "replace"}]));
    assert_eq!(patched_pod(pod, patch), containers(json!([{"name": "a"}])));
}

#[test]
fn patch_replace_in_an_object_makes_the_patch_the_object() {
    let object = json!({"metadata": {"labels": {"a": "1"}}});
    let patch = json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}}});
    assert_eq!(
        patched_pod(object, patch),
        json!({"metadata": {"labels": {"b": "2"}}})
    );
}

#[test]
fn finalizers_merge_by_value_and_are_deleted_by_value() {
    let object = json!({"metadata": {"finalizers": ["a", "b"]}});
    let patch = json!({"metadata": {
        "finalizers": ["c", "b"],
        "$deleteFromPrimitiveList/finalizers": ["a"],
    }});
    assert_eq!(
        patched_pod(object, patch),
        json!({"metadata": {"finalizers": ["c", "b"]}})
    );
}

#[test]
fn a_list_without_merge_key_is_replaced() {
    let pod = containers(json!([{"name": "a", "command": ["x", "y"]}]));
    let patch = containers(json!([{"name": "a", "command": ["z"]}]));
    assert_eq!(
        patched_pod(pod, patch),
        containers(json!([{"name": "a", "command": ["z"]}]))
    );
}

#[test]
fn retain_keys_drops_what_a_strategy_no_longer_has() {
    let deployment =
        json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let patched = strategic(&kind("apps", "Deployment"), &deployment, &patch);
    assert_eq!(patched, Ok(json!({"spec": {"strategy": {"type": "Recreate"}}})));
}

#[test]
fn null_removes_a_field_and_nulls_without_a_field_are_forgotten() {
    let object = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
    let patch = json!({"metadata": {"labels": {"a": null, "c": null}, "annotations": {"x": null}}});
    assert_eq!(
        patched_pod(object, patch),
        json!({"metadata": {"labels": {"b": "2"}, "annotations": {}}})
    );
}

#[test]
fn an_item_without_its_merge_key_is_refused() {
    let pod = containers(json!([{"name": "a"}]));
    let patch = containers(json!([{"image": "x"}]));
    let error = strategic(&kind("", "Pod"), &pod, &patch).expect_err("no key");
    assert!(
        error
            .message
            .contains("does not contain declared merge key: name"),
        "{error}"
    );
}

#[test]
fn an_unknown_directive_is_answered_as_kubernetes_does() {
    let object = json!({"metadata": {"labels": {"a": "1"}}});
    let patch = json!({"metadata": {"labels": {"$patch": "foo"}}});
    let error = strategic(&kind("", "Pod"), &object, &patch).expect_err("unknown");
    assert_eq!(error.message, "unknown patch type: foo in map: map[$patch:foo]");
}
