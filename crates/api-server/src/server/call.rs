//! One request to one resource, taken apart.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, header};
use serde_json::Value;

use crate::error::{ApiError, Reason};
use crate::kind::Kind;
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
    /// Goes into `Warning` headers.
    pub(crate) warnings: Vec<String>,
}

impl Call {
    pub(crate) fn parse(
        user: &User,
        kind: Arc<Kind>,
        path: ResourcePath,
        request: &Request<Bytes>,
    ) -> Result<Self, ApiError> {
        let query = Query::parse(request.uri().query().unwrap_or_default());
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
            manager: manager(&query, header(header::USER_AGENT))?,
            dry_run: dry_run(query.texts("dryRun"))?,
            field_validation: field_validation(query.text("fieldValidation"))?,
            body: request.body().clone(),
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

    pub(crate) fn is_status(&self) -> bool {
        self.subresource.as_deref() == Some("status")
    }

    /// The body as a JSON object.
    pub(crate) fn json(&self) -> Result<Value, ApiError> {
        if self.content_type == "application/vnd.kubernetes.protobuf" {
            return Err(ApiError::new(
                Reason::UnsupportedMediaType,
                "the body of the request was in an unknown format - accepted media types include: application/json",
            ));
        }
        object(&self.body)
    }
}

/// Reads a JSON object.
pub(crate) fn object(bytes: &[u8]) -> Result<Value, ApiError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|why| {
        ApiError::new(
            Reason::BadRequest,
            format!("the object provided is unrecognized (must be of type Object): {why}"),
        )
    })?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(ApiError::new(
            Reason::BadRequest,
            "the object provided is unrecognized (must be of type Object)",
        ))
    }
}

fn manager(query: &Query, user_agent: &str) -> Result<String, ApiError> {
    let named = query.text("fieldManager");
    if named.chars().count() > 128 {
        return Err(ApiError::new(
            Reason::Invalid,
            format!("fieldManager: Invalid value: \"{named}\": may not be more than 128 bytes"),
        ));
    }
    if !named.is_empty() {
        return Ok(named.to_owned());
    }
    let agent: String = user_agent
        .split('/')
        .next()
        .unwrap_or_default()
        .chars()
        .take(128)
        .collect();
    Ok(if agent.is_empty() {
        "unknown".to_owned()
    } else {
        agent
    })
}

pub(crate) fn dry_run(values: &[String]) -> Result<bool, ApiError> {
    match values {
        [] => Ok(false),
        [one] if one.is_empty() => Ok(false),
        [one] if one == "All" => Ok(true),
        [other, ..] => Err(ApiError::new(
            Reason::Invalid,
            format!("dryRun: Unsupported value: \"{other}\": supported values: \"All\""),
        )),
    }
}

fn field_validation(text: &str) -> Result<FieldValidation, ApiError> {
    match text {
        "Ignore" => Ok(FieldValidation::Ignore),
        "" | "Warn" => Ok(FieldValidation::Warn),
        "Strict" => Ok(FieldValidation::Strict),
        other => Err(ApiError::new(
            Reason::Invalid,
            format!(
                "fieldValidation: Invalid value: \"{other}\": fieldValidation parameter unsupported value: must be \"Ignore\", \"Warn\" or \"Strict\""
            ),
        )),
    }
}
