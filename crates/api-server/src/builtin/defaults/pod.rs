//! Defaults of a pod's spec, alone and in the templates of workloads.

use serde_json::{Value, json};

use super::{at, each, set, set_nonzero, text};

/// `0644`, of files from Secrets, ConfigMaps and the downward API.
const FILE_MODE: i64 = 0o644;
/// Of a projected ServiceAccount token.
const TOKEN_SECONDS: i64 = 3600;

/// A Pod's own spec: what templates get, and what only Pods get.
pub(super) fn pod(spec: &mut Value) {
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool) == Some(true);
    for list in ["containers", "initContainers"] {
        each(spec, list, |container| {
            requests_from_limits(container);
            if host_network {
                each(container, "ports", |port| {
                    if let Some(number) = port.get("containerPort").and_then(Value::as_i64) {
                        set_nonzero(port, "hostPort", number);
                    }
                });
            }
        });
    }
    set(spec, "enableServiceLinks", true);
    self::spec(spec);
}

/// A pod spec wherever it stands.
pub(super) fn spec(spec: &mut Value) {
    set(spec, "dnsPolicy", "ClusterFirst");
    set(spec, "restartPolicy", "Always");
    set(spec, "securityContext", json!({}));
    set(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "schedulerName", "default-scheduler");
    service_account(spec);
    each(spec, "volumes", volume);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        each(spec, list, container);
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are always written.
fn service_account(spec: &mut Value) {
    let (new, old) = (
        text(spec, "serviceAccountName").to_owned(),
        text(spec, "serviceAccount").to_owned(),
    );
    let name = if new.is_empty() { old } else { new };
    if !name.is_empty() {
        spec["serviceAccountName"] = name.as_str().into();
        spec["serviceAccount"] = name.into();
    }
}

fn requests_from_limits(container: &mut Value) {
    let Some(Value::Object(limits)) = container.pointer("/resources/limits").cloned() else {
        return;
    };
    at(container, &["resources"], |resources| {
        set(resources, "requests", json!({}));
        at(resources, &["requests"], |requests| {
            for (name, limit) in limits {
                set(requests, &name, limit);
            }
        });
    });
}

fn container(container: &mut Value) {
    let policy = if is_latest(text(container, "image")) {
        "Always"
    } else {
        "IfNotPresent"
    };
    set(container, "imagePullPolicy", policy);
    set(container, "terminationMessagePath", "/dev/termination-log");
    set(container, "terminationMessagePolicy", "File");
    each(container, "ports", |port| set(port, "protocol", "TCP"));
    each(container, "env", |variable| {
        at(variable, &["valueFrom", "fieldRef"], |field| {
            set(field, "apiVersion", "v1")
        });
    });
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        at(container, &[name], probe);
    }
    for hook in ["postStart", "preStop"] {
        at(container, &["lifecycle", hook, "httpGet"], http_get);
    }
}

/// No tag means `latest`; a digest without a tag does not.
fn is_latest(image: &str) -> bool {
    let (name, digest) = image
        .split_once('@')
        .map_or((image, false), |(name, _)| (name, true));
    let last = name.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => !digest,
    }
}

fn probe(probe: &mut Value) {
    set_nonzero(probe, "timeoutSeconds", 1);
    set_nonzero(probe, "periodSeconds", 10);
    set_nonzero(probe, "successThreshold", 1);
    set_nonzero(probe, "failureThreshold", 3);
    at(probe, &["httpGet"], http_get);
    at(probe, &["grpc"], |grpc| set(grpc, "service", ""));
}

fn http_get(action: &mut Value) {
    set(action, "path", "/");
    set(action, "scheme", "HTTP");
}

/// The empty type is written: it says that nothing is checked.
pub(super) fn host_path(source: &mut Value) {
    set(source, "type", "");
}

fn volume(volume: &mut Value) {
    let sourceless = volume
        .as_object()
        .is_some_and(|fields| fields.keys().all(|name| name == "name"));
    if sourceless {
        set(volume, "emptyDir", json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        at(volume, &[source], |source| set(source, "defaultMode", FILE_MODE));
    }
    at(volume, &["hostPath"], host_path);
    at(volume, &["downwardAPI"], field_references);
    at(volume, &["projected"], |projected| {
        each(projected, "sources", |source| {
            at(source, &["serviceAccountToken"], |token| {
                set(token, "expirationSeconds", TOKEN_SECONDS)
            });
            at(source, &["downwardAPI"], field_references);
        });
    });
    at(volume, &["ephemeral", "volumeClaimTemplate", "spec"], |spec| {
        set(spec, "volumeMode", "Filesystem")
    });
    if let Some(reference) = volume.pointer("/image/reference").and_then(Value::as_str) {
        let policy = if is_latest(reference) {
            "Always"
        } else {
            "IfNotPresent"
        };
        at(volume, &["image"], |image| set(image, "pullPolicy", policy));
    }
}

fn field_references(source: &mut Value) {
    each(source, "items", |item| {
        at(item, &["fieldRef"], |field| set(field, "apiVersion", "v1"));
    });
}
