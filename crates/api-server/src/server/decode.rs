//! From a caller's object to one this server may keep: right kind, known fields, defaults, valid.

use serde_json::Value;

use super::call::Call;
use super::metadata;
use crate::error::{ApiError, FieldError, Reason};

/// Checks what the object says it is, and completes what it does not say.
pub(crate) fn decode(call: &mut Call, mut object: Value) -> Result<Value, ApiError> {
    let kind = std::sync::Arc::clone(&call.kind);
    let api_version = kind.api_version();
    let said = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let (said_version, said_kind) = (said("apiVersion"), said("kind"));
    if kind.custom.is_some() && said_kind.is_empty() {
        return Err(ApiError::new(
            Reason::BadRequest,
            format!(
                "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{object}' ({object})",
                kind.kind
            ),
        ));
    }
    if kind.custom.is_none() && !said_version.is_empty() && said_version != api_version {
        return Err(ApiError::new(
            Reason::BadRequest,
            format!(
                "{said_kind} in version \"{}\" cannot be handled as a {}: no kind \"{said_kind}\" is registered for version \"{said_version}\" in scheme \"pkg/runtime/scheme.go:110\"",
                said_version.rsplit('/').next().unwrap_or_default(),
                kind.kind
            ),
        ));
    }
    if kind.custom.is_some() && said_kind != kind.kind {
        let error = FieldError {
            field: "kind".to_owned(),
            reason: "FieldValueInvalid",
            message: format!("Invalid value: \"{said_kind}\": must be {}", kind.kind),
        };
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        return Err(ApiError::invalid(&kind.group, &said_kind, name, &[error]));
    }
    if !said_version.is_empty() && said_version != api_version {
        return Err(ApiError::new(
            Reason::BadRequest,
            format!(
                "the API version in the data ({said_version}) does not match the expected API version ({api_version})"
            ),
        ));
    }
    if !said_kind.is_empty() && said_kind != kind.kind {
        return Err(ApiError::new(
            Reason::BadRequest,
            format!(
                "{said_kind} in version \"{version}\" cannot be handled as a {wanted}: converting ({version}.{said_kind}) to ({internal}.{wanted}): unknown conversion",
                version = kind.version,
                wanted = kind.kind,
                internal = internal_group(&kind.group),
            ),
        ));
    }
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.kind.as_str().into();
    metadata::tidy(&mut object);
    Ok(object)
}

/// The package of a group's internal types, which this message names.
fn internal_group(group: &str) -> &str {
    match group.split('.').next() {
        None | Some("") => "core",
        Some(first) => first,
    }
}

/// Everything wrong with a new object.
pub(crate) fn validate_create(call: &Call, object: &Value) -> Result<(), ApiError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let mut errors = metadata::validate_name(&call.kind, name);
    errors.extend(metadata::validate(object));
    refuse(call, name, errors)
}

/// Everything wrong with a change.
pub(crate) fn validate_update(call: &Call, old: &Value, new: &Value) -> Result<(), ApiError> {
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    let mut errors = metadata::validate(new);
    if !old["metadata"]["deletionTimestamp"].is_null() {
        let before = metadata::finalizers(old);
        let added: Vec<String> = metadata::finalizers(new)
            .into_iter()
            .filter(|finalizer| !before.contains(finalizer))
            .map(|finalizer| format!("\"{finalizer}\""))
            .collect();
        if !added.is_empty() {
            errors.push(FieldError {
                field: "metadata.finalizers".to_owned(),
                reason: "FieldValueForbidden",
                message: format!(
                    "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    added.join(", ")
                ),
            });
        }
    }
    refuse(call, name, errors)
}

fn refuse(call: &Call, name: &str, mut errors: Vec<FieldError>) -> Result<(), ApiError> {
    let mut seen = Vec::new();
    errors.retain(|error| {
        let new = !seen.contains(error);
        seen.push(error.clone());
        new
    });
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(
        &call.kind.group,
        &call.kind.kind,
        name,
        &errors,
    ))
}
