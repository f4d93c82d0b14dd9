//! Rows of claims, volumes and what CSI leaves in the API.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Cells, age, commas, list, text, text_or};

const UNSET: &str = "<unset>";
const OLD_CLASS: &str = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";

pub(super) fn claim(object: &Value, now: Timestamp) -> Cells {
    let bound = !text(object, "/spec/volumeName").is_empty();
    let of_status = |shown: String| if bound { shown } else { String::new() };
    vec![
        json!(text(object, "/metadata/name")),
        json!(phase(object)),
        json!(text(object, "/spec/volumeName")),
        json!(of_status(
            text_or(object, "/status/capacity/storage", "0").to_owned()
        )),
        json!(of_status(access_modes(object, "/status/accessModes"))),
        json!(class_name(object)),
        json!(text_or(object, "/spec/volumeAttributesClassName", UNSET)),
        age::of(object, now),
        json!(text_or(object, "/spec/volumeMode", UNSET)),
    ]
}

pub(super) fn volume(object: &Value, now: Timestamp) -> Cells {
    let claim = match object.pointer("/spec/claimRef") {
        Some(claim) => format!("{}/{}", text(claim, "/namespace"), text(claim, "/name")),
        None => String::new(),
    };
    vec![
        json!(text(object, "/metadata/name")),
        json!(text_or(object, "/spec/capacity/storage", "0")),
        json!(access_modes(object, "/spec/accessModes")),
        json!(text(object, "/spec/persistentVolumeReclaimPolicy")),
        json!(phase(object)),
        json!(claim),
        json!(class_name(object)),
        json!(text_or(object, "/spec/volumeAttributesClassName", UNSET)),
        json!(text(object, "/status/reason")),
        age::of(object, now),
        json!(text_or(object, "/spec/volumeMode", UNSET)),
    ]
}

fn phase(object: &Value) -> &str {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return "Terminating";
    }
    text(object, "/status/phase")
}

fn class_name(object: &Value) -> &str {
    text_or(object, OLD_CLASS, text(object, "/spec/storageClassName"))
}

/// `RWO,ROX,RWX,RWOP`, in this order whatever the object's.
fn access_modes(object: &Value, pointer: &str) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let modes = list(object, pointer);
    let shown: Vec<&str> = SHORT
        .iter()
        .filter(|(mode, _)| modes.iter().any(|there| there == mode))
        .map(|(_, short)| *short)
        .collect();
    shown.join(",")
}

pub(super) fn class(object: &Value, now: Timestamp) -> Cells {
    let is_default = ["storageclass.kubernetes.io", "storageclass.beta.kubernetes.io"]
        .iter()
        .any(|group| {
            text(
                object,
                &format!("/metadata/annotations/{group}~1is-default-class"),
            ) == "true"
        });
    let name = text(object, "/metadata/name");
    vec![
        if is_default {
            json!(format!("{name} (default)"))
        } else {
            json!(name)
        },
        json!(text(object, "/provisioner")),
        json!(text_or(object, "/reclaimPolicy", "Delete")),
        json!(text_or(object, "/volumeBindingMode", "Immediate")),
        json!(object["allowVolumeExpansion"] == true),
        age::of(object, now),
    ]
}

pub(super) fn driver(object: &Value, now: Timestamp) -> Cells {
    let spec = &object["spec"];
    let tokens = match spec.get("tokenRequests") {
        Some(_) => commas(spec, "/tokenRequests", "/audience"),
        None => UNSET.into(),
    };
    let modes = commas(spec, "/volumeLifecycleModes", "");
    vec![
        json!(text(object, "/metadata/name")),
        json!(spec["attachRequired"] != false),
        json!(spec["podInfoOnMount"] == true),
        json!(spec["storageCapacity"] == true),
        json!(tokens),
        json!(spec["requiresRepublish"] == true),
        json!(if modes.is_empty() { "<none>" } else { &modes }),
        age::of(object, now),
    ]
}

pub(super) fn csi_node(object: &Value, now: Timestamp) -> Cells {
    vec![
        json!(text(object, "/metadata/name")),
        json!(list(object, "/spec/drivers").len()),
        age::of(object, now),
    ]
}

pub(super) fn attachment(object: &Value, now: Timestamp) -> Cells {
    vec![
        json!(text(object, "/metadata/name")),
        json!(text(object, "/spec/attacher")),
        json!(text(object, "/spec/source/persistentVolumeName")),
        json!(text(object, "/spec/nodeName")),
        json!(object["status"]["attached"] == true),
        age::of(object, now),
    ]
}
