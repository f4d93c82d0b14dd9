//! Services.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Errors, list, name, text};

pub(super) fn service(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    let kind = text(spec, "/type");
    let ports = list(spec, "/ports");
    let headless = text(spec, "/clusterIP") == "None";
    if ports.is_empty() && kind != "ExternalName" && !headless {
        errors.required("spec.ports", "");
    }
    if kind == "ExternalName" && text(spec, "/externalName").is_empty() {
        errors.required("spec.externalName", "");
    }
    let mut names = BTreeSet::new();
    let mut used = BTreeSet::new();
    for (place, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{place}]");
        let named = text(port, "/name");
        if named.is_empty() {
            if ports.len() > 1 {
                errors.required(format!("{path}.name"), "");
            }
        } else {
            for why in name::label(named) {
                errors.invalid(format!("{path}.name"), named, &why);
            }
            if !names.insert(named) {
                errors.duplicate(format!("{path}.name"), named);
            }
        }
        for field in ["port", "targetPort"] {
            let number = port.get(field).and_then(Value::as_i64);
            if number.is_some_and(|number| !(1..=65535).contains(&number)) {
                let why = "must be between 1 and 65535, inclusive";
                errors.invalid(format!("{path}.{field}"), &port[field], why);
            }
        }
        let protocol = text(port, "/protocol");
        errors.one_of(&format!("{path}.protocol"), protocol, &["SCTP", "TCP", "UDP"]);
        let number = port["port"].as_i64().unwrap_or_default();
        if !used.insert((protocol, number)) {
            let value = serde_json::json!({"protocol": protocol, "port": number}).to_string();
            errors.add(path, "FieldValueDuplicate", format!("Duplicate value: {value}"));
        }
    }
    let affinity = text(spec, "/sessionAffinity");
    errors.one_of("spec.sessionAffinity", affinity, &["ClientIP", "None"]);
    errors.one_of(
        "spec.type",
        kind,
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    );
}

/// The address stays, unless the Service becomes or was one without an address.
pub(super) fn service_update(old: &Value, new: &Value, errors: &mut Errors) {
    let before = text(old, "/spec/clusterIP");
    let external = |service: &Value| text(service, "/spec/type") == "ExternalName";
    if before.is_empty() || external(old) || external(new) {
        return;
    }
    if before != text(new, "/spec/clusterIP") {
        let value = serde_json::json!([new["spec"]["clusterIP"]]);
        errors.invalid("spec.clusterIPs[0]", &value, "may not change once set");
    }
}
