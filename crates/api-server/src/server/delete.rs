//! delete and deletecollection: `k8s.io/apiserver` v0.34, `pkg/registry/rest/delete.go` and
//! `pkg/registry/generic/registry/store.go`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::Answer;
use super::call::{self, Call};
use super::{ApiServer, State, admission, definitions, metadata};
use crate::builtin::kinds;
use crate::error::{ApiError, FieldError, Reason};
use crate::object::Object;
use crate::store::Key;

/// Dependents are deleted first.
const FOREGROUND: &str = "foregroundDeletion";
/// Dependents stay.
const ORPHAN: &str = "orphan";
/// Pods that do not say otherwise.
const DEFAULT_GRACE: i64 = 30;

/// `DeleteOptions`.
#[derive(Debug, Default, Clone)]
pub(crate) struct Options {
    grace: Option<i64>,
    policy: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    pub(crate) dry_run: bool,
}

impl Options {
    /// Of the body; of the query when there is none.
    fn parse(call: &Call) -> Result<Self, ApiError> {
        let body = if call.body.is_empty() {
            Value::Null
        } else {
            call::object("DeleteOptions", &call.body)?
        };
        Self::of(&body, call)
    }

    /// Of a `DeleteOptions` object, completed from the query.
    pub(crate) fn of(body: &Value, call: &Call) -> Result<Self, ApiError> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let dry_run: Vec<String> = body["dryRun"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(text)
            .collect();
        let query_grace = call
            .query
            .number("gracePeriodSeconds")?
            .and_then(|n| i64::try_from(n).ok());
        let orphan = body["orphanDependents"].as_bool().or_else(|| {
            call.query
                .has("orphanDependents")
                .then(|| call.query.flag("orphanDependents"))
        });
        let policy = text(&body["propagationPolicy"])
            .or_else(|| Some(call.query.text("propagationPolicy").to_owned()))
            .filter(|policy| !policy.is_empty())
            .or_else(|| orphan.map(|orphan| if orphan { "Orphan" } else { "Background" }.to_owned()));
        let options = Self {
            grace: body["gracePeriodSeconds"]
                .as_i64()
                .or(query_grace)
                .map(|grace| grace.max(0)),
            policy,
            uid: text(&body["preconditions"]["uid"]),
            resource_version: text(&body["preconditions"]["resourceVersion"]),
            dry_run: call.dry_run || call::Options::of(&http::Method::DELETE).dry_run(&dry_run)?,
        };
        match options.policy.as_deref() {
            None | Some("Orphan" | "Background" | "Foreground") => Ok(options),
            Some(other) => Err(ApiError::invalid(
                "meta.k8s.io",
                "DeleteOptions",
                "",
                &[FieldError {
                    field: "propagationPolicy".to_owned(),
                    reason: "FieldValueNotSupported",
                    message: format!(
                        "Unsupported value: \"{other}\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
                    ),
                }],
            )),
        }
    }
}

/// What a deletion did.
pub(crate) enum Deleted {
    /// The object is gone; its last state.
    Gone(Arc<Object>),
    /// Something holds it; it is marked.
    Marked(Arc<Object>),
}

impl ApiServer {
    pub(crate) fn delete(&self, call: &mut Call) -> Result<Answer, ApiError> {
        let options = Options::parse(call)?;
        let mut guard = self.inner.state.lock();
        let state = &mut *guard;
        let deleted = self.delete_one(state, call, &options, &call.key())?;
        Ok(match deleted {
            Deleted::Marked(object) => Answer::Object { code: 200, object },
            Deleted::Gone(object) if kinds::rules(&call.kind).returns_deleted => {
                Answer::Object { code: 200, object }
            }
            Deleted::Gone(object) => Answer::Plain {
                code: 200,
                value: success(call, &object),
            },
        })
    }

    pub(crate) fn delete_collection(&self, call: &mut Call) -> Result<Answer, ApiError> {
        let options = Options::parse(call)?;
        let selector = super::read::selector(call)?;
        let mut guard = self.inner.state.lock();
        let state = &mut *guard;
        let objects: Vec<Arc<Object>> = state
            .store
            .list(&call.resource, call.namespace.as_deref())
            .into_iter()
            .filter(|object| selector.matches(object))
            .collect();
        for object in &objects {
            match self.delete_one(state, call, &options, &Key::of(object)) {
                Err(error) if error.reason == Reason::NotFound => {}
                other => {
                    other?;
                }
            }
        }
        let metadata = json!({"resourceVersion": state.store.revision().to_string()});
        Ok(Answer::List { objects, metadata })
    }

    pub(crate) fn delete_one(
        &self,
        state: &mut State,
        call: &Call,
        options: &Options,
        key: &Key,
    ) -> Result<Deleted, ApiError> {
        let old = state
            .store
            .get(&call.resource, key)
            .cloned()
            .ok_or_else(|| call.not_found())?;
        check_preconditions(call, options, &old)?;
        admission::refuse_deleting(call, old["metadata"]["name"].as_str().unwrap_or_default())?;
        let mut marked = old.value().clone();
        let finalizers = finalizers_after(call, options, &old);
        let held = !finalizers.is_empty() || is_namespace_in_use(call, &old);
        marked["metadata"]["finalizers"] = finalizers.into();
        let grace = grace(call, options, &old);
        let now = self.inner.clock.now();
        if grace == 0 && !held {
            let gone = if options.dry_run {
                Some(old)
            } else {
                state.erase(&call.resource, key)
            };
            self.finish_definitions(state);
            let gone = gone.ok_or_else(|| call.not_found())?;
            if !is_pod(call) {
                return Ok(Deleted::Gone(gone));
            }
            // Pods are marked before they go, and answered so.
            let mut last = gone.value().clone();
            mark(&mut last, &marked, 0, now);
            return Ok(Deleted::Gone(Arc::new(last.into())));
        }
        mark(&mut marked, &old, grace, now);
        if call.resource == admission::namespaces() {
            marked["status"]["phase"] = "Terminating".into();
            remove_grace(&mut marked);
        }
        if call.resource == definitions::definitions() {
            definitions::mark_ending(&mut marked, &old, now);
            remove_grace(&mut marked);
        }
        metadata::tidy(&mut marked);
        if marked == *old.value() || options.dry_run {
            return Ok(Deleted::Marked(Arc::new(marked.into())));
        }
        let marked = state.keep(&call.resource, marked);
        self.finish_definitions(state);
        Ok(match state.store.get(&call.resource, key) {
            Some(_) => Deleted::Marked(marked),
            None => Deleted::Gone(marked),
        })
    }
}

/// Sets deletionTimestamp, or brings it forward when less grace is given than before.
fn mark(marked: &mut Value, old: &Value, grace: i64, now: jiff::Timestamp) {
    let before = &old["metadata"];
    let previous = before["deletionGracePeriodSeconds"].as_i64();
    if before["deletionTimestamp"].is_null() {
        metadata::next_generation(marked);
    } else if previous.is_none_or(|previous| previous <= grace) {
        return;
    }
    let at = now
        .checked_add(jiff::SignedDuration::from_secs(grace))
        .unwrap_or(now);
    marked["metadata"]["deletionTimestamp"] = metadata::timestamp(at).into();
    marked["metadata"]["deletionGracePeriodSeconds"] = grace.into();
}

fn is_pod(call: &Call) -> bool {
    call.kind.group.is_empty() && call.kind.plural == "pods"
}

/// Namespaces and definitions show no grace period.
fn remove_grace(object: &mut Value) {
    metadata::of(object).remove("deletionGracePeriodSeconds");
}

/// Seconds until the object may go: only pods that run somewhere are given any.
fn grace(call: &Call, options: &Options, object: &Value) -> i64 {
    let ended = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let unscheduled = object["spec"]["nodeName"].as_str().is_none_or(str::is_empty);
    if !is_pod(call) || ended || unscheduled {
        return 0;
    }
    let own = object["spec"]["terminationGracePeriodSeconds"].as_i64();
    let given = options.grace.or(own).unwrap_or(DEFAULT_GRACE);
    // A second deletion cannot prolong the first.
    object["metadata"]["deletionGracePeriodSeconds"]
        .as_i64()
        .filter(|_| !object["metadata"]["deletionTimestamp"].is_null())
        .map_or(given, |before| match options.grace {
            Some(given) => given.min(before),
            None => before,
        })
}

/// The finalizers an object has once it is deleted with this propagation policy.
fn finalizers_after(call: &Call, options: &Options, object: &Value) -> Vec<Value> {
    let before = metadata::finalizers(object);
    let default_orphans = kinds::rules(&call.kind).orphans_dependents;
    let (foreground, orphan) = match options.policy.as_deref() {
        Some("Foreground") => (true, false),
        Some("Orphan") => (false, true),
        Some(_) => (false, false),
        None => (
            before.contains(&FOREGROUND),
            before.contains(&ORPHAN) || (default_orphans && !before.contains(&FOREGROUND)),
        ),
    };
    let mut after: Vec<&str> = before
        .into_iter()
        .filter(|finalizer| *finalizer != FOREGROUND && *finalizer != ORPHAN)
        .collect();
    if orphan {
        after.push(ORPHAN);
    }
    if foreground {
        after.push(FOREGROUND);
    }
    if call.resource == definitions::definitions() && !after.contains(&definitions::CLEANUP) {
        after.push(definitions::CLEANUP);
    }
    after.into_iter().map(Value::from).collect()
}

fn is_namespace_in_use(call: &Call, object: &Value) -> bool {
    call.resource == admission::namespaces()
        && object["spec"]["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty())
}

fn check_preconditions(call: &Call, options: &Options, object: &Value) -> Result<(), ApiError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    for (wanted, field, shown, happened) in [
        (&options.uid, "uid", "UID", "deleted and then recreated"),
        (
            &options.resource_version,
            "resourceVersion",
            "ResourceVersion",
            "modified",
        ),
    ] {
        let found = object["metadata"][field].as_str().unwrap_or_default();
        if let Some(wanted) = wanted
            && wanted != found
        {
            // By its kind, not its plural: so Kubernetes does here.
            return Err(ApiError::conflict(
                &call.kind.group,
                &call.kind.kind,
                name,
                &format!(
                    "the {shown} in the precondition ({wanted}) does not match the {shown} in record ({found}). The object might have been {happened}"
                ),
            ));
        }
    }
    Ok(())
}

fn success(call: &Call, object: &Value) -> Value {
    let mut details = json!({
        "name": object["metadata"]["name"], "kind": call.kind.plural, "uid": object["metadata"]["uid"],
    });
    if !call.kind.group.is_empty() {
        details["group"] = call.kind.group.as_str().into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
