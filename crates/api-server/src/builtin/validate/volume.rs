//! PersistentVolumeClaims, PersistentVolumes and StorageClasses.

use serde_json::Value;

use super::{Errors, copy, list, name, text};
use crate::builtin::quantity::Quantity;
use crate::builtin::types;

const ACCESS_MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

pub(super) fn claim(object: &Value, errors: &mut Errors) {
    claim_spec(&object["spec"], "spec", errors);
}

/// The spec of a claim, of an object or a template.
pub(super) fn claim_spec(spec: &Value, path: &str, errors: &mut Errors) {
    if list(spec, "/accessModes").is_empty() {
        errors.required(
            format!("{path}.accessModes"),
            "at least 1 access mode is required",
        );
    }
    access_modes(spec, path, errors);
    let storage = format!("{path}.resources[storage]");
    match spec.pointer("/resources/requests/storage") {
        None => errors.required(storage, ""),
        Some(size) if bytes(size) <= 0 => errors.invalid(storage, size, "must be greater than zero"),
        Some(_) => {}
    }
    class_name(spec, path, errors);
    volume_mode(spec, path, errors);
    for source in ["dataSource", "dataSourceRef"] {
        if let Some(reference) = spec.get(source) {
            data_source(reference, &format!("{path}.{source}"), errors);
        }
    }
}

fn data_source(reference: &Value, path: &str, errors: &mut Errors) {
    for field in ["name", "kind"] {
        if reference[field].as_str().unwrap_or_default().is_empty() {
            errors.required(format!("{path}.{field}"), "");
        }
    }
    let group = reference["apiGroup"].as_str().unwrap_or_default();
    if group.is_empty() && reference["kind"] != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.invalid(path, &reference["kind"], why);
    }
}

fn access_modes(spec: &Value, path: &str, errors: &mut Errors) {
    let modes: Vec<&str> = list(spec, "/accessModes")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for mode in &modes {
        if !ACCESS_MODES.contains(mode) {
            errors.not_supported(format!("{path}.accessModes"), *mode, &ACCESS_MODES);
        }
    }
    if modes.contains(&"ReadWriteOncePod") && modes.iter().any(|mode| *mode != "ReadWriteOncePod") {
        let why = "may not use ReadWriteOncePod with other access modes";
        errors.forbidden(format!("{path}.accessModes"), why);
    }
}

fn class_name(spec: &Value, path: &str, errors: &mut Errors) {
    let class = text(spec, "/storageClassName");
    if !class.is_empty() {
        for why in name::subdomain(class) {
            errors.invalid(format!("{path}.storageClassName"), class, &why);
        }
    }
}

fn volume_mode(spec: &Value, path: &str, errors: &mut Errors) {
    if let Some(mode) = spec.get("volumeMode").and_then(Value::as_str)
        && !VOLUME_MODES.contains(&mode)
    {
        errors.not_supported(format!("{path}.volumeMode"), mode, &VOLUME_MODES);
    }
}

/// Only the size of a bound claim may change, and the volume be named once. (Kubernetes appends a diff of its own Go
/// values to the sentence.)
pub(super) fn claim_update(old: &Value, new: &Value, errors: &mut Errors) {
    let (mut before, mut after) = (old["spec"].clone(), new["spec"].clone());
    if text(old, "/spec/volumeName").is_empty() {
        copy("volumeName", &after, &mut before);
    }
    // A claim without a class may get the default one later.
    if before.get("storageClassName").is_none() {
        copy("storageClassName", &after, &mut before);
    }
    if text(new, "/status/phase") == "Bound" {
        copy("volumeAttributesClassName", &before, &mut after);
        let requests = before.pointer("/resources/requests").cloned().unwrap_or_default();
        if let Some(after) = after.pointer_mut("/resources/requests") {
            copy("storage", &requests, after);
        }
    }
    if before != after {
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                   bound claims";
        errors.forbidden("spec", why);
    }
    let size = |claim: &Value, pointer: &str| claim.pointer(pointer).map_or(0, bytes);
    let asked = size(new, "/spec/resources/requests/storage");
    let shrinks = asked < size(old, "/spec/resources/requests/storage");
    if shrinks && asked <= size(old, "/status/capacity/storage") {
        let path = "spec.resources.requests.storage";
        errors.forbidden(path, "field can not be less than status.capacity");
    }
    let mode = |claim: &Value| claim["spec"]["volumeMode"].clone();
    errors.immutable("volumeMode", &mode(old), &mode(new));
}

pub(super) fn volume(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    if list(spec, "/accessModes").is_empty() {
        errors.required("spec.accessModes", "");
    }
    access_modes(spec, "spec", errors);
    let capacity = spec["capacity"].as_object();
    if capacity.is_none_or(serde_json::Map::is_empty) {
        errors.required("spec.capacity", "");
    }
    if capacity.is_none_or(|capacity| capacity.len() != 1 || !capacity.contains_key("storage")) {
        errors.not_supported("spec.capacity", &spec["capacity"], &["storage"]);
    }
    if let Some(size) = spec.pointer("/capacity/storage").filter(|size| bytes(size) <= 0) {
        errors.invalid("spec.capacity[storage]", size, "must be greater than zero");
    }
    let policy = text(spec, "/persistentVolumeReclaimPolicy");
    let policies = ["Delete", "Recycle", "Retain"];
    if !policy.is_empty() && !policies.contains(&policy) {
        errors.not_supported("spec.persistentVolumeReclaimPolicy", policy, &policies);
    }
    source(spec, errors);
    class_name(spec, "spec", errors);
    volume_mode(spec, "spec", errors);
}

/// The fields of a PersistentVolume that say what it is made of: those that are there.
fn sources(spec: &Value) -> Vec<&str> {
    const NOT_SOURCES: [&str; 8] = [
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
    ];
    let mut found: Vec<&str> = types::named("core.v1.PersistentVolumeSpec")
        .into_iter()
        .flat_map(|of| of.fields.keys().copied())
        .filter(|name| !NOT_SOURCES.contains(name) && *name != "volumeMode" && spec.get(name).is_some())
        .collect();
    // In the order Kubernetes looks at them, hostPath first and csi last.
    found.sort_by_key(|name| match *name {
        "hostPath" => 0,
        "csi" => 2,
        _ => 1,
    });
    found
}

fn source(spec: &Value, errors: &mut Errors) {
    let found = sources(spec);
    if found.is_empty() {
        errors.required("spec", "must specify a volume type");
    }
    for extra in found.iter().skip(1) {
        errors.forbidden(format!("spec.{extra}"), "may not specify more than 1 volume type");
    }
    if let Some(csi) = spec.get("csi").filter(|_| found.len() == 1) {
        let driver = text(csi, "/driver");
        if driver.is_empty() {
            errors.required("spec.csi.driver", "");
        }
        for why in name::subdomain(&driver.to_lowercase()) {
            errors.invalid("spec.csi.driver", driver, &why);
        }
        if text(csi, "/volumeHandle").is_empty() {
            errors.required("spec.csi.volumeHandle", "");
        }
    }
    if let Some(path) = spec.pointer("/hostPath/path").and_then(Value::as_str)
        && path.split('/').any(|part| part == "..")
    {
        errors.invalid("spec.hostPath.path", path, "must not contain '..'");
    }
}

pub(super) fn volume_update(old: &Value, new: &Value, errors: &mut Errors) {
    let made_of = |volume: &Value| -> Vec<Value> {
        let spec = &volume["spec"];
        sources(spec).iter().map(|name| spec[*name].clone()).collect()
    };
    if made_of(old) != made_of(new) {
        let why = "spec.persistentvolumesource is immutable after creation";
        errors.forbidden("spec.persistentvolumesource", why);
    }
    errors.immutable(
        "volumeMode",
        &old["spec"]["volumeMode"],
        &new["spec"]["volumeMode"],
    );
    if old["spec"].get("nodeAffinity").is_some() {
        errors.immutable(
            "nodeAffinity",
            &old["spec"]["nodeAffinity"],
            &new["spec"]["nodeAffinity"],
        );
    }
}

pub(super) fn class(object: &Value, errors: &mut Errors) {
    let provisioner = text(object, "/provisioner");
    if provisioner.is_empty() {
        errors.required("provisioner", "");
    } else {
        let lower = provisioner.to_lowercase();
        for why in name::qualified(&lower) {
            errors.invalid("provisioner", lower.as_str(), &why);
        }
    }
    let policy = text(object, "/reclaimPolicy");
    let policies = ["Delete", "Retain"];
    if !policy.is_empty() && !policies.contains(&policy) {
        errors.not_supported("reclaimPolicy", policy, &policies);
    }
    errors.one_of(
        "volumeBindingMode",
        text(object, "/volumeBindingMode"),
        &["Immediate", "WaitForFirstConsumer"],
    );
}

pub(super) fn class_update(old: &Value, new: &Value, errors: &mut Errors) {
    for field in ["parameters", "provisioner", "reclaimPolicy"] {
        if old[field] != new[field] {
            errors.forbidden(field, &format!("updates to {field} are forbidden."));
        }
    }
    let field = "volumeBindingMode";
    errors.immutable(field, &old[field], &new[field]);
}

fn bytes(quantity: &Value) -> i128 {
    quantity
        .as_str()
        .and_then(Quantity::parse)
        .map_or(0, Quantity::ceil)
}
