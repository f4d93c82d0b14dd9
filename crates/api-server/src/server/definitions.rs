//! What follows from a CustomResourceDefinition's life: kinds come, change and go with it.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/controller/{status,establish,finalizer}` and
//! `pkg/registry/customresourcedefinition/etcd.go`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::call::Call;
use super::{ApiServer, State, metadata};
use crate::error::ApiError;
use crate::kind::{Column, Custom, Kind, Scope};
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

/// Completes a definition that is about to be stored: names accepted, established.
pub(crate) fn complete(crd: &mut Value, now: jiff::Timestamp) -> Result<(), ApiError> {
    let since = metadata::timestamp(now);
    let names = crd["spec"]["names"].clone();
    if crd["status"]["conditions"].is_null() {
        crd["status"]["conditions"] = json!([
            {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found", "lastTransitionTime": since},
            {"type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": "the initial names have been accepted", "lastTransitionTime": since},
        ]);
    }
    crd["status"]["acceptedNames"] = names;
    let stored: Vec<Value> = crd["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|version| version["storage"] == true)
        .map(|version| version["name"].clone())
        .collect();
    let mut known = crd["status"]["storedVersions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for version in stored {
        if !known.contains(&version) {
            known.push(version);
        }
    }
    crd["status"]["storedVersions"] = known.into();
    Ok(())
}

/// The kinds a definition serves.
pub(crate) fn kinds(crd: &Value) -> Vec<Kind> {
    let names = &crd["spec"]["names"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| -> Vec<String> { value.as_array().into_iter().flatten().map(text).collect() };
    let kind = text(&names["kind"]);
    let or = |value: &Value, otherwise: String| value.as_str().map_or(otherwise, str::to_owned);
    crd["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|version| version["served"] == true)
        .map(|version| Kind {
            group: text(&crd["spec"]["group"]),
            version: text(&version["name"]),
            list_kind: or(&names["listKind"], format!("{kind}List")),
            plural: text(&names["plural"]),
            singular: or(&names["singular"], kind.to_lowercase()),
            short_names: texts(&names["shortNames"]),
            categories: texts(&names["categories"]),
            scope: if crd["spec"]["scope"] == "Cluster" {
                Scope::Cluster
            } else {
                Scope::Namespaced
            },
            status_subresource: version["subresources"]["status"].is_object(),
            stored: version["storage"] == true,
            generation: true,
            custom: Some(Arc::new(custom(version))),
            kind: kind.clone(),
        })
        .collect()
}

fn custom(version: &Value) -> Custom {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let columns = version["additionalPrinterColumns"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|column| Column {
            name: text(&column["name"]),
            kind: text(&column["type"]),
            format: text(&column["format"]),
            description: text(&column["description"]),
            priority: column["priority"]
                .as_i64()
                .and_then(|n| i32::try_from(n).ok())
                .unwrap_or(0),
            json_path: text(&column["jsonPath"]),
        })
        .collect();
    Custom {
        schema: crate::schema::Schema::read(&version["schema"]["openAPIV3Schema"]),
        open_api: version["schema"]["openAPIV3Schema"].clone(),
        columns,
        preserve_unknown_fields: false,
    }
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
        self.registry.replace(&group, &plural, kinds(crd));
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
                let mut last = (*crd).clone();
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
