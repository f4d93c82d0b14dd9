//! Only one that runs a command in a user's container.
//!
//! ```text
//! annotations of a pod ─┐                    ┌─ backup: pre, post          ─► [`exec`] ─► pods/exec
//! spec.hooks.resources ─┴─► which hooks? ────┼─ restore, exec: [`wait`] for the container ─┘
//!                                            └─ restore, init: containers put into the pod (no command is run)
//! ```
//! Velero's hooks (velero-behaviour.md 3.6 and 8.7; upstream `internal/hook`, `pkg/podexec`). Who runs them, and when,
//! is decided in `caravel-backup` and `caravel-restore`; [`tracker`] counts for `status.hookStatus`.

pub mod annotations;
pub mod backup;
pub mod ended;
pub mod exec;
pub mod restore_exec;
pub mod restore_init;
pub mod running;
pub mod selector;
pub mod tracker;
#[cfg(test)]
mod velero_cases;
pub mod wait;

use std::fmt;

use serde_json::Value;

/// `<namespace>/<name>` of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodName {
    pub namespace: String,
    pub name: String,
}

impl PodName {
    /// Of a pod object.
    pub fn of(pod: &Value) -> Self {
        Self {
            namespace: text(pod, "/metadata/namespace").to_owned(),
            name: text(pod, "/metadata/name").to_owned(),
        }
    }

    /// Reads what `Display` writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        (!namespace.is_empty() && !name.is_empty()).then(|| Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Warning,
    Error,
}

/// The log of the backup or restore whose hooks run.
pub trait HookLog: Send + Sync {
    fn line(&self, level: Level, pod: &PodName, message: &str);
}

/// `spec.hooks` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("spec.hooks.resources {name:?}: {why}")]
pub struct InvalidHooks {
    name: String,
    why: String,
}

impl InvalidHooks {
    pub(crate) fn new(name: &str, why: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            why: why.into(),
        }
    }
}

/// Where a hook stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Annotation,
    Spec,
}

/// The name of every hook by annotation, in logs and errors.
pub const FROM_ANNOTATION: &str = "<from-annotation>";

pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The entries of a list in an object; none when it is missing.
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    let list = object.pointer(pointer).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}
