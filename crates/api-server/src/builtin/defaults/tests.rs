use super::*;
use crate::builtin::samples::kind;
use crate::builtin::typed;

/// Decoded and defaulted, as a created object is.
fn defaulted(group: &str, name: &str, object: Value) -> Value {
    let kind = kind(group, name);
    let mut object = typed::normalise(&kind, object).expect("decodes").0;
    apply(&kind, &mut object);
    object
}

/// What Kubernetes v1.34.4 answers, without what admission adds.
#[test]
fn a_pod_gets_what_kubernetes_gives_it() {
    let pod = defaulted(
        "",
        "Pod",
        json!({"spec": {"containers": [{"name": "a", "image": "i"}]}}),
    );
    assert_eq!(
        pod["spec"],
        json!({
            "containers": [{
                "name": "a", "image": "i", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "imagePullPolicy": "Always",
            }],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "securityContext": {}, "schedulerName": "default-scheduler", "enableServiceLinks": true,
        })
    );
}

#[test]
fn only_images_without_a_tag_or_tagged_latest_are_always_pulled() {
    let policy = |image: &str| {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": image}]}});
        defaulted("", "Pod", pod)["spec"]["containers"][0]["imagePullPolicy"].clone()
    };
    assert_eq!(policy("local/velero"), "Always");
    assert_eq!(policy("host:5000/velero"), "Always");
    assert_eq!(policy("velero:latest"), "Always");
    assert_eq!(policy("velero:dev"), "IfNotPresent");
    assert_eq!(policy("velero@sha256:0123"), "IfNotPresent");
}

#[test]
fn limits_become_requests_in_pods_and_not_in_templates() {
    let containers = json!([{"name": "a", "resources": {"limits": {"cpu": "1"}}}]);
    let pod = defaulted("", "Pod", json!({"spec": {"containers": containers}}));
    assert_eq!(
        pod["spec"]["containers"][0]["resources"]["requests"],
        json!({"cpu": "1"})
    );
    let deployment = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let deployment = defaulted("apps", "Deployment", deployment);
    let template = &deployment["spec"]["template"]["spec"];
    assert_eq!(
        template["containers"][0]["resources"],
        json!({"limits": {"cpu": "1"}})
    );
    assert_eq!(template.get("enableServiceLinks"), None);
}

#[test]
fn a_deployment_gets_its_strategy_and_keeps_zero_replicas() {
    let deployment = defaulted("apps", "Deployment", json!({"spec": {"replicas": 0}}));
    assert_eq!(deployment["spec"]["replicas"], 0);
    assert_eq!(
        deployment["spec"]["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
    );
    assert_eq!(deployment["status"], json!({}));
}

#[test]
fn string_data_of_a_secret_becomes_data() {
    let secret = defaulted(
        "",
        "Secret",
        json!({"data": {"a": "YQ=="}, "stringData": {"z": "q"}}),
    );
    assert_eq!(secret["data"], json!({"a": "YQ==", "z": "cQ=="}));
    assert_eq!(secret.get("stringData"), None);
    assert_eq!(secret["type"], "Opaque");
}

#[test]
fn projected_volumes_get_modes_token_lifetimes_and_versions() {
    let volumes = json!([
        {"name": "plain"},
        {"name": "t", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token"}},
            {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]}},
    ]);
    let pod = defaulted("", "Pod", json!({"spec": {"volumes": volumes}}));
    assert_eq!(
        pod["spec"]["volumes"][0],
        json!({"name": "plain", "emptyDir": {}})
    );
    let projected = &pod["spec"]["volumes"][1]["projected"];
    assert_eq!(projected["defaultMode"], 420);
    assert_eq!(
        projected["sources"][0]["serviceAccountToken"]["expirationSeconds"],
        3600
    );
    assert_eq!(
        projected["sources"][1]["downwardAPI"]["items"][0]["fieldRef"]["apiVersion"],
        "v1"
    );
}

#[test]
fn claims_of_a_stateful_set_are_whole_claims() {
    let set = json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]}});
    let set = defaulted("apps", "StatefulSet", set);
    let claim = &set["spec"]["volumeClaimTemplates"][0];
    assert_eq!(claim["kind"], "PersistentVolumeClaim");
    assert_eq!(claim["spec"]["volumeMode"], "Filesystem");
    assert_eq!(claim["status"]["phase"], "Pending");
}

#[test]
fn a_service_port_goes_to_itself() {
    let service = defaulted("", "Service", json!({"spec": {"ports": [{"port": 80}]}}));
    assert_eq!(
        service["spec"],
        json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "sessionAffinity": "None",
               "type": "ClusterIP", "internalTrafficPolicy": "Cluster"})
    );
}

#[test]
fn defaults_twice_are_defaults_once() {
    let job = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}}});
    let once = defaulted("batch", "Job", job);
    assert_eq!(once["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(defaulted("batch", "Job", once.clone()), once);
}
