//! What follows from a CustomResourceDefinition's life: kinds come, change and go with it.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/controller/{status,establish,finalizer}` and
//! `pkg/registry/customresourcedefinition/etcd.go`.

use serde_json::{Value, json};

use super::call::Call;
use super::{ApiServer, State, metadata};
use crate::custom;
use crate::error::ApiError;
use crate::registry::defined;
use crate::store::{Key, Resource};

/// Instances are deleted before the definition goes.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Where definitions are kept.
pub(crate) fn definitions() -> Resource {
    (
        "apiextensions.k8s.io".to_owned(),
        "customresourcedefinitions".to_owned(),
    )
}

/// Completes and checks a definition that is about to be stored: defaults, names accepted, established.
pub(crate) fn complete(
    state: &State,
    old: Option<&Value>,
    crd: &mut Value,
    now: jiff::Timestamp,
) -> Result<(), ApiError> {
    custom::default(crd);
    let errors = match old {
        Some(old) => custom::validate_update(crd, old),
        None => custom::validate(crd),
    };
    if !errors.is_empty() {
        let name = crd["metadata"]["name"].as_str().unwrap_or_default();
        return Err(ApiError::invalid(
            custom::GROUP,
            "CustomResourceDefinition",
            name,
            &errors,
        ));
    }
    let others = state.store.list(&definitions(), None);
    custom::accept(crd, others.iter().map(|other| other.value()), now);
    // What cannot be served is refused, not stored.
    custom::kinds(crd).map(drop)
}

/// Marks a definition whose deletion begins.
pub(crate) fn mark_ending(crd: &mut Value, old: &Value, now: jiff::Timestamp) {
    crd["metadata"]["generation"] = old["metadata"]["generation"].clone();
    let mut conditions = crd["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if conditions
        .iter()
        .any(|condition| condition["type"] == "Terminating")
    {
        return;
    }
    conditions.push(json!({
        "type": "Terminating", "status": "True", "lastTransitionTime": metadata::timestamp(now),
        "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    }));
    crd["status"]["conditions"] = conditions.into();
}

/// Nothing is created under a definition that is ending.
pub(crate) fn refuse_when_ending(state: &State, call: &Call, name: &str) -> Result<(), ApiError> {
    if call.kind.custom.is_none() {
        return Ok(());
    }
    let definition = format!("{}.{}", call.kind.plural, call.kind.group);
    let ending = state
        .store
        .get(&definitions(), &Key::new(None, &definition))
        .is_some_and(|crd| !crd["metadata"]["deletionTimestamp"].is_null());
    if ending {
        return Err(ApiError::forbidden(
            &call.kind.group,
            &call.kind.plural,
            name,
            "create not allowed while custom resource definition is terminating",
        ));
    }
    Ok(())
}

impl State {
    /// Serves what a stored definition says.
    pub(crate) fn serve_definition(&mut self, crd: &Value) {
        let (group, plural) = defined(crd);
        // Checked before it was stored.
        let served = custom::kinds(crd).unwrap_or_default();
        self.registry.replace(&group, &plural, served);
        self.store.begin(&(group, plural));
    }

    /// Stops serving a definition that is gone.
    pub(crate) fn drop_definition(&mut self, crd: &Value) {
        let (group, plural) = defined(crd);
        self.registry.replace(&group, &plural, Vec::new());
        self.store.forget(&(group, plural));
    }
}

impl ApiServer {
    /// Deletes the instances of definitions that are ending, and the definitions whose instances are gone.
    pub(crate) fn finish_definitions(&self, state: &mut State) {
        for crd in state.store.list(&definitions(), None) {
            if crd["metadata"]["deletionTimestamp"].is_null()
                || !metadata::finalizers(&crd).contains(&CLEANUP)
            {
                continue;
            }
            let resource = defined(&crd);
            for instance in state.store.list(&resource, None) {
                self.begin_deletion(state, &resource, &instance);
            }
            if state.store.list(&resource, None).is_empty() {
                let mut last = crd.value().clone();
                let left: Vec<Value> = metadata::finalizers(&crd)
                    .into_iter()
                    .filter(|finalizer| *finalizer != CLEANUP)
                    .map(Value::from)
                    .collect();
                let done = left.is_empty();
                last["metadata"]["finalizers"] = left.into();
                if done {
                    state.erase(&definitions(), &Key::of(&last));
                } else {
                    state.keep(&definitions(), last);
                }
            }
        }
    }

    /// Marks an instance of an ending definition, or takes it out when nothing holds it.
    fn begin_deletion(&self, state: &mut State, resource: &Resource, instance: &Value) {
        if metadata::finalizers(instance).is_empty() {
            state.erase(resource, &Key::of(instance));
        } else if instance["metadata"]["deletionTimestamp"].is_null() {
            let mut marked = instance.clone();
            metadata::next_generation(&mut marked);
            marked["metadata"]["deletionTimestamp"] = metadata::timestamp(self.inner.clock.now()).into();
            marked["metadata"]["deletionGracePeriodSeconds"] = 0.into();
            state.keep(resource, marked);
        }
    }
}
