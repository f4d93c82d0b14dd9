//! Volumes of a pod and where its containers mount them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Errors, list, name, text, volume};

/// Checks the volumes, and gives the names of those that can be mounted.
pub(super) fn volumes<'a>(spec: &'a Value, path: &str, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (place, volume) in list(spec, "/volumes").iter().enumerate() {
        let path = format!("{path}.volumes[{place}]");
        let before = errors.found.len();
        source(volume, &path, errors);
        let given = text(volume, "/name");
        if given.is_empty() {
            errors.required(format!("{path}.name"), "");
        } else {
            for why in name::label(given) {
                errors.invalid(format!("{path}.name"), given, &why);
            }
            if names.contains(given) {
                errors.duplicate(format!("{path}.name"), given);
            }
        }
        if errors.found.len() == before {
            names.insert(given);
        }
    }
    names
}

/// What each source must name: source, its field.
const REQUIRED: [(&str, &str); 6] = [
    ("persistentVolumeClaim", "claimName"),
    ("secret", "secretName"),
    ("configMap", "name"),
    ("hostPath", "path"),
    ("csi", "driver"),
    ("image", "reference"),
];

fn source(volume: &Value, path: &str, errors: &mut Errors) {
    // In the order Kubernetes looks at them.
    const ORDER: [&str; 8] = [
        "emptyDir",
        "hostPath",
        "secret",
        "persistentVolumeClaim",
        "downwardAPI",
        "configMap",
        "projected",
        "csi",
    ];
    let mut kinds: Vec<&str> = volume
        .as_object()
        .into_iter()
        .flat_map(|fields| fields.keys())
        .map(String::as_str)
        .filter(|field| *field != "name")
        .collect();
    kinds.sort_by_key(|kind| ORDER.iter().position(|known| known == kind));
    if kinds.is_empty() {
        errors.required(path, "must specify a volume type");
    }
    for extra in kinds.iter().skip(1) {
        errors.forbidden(
            format!("{path}.{extra}"),
            "may not specify more than 1 volume type",
        );
    }
    let Some(kind) = kinds.first() else { return };
    for (_, field) in REQUIRED.iter().filter(|(source, _)| source == kind) {
        if text(&volume[*kind], &format!("/{field}")).is_empty() {
            errors.required(format!("{path}.{kind}.{field}"), "");
        }
    }
    for (place, part) in list(volume, "/projected/sources").iter().enumerate() {
        for source in ["secret", "configMap"] {
            if part.get(source).is_some() && text(part, &format!("/{source}/name")).is_empty() {
                errors.required(format!("{path}.projected.sources[{place}].{source}.name"), "");
            }
        }
        if part.get("serviceAccountToken").is_some() && text(part, "/serviceAccountToken/path").is_empty() {
            let path = format!("{path}.projected.sources[{place}].serviceAccountToken.path");
            errors.required(path, "");
        }
    }
    if let Some(claim) = volume.pointer("/ephemeral/volumeClaimTemplate/spec") {
        let path = format!("{path}.ephemeral.volumeClaimTemplate.spec");
        volume::claim_spec(claim, &path, errors);
    }
}

/// The mounts and devices of one container.
pub(super) fn mounts(container: &Value, path: &str, volumes: &BTreeSet<&str>, errors: &mut Errors) {
    let devices: BTreeMap<&str, &str> = list(container, "/volumeDevices")
        .iter()
        .map(|device| (text(device, "/name"), text(device, "/devicePath")))
        .collect();
    let mut used = BTreeSet::new();
    for (place, mount) in list(container, "/volumeMounts").iter().enumerate() {
        let at = format!("{path}.volumeMounts[{place}]");
        let (named, target) = (text(mount, "/name"), text(mount, "/mountPath"));
        if named.is_empty() {
            errors.required(format!("{at}.name"), "");
        }
        if !volumes.contains(named) {
            errors.not_found(format!("{at}.name"), named);
        }
        if target.is_empty() {
            errors.required(format!("{at}.mountPath"), "");
        }
        if !used.insert(target) {
            errors.invalid(format!("{at}.mountPath"), target, "must be unique");
        }
        if devices.contains_key(named) {
            errors.invalid(
                format!("{at}.name"),
                named,
                "must not already exist in volumeDevices",
            );
        }
        let sub = text(mount, "/subPath");
        // Kubernetes leaves the place out of these paths.
        let sub_path = format!("{path}.volumeMounts.subPath");
        if sub.starts_with('/') {
            errors.invalid(sub_path.as_str(), sub, "must be a relative path");
        }
        if sub.split('/').any(|part| part == "..") {
            errors.invalid(sub_path, sub, "must not contain '..'");
        }
    }
    for (place, device) in list(container, "/volumeDevices").iter().enumerate() {
        let at = format!("{path}.volumeDevices[{place}]");
        let named = text(device, "/name");
        if named.is_empty() {
            errors.required(format!("{at}.name"), "");
        }
        if !volumes.contains(named) {
            errors.not_found(format!("{at}.name"), named);
        }
        if text(device, "/devicePath").is_empty() {
            errors.required(format!("{at}.devicePath"), "");
        }
    }
}
