//! update and patch: `k8s.io/apiserver` v0.34, `pkg/endpoints/handlers/{update,patch}.go`,
//! `pkg/registry/rest/update.go` and `pkg/registry/generic/registry/store.go`.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::answer::Answer;
use super::call::{self, Call};
use super::{ApiServer, State, body, decode, definitions, metadata, status, strategy, versions};
use crate::builtin::kinds;
use crate::error::{ApiError, FieldError, Reason};
use crate::managed_fields;
use crate::object::Object;
use crate::patch;

const MERGE: &str = "application/merge-patch+json";
const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

impl ApiServer {
    pub(crate) fn replace(&self, call: &mut Call) -> Result<Answer, ApiError> {
        let object = call.json()?;
        let object = decode::decode(call, object)?;
        check_name(call, &object)?;
        let mut guard = self.inner.state.lock();
        let state = &mut *guard;
        let Some(old) = state.store.get(&call.resource, &call.key()).cloned() else {
            drop(guard);
            return self.create_by_update(call, object);
        };
        let given = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if given.is_empty() && !kinds::rules(&call.kind).unconditional_update {
            return Err(must_be_specified(call));
        }
        let object = self.write(state, call, &old, object)?;
        Ok(Answer::Object { code: 200, object })
    }

    fn create_by_update(&self, call: &mut Call, object: Value) -> Result<Answer, ApiError> {
        if call.subresource.is_some() || !kinds::rules(&call.kind).create_on_update {
            return Err(call.not_found());
        }
        let object = self.insert(call, object)?;
        Ok(Answer::Object { code: 201, object })
    }

    pub(crate) fn patch(&self, call: &mut Call) -> Result<Answer, ApiError> {
        let mut guard = self.inner.state.lock();
        let state = &mut *guard;
        let Some(old) = state.store.get(&call.resource, &call.key()).cloned() else {
            drop(guard);
            return self.create_by_apply(call);
        };
        let shown = versions::presented(&call.kind, &old);
        let now = self.inner.clock.now();
        let made = patched(call, start(call, &shown), now)?;
        let patched = match decode::decode(call, made) {
            Ok(object) => object,
            Err(error) => {
                return Err(decode::of_patch(
                    error,
                    &patched(call, Cow::Borrowed(&shown), now)?,
                ));
            }
        };
        check_name(call, &patched)?;
        let object = self.write(state, call, &old, patched)?;
        Ok(Answer::Object { code: 200, object })
    }

    /// Only apply makes what is not there.
    fn create_by_apply(&self, call: &mut Call) -> Result<Answer, ApiError> {
        if !call.is_apply() || call.subresource.is_some() {
            return Err(call.not_found());
        }
        let object = applied(call, None, self.inner.clock.now())?;
        let object = decode::decode(call, object)?;
        check_name(call, &object)?;
        let object = self.insert(call, object)?;
        Ok(Answer::Object { code: 201, object })
    }

    /// Writes `new` (in the call's version) over the stored `old`.
    pub(crate) fn write(
        &self,
        state: &mut State,
        call: &mut Call,
        old: &Arc<Object>,
        new: Value,
    ) -> Result<Arc<Object>, ApiError> {
        let now = self.inner.clock.now();
        check_preconditions(call, old, &new)?;
        check_deletion(call, old, &new)?;
        let mut new = new;
        if !call.is_apply() {
            let shown = versions::presented(&call.kind, old);
            let subresource = call.subresource.as_deref();
            managed_fields::track(
                &call.kind,
                Some(&shown),
                &mut new,
                &call.manager,
                "Update",
                subresource,
                now,
            );
        }
        let new = state.as_stored(&call.kind, new);
        let mut new = status::merged(&call.kind, call.subresource.as_deref(), old, new);
        metadata::carry_over(&mut new, old);
        if call.namespace.is_some() {
            new["metadata"]["namespace"] = old["metadata"]["namespace"].clone();
        }
        strategy::keep_given(&call.kind, old, &mut new);
        if call.resource == definitions::definitions() {
            definitions::complete(state, Some(old), &mut new, now)?;
        }
        if call.kind.generation && !call.is_status() && metadata::spec_differs(&call.kind, old, &new) {
            metadata::next_generation(&mut new);
        }
        metadata::tidy(&mut new);
        decode::validate_update(call, old, &new)?;
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        if new == *old.value() {
            return Ok(Arc::clone(old));
        }
        if call.dry_run {
            return Ok(Arc::new(new.into()));
        }
        if is_released(call, &new) {
            // Watches see the deletion only, and the answer keeps the last resourceVersion.
            state.erase(&call.resource, &call.key());
            self.finish_definitions(state);
            return Ok(Arc::new(new.into()));
        }
        Ok(state.keep(&call.resource, new))
    }
}

/// Nothing holds a deleted object any more.
fn is_released(call: &Call, object: &Value) -> bool {
    let metadata = &object["metadata"];
    let namespace_done = call.resource != super::admission::namespaces()
        || object["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty);
    !metadata["deletionTimestamp"].is_null()
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && metadata::finalizers(object).is_empty()
        && namespace_done
}

/// What a patch is laid over. A merge patch replaces lists as wholes, so it does not matter to it which owners of fields
/// are there; a write that brings none goes on from those of the object before ([`managed_fields::track`]).
fn start<'a>(call: &Call, object: &'a Value) -> Cow<'a, Value> {
    if call.content_type != MERGE {
        return Cow::Borrowed(object);
    }
    let mut bare = status::without(object, &["metadata"]);
    bare["metadata"] = status::without(&object["metadata"], &["managedFields"]);
    Cow::Owned(bare)
}

/// What the patch makes of the object.
fn patched(call: &Call, object: Cow<'_, Value>, now: jiff::Timestamp) -> Result<Value, ApiError> {
    match call.content_type.as_str() {
        "application/json-patch+json" => patch::json(&object, &call.body),
        MERGE => {
            let patch = body::patch(&call.body, "error decoding patch: ")?;
            Ok(patch::merge(object.into_owned(), &patch))
        }
        "application/strategic-merge-patch+json" => {
            patch::strategic(&call.kind, &object, &body::patch(&call.body, "")?)
        }
        call::APPLY => applied(call, Some(&object), now),
        _ => Err(ApiError::generic(
            Reason::UnsupportedMediaType,
            "415: Unsupported Media Type",
        )),
    }
}

/// What an apply makes of the live object, or of nothing.
fn applied(call: &Call, live: Option<&Value>, now: jiff::Timestamp) -> Result<Value, ApiError> {
    if call.query.text("fieldManager").is_empty() {
        let error = FieldError {
            field: "fieldManager".to_owned(),
            reason: "FieldValueRequired",
            message: "Required value: is required for apply patch".to_owned(),
        };
        return Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", &[error]));
    }
    let mut wanted = call.yaml()?;
    if wanted["metadata"]["name"].is_null() {
        wanted["metadata"]["name"] = call.name.as_str().into();
    }
    patch::apply_subresource(
        &call.kind,
        call.subresource.as_deref(),
        live,
        &wanted,
        &call.manager,
        call.query.flag("force"),
        now,
    )
}

/// A patch of something that has no lists, as a scale.
pub(crate) fn patched_plainly(call: &Call, object: &Value) -> Result<Value, ApiError> {
    match call.content_type.as_str() {
        "application/json-patch+json" => patch::json(object, &call.body),
        _ => {
            let patch = call::object("Scale", &call.body)?;
            Ok(patch::merge(object.clone(), &patch))
        }
    }
}

/// The object is the one the path names.
fn check_name(call: &Call, object: &Value) -> Result<(), ApiError> {
    let bad = |message: String| Err(ApiError::new(Reason::BadRequest, message));
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        return bad(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.name
        ));
    }
    if name != call.name {
        return bad(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name
        ));
    }
    let said = metadata["namespace"].as_str().unwrap_or_default();
    match call.namespace.as_deref() {
        Some(namespace) if !said.is_empty() && said != namespace => bad(format!(
            "the namespace of the object ({said}) does not match the namespace on the request ({namespace})"
        )),
        _ => Ok(()),
    }
}

/// A deletion is not begun or moved by an update.
fn check_deletion(call: &Call, old: &Value, new: &Value) -> Result<(), ApiError> {
    let field = "deletionTimestamp";
    let (before, given) = (&old["metadata"][field], &new["metadata"][field]);
    if given.is_null() || given == before {
        return Ok(());
    }
    let error = FieldError {
        field: format!("metadata.{field}"),
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {given}: field is immutable"),
    };
    Err(ApiError::invalid(
        &call.kind.group,
        &call.kind.kind,
        &call.name,
        &[error],
    ))
}

/// The caller saw the object as it is now.
fn check_preconditions(call: &Call, old: &Value, new: &Value) -> Result<(), ApiError> {
    let given = |field: &str| new["metadata"][field].as_str().filter(|text| !text.is_empty());
    if let Some(uid) = given("uid")
        && old["metadata"]["uid"] != uid
    {
        return Err(call.conflict(&format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            call.kind.plural,
            call.key().as_str(),
            old["metadata"]["uid"].as_str().unwrap_or_default()
        )));
    }
    if let Some(text) = given("resourceVersion")
        && text.parse::<u64>().is_err()
    {
        return Err(ApiError::new(
            Reason::Unknown,
            format!("strconv.ParseUint: parsing \"{text}\": invalid syntax"),
        ));
    }
    if let Some(revision) = given("resourceVersion")
        && old["metadata"]["resourceVersion"] != revision
    {
        return Err(call.conflict(MODIFIED));
    }
    Ok(())
}

fn must_be_specified(call: &Call) -> ApiError {
    let error = FieldError {
        field: "metadata.resourceVersion".to_owned(),
        reason: "FieldValueInvalid",
        message: "Invalid value: 0: must be specified for an update".to_owned(),
    };
    // By its plural, and the group is said: so Kubernetes does here.
    ApiError::invalid(&call.kind.group, &call.kind.plural, &call.name, &[error])
}
