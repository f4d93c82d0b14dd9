//! create: `k8s.io/apiserver` v0.34, `pkg/endpoints/handlers/create.go` and `pkg/registry/rest/create.go`.

use std::sync::Arc;

use serde_json::Value;

use super::answer::Answer;
use super::call::Call;
use super::{
    ApiServer, State, admission, decode, definitions, metadata, service_account, status, strategy, versions,
};
use crate::error::{ApiError, FieldError, Reason};
use crate::kind::Kind;
use crate::managed_fields;
use crate::object::Object;
use crate::store::{Key, Resource};

/// Tries for a free generated name.
const NAME_TRIES: usize = 8;

impl ApiServer {
    pub(crate) fn create(&self, call: &mut Call) -> Result<Answer, ApiError> {
        let object = call.json()?;
        let object = decode::decode(call, object)?;
        let object = self.insert(call, object)?;
        Ok(Answer::Object { code: 201, object })
    }

    /// Stores a decoded new object. One that was applied has its owners already.
    pub(crate) fn insert(&self, call: &mut Call, mut object: Value) -> Result<Arc<Object>, ApiError> {
        place(call, &mut object)?;
        if object["metadata"]["resourceVersion"].is_string() {
            return Err(ApiError::new(
                Reason::Unknown,
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let now = self.inner.clock.now();
        let mut guard = self.inner.state.lock();
        let state = &mut *guard;
        state.name(call, &mut object)?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        admission::namespace_accepts(state, call, &name)?;
        definitions::refuse_when_ending(state, call, &name)?;
        if !call.is_apply() {
            managed_fields::track(&call.kind, None, &mut object, &call.manager, "Update", None, now);
        }
        metadata::begin(&mut object, &call.kind, now, &mut state.rng);
        status::begin(&call.kind, &mut object, now);
        strategy::complete(state, &call.kind, &mut object)?;
        if call.kind.custom.is_none() && call.kind.group.is_empty() && call.kind.plural == "pods" {
            let has_nodes = self.inner.nodes.read().is_some();
            service_account::mount(state, &mut object, has_nodes)?;
        }
        decode::validate_create(call, &object)?;
        let key = Key::of(&object);
        if let Some(there) = state.store.get(&call.resource, &key) {
            let mut error = ApiError::already_exists(&call.kind.group, &call.kind.plural, &name);
            if !there["metadata"]["deletionTimestamp"].is_null() {
                error.message = format!("object is being deleted: {}", error.message);
            }
            return Err(error);
        }
        if call.resource == definitions::definitions() {
            definitions::complete(state, None, &mut object, now)?;
        }
        let object = state.as_stored(&call.kind, object);
        if call.dry_run {
            // Nothing was stored, so there is no resourceVersion.
            return Ok(Arc::new(object.into()));
        }
        Ok(state.keep(&call.resource, object))
    }
}

impl State {
    /// Gives an object without a name one that begins with its `generateName`.
    fn name(&mut self, call: &Call, object: &mut Value) -> Result<(), ApiError> {
        let metadata = &object["metadata"];
        if metadata["name"].as_str().is_some_and(|name| !name.is_empty()) {
            return Ok(());
        }
        let base = metadata["generateName"].as_str().unwrap_or_default().to_owned();
        if base.is_empty() {
            let error = FieldError {
                field: "metadata.name".to_owned(),
                reason: "FieldValueRequired",
                message: "Required value: name or generateName is required".to_owned(),
            };
            return Err(ApiError::invalid(&call.kind.group, &call.kind.kind, "", &[error]));
        }
        for _ in 0..NAME_TRIES {
            let name = metadata::generated_name(&base, &mut self.rng);
            object["metadata"]["name"] = name.into();
            if self.store.get(&call.resource, &Key::of(object)).is_none() {
                break;
            }
        }
        Ok(())
    }

    /// In the version that is stored.
    pub(crate) fn as_stored(&self, kind: &Kind, object: Value) -> Value {
        match self.registry.stored(&kind.group, &kind.plural) {
            Some(stored) => versions::stored(kind, stored, object),
            None => object,
        }
    }

    /// Stores an object and what follows from it.
    pub(crate) fn keep(&mut self, resource: &Resource, object: Value) -> Arc<Object> {
        let object = self.store.put(resource, object);
        if *resource == definitions::definitions() {
            self.serve_definition(&object);
        }
        object
    }

    /// Takes an object out and what followed from it.
    pub(crate) fn erase(&mut self, resource: &Resource, key: &Key) -> Option<Arc<Object>> {
        let object = self.store.remove(resource, key)?;
        if *resource == definitions::definitions() {
            self.drop_definition(&object);
        }
        Some(object)
    }
}

/// The object's namespace is the path's.
fn place(call: &Call, object: &mut Value) -> Result<(), ApiError> {
    let metadata = metadata::of(object);
    match &call.namespace {
        None => {
            metadata.remove("namespace");
        }
        Some(namespace) => {
            let said = metadata
                .get("namespace")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if !said.is_empty() && said != namespace {
                return Err(ApiError::new(
                    Reason::BadRequest,
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            metadata.insert("namespace".to_owned(), namespace.as_str().into());
        }
    }
    Ok(())
}
