//! Subresources that are neither status nor streams: scale, binding, eviction, token.
//! Source: Kubernetes v1.34, `pkg/registry/core/pod/storage`, `pkg/registry/apps/*/storage`,
//! `pkg/registry/core/serviceaccount/storage/token.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::Answer;
use super::call::Call;
use super::delete::Options;
use super::{ApiServer, State, metadata};
use crate::error::{ApiError, FieldError, Reason};
use crate::object::Object;
use crate::selector::labels_match;
use crate::tokens::Tokens;

/// Lifetime of a token that names none, and the shortest allowed.
const TOKEN_SECONDS: i64 = 3600;
const TOKEN_MIN_SECONDS: i64 = 600;

impl ApiServer {
    pub(crate) fn get_scale(&self, call: &Call) -> Result<Answer, ApiError> {
        let state = self.inner.state.lock();
        let object = state.existing(call)?;
        Ok(Answer::Plain {
            code: 200,
            value: scale(call, &object),
        })
    }

    /// PUT and PATCH of `/scale`.
    pub(crate) fn set_scale(&self, call: &mut Call, patch: bool) -> Result<Answer, ApiError> {
        let mut guard = self.inner.state.lock();
        let state = &mut *guard;
        let old = state.existing(call)?;
        let wanted = if patch {
            super::update::patched_plainly(call, &scale(call, &old))?
        } else {
            call.json()?
        };
        let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            let error = FieldError {
                field: "spec.replicas".to_owned(),
                reason: "FieldValueInvalid",
                message: format!("Invalid value: {replicas}: must be greater than or equal to 0"),
            };
            return Err(ApiError::invalid("autoscaling", "Scale", &call.name, &[error]));
        }
        let mut new = old.value().clone();
        set_at(&mut new, &Paths::of(call).spec, replicas.into());
        new["metadata"]["resourceVersion"] = wanted["metadata"]["resourceVersion"].clone();
        let subresource = call.subresource.take();
        let written = self.write(state, call, &old, new);
        call.subresource = subresource;
        let written = written?;
        Ok(Answer::Plain {
            code: 200,
            value: scale(call, &written),
        })
    }

    /// A scheduler gives a pod its node.
    pub(crate) fn bind(&self, call: &mut Call) -> Result<Answer, ApiError> {
        let binding = call.json()?;
        let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
        if node.is_empty() {
            let error = FieldError {
                field: "target.name".to_owned(),
                reason: "FieldValueRequired",
                message: "Required value".to_owned(),
            };
            return Err(ApiError::invalid("", "Binding", &call.name, &[error]));
        }
        let now = metadata::timestamp(self.inner.clock.now());
        let mut guard = self.inner.state.lock();
        let state = &mut *guard;
        let mut pod = state.existing(call)?.value().clone();
        let refuse = |why: String| ApiError::conflict("", "pods/binding", &call.name, &why);
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            return Err(refuse(format!(
                "pod {} is being deleted, cannot be assigned to a host",
                call.name
            )));
        }
        if let Some(assigned) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
            return Err(refuse(format!(
                "pod {} is already assigned to node \"{assigned}\"",
                call.name
            )));
        }
        pod["spec"]["nodeName"] = node.into();
        for field in ["annotations", "labels"] {
            for (key, value) in binding["metadata"][field].as_object().into_iter().flatten() {
                pod["metadata"][field][key] = value.clone();
            }
        }
        set_condition(
            &mut pod,
            json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}),
        );
        if !call.dry_run {
            state.keep(&call.resource, pod);
        }
        Ok(done())
    }

    /// Deletes a pod unless a PodDisruptionBudget forbids it.
    pub(crate) fn evict(&self, call: &mut Call) -> Result<Answer, ApiError> {
        let eviction = call.json()?;
        let options = Options::of(&eviction["deleteOptions"], call)?;
        let now = metadata::timestamp(self.inner.clock.now());
        let mut guard = self.inner.state.lock();
        let state = &mut *guard;
        let mut pod = state.existing(call)?.value().clone();
        let ended = matches!(
            pod["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed" | "Pending")
        );
        if !ended && pod["metadata"]["deletionTimestamp"].is_null() {
            state.spend_disruption(call, &pod)?;
        }
        set_condition(
            &mut pod,
            json!({
                "type": "DisruptionTarget", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
                "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
            }),
        );
        if !options.dry_run {
            state.keep(&call.resource, pod);
        }
        self.delete_one(state, call, &options, &call.key())?;
        Ok(done())
    }

    /// A token for a ServiceAccount.
    pub(crate) fn token(&self, call: &mut Call) -> Result<Answer, ApiError> {
        let mut request = call.json()?;
        let now = self.inner.clock.now();
        let mut guard = self.inner.state.lock();
        let state = &mut *guard;
        let account = state.existing(call)?;
        let seconds = request["spec"]["expirationSeconds"]
            .as_i64()
            .unwrap_or(TOKEN_SECONDS);
        if seconds < TOKEN_MIN_SECONDS {
            let error = FieldError {
                field: "spec.expirationSeconds".to_owned(),
                reason: "FieldValueInvalid",
                message: format!("Invalid value: {seconds}: may not specify a duration less than 10 minutes"),
            };
            return Err(ApiError::invalid(
                "authentication.k8s.io",
                "TokenRequest",
                &call.name,
                &[error],
            ));
        }
        let mut audiences: Vec<String> = request["spec"]["audiences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|audience| audience.as_str().map(str::to_owned))
            .collect();
        if audiences.is_empty() {
            audiences.push(Tokens::audience().to_owned());
        }
        let expires = now
            .checked_add(jiff::SignedDuration::from_secs(seconds))
            .unwrap_or(now);
        let id = metadata::uid(&mut state.rng);
        let token = state.tokens.issue(&account, &audiences, now, expires, &id);
        request["kind"] = "TokenRequest".into();
        request["apiVersion"] = "authentication.k8s.io/v1".into();
        request["metadata"] = json!({
            "name": call.name, "namespace": call.namespace, "creationTimestamp": metadata::timestamp(now),
        });
        request["spec"]["audiences"] = audiences.into();
        request["spec"]["expirationSeconds"] = seconds.into();
        request["status"] = json!({"token": token, "expirationTimestamp": metadata::timestamp(expires)});
        Ok(Answer::Plain {
            code: 201,
            value: request,
        })
    }
}

impl State {
    /// The object a call names.
    pub(crate) fn existing(&self, call: &Call) -> Result<Arc<Object>, ApiError> {
        self.store
            .get(&call.resource, &call.key())
            .cloned()
            .ok_or_else(|| call.not_found())
    }

    /// Takes one allowed disruption from the pod's budget.
    fn spend_disruption(&mut self, call: &Call, pod: &Value) -> Result<(), ApiError> {
        let resource = ("policy".to_owned(), "poddisruptionbudgets".to_owned());
        let budgets = self.store.list(&resource, call.namespace.as_deref());
        let Some(budget) = budgets
            .iter()
            .find(|budget| labels_match(&budget["spec"]["selector"], &pod["metadata"]["labels"]))
        else {
            return Ok(());
        };
        let allowed = budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
        if allowed <= 0 {
            let name = budget["metadata"]["name"].as_str().unwrap_or_default();
            let mut error = ApiError::new(
                Reason::TooManyRequests,
                "Cannot evict pod as it would violate the pod's disruption budget.",
            );
            error.details = json!({"causes": [{
                "reason": "DisruptionBudget",
                "message": format!("The disruption budget {name} does not allow evicting pods currently"),
            }]});
            return Err(error);
        }
        if !call.dry_run {
            let mut budget = budget.value().clone();
            budget["status"]["disruptionsAllowed"] = (allowed - 1).into();
            self.keep(&resource, budget);
        }
        Ok(())
    }
}

/// Where an object keeps what its scale shows.
struct Paths {
    spec: String,
    status: String,
    /// A selector as text; `None`: a LabelSelector or map at `spec.selector`.
    selector: Option<String>,
    /// What is meant when the object says nothing.
    otherwise: i64,
}

impl Paths {
    fn of(call: &Call) -> Self {
        match call.kind.custom.as_ref().and_then(|custom| custom.scale.clone()) {
            Some(scale) => Self {
                spec: scale.spec_replicas,
                status: scale.status_replicas,
                selector: Some(scale.label_selector.unwrap_or_default()),
                otherwise: 0,
            },
            None => Self {
                spec: "spec.replicas".to_owned(),
                status: "status.replicas".to_owned(),
                selector: None,
                otherwise: 1,
            },
        }
    }
}

/// The value at a path of field names.
fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(object, |value, name| &value[name])
}

fn set_at(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for name in path.split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[name];
    }
    *place = value;
}

/// `autoscaling/v1` Scale of an object.
fn scale(call: &Call, object: &Value) -> Value {
    let paths = Paths::of(call);
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !object["metadata"][field].is_null() {
            metadata[field] = object["metadata"][field].clone();
        }
    }
    let replicas = at(object, &paths.spec).as_i64().unwrap_or(paths.otherwise);
    let spec = if replicas == 0 {
        json!({})
    } else {
        json!({"replicas": replicas})
    };
    let mut status = json!({"replicas": at(object, &paths.status).as_i64().unwrap_or(0)});
    let selector = match &paths.selector {
        Some(path) => at(object, path).as_str().unwrap_or_default().to_owned(),
        None => selector_text(&object["spec"]["selector"]),
    };
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// The labels of a selector as `a=b,c=d`.
fn selector_text(selector: &Value) -> String {
    let labels = &selector["matchLabels"];
    let labels = if labels.is_object() { labels } else { selector };
    let pairs: BTreeMap<&String, &str> = labels
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .collect();
    let text: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    text.join(",")
}

/// Adds a condition, or replaces the one of its type.
fn set_condition(object: &mut Value, condition: Value) {
    let mut conditions = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    conditions.retain(|one| one["type"] != condition["type"]);
    conditions.push(condition);
    object["status"]["conditions"] = conditions.into();
}

fn done() -> Answer {
    Answer::Plain {
        code: 201,
        value: json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    }
}
