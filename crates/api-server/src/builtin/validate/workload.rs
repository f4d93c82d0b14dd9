//! Deployments, ReplicaSets, StatefulSets, DaemonSets and Jobs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Errors, entries, list, metadata, name, pod, text};

pub(super) fn workload(kind: &str, object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    if kind != "DaemonSet" {
        errors.not_negative("spec.replicas", &spec["replicas"]);
    }
    if kind == "Deployment" && text(spec, "/strategy/type") == "Recreate" {
        let rolling = spec.pointer("/strategy/rollingUpdate");
        if rolling.is_some() {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.forbidden("spec.strategy.rollingUpdate", why);
        }
    }
    errors.not_negative("spec.minReadySeconds", &spec["minReadySeconds"]);
    errors.not_negative("spec.revisionHistoryLimit", &spec["revisionHistoryLimit"]);
    if !selector(kind, spec, errors) {
        return;
    }
    if kind == "StatefulSet" {
        // Its pods' volumes are not known before their claims are: Kubernetes does not look at the template's spec.
        metadata::labels(
            spec,
            "/template/metadata/labels",
            "spec.template.metadata.labels",
            errors,
        );
    } else {
        template(spec, errors);
    }
    let policy = text(spec, "/template/spec/restartPolicy");
    if policy != "Always" {
        errors.not_supported("spec.template.spec.restartPolicy", policy, &["Always"]);
    }
    if spec.pointer("/template/spec/activeDeadlineSeconds").is_some() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden("spec.template.spec.activeDeadlineSeconds", &why);
    }
}

/// The selector and whether it takes the template's pods. `false`: nothing else is worth looking at.
fn selector(kind: &str, spec: &Value, errors: &mut Errors) -> bool {
    let of_template = spec.pointer("/template/metadata/labels").unwrap_or(&Value::Null);
    let mismatch = |errors: &mut Errors| {
        let why = "`selector` does not match template `labels`";
        errors.invalid("spec.template.metadata.labels", of_template, why);
    };
    let Some(selector) = spec.get("selector").filter(|selector| selector.is_object()) else {
        errors.required("spec.selector", "");
        mismatch(errors);
        return true;
    };
    let empty =
        entries(selector, "/matchLabels").next().is_none() && list(selector, "/matchExpressions").is_empty();
    if empty {
        let what = kind.to_lowercase();
        errors.invalid(
            "spec.selector",
            selector,
            &format!("empty selector is invalid for {what}"),
        );
        return kind != "StatefulSet";
    }
    if !well_formed(selector, errors) {
        errors.invalid("spec.selector", selector, "invalid label selector");
        return false;
    }
    if !selects(selector, of_template) {
        mismatch(errors);
    }
    true
}

fn well_formed(selector: &Value, errors: &mut Errors) -> bool {
    let before = errors.found.len();
    metadata::labels(selector, "/matchLabels", "spec.selector.matchLabels", errors);
    for (place, rule) in list(selector, "/matchExpressions").iter().enumerate() {
        let path = format!("spec.selector.matchExpressions[{place}]");
        let values = list(rule, "/values");
        match text(rule, "/operator") {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(format!("{path}.values"), why);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(format!("{path}.values"), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(format!("{path}.operator"), other, "not a valid selector operator"),
        }
        let key = text(rule, "/key");
        for why in name::qualified(key) {
            errors.invalid(format!("{path}.key"), key, &why);
        }
    }
    errors.found.len() == before
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let labels: BTreeMap<&str, &Value> = entries(labels, "").collect();
    entries(selector, "/matchLabels").all(|(key, value)| labels.get(key) == Some(&value))
        && list(selector, "/matchExpressions").iter().all(|rule| {
            let value = labels.get(text(rule, "/key"));
            let among = value.is_some_and(|value| list(rule, "/values").contains(value));
            match text(rule, "/operator") {
                "In" => among,
                "NotIn" => !among,
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

fn template(spec: &Value, errors: &mut Errors) {
    let path = "spec.template.metadata.labels";
    metadata::labels(spec, "/template/metadata/labels", path, errors);
    pod::spec(&spec["template"]["spec"], "spec.template.spec", errors);
}

pub(super) fn workload_update(kind: &str, old: &Value, new: &Value, errors: &mut Errors) {
    match kind {
        "StatefulSet" => {
            const MAY_CHANGE: [&str; 7] = [
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
            ];
            let fixed = |set: &Value| {
                let mut spec = set["spec"].clone();
                for field in MAY_CHANGE {
                    spec[field] = json!(null);
                }
                spec
            };
            if fixed(old) != fixed(new) {
                let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                           'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                           'minReadySeconds' are forbidden";
                errors.forbidden("spec", why);
            }
        }
        "Deployment" | "ReplicaSet" | "DaemonSet" => {
            errors.immutable(
                "spec.selector",
                &old["spec"]["selector"],
                &new["spec"]["selector"],
            );
        }
        _ => {}
    }
}

pub(super) fn job(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        errors.not_negative(&format!("spec.{field}"), &spec[field]);
    }
    template(spec, errors);
    let policy = text(spec, "/template/spec/restartPolicy");
    if matches!(policy, "" | "Always") {
        errors.required(
            "spec.template.spec.restartPolicy",
            "valid values: \"OnFailure\", \"Never\"",
        );
    }
}

pub(super) fn job_update(old: &Value, new: &Value, errors: &mut Errors) {
    let indexed = new["spec"]["completionMode"] == "Indexed";
    let suspended = old["spec"]["suspend"] == true && old["status"].get("startTime").is_none();
    for field in [
        "completions",
        "selector",
        "template",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        let skipped = (field == "completions" && indexed)
            || (field == "template"
                && suspended
                && only_scheduling(&old["spec"]["template"], &new["spec"]["template"]));
        if !skipped {
            errors.immutable(&format!("spec.{field}"), &old["spec"][field], &new["spec"][field]);
        }
    }
}

/// A suspended Job that never ran may still be told where its pods go.
fn only_scheduling(old: &Value, new: &Value) -> bool {
    let fixed = |template: &Value| {
        let mut template = template.clone();
        for field in ["labels", "annotations"] {
            template["metadata"][field] = json!(null);
        }
        for field in ["nodeSelector", "affinity", "tolerations", "schedulingGates"] {
            template["spec"][field] = json!(null);
        }
        template
    };
    old.is_object() && new.is_object() && fixed(old) == fixed(new)
}
