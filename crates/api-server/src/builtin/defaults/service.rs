//! Defaults of Service, Endpoints, EndpointSlice and NetworkPolicy.

use serde_json::{Value, json};

use super::{each, set, text};

/// Three hours, of `ClientIP` session affinity.
const AFFINITY_SECONDS: i64 = 10_800;

pub(super) fn service(spec: &mut Value) {
    set(spec, "sessionAffinity", "None");
    if text(spec, "sessionAffinity") == "ClientIP" {
        let wanted = json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}});
        if spec
            .pointer("/sessionAffinityConfig/clientIP/timeoutSeconds")
            .is_none()
        {
            spec["sessionAffinityConfig"] = wanted;
        }
    } else if let Some(fields) = spec.as_object_mut() {
        fields.remove("sessionAffinityConfig");
    }
    set(spec, "type", "ClusterIP");
    each(spec, "ports", |port| {
        set(port, "protocol", "TCP");
        let unset = matches!(port.get("targetPort").and_then(Value::as_i64), Some(0));
        let number = port.get("port").cloned().unwrap_or_default();
        if unset {
            port["targetPort"] = number;
        } else {
            set(port, "targetPort", number);
        }
    });
    let kind = text(spec, "type").to_owned();
    let outside = spec
        .get("externalIPs")
        .and_then(Value::as_array)
        .is_some_and(|ips| !ips.is_empty());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && outside) {
        set(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind != "ExternalName" {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
}

pub(super) fn endpoints(object: &mut Value) {
    each(object, "subsets", |subset| {
        each(subset, "ports", |port| set(port, "protocol", "TCP"));
    });
}

pub(super) fn endpoint_slice(object: &mut Value) {
    each(object, "ports", |port| {
        set(port, "name", "");
        set(port, "protocol", "TCP");
    });
}

pub(super) fn network_policy(spec: &mut Value) {
    for direction in ["ingress", "egress"] {
        each(spec, direction, |rule| {
            each(rule, "ports", |port| set(port, "protocol", "TCP"));
        });
    }
    let mut types = vec!["Ingress"];
    if spec
        .get("egress")
        .and_then(Value::as_array)
        .is_some_and(|rules| !rules.is_empty())
    {
        types.push("Egress");
    }
    set(spec, "policyTypes", json!(types));
}
