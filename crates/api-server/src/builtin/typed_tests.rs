use super::*;
use crate::builtin::samples::kind;

fn decoded(group: &str, name: &str, object: Value) -> Value {
    normalise(&kind(group, name), object).expect("decodes").0
}

fn refusal(group: &str, name: &str, object: Value) -> String {
    normalise(&kind(group, name), object)
        .expect_err("does not decode")
        .message
}

#[test]
fn quantities_and_times_are_brought_to_their_one_form() {
    let pvc = decoded(
        "",
        "PersistentVolumeClaim",
        json!({"metadata": {"creationTimestamp": "2026-11-21T09:27:15.5+01:00"},
               "spec": {"resources": {"requests": {"storage": "1024Mi", "x": 1}}}}),
    );
    assert_eq!(
        pvc["spec"]["resources"]["requests"],
        json!({"storage": "1Gi", "x": "1"})
    );
    assert_eq!(pvc["metadata"]["creationTimestamp"], "2026-11-21T08:27:15Z");
}

#[test]
fn an_empty_storage_class_stays_and_an_empty_volume_name_goes() {
    let pvc = decoded(
        "",
        "PersistentVolumeClaim",
        json!({"spec": {"storageClassName": "", "volumeName": ""}}),
    );
    assert_eq!(pvc["spec"], json!({"storageClassName": "", "resources": {}}));
    assert_eq!(pvc["status"], json!({}));
}

#[test]
fn unknown_fields_are_dropped_and_named() {
    let pod = json!({"spec": {"zz": 1, "containers": [{"name": "a", "xx": {"y": 1}}]}});
    let (pod, unknown) = normalise(&kind("", "Pod"), pod).expect("decodes");
    assert_eq!(
        pod["spec"],
        json!({"containers": [{"name": "a", "resources": {}}]})
    );
    assert_eq!(unknown, ["spec.containers[0].xx", "spec.zz"]);
    assert_eq!(
        strict_error(&kind("", "Pod"), &unknown).message,
        "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: \
         unknown field \"spec.containers[0].xx\", unknown field \"spec.zz\""
    );
}

/// The sentences are those of Kubernetes v1.34.4.
#[test]
fn wrong_types_are_answered_as_go_says_them() {
    let cases = [
        (
            json!({"spec": {"replicas": "0"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"image": 3}]}}}}),
            "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.image of type string",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": {"image": 3}}}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            json!({"spec": 4}),
            "json: cannot unmarshal number into Go struct field Deployment.spec of type v1.DeploymentSpec",
        ),
        (
            json!({"metadata": {"creationTimestamp": "x"}}),
            "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"",
        ),
    ];
    for (object, wanted) in cases {
        let whole = format!("Deployment in version \"v1\" cannot be handled as a Deployment: {wanted}");
        assert_eq!(refusal("apps", "Deployment", object), whole);
    }
}

#[test]
fn bad_base64_and_bad_quantities_are_refused() {
    let secret = refusal("", "Secret", json!({"data": {"a": "!"}}));
    assert!(
        secret.ends_with("illegal base64 data at input byte 0"),
        "{secret}"
    );
    let pvc = json!({"spec": {"resources": {"requests": {"storage": "x"}}}});
    let pvc = refusal("", "PersistentVolumeClaim", pvc);
    assert!(
        pvc.contains("quantities must match the regular expression"),
        "{pvc}"
    );
}

#[test]
fn null_in_a_map_is_its_zero_value() {
    let secret = decoded("", "Secret", json!({"data": {"a": null}, "type": null}));
    assert_eq!(secret["data"], json!({"a": ""}));
    assert_eq!(secret.get("type"), None);
}

#[test]
fn decoding_twice_changes_nothing() {
    let once = decoded(
        "",
        "Node",
        json!({"metadata": {"name": "n"}, "spec": {"podCIDRs": []}}),
    );
    assert_eq!(decoded("", "Node", once.clone()), once);
}
