//! One request to one resource, taken apart.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, header};
use serde_json::Value;

use super::body;
use crate::error::{ApiError, FieldError, Reason};
use crate::kind::Kind;
use crate::protobuf;
use crate::request::{Query, ResourcePath, Shape, accepted};
use crate::store::{Key, Resource, resource_of};
use crate::user::User;

/// What happens to fields the kind does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Media type of server-side apply.
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// A request to a resource.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) user: User,
    pub(crate) kind: Arc<Kind>,
    pub(crate) resource: Resource,
    pub(crate) namespace: Option<String>,
    /// Empty for the collection.
    pub(crate) name: String,
    pub(crate) subresource: Option<String>,
    pub(crate) query: Query,
    pub(crate) shape: Shape,
    pub(crate) content_type: String,
    /// `fieldManager`, or the first word of the user agent.
    pub(crate) manager: String,
    pub(crate) dry_run: bool,
    pub(crate) field_validation: FieldValidation,
    pub(crate) body: Bytes,
    /// Paths of fields that stand in the body more than once.
    pub(crate) given_twice: Vec<String>,
    /// Goes into `Warning` headers.
    pub(crate) warnings: Vec<String>,
}

impl Call {
    pub(crate) fn parse(
        user: &User,
        kind: Arc<Kind>,
        path: ResourcePath,
        query: Query,
        request: &Request<Bytes>,
    ) -> Result<Self, ApiError> {
        let options = Options::of(request.method());
        let header = |name: header::HeaderName| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let content_type = header(header::CONTENT_TYPE)
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned();
        Ok(Self {
            user: user.clone(),
            resource: resource_of(&kind),
            namespace: path.namespace,
            name: path.name.unwrap_or_default(),
            subresource: path.subresource,
            shape: accepted(header(header::ACCEPT))?,
            content_type,
            manager: options.manager(&query, header(header::USER_AGENT))?,
            dry_run: options.dry_run(query.texts("dryRun"))?,
            field_validation: options.field_validation(query.text("fieldValidation"))?,
            body: request.body().clone(),
            given_twice: Vec::new(),
            warnings: Vec::new(),
            kind,
            query,
        })
    }

    /// Of the object that the path names.
    pub(crate) fn key(&self) -> Key {
        Key::new(self.namespace.as_deref(), &self.name)
    }

    pub(crate) fn not_found(&self) -> ApiError {
        ApiError::not_found(&self.kind.group, &self.kind.plural, &self.name)
    }

    pub(crate) fn conflict(&self, why: &str) -> ApiError {
        ApiError::conflict(&self.kind.group, &self.kind.plural, &self.name, why)
    }

    /// Server-side apply: it knows its fields' owners itself.
    pub(crate) fn is_apply(&self) -> bool {
        self.content_type == APPLY
    }

    pub(crate) fn is_status(&self) -> bool {
        self.subresource.as_deref() == Some("status")
    }

    /// The body as a JSON or YAML object.
    pub(crate) fn yaml(&self) -> Result<Value, ApiError> {
        object(&self.kind.kind, &self.body).or_else(|error| {
            let text = std::str::from_utf8(&self.body).unwrap_or_default();
            let read = serde_saphyr::from_str::<Value>(text).ok();
            read.filter(Value::is_object).ok_or(error)
        })
    }

    /// The body as an object, in the format its media type says; fields given twice are noted.
    pub(crate) fn json(&mut self) -> Result<Value, ApiError> {
        match self.content_type.as_str() {
            protobuf::MEDIA_TYPE => protobuf::decode(&self.body),
            "application/yaml" => self.yaml(),
            "" | "application/json" => {
                let (value, twice) = read_object(&self.kind.kind, &self.body)?;
                self.given_twice = twice;
                Ok(value)
            }
            _ => Err(ApiError::new(
                Reason::UnsupportedMediaType,
                "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
            )),
        }
    }
}

/// Reads a JSON object that should be of this kind.
pub(crate) fn object(kind: &str, bytes: &[u8]) -> Result<Value, ApiError> {
    read_object(kind, bytes).map(|(value, _)| value)
}

fn read_object(kind: &str, bytes: &[u8]) -> Result<(Value, Vec<String>), ApiError> {
    let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).into_owned();
    let bad = |why: String| {
        ApiError::new(
            Reason::BadRequest,
            format!(
                "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {why} ({})",
                shown()
            ),
        )
    };
    let (value, twice) = body::read(bytes).map_err(bad)?;
    if value.is_object() {
        return Ok((value, twice));
    }
    Err(bad(format!(
        "json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
        crate::patch::json_name(&value)
    )))
}

/// `CreateOptions`, `UpdateOptions`, `PatchOptions`, `DeleteOptions`: what they have in common.
pub(crate) struct Options(&'static str);

impl Options {
    pub(crate) fn of(method: &Method) -> Self {
        Self(match method.as_str() {
            "PUT" => "UpdateOptions",
            "PATCH" => "PatchOptions",
            "DELETE" => "DeleteOptions",
            _ => "CreateOptions",
        })
    }

    fn invalid(&self, field: &str, reason: &'static str, message: String) -> ApiError {
        let error = FieldError {
            field: field.to_owned(),
            reason,
            message,
        };
        ApiError::invalid("meta.k8s.io", self.0, "", &[error])
    }

    fn manager(&self, query: &Query, user_agent: &str) -> Result<String, ApiError> {
        let named = query.text("fieldManager");
        if named.len() > 128 {
            return Err(self.invalid(
                "fieldManager",
                "FieldValueTooLong",
                "Too long: may not be more than 128 bytes".to_owned(),
            ));
        }
        if !named.is_empty() {
            return Ok(named.to_owned());
        }
        let agent = user_agent.split('/').next().unwrap_or_default();
        let agent: String = agent.chars().take(128).collect();
        Ok(if agent.is_empty() {
            "unknown".to_owned()
        } else {
            agent
        })
    }

    pub(crate) fn dry_run(&self, values: &[String]) -> Result<bool, ApiError> {
        match values {
            [] => Ok(false),
            [one] if one.is_empty() => Ok(false),
            values if values.iter().all(|value| value == "All") => Ok(true),
            values => Err(self.invalid(
                "dryRun",
                "FieldValueNotSupported",
                format!(
                    "Unsupported value: {}: supported values: \"All\"",
                    Value::from(values.to_vec())
                ),
            )),
        }
    }

    fn field_validation(&self, text: &str) -> Result<FieldValidation, ApiError> {
        match text {
            "Ignore" => Ok(FieldValidation::Ignore),
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Strict" => Ok(FieldValidation::Strict),
            other => Err(self.invalid(
                "fieldValidation",
                "FieldValueNotSupported",
                format!(
                    "Unsupported value: \"{other}\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
                ),
            )),
        }
    }
}
