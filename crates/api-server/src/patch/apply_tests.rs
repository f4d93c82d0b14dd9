//! What Kubernetes v1.34.4 answered to the same requests.

use std::sync::Arc;

use super::*;
use crate::builtin::samples::kind;
use crate::builtin::{defaults, typed};

fn now() -> Timestamp {
    "2026-11-21T09:00:00Z".parse().expect("a timestamp")
}

/// Applied, decoded and defaulted, as the server does.
fn try_applied(
    kind: &Kind,
    live: Option<&Value>,
    object: Value,
    manager: &str,
    force: bool,
) -> Result<Value, ApiError> {
    let mut applied = object;
    applied["apiVersion"] = kind.api_version().into();
    applied["kind"] = kind.kind.as_str().into();
    applied["metadata"]["name"] = "s1".into();
    let result = apply(kind, live, &applied, manager, force, now())?;
    let mut result = typed::normalise(kind, result)?.0;
    defaults::apply(kind, &mut result);
    Ok(result)
}

fn applied(kind: &Kind, live: Option<&Value>, object: Value, manager: &str) -> Value {
    try_applied(kind, live, object, manager, false).expect("no conflict")
}

fn owners(object: &Value) -> Value {
    let entries = managers::of(object).expect("readable");
    entries
        .iter()
        .map(|entry| (entry.name.clone(), json!(entry.fields.paths())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn map(data: Value) -> Value {
    json!({"data": data})
}

#[test]
fn an_applier_owns_what_it_says_and_nothing_else() {
    let cm = kind("", "ConfigMap");
    let first = applied(
        &cm,
        None,
        json!({"metadata": {"labels": {"l": "1"}}, "data": {"a": "1", "b": "2"}}),
        "x",
    );
    assert_eq!(
        first["metadata"]["managedFields"],
        json!([{"manager": "x", "operation": "Apply", "apiVersion": "v1", "time": "2026-11-21T09:00:00Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:data": {"f:a": {}, "f:b": {}}, "f:metadata": {"f:labels": {"f:l": {}}}}}])
    );
}

#[test]
fn equal_values_are_owned_together() {
    let cm = kind("", "ConfigMap");
    let first = applied(&cm, None, map(json!({"a": "1"})), "x");
    let second = applied(&cm, Some(&first), map(json!({"a": "1"})), "y");
    assert_eq!(owners(&second), json!({"x": [".data.a"], "y": [".data.a"]}));
}

#[test]
fn another_value_is_a_conflict_that_names_manager_and_field() {
    let cm = kind("", "ConfigMap");
    let first = applied(&cm, None, map(json!({"a": "1", "b": "2"})), "x");
    let error = try_applied(&cm, Some(&first), map(json!({"a": "2"})), "y", false).expect_err("conflict");
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"x\": .data.a"
    );
    assert_eq!(
        error.details,
        json!({"causes": [{"reason": "FieldManagerConflict", "message": "conflict with \"x\"", "field": ".data.a"}]})
    );
    let two = json!({"a": "2", "b": "3"});
    let error = try_applied(&cm, Some(&first), map(two), "y", false).expect_err("conflict");
    assert_eq!(
        error.message,
        "Apply failed with 2 conflicts: conflicts with \"x\":\n- .data.a\n- .data.b"
    );
}

#[test]
fn force_takes_fields_over() {
    let cm = kind("", "ConfigMap");
    let first = applied(&cm, None, map(json!({"a": "1", "b": "2"})), "x");
    let second = try_applied(&cm, Some(&first), map(json!({"a": "2"})), "y", true).expect("forced");
    assert_eq!(second["data"], json!({"a": "2", "b": "2"}));
    assert_eq!(owners(&second), json!({"x": [".data.b"], "y": [".data.a"]}));
}

#[test]
fn what_an_applier_no_longer_says_goes_unless_another_owns_it() {
    let cm = kind("", "ConfigMap");
    let first = applied(&cm, None, map(json!({"a": "1", "b": "2"})), "x");
    let second = applied(&cm, Some(&first), map(json!({"a": "1"})), "y");
    let third = applied(&cm, Some(&second), json!({}), "x");
    assert_eq!(third["data"], json!({"a": "1"}));
    assert_eq!(third["metadata"]["name"], "s1");
    assert_eq!(owners(&third), json!({"y": [".data.a"]}));
}

#[test]
fn updates_own_what_they_change_and_conflict_with_their_version() {
    let cm = kind("", "ConfigMap");
    let first = applied(&cm, None, map(json!({"a": "1"})), "x");
    let mut second = first.clone();
    second["data"] = json!({"a": "7", "c": "1"});
    crate::managed_fields::track(&cm, Some(&first), &mut second, "upd", "Update", None, now());
    assert_eq!(owners(&second), json!({"upd": [".data.a", ".data.c"]}));
    let both = map(json!({"a": "2", "c": "2"}));
    let error = try_applied(&cm, Some(&second), both, "x", false).expect_err("conflict");
    assert_eq!(
        error.message,
        "Apply failed with 2 conflicts: conflicts with \"upd\" using v1:\n- .data.a\n- .data.c"
    );
}

fn deployment(containers: Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": containers}}}})
}

#[test]
fn containers_are_owned_by_name_and_ports_by_number_and_protocol() {
    let kind = kind("apps", "Deployment");
    let first = json!([{"name": "a", "image": "i", "ports": [{"containerPort": 80}], "env": [{"name": "E", "value": "1"}]}]);
    let first = applied(&kind, None, deployment(first), "x");
    let second = json!([
        {"name": "s", "image": "j"},
        {"name": "a", "env": [{"name": "F", "value": "2"}],
         "ports": [{"containerPort": 80, "protocol": "TCP", "name": "p"}]},
    ]);
    let second = applied(&kind, Some(&first), deployment(second), "y");
    let containers = &second["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers[0]["name"], "s");
    assert_eq!(
        containers[1]["env"],
        json!([{"name": "E", "value": "1"}, {"name": "F", "value": "2"}])
    );
    assert_eq!(
        containers[1]["ports"],
        json!([{"name": "p", "containerPort": 80, "protocol": "TCP"}])
    );
    let image = deployment(json!([{"name": "a", "image": "zz"}]));
    let error = try_applied(&kind, Some(&second), image, "y", false).expect_err("conflict");
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"x\": .spec.template.spec.containers[name=\"a\"].image"
    );
    let third = applied(&kind, Some(&second), json!({"spec": {"replicas": 1}}), "y");
    let containers = &third["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().map(Vec::len), Some(1));
    assert_eq!(containers[0]["env"], json!([{"name": "E", "value": "1"}]));
    assert_eq!(
        containers[0]["ports"],
        json!([{"containerPort": 80, "protocol": "TCP"}])
    );
    assert_eq!(containers[0]["image"], "i");
}

#[test]
fn what_a_kind_does_not_have_is_refused() {
    let cases = [
        (json!({"foo": "1"}), ".foo: field not declared in schema"),
        (
            map(json!({"a": 1})),
            ".data.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
    ];
    for (object, wanted) in cases {
        let error = try_applied(&kind("", "ConfigMap"), None, object, "x", false).expect_err("refused");
        let head = "failed to create typed patch object (/s1; /v1, Kind=ConfigMap): ";
        assert_eq!(error.message, format!("{head}{wanted}"));
    }
    let twice = deployment(json!([{"name": "a"}, {"name": "a"}]));
    let error = try_applied(&kind("apps", "Deployment"), None, twice, "x", false).expect_err("refused");
    assert_eq!(
        error.message,
        "failed to create typed patch object (/s1; apps/v1, Kind=Deployment): .spec.template.spec.containers: \
         duplicate entries for key [name=\"a\"]"
    );
}

#[test]
fn managed_fields_and_other_kinds_are_bad_requests() {
    let cm = kind("", "ConfigMap");
    let patch = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": []}});
    let error = apply(&cm, None, &patch, "x", false, now()).expect_err("refused");
    assert_eq!(error.message, "metadata.managedFields must be nil");
    let patch = json!({"apiVersion": "v2", "kind": "ConfigMap"});
    let error = apply(&cm, None, &patch, "x", false, now()).expect_err("refused");
    assert_eq!(error.message, "invalid object type: /v2, Kind=ConfigMap");
}

fn backup_kind() -> Kind {
    let mut kind = kind("velero.io", "Backup");
    let strings = json!({"type": "array", "items": {"type": "string"}});
    let spec = json!({"type": "object", "properties": {
        "includedNamespaces": strings, "ttl": {"type": "string"}, "storageLocation": {"type": "string"},
        "hooks": {"type": "object", "properties": {"resources": strings}},
        "rules": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                  "items": {"type": "object", "required": ["name"],
                            "properties": {"name": {"type": "string"}, "do": {"type": "string"}}}},
    }});
    let status = json!({"type": "object", "properties": {"phase": {"type": "string"}}});
    let open_api = json!({"type": "object", "properties": {"spec": spec, "status": status}});
    kind.custom = Some(Arc::new(crate::builtin::samples::custom(open_api)));
    kind.status_subresource = false;
    kind
}

#[test]
fn custom_kinds_are_owned_as_their_schema_says() {
    let kind = backup_kind();
    let rule = |name: &str, act: &str| json!({"name": name, "do": act});
    let first = json!({"metadata": {"labels": {"a": "b"}}, "status": {"phase": "New"},
                       "spec": {"includedNamespaces": ["a"], "ttl": "1h", "rules": [rule("r", "x")]}});
    let first = applied(&kind, None, first, "x");
    assert_eq!(
        first["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:status": {"f:phase": {}},
               "f:spec": {"f:includedNamespaces": {}, "f:ttl": {},
                          "f:rules": {"k:{\"name\":\"r\"}": {".": {}, "f:do": {}, "f:name": {}}}}})
    );
    let second = json!({"spec": {"rules": [rule("q", "y")]}});
    let second = applied(&kind, Some(&first), second, "y");
    assert_eq!(second["spec"]["rules"], json!([rule("r", "x"), rule("q", "y")]));
    let mut third = second.clone();
    third["metadata"]["annotations"] = json!({"z": "y"});
    third["spec"]["hooks"] = json!({});
    third["spec"]["ttl"] = "2h".into();
    crate::managed_fields::track(&kind, Some(&second), &mut third, "upd", "Update", None, now());
    let entry = managers::of(&third)
        .expect("readable")
        .pop()
        .expect("the last entry");
    assert_eq!(entry.name, "upd");
    assert_eq!(
        entry.fields.write(),
        json!({"f:metadata": {"f:annotations": {".": {}, "f:z": {}}}, "f:spec": {"f:hooks": {}, "f:ttl": {}}})
    );
    let error =
        try_applied(&kind, Some(&third), json!({"spec": {"foo": 1}}), "x", false).expect_err("refused");
    assert!(
        error
            .message
            .ends_with("Kind=Backup): .spec.foo: field not declared in schema"),
        "{error}"
    );
}
