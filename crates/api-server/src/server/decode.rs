//! From a caller's object to one this server may keep: right kind, known fields, defaults, valid.

use std::sync::Arc;

use serde_json::{Value, json};

use super::call::{Call, FieldValidation};
use super::metadata;
use crate::builtin::{defaults, typed, validate};
use crate::error::{ApiError, FieldError, Reason};
use crate::kind::Kind;

/// Checks what the object says it is, and completes what it does not say.
pub(crate) fn decode(call: &mut Call, mut object: Value) -> Result<Value, ApiError> {
    let kind = Arc::clone(&call.kind);
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
    object = known(call, object)?;
    metadata::tidy(&mut object);
    Ok(object)
}

/// The object with the fields its kind has, in their right types and with their defaults.
fn known(call: &mut Call, mut object: Value) -> Result<Value, ApiError> {
    let kind = Arc::clone(&call.kind);
    let unknown = match &kind.custom {
        Some(custom) => {
            let unknown = custom.schema.prune(&mut object);
            custom.schema.default(&mut object);
            unknown
        }
        None => {
            let (normal, unknown) = typed::normalise(&kind, object)?;
            object = normal;
            defaults::apply(&kind, &mut object);
            unknown
        }
    };
    let found: Vec<String> = std::mem::take(&mut call.given_twice)
        .into_iter()
        .map(|path| format!("duplicate field \"{path}\""))
        .chain(
            unknown
                .into_iter()
                .map(|path| format!("unknown field \"{path}\"")),
        )
        .collect();
    match call.field_validation {
        _ if found.is_empty() => {}
        FieldValidation::Ignore => {}
        FieldValidation::Strict => return Err(strict(&kind, &found)),
        FieldValidation::Warn => call.warnings.extend(found),
    }
    Ok(object)
}

fn strict(kind: &Kind, found: &[String]) -> ApiError {
    ApiError::new(
        Reason::BadRequest,
        format!(
            "{name} in version \"{}\" cannot be handled as a {name}: strict decoding error: {}",
            kind.version,
            found.join(", "),
            name = kind.kind,
        ),
    )
}

/// The error of decoding what a patch made: that is the patch's fault, 422 and not 400.
pub(crate) fn of_patch(error: ApiError, made: &Value) -> ApiError {
    let Some((_, why)) = error
        .message
        .split_once(" cannot be handled as a ")
        .and_then(|(_, rest)| rest.split_once(": "))
        .filter(|_| error.reason == Reason::BadRequest)
    else {
        return error;
    };
    let shown = Value::from(made.to_string());
    let message = format!("Invalid value: {shown}: {why}");
    ApiError {
        message: format!(" \"\" is invalid: patch: {message}"),
        details: json!({"causes": [{"reason": "FieldValueInvalid", "message": message, "field": "patch"}]}),
        reason: Reason::Invalid,
    }
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
    let mut errors = validate::create(&call.kind, object);
    if let Some(custom) = &call.kind.custom {
        errors.extend(custom.schema.validate(object));
    }
    refuse(call, object, errors)
}

/// Everything wrong with a change.
pub(crate) fn validate_update(call: &Call, old: &Value, new: &Value) -> Result<(), ApiError> {
    let mut errors = validate::update(&call.kind, old, new);
    if let Some(custom) = &call.kind.custom {
        errors.extend(if call.is_status() {
            custom.schema.validate_status(new, old)
        } else {
            custom.schema.validate_update(new, old)
        });
    }
    refuse(call, new, errors)
}

fn refuse(call: &Call, object: &Value, errors: Vec<FieldError>) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Err(ApiError::invalid(
        &call.kind.group,
        &call.kind.kind,
        name,
        &errors,
    ))
}
