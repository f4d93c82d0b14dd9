//! Access and identity reviews: asked by POST, answered in `status`, kept nowhere.
//! Source: Kubernetes v1.34, `pkg/registry/authorization` and `pkg/registry/authentication`.

use serde_json::{Value, json};

use super::answer::Answer;
use super::call::Call;
use super::{ApiServer, Authorization, State, metadata, no_such_resource};
use crate::access::{self, Action, Attributes};
use crate::error::{ApiError, FieldError, Reason};
use crate::user::User;

impl ApiServer {
    pub(crate) fn review(&self, call: &mut Call) -> Result<Answer, ApiError> {
        let asked = call.json()?;
        let mut review = super::decode::decode(call, asked)?;
        let now = self.inner.clock.now();
        let state = self.inner.state.lock();
        let status = match call.kind.plural.as_str() {
            "selfsubjectaccessreviews" => self.access(&state, &call.user, &review["spec"])?,
            "subjectaccessreviews" | "localsubjectaccessreviews" => {
                let user = subject(call, &review["spec"])?;
                self.access(&state, &user, &review["spec"])?
            }
            "selfsubjectrulesreviews" => self.rules(&state, call, &review["spec"])?,
            "tokenreviews" => token_status(&state, &review["spec"], now),
            "selfsubjectreviews" => {
                review["metadata"] = json!({"creationTimestamp": metadata::timestamp(now)});
                json!({"userInfo": {"username": call.user.name, "groups": call.user.groups}})
            }
            _ => return Err(no_such_resource()),
        };
        review["status"] = status;
        Ok(Answer::Plain {
            code: 201,
            value: review,
        })
    }

    /// Whether someone may do what a review asks.
    fn access(&self, state: &State, user: &User, spec: &Value) -> Result<Value, ApiError> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let resource = &spec["resourceAttributes"];
        let other = &spec["nonResourceAttributes"];
        let action = match (resource.is_object(), other.is_object()) {
            (true, false) => Action::Resource(Attributes {
                verb: text(&resource["verb"]),
                group: text(&resource["group"]),
                resource: text(&resource["resource"]),
                subresource: text(&resource["subresource"]),
                namespace: text(&resource["namespace"]),
                name: text(&resource["name"]),
            }),
            (false, true) => Action::Path {
                verb: text(&other["verb"]),
                path: text(&other["path"]),
            },
            _ => return Err(exactly_one()),
        };
        Ok(json!({"allowed": self.is_allowed(state, user, &action)}))
    }

    pub(crate) fn is_allowed(&self, state: &State, user: &User, action: &Action) -> bool {
        self.inner.authorization == Authorization::AlwaysAllow || access::allowed(&state.store, user, action)
    }

    fn rules(&self, state: &State, call: &Call, spec: &Value) -> Result<Value, ApiError> {
        let namespace = spec["namespace"].as_str().unwrap_or_default();
        if namespace.is_empty() {
            return Err(ApiError::new(Reason::BadRequest, "no namespace on request"));
        }
        let masters = call.user.groups.iter().any(|group| group == "system:masters");
        let rules = if masters || self.inner.authorization == Authorization::AlwaysAllow {
            access::everything()
        } else {
            access::rules(&state.store, &call.user, namespace)
        };
        let (paths, resources): (Vec<Value>, Vec<Value>) = rules
            .into_iter()
            .partition(|rule| rule["nonResourceURLs"].is_array());
        Ok(json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false}))
    }
}

/// Whom a SubjectAccessReview asks about.
fn subject(call: &Call, spec: &Value) -> Result<User, ApiError> {
    let user = spec["user"].as_str().unwrap_or_default();
    let groups: Vec<String> = spec["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|group| group.as_str().map(str::to_owned))
        .collect();
    if user.is_empty() && groups.is_empty() {
        let error = FieldError {
            field: "spec.user".to_owned(),
            reason: "FieldValueInvalid",
            message: "Invalid value: \"\": at least one of user or group must be specified".to_owned(),
        };
        return Err(ApiError::invalid(&call.kind.group, &call.kind.kind, "", &[error]));
    }
    Ok(User {
        name: user.to_owned(),
        groups,
    })
}

fn exactly_one() -> ApiError {
    let error = FieldError {
        field: "spec.resourceAttributes".to_owned(),
        reason: "FieldValueInvalid",
        message: "Invalid value: \"null\": exactly one of nonResourceAttributes or resourceAttributes must be specified"
            .to_owned(),
    };
    ApiError::invalid("authorization.k8s.io", "SubjectAccessReview", "", &[error])
}

fn token_status(state: &State, spec: &Value, now: jiff::Timestamp) -> Value {
    let token = spec["token"].as_str().unwrap_or_default();
    match state.tokens.check(token, now) {
        Some(user) => json!({
            "authenticated": true, "audiences": [crate::tokens::Tokens::audience()],
            "user": {"username": user.name, "groups": user.groups},
        }),
        None => json!({"user": {}, "error": "invalid bearer token"}),
    }
}
