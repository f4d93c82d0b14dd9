//! What an object must be to be kept: required fields, names, references within the object, and what may not change.
//! Source: `pkg/apis/{core,apps,batch,storage,rbac}/validation` and `k8s.io/apimachinery` `pkg/api/validation` of
//! Kubernetes v1.34; the sentences and their order are those v1.34.4 answers. Covered is what the sandbox's work can
//! meet, not every rule of every field: an object that passes here may still be refused by a real cluster.

mod config;
mod metadata;
mod name;
mod pod;
mod pod_volume;
mod rbac;
mod service;
mod volume;
mod workload;

use serde_json::Value;

use crate::error::FieldError;
use crate::kind::Kind;

/// What is wrong with an object to be created, decoded and with defaults. Of kinds of a CustomResourceDefinition only
/// the metadata is looked at: the rest is their schema's.
pub fn create(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    metadata::check(kind, object, &mut errors);
    if kind.custom.is_none() {
        content(kind, object, &mut errors);
    }
    errors.found
}

/// What is wrong with an object that is to replace another.
pub fn update(kind: &Kind, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    metadata::check(kind, new, &mut errors);
    metadata::check_update(old, new, &mut errors);
    if kind.custom.is_some() {
        return errors.found;
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        // Their spec was checked when they were created, and nearly nothing of it can change.
        ("", "Pod") => pod::update(old, new, &mut errors),
        // These say first what may not change.
        ("", "Service" | "ConfigMap" | "Secret") => {
            unchanged(kind, old, new, &mut errors);
            content(kind, new, &mut errors);
        }
        // Nothing of it can change but its metadata.
        ("storage.k8s.io", "StorageClass") => unchanged(kind, old, new, &mut errors),
        (_, _) => {
            content(kind, new, &mut errors);
            unchanged(kind, old, new, &mut errors);
        }
    }
    errors.found
}

fn content(kind: &Kind, object: &Value, errors: &mut Errors) {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => pod::create(object, errors),
        ("", "PersistentVolumeClaim") => volume::claim(object, errors),
        ("", "PersistentVolume") => volume::volume(object, errors),
        ("", "ConfigMap") => config::config_map(object, errors),
        ("", "Secret") => config::secret(object, errors),
        ("", "Service") => service::service(object, errors),
        ("", "Event") => config::event(object, errors),
        ("storage.k8s.io", "StorageClass") => volume::class(object, errors),
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet") => {
            workload::workload(&kind.kind, object, errors);
        }
        ("batch", "Job") => workload::job(object, errors),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => rbac::role(&kind.kind, object, errors),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            rbac::binding(&kind.kind, object, errors);
        }
        _ => {}
    }
}

fn unchanged(kind: &Kind, old: &Value, new: &Value, errors: &mut Errors) {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "PersistentVolumeClaim") => volume::claim_update(old, new, errors),
        ("", "PersistentVolume") => volume::volume_update(old, new, errors),
        ("", "ConfigMap") => config::config_map_update(old, new, errors),
        ("", "Secret") => config::secret_update(old, new, errors),
        ("", "Service") => service::service_update(old, new, errors),
        ("storage.k8s.io", "StorageClass") => volume::class_update(old, new, errors),
        ("apps", name) => workload::workload_update(name, old, new, errors),
        ("batch", "Job") => workload::job_update(old, new, errors),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding")
            if old["roleRef"] != new["roleRef"] =>
        {
            errors.invalid("roleRef", &new["roleRef"], "cannot change roleRef");
        }
        _ => {}
    }
}

/// What was found, in the order it was looked for.
#[derive(Default)]
struct Errors {
    found: Vec<FieldError>,
}

impl Errors {
    fn add(&mut self, field: impl Into<String>, reason: &'static str, message: String) {
        self.found.push(FieldError {
            field: field.into(),
            reason,
            message,
        });
    }

    /// `Required value: at least 1 access mode is required`.
    fn required(&mut self, field: impl Into<String>, detail: &str) {
        let message = if detail.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {detail}")
        };
        self.add(field, "FieldValueRequired", message);
    }

    /// `Invalid value: "B_d": a lowercase RFC 1123 …`.
    fn invalid(&mut self, field: impl Into<String>, value: impl Into<Shown>, detail: &str) {
        let Shown(value) = value.into();
        self.add(
            field,
            "FieldValueInvalid",
            format!("Invalid value: {value}: {detail}"),
        );
    }

    /// `Unsupported value: "x": supported values: "Block", "Filesystem"`.
    fn not_supported(&mut self, field: impl Into<String>, value: impl Into<Shown>, supported: &[&str]) {
        let Shown(value) = value.into();
        let named: Vec<String> = supported.iter().map(|name| format!("\"{name}\"")).collect();
        let message = format!(
            "Unsupported value: {value}: supported values: {}",
            named.join(", ")
        );
        self.add(field, "FieldValueNotSupported", message);
    }

    fn duplicate(&mut self, field: impl Into<String>, value: &str) {
        self.add(
            field,
            "FieldValueDuplicate",
            format!("Duplicate value: \"{value}\""),
        );
    }

    fn not_found(&mut self, field: impl Into<String>, value: &str) {
        self.add(field, "FieldValueNotFound", format!("Not found: \"{value}\""));
    }

    fn forbidden(&mut self, field: impl Into<String>, detail: &str) {
        self.add(field, "FieldValueForbidden", format!("Forbidden: {detail}"));
    }

    /// `field is immutable`, when it changed.
    fn immutable(&mut self, field: &str, old: &Value, new: &Value) {
        if old != new {
            self.invalid(field, new, "field is immutable");
        }
    }

    /// A text field that has to have one of these values; an empty one is missing.
    fn one_of(&mut self, field: &str, value: &str, supported: &[&str]) {
        if value.is_empty() {
            self.required(field, "");
        } else if !supported.contains(&value) {
            self.not_supported(field, value, supported);
        }
    }

    /// A number that may not be below zero.
    fn not_negative(&mut self, field: &str, value: &Value) {
        if value.as_i64().is_some_and(|number| number < 0) {
            self.invalid(field, value, "must be greater than or equal to 0");
        }
    }
}

/// A value as a message shows it: JSON.
struct Shown(String);

impl From<&Value> for Shown {
    fn from(value: &Value) -> Self {
        Self(value.to_string())
    }
}

impl From<&str> for Shown {
    fn from(value: &str) -> Self {
        Self(Value::from(value).to_string())
    }
}

/// The text at a JSON pointer; empty when there is none.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Makes a field what it is in another object, absent when it is absent there.
fn copy(field: &str, from: &Value, to: &mut Value) {
    let Some(fields) = to.as_object_mut() else { return };
    match from.get(field) {
        Some(value) => fields.insert(field.to_owned(), value.clone()),
        None => fields.remove(field),
    };
}

/// The list at a JSON pointer; empty when there is none.
fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// The entries of the map at a JSON pointer, in the order of their keys.
fn entries<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let map = value.pointer(pointer).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
}

#[cfg(test)]
mod tests;
