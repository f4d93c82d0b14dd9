//! get and list: `k8s.io/apiserver` v0.34, `pkg/endpoints/handlers/get.go` and `pkg/storage/etcd3/store.go`.

use std::sync::Arc;

use serde_json::json;

use super::answer::Answer;
use super::call::Call;
use super::paging::Continue;
use super::{ApiServer, State};
use crate::error::{ApiError, FieldError, Reason};
use crate::object::Object;
use crate::selector::Selector;
use crate::store::{Forgotten, Key};

impl ApiServer {
    pub(crate) fn get(&self, call: &mut Call) -> Result<Answer, ApiError> {
        let state = self.inner.state.lock();
        let object = state
            .store
            .get(&call.resource, &call.key())
            .cloned()
            .ok_or_else(|| call.not_found())?;
        Ok(Answer::Object { code: 200, object })
    }

    pub(crate) fn list(&self, call: &mut Call) -> Result<Answer, ApiError> {
        let selector = selector(call)?;
        let state = self.inner.state.lock();
        let page = Page::parse(call, &state)?;
        let namespace = call.namespace.as_deref();
        let objects = match page.at {
            Some(revision) => state
                .store
                .list_at(&call.resource, namespace, revision)
                .map_err(|forgotten| expired(&page, forgotten))?,
            None => state.store.list(&call.resource, namespace),
        };
        let revision = page.at.unwrap_or_else(|| state.store.revision());
        drop(state);
        let mut answer = page.cut(objects, &selector, revision);
        // Lists of custom kinds always have the field.
        if let Answer::List { metadata, .. } = &mut answer
            && call.kind.custom.is_some()
            && metadata["continue"].is_null()
        {
            metadata["continue"] = "".into();
        }
        Ok(answer)
    }
}

/// Which part of a list is asked for.
struct Page {
    /// `None`: as it is now.
    at: Option<u64>,
    after: Option<Key>,
    limit: usize,
}

impl Page {
    fn parse(call: &Call, state: &State) -> Result<Self, ApiError> {
        let limit = call
            .query
            .number("limit")?
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(0);
        let matching = call.query.text("resourceVersionMatch");
        let revision = call.query.number("resourceVersion").map_err(|_| {
            let text = call.query.text("resourceVersion");
            ApiError::new(
                Reason::BadRequest,
                format!(
                    "invalid resource version: resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
                ),
            )
        })?;
        let token = call.query.text("continue");
        if !matching.is_empty() {
            check_match(matching, revision, token)?;
        }
        if !token.is_empty() {
            if revision.is_some_and(|revision| revision != 0) {
                return Err(ApiError::new(
                    Reason::BadRequest,
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let place = Continue::parse(token)?;
            return Ok(Self {
                at: Some(place.revision),
                after: Some(place.after),
                limit,
            });
        }
        let newest = state.store.revision();
        if let Some(revision) = revision
            && revision > newest
        {
            return Err(too_large(revision, newest));
        }
        Ok(Self {
            at: revision.filter(|_| matching == "Exact"),
            after: None,
            limit,
        })
    }

    fn cut(&self, objects: Vec<Arc<Object>>, selector: &Selector, revision: u64) -> Answer {
        let mut rest: Vec<Arc<Object>> = objects
            .into_iter()
            .filter(|object| self.after.as_ref().is_none_or(|after| Key::of(object) > *after))
            .filter(|object| selector.matches(object))
            .collect();
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if self.limit > 0 && rest.len() > self.limit {
            let remaining = rest.len() - self.limit;
            rest.truncate(self.limit);
            if let Some(last) = rest.last() {
                let place = Continue {
                    revision,
                    after: Key::of(last),
                };
                metadata["continue"] = place.token().into();
            }
            if selector.is_everything() {
                metadata["remainingItemCount"] = remaining.into();
            }
        }
        Answer::List {
            objects: rest,
            metadata,
        }
    }
}

/// The selector of a call; a name in the path of a watch narrows it further.
pub(crate) fn selector(call: &Call) -> Result<Selector, ApiError> {
    let selector = Selector::parse(
        &call.kind,
        call.query.text("labelSelector"),
        call.query.text("fieldSelector"),
    )?;
    Ok(if call.name.is_empty() {
        selector
    } else {
        selector.with_name(&call.name)
    })
}

fn check_match(matching: &str, revision: Option<u64>, token: &str) -> Result<(), ApiError> {
    let why = if revision.is_none() {
        "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided".to_owned()
    } else if !token.is_empty() {
        "Forbidden: resourceVersionMatch is forbidden when continue is provided".to_owned()
    } else if !matches!(matching, "Exact" | "NotOlderThan") {
        format!("Unsupported value: \"{matching}\": supported values: \"Exact\", \"NotOlderThan\"")
    } else if matching == "Exact" && revision == Some(0) {
        "Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"".to_owned()
    } else {
        return Ok(());
    };
    Err(invalid_list_option("resourceVersionMatch", why))
}

pub(crate) fn invalid_list_option(field: &str, message: String) -> ApiError {
    ApiError::invalid(
        "meta.k8s.io",
        "ListOptions",
        "",
        &[FieldError {
            field: field.to_owned(),
            reason: "FieldValueForbidden",
            message,
        }],
    )
}

fn too_large(asked: u64, newest: u64) -> ApiError {
    let mut error = ApiError::new(
        Reason::Timeout,
        format!("Timeout: Too large resource version: {asked}, current: {newest}"),
    );
    error.details = json!({
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    });
    error
}

fn expired(page: &Page, forgotten: Forgotten) -> ApiError {
    let message = if page.after.is_some() {
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter."
            .to_owned()
    } else {
        format!(
            "The resourceVersion for the provided list is too old; the oldest remembered is {}",
            forgotten.oldest
        )
    };
    ApiError::new(Reason::Expired, message)
}
