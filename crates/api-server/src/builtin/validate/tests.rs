//! Sentences and their order are those of Kubernetes v1.34.4.

use serde_json::json;

use super::*;
use crate::ApiError;
use crate::builtin::samples::kind;
use crate::builtin::{defaults, typed};

fn made(group: &str, name: &str, object: Value) -> Value {
    let kind = kind(group, name);
    let mut object = typed::normalise(&kind, object).expect("decodes").0;
    defaults::apply(&kind, &mut object);
    object
}

/// What the server answers to creating it.
fn refusal(group: &str, name: &str, object: Value) -> String {
    let object = made(group, name, object);
    let errors = create(&kind(group, name), &object);
    let named = text(&object, "/metadata/name").to_owned();
    ApiError::invalid(group, name, &named, &errors).message
}

fn change(group: &str, name: &str, old: Value, new: Value) -> Vec<String> {
    let (old, new) = (made(group, name, old), made(group, name, new));
    update(&kind(group, name), &old, &new)
        .into_iter()
        .map(|error| format!("{}: {}", error.field, error.message))
        .collect()
}

fn claim(spec: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": spec})
}

#[test]
fn a_claim_says_what_it_wants() {
    assert_eq!(
        refusal(
            "",
            "PersistentVolumeClaim",
            json!({"metadata": {"name": "B_d"}, "spec": {}})
        ),
        "PersistentVolumeClaim \"B_d\" is invalid: [metadata.name: Invalid value: \"B_d\": a lowercase RFC 1123 \
         subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an \
         alphanumeric character (e.g. 'example.com', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), spec.accessModes: Required value: at \
         least 1 access mode is required, spec.resources[storage]: Required value]"
    );
    let spec = json!({"accessModes": ["X"], "resources": {"requests": {"storage": "-1"}}});
    assert_eq!(
        refusal("", "PersistentVolumeClaim", json!({"spec": spec})),
        "PersistentVolumeClaim \"\" is invalid: [metadata.name: Required value: name or generateName is required, \
         spec.accessModes: Unsupported value: \"X\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \
         \"ReadWriteOnce\", \"ReadWriteOncePod\", spec.resources[storage]: Invalid value: \"-1\": must be greater \
         than zero]"
    );
}

#[test]
fn a_claim_changes_only_its_size_and_only_when_bound() {
    let claim = |size: &str, phase: &str| {
        json!({"metadata": {"name": "p"}, "status": {"phase": phase, "capacity": {"storage": "1Gi"}},
               "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}})
    };
    let forbidden = "spec: Forbidden: spec is immutable after creation except resources.requests and \
                     volumeAttributesClassName for bound claims";
    let pvc = "PersistentVolumeClaim";
    assert_eq!(
        change("", pvc, claim("1Gi", "Pending"), claim("2Gi", "Pending")),
        [forbidden]
    );
    assert_eq!(
        change("", pvc, claim("1Gi", "Bound"), claim("2Gi", "Bound")),
        [""; 0]
    );
    assert_eq!(
        change("", pvc, claim("2Gi", "Bound"), claim("1Mi", "Bound")),
        ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
    );
}

#[test]
fn a_claim_gets_its_volume_named_once() {
    let spec = |volume: &str| {
        claim(json!({"accessModes": ["ReadWriteOnce"], "volumeName": volume,
                     "resources": {"requests": {"storage": "1Gi"}}}))
    };
    assert_eq!(
        change("", "PersistentVolumeClaim", spec(""), spec("pv-1")),
        [""; 0]
    );
    assert_eq!(
        change("", "PersistentVolumeClaim", spec("pv-1"), spec("pv-2")).len(),
        1
    );
}

#[test]
fn a_pod_is_looked_at_from_volumes_to_images() {
    let pod = json!({"metadata": {"name": "x"}, "spec": {
        "restartPolicy": "X", "dnsPolicy": "Y",
        "volumes": [{"name": "v"}, {"name": "v", "persistentVolumeClaim": {}}],
        "containers": [
            {"name": "a", "image": "i", "imagePullPolicy": "z",
             "volumeMounts": [{"name": "q", "mountPath": ""}, {"name": "v", "mountPath": "/a"},
                              {"name": "v", "mountPath": "/a"}],
             "env": [{"name": ""}], "ports": [{"containerPort": 0}]},
            {"name": "a", "image": "i"},
            {"name": "A_", "image": " i"}],
    }});
    assert_eq!(
        refusal("", "Pod", pod),
        "Pod \"x\" is invalid: [spec.volumes[1].persistentVolumeClaim.claimName: Required value, \
         spec.volumes[1].name: Duplicate value: \"v\", spec.containers[0].ports[0].containerPort: Required value, \
         spec.containers[0].env[0].name: Required value, spec.containers[0].volumeMounts[0].name: Not found: \"q\", \
         spec.containers[0].volumeMounts[0].mountPath: Required value, spec.containers[0].volumeMounts[2].mountPath: \
         Invalid value: \"/a\": must be unique, spec.containers[0].imagePullPolicy: Unsupported value: \"z\": \
         supported values: \"Always\", \"IfNotPresent\", \"Never\", spec.containers[1].name: Duplicate value: \"a\", \
         spec.containers[2].name: Invalid value: \"A_\": a lowercase RFC 1123 label must consist of lower case \
         alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
         '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?'), spec.restartPolicy: Unsupported \
         value: \"X\": supported values: \"Always\", \"OnFailure\", \"Never\", spec.dnsPolicy: Unsupported value: \
         \"Y\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\", \
         spec.containers[2].image: Invalid value: \" i\": must not have leading or trailing whitespace]"
    );
}

#[test]
fn a_running_pod_may_change_its_image_and_little_else() {
    let pod = |image: &str, policy: &str| {
        json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": policy,
               "containers": [{"name": "a", "image": image, "imagePullPolicy": "Never"}]}})
    };
    assert_eq!(change("", "Pod", pod("i", "Always"), pod("j", "Always")), [""; 0]);
    let said = change("", "Pod", pod("i", "Always"), pod("i", "Never"));
    assert!(
        said[0].starts_with("spec: Forbidden: pod updates may not change fields other than"),
        "{said:?}"
    );
}

#[test]
fn a_deployment_selects_its_own_pods() {
    assert_eq!(
        refusal(
            "apps",
            "Deployment",
            json!({"metadata": {"name": "x"}, "spec": {}})
        ),
        "Deployment.apps \"x\" is invalid: [spec.selector: Required value, spec.template.metadata.labels: Invalid \
         value: null: `selector` does not match template `labels`, spec.template.spec.containers: Required value]"
    );
    let spec = json!({
        "replicas": -1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "c"}},
                     "spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]}},
    });
    assert_eq!(
        refusal(
            "apps",
            "Deployment",
            json!({"metadata": {"name": "x"}, "spec": spec})
        ),
        "Deployment.apps \"x\" is invalid: [spec.replicas: Invalid value: -1: must be greater than or equal to 0, \
         spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`, \
         spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"]"
    );
}

#[test]
fn immutable_secrets_and_their_type_stay() {
    let secret = |kind: &str, data: &str, immutable: bool| json!({"metadata": {"name": "p"}, "type": kind, "data": {"a": data}, "immutable": immutable});
    let old = secret("Opaque", "YQ==", true);
    assert_eq!(
        change("", "Secret", old.clone(), secret("x", "YQ==", true)),
        ["type: Invalid value: \"x\": field is immutable"]
    );
    assert_eq!(
        change("", "Secret", old, secret("Opaque", "Yg==", true)),
        ["data: Forbidden: field is immutable when `immutable` is set"]
    );
}

#[test]
fn a_binding_keeps_its_role() {
    let binding = |role: &str| json!({"metadata": {"name": "rb"}, "roleRef": {"kind": "Role", "name": role}});
    let said = change(
        "rbac.authorization.k8s.io",
        "RoleBinding",
        binding("s"),
        binding("z"),
    );
    assert_eq!(said.len(), 1);
    assert!(said[0].ends_with("cannot change roleRef"), "{said:?}");
}

#[test]
fn a_cluster_role_rule_names_verbs_groups_and_resources() {
    assert_eq!(
        refusal(
            "rbac.authorization.k8s.io",
            "ClusterRole",
            json!({"metadata": {"name": "x"}, "rules": [{}]})
        ),
        "ClusterRole.rbac.authorization.k8s.io \"x\" is invalid: [rules[0].verbs: Required value: verbs must contain \
         at least one value, rules[0].apiGroups: Required value: resource rules must supply at least one api group, \
         rules[0].resources: Required value: resource rules must supply at least one resource]"
    );
}

#[test]
fn a_volume_is_made_of_one_thing() {
    assert_eq!(
        refusal(
            "",
            "PersistentVolume",
            json!({"metadata": {"name": "x"}, "spec": {}})
        ),
        "PersistentVolume \"x\" is invalid: [spec.accessModes: Required value, spec.capacity: Required value, \
         spec.capacity: Unsupported value: null: supported values: \"storage\", spec: Required value: must specify a \
         volume type]"
    );
    let volume = |handle: &str| {
        json!({"metadata": {"name": "x"}, "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
               "csi": {"driver": "d", "volumeHandle": handle}}})
    };
    let said = change("", "PersistentVolume", volume("a"), volume("b"));
    assert_eq!(
        said,
        ["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"]
    );
}

#[test]
fn finalizers_are_not_added_to_an_object_being_deleted() {
    let map = |finalizers: Value| json!({"metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers}});
    assert_eq!(
        change("", "ConfigMap", map(json!(["a/b"])), map(json!(["a/b", "a/c"]))),
        [
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
          finalizers []string{\"a/c\"}"
        ]
    );
}

#[test]
fn labels_annotations_owners_and_finalizers_are_checked() {
    let metadata = json!({"name": "x", "labels": {"a b": "c d"}, "annotations": {"/": "x"}, "finalizers": ["x"],
                          "ownerReferences": [{"kind": "x"}]});
    let said = refusal("", "ConfigMap", json!({"metadata": metadata}));
    for wanted in [
        "metadata.labels: Invalid value: \"a b\": name part must consist of",
        "metadata.labels: Invalid value: \"c d\": a valid label must be an empty string",
        "metadata.annotations: Invalid value: \"/\": prefix part must be non-empty",
        "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
        "metadata.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer name",
    ] {
        assert!(said.contains(wanted), "{wanted} in {said}");
    }
}

#[test]
fn an_event_lies_where_what_it_is_about_lies() {
    let event = |own: &str, about: &str| {
        let object =
            json!({"metadata": {"name": "e", "namespace": own}, "involvedObject": {"namespace": about}});
        create(&kind("", "Event"), &made("", "Event", object)).len()
    };
    assert_eq!(event("shop", "shop"), 0);
    assert_eq!(event("shop", "other"), 1);
    assert_eq!(event("default", ""), 0);
    assert_eq!(event("shop", ""), 1);
}
