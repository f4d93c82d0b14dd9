//! Errors as Kubernetes says them: a `Status` object with a reason, a code and, for bad fields, their paths.
//! Source of shapes and sentences: `k8s.io/apimachinery` v0.34, `pkg/api/errors` and `pkg/util/validation/field`.

use serde_json::{Value, json};

/// `status.reason`, and with it the HTTP code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    /// 410, of a watch whose resourceVersion is older than the history.
    Expired,
    /// 410, of a list's continue token or `resourceVersionMatch`.
    Gone,
    UnsupportedMediaType,
    Invalid,
    TooManyRequests,
    InternalError,
    /// What this server does not do; real Kubernetes would.
    NotImplemented,
    ServiceUnavailable,
    Timeout,
    /// 500 without a reason: errors of the storage layer that Kubernetes does not translate.
    Unknown,
}

impl Reason {
    /// The HTTP code.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Expired | Self::Gone => 410,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InternalError | Self::Unknown => 500,
            Self::NotImplemented => 501,
            Self::ServiceUnavailable => 503,
            Self::Timeout => 504,
        }
    }

    /// As `status.reason` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Expired => "Expired",
            Self::Gone => "Gone",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::Invalid => "Invalid",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalError => "InternalError",
            Self::NotImplemented => "NotImplemented",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Timeout => "Timeout",
            Self::Unknown => "",
        }
    }
}

/// One field that is wrong: `status.details.causes[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// As in `spec.template.spec.containers[0].name`.
    pub field: String,
    /// `FieldValueRequired`, `FieldValueInvalid`, `FieldValueTypeInvalid`, `FieldValueNotSupported`,
    /// `FieldValueForbidden`, `FieldValueDuplicate`, `FieldValueTooLong`, `FieldValueTooMany`.
    pub reason: &'static str,
    /// What follows the field in the message, as in `Required value: name is required`.
    pub message: String,
}

/// An answer that is not the object asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub reason: Reason,
    pub message: String,
    /// `status.details`; null when there are none.
    pub details: Value,
}

impl ApiError {
    /// An error without details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            details: Value::Null,
        }
    }

    /// `pods "web" not found`, with the object in the details.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        Self::of_object(
            Reason::NotFound,
            group,
            plural,
            name,
            format!("{} \"{name}\" not found", qualified(group, plural)),
        )
    }

    /// `pods "web" already exists`.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        Self::of_object(
            Reason::AlreadyExists,
            group,
            plural,
            name,
            format!("{} \"{name}\" already exists", qualified(group, plural)),
        )
    }

    /// `Operation cannot be fulfilled on pods "web": …`.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, plural);
        Self::of_object(
            Reason::Conflict,
            group,
            plural,
            name,
            format!("Operation cannot be fulfilled on {what} \"{name}\": {why}"),
        )
    }

    /// `Pod "web" is invalid: …`, each field a cause.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let said: Vec<String> = errors
            .iter()
            .map(|error| format!("{}: {}", error.field, error.message))
            .collect();
        let list = match said.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let what = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let causes: Vec<Value> = errors
            .iter()
            .map(|error| json!({"reason": error.reason, "message": error.message, "field": error.field}))
            .collect();
        let mut details = json!({"kind": kind, "causes": causes});
        if !name.is_empty() {
            details["name"] = name.into();
        }
        if !group.is_empty() {
            details["group"] = group.into();
        }
        Self {
            reason: Reason::Invalid,
            message: format!("{what} \"{name}\" is invalid: {list}"),
            details,
        }
    }

    /// `pods "web" is forbidden: …`; without a name `pods is forbidden: …`.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, plural);
        if name.is_empty() {
            let mut details = json!({"kind": plural});
            if !group.is_empty() {
                details["group"] = group.into();
            }
            return Self {
                reason: Reason::Forbidden,
                message: format!("{what} is forbidden: {why}"),
                details,
            };
        }
        let message = format!("{what} \"{name}\" is forbidden: {why}");
        Self::of_object(Reason::Forbidden, group, plural, name, message)
    }

    /// An answer of the HTTP layer itself: Kubernetes gives those empty details.
    pub fn generic(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            details: json!({}),
        }
    }

    fn of_object(reason: Reason, group: &str, plural: &str, name: &str, message: String) -> Self {
        let mut details = json!({"name": name, "kind": plural});
        if !group.is_empty() {
            details["group"] = group.into();
        }
        Self {
            reason,
            message,
            details,
        }
    }

    /// The `Status` object of the answer.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.reason.code(),
        });
        if self.reason != Reason::Unknown {
            status["reason"] = self.reason.as_str().into();
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

/// `pods`, `backups.velero.io`.
fn qualified(group: &str, plural: &str) -> String {
    if group.is_empty() {
        plural.to_owned()
    } else {
        format!("{plural}.{group}")
    }
}
