//! Pods, alone and as templates.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Errors, copy, entries, list, name, pod_volume, text};

const UPDATABLE: &str = "pod updates may not change fields other than \
     `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
     additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
     previously negative)";

pub(super) fn create(object: &Value, errors: &mut Errors) {
    spec(&object["spec"], "spec", errors);
    // Looked at for Pods only, after all else.
    for (place, container) in list(object, "/spec/containers").iter().enumerate() {
        let image = text(container, "/image");
        if !image.is_empty() && image.trim() != image {
            let path = format!("spec.containers[{place}].image");
            errors.invalid(path, image, "must not have leading or trailing whitespace");
        }
    }
}

/// The spec of a Pod or of a template, at `path`.
pub(super) fn spec(spec: &Value, path: &str, errors: &mut Errors) {
    let volumes = pod_volume::volumes(spec, path, errors);
    let containers = list(spec, "/containers");
    if containers.is_empty() {
        errors.required(format!("{path}.containers"), "");
    }
    let mut names = BTreeSet::new();
    for field in ["containers", "initContainers"] {
        for (place, container) in list(spec, &format!("/{field}")).iter().enumerate() {
            let path = format!("{path}.{field}[{place}]");
            container_name(container, &path, &mut names, errors);
            self::container(container, &path, &volumes, errors);
        }
    }
    let policy = text(spec, "/restartPolicy");
    errors.one_of(
        &format!("{path}.restartPolicy"),
        policy,
        &["Always", "OnFailure", "Never"],
    );
    let dns = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    errors.one_of(&format!("{path}.dnsPolicy"), text(spec, "/dnsPolicy"), &dns);
    for (field, rule) in [
        ("serviceAccountName", name::subdomain as name::Rule),
        ("nodeName", name::subdomain),
        ("hostname", name::label),
        ("subdomain", name::label),
    ] {
        let value = text(spec, &format!("/{field}"));
        if !value.is_empty() {
            for why in rule(value) {
                errors.invalid(format!("{path}.{field}"), value, &why);
            }
        }
    }
    errors.not_negative(
        &format!("{path}.terminationGracePeriodSeconds"),
        &spec["terminationGracePeriodSeconds"],
    );
}

fn container_name<'a>(container: &'a Value, path: &str, names: &mut BTreeSet<&'a str>, errors: &mut Errors) {
    let given = text(container, "/name");
    if given.is_empty() {
        errors.required(format!("{path}.name"), "");
        return;
    }
    for why in name::label(given) {
        errors.invalid(format!("{path}.name"), given, &why);
    }
    if !names.insert(given) {
        errors.duplicate(format!("{path}.name"), given);
    }
}

fn container(container: &Value, path: &str, volumes: &BTreeSet<&str>, errors: &mut Errors) {
    if text(container, "/image").is_empty() {
        errors.required(format!("{path}.image"), "");
    }
    let termination = text(container, "/terminationMessagePolicy");
    let policies = ["File", "FallbackToLogsOnError"];
    errors.one_of(
        &format!("{path}.terminationMessagePolicy"),
        termination,
        &policies,
    );
    ports(container, path, errors);
    environment(container, path, errors);
    pod_volume::mounts(container, path, volumes, errors);
    let pull = text(container, "/imagePullPolicy");
    errors.one_of(
        &format!("{path}.imagePullPolicy"),
        pull,
        &["Always", "IfNotPresent", "Never"],
    );
    resources(container, path, errors);
}

fn ports(container: &Value, path: &str, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (place, port) in list(container, "/ports").iter().enumerate() {
        let path = format!("{path}.ports[{place}]");
        let named = text(port, "/name");
        if !named.is_empty() && !names.insert(named) {
            errors.duplicate(format!("{path}.name"), named);
        }
        match port["containerPort"].as_i64().unwrap_or_default() {
            0 => errors.required(format!("{path}.containerPort"), ""),
            1..=65535 => {}
            _ => {
                let why = "must be between 1 and 65535, inclusive";
                errors.invalid(format!("{path}.containerPort"), &port["containerPort"], why);
            }
        }
        let protocols = ["SCTP", "TCP", "UDP"];
        errors.one_of(&format!("{path}.protocol"), text(port, "/protocol"), &protocols);
    }
}

fn environment(container: &Value, path: &str, errors: &mut Errors) {
    for (place, variable) in list(container, "/env").iter().enumerate() {
        let path = format!("{path}.env[{place}]");
        let named = text(variable, "/name");
        if named.is_empty() {
            errors.required(format!("{path}.name"), "");
        } else if !named.chars().all(|c| (' '..='~').contains(&c) && c != '=') {
            let why = "a valid environment variable name must consist only of printable ASCII characters other than '='";
            errors.invalid(format!("{path}.name"), named, why);
        }
        let Some(from) = variable.get("valueFrom").filter(|from| from.is_object()) else {
            continue;
        };
        let path = format!("{path}.valueFrom");
        for reference in ["configMapKeyRef", "secretKeyRef"] {
            if let Some(to) = from.get(reference) {
                key_reference(to, &format!("{path}.{reference}"), errors);
            }
        }
        if from.get("fieldRef").is_some() && text(from, "/fieldRef/fieldPath").is_empty() {
            errors.required(format!("{path}.fieldRef.fieldPath"), "");
        }
        if !text(variable, "/value").is_empty() {
            errors.invalid(
                path.as_str(),
                "",
                "may not be specified when `value` is not empty",
            );
        }
        match entries(from, "").count() {
            0 => errors.invalid(
                path,
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            ),
            1 => {}
            _ => errors.invalid(path, "", "may not have more than one field specified at a time"),
        }
    }
    for source in list(container, "/envFrom") {
        if source.get("configMapRef").is_none() && source.get("secretRef").is_none() {
            let why = "must specify one of: `configMapRef` or `secretRef`";
            errors.invalid(format!("{path}.envFrom"), "", why);
        }
    }
}

fn key_reference(to: &Value, path: &str, errors: &mut Errors) {
    let named = text(to, "/name");
    for why in name::subdomain(named) {
        errors.invalid(format!("{path}.name"), named, &why);
    }
    let key = text(to, "/key");
    if key.is_empty() {
        errors.required(format!("{path}.key"), "");
    } else {
        for why in name::config_key(key) {
            errors.invalid(format!("{path}.key"), key, &why);
        }
    }
}

fn resources(container: &Value, path: &str, errors: &mut Errors) {
    use crate::builtin::quantity::Quantity;
    let nanos = |value: &Value| value.as_str().and_then(Quantity::parse);
    for (resource, request) in entries(container, "/resources/requests") {
        let limit = &container["resources"]["limits"][resource];
        if let (Some(asked), Some(most)) = (nanos(request), nanos(limit))
            && asked > most
        {
            let most = limit.as_str().unwrap_or_default();
            let why = format!("must be less than or equal to {resource} limit of {most}");
            errors.invalid(format!("{path}.resources.requests"), request, &why);
        }
    }
}

/// Of a Pod that runs little may change.
pub(super) fn update(old: &Value, new: &Value, errors: &mut Errors) {
    for field in ["containers", "initContainers"] {
        let pointer = format!("/spec/{field}");
        if list(old, &pointer).len() != list(new, &pointer).len() {
            errors.forbidden(
                format!("spec.{field}"),
                "pod updates may not add or remove containers",
            );
            return;
        }
        for (place, container) in list(new, &pointer).iter().enumerate() {
            if text(container, "/image").is_empty() {
                errors.required(format!("spec.{field}[{place}].image"), "");
            }
        }
    }
    let added = list(new, "/spec/tolerations");
    if list(old, "/spec/tolerations")
        .iter()
        .any(|toleration| !added.contains(toleration))
    {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.forbidden("spec.tolerations", why);
    }
    let mut after = new["spec"].clone();
    for field in [
        "activeDeadlineSeconds",
        "tolerations",
        "schedulingGates",
        "ephemeralContainers",
    ] {
        copy(field, &old["spec"], &mut after);
    }
    // The scheduler's binding, which is no update of the Pod, names the node.
    if old["spec"].get("nodeName").is_none() {
        copy("nodeName", &json!({}), &mut after);
    }
    for field in ["containers", "initContainers"] {
        let images: Vec<Value> = list(old, &format!("/spec/{field}"))
            .iter()
            .map(|c| c["image"].clone())
            .collect();
        let there = after.get_mut(field).and_then(Value::as_array_mut);
        for (container, image) in there.into_iter().flatten().zip(images) {
            container["image"] = image;
        }
    }
    if old["spec"]["terminationGracePeriodSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds < 0)
    {
        copy("terminationGracePeriodSeconds", &old["spec"], &mut after);
    }
    if after != old["spec"] {
        errors.forbidden("spec", UPDATABLE);
    }
}
