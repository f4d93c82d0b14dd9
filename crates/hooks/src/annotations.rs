//! What the annotations of a pod say about its hooks.

use std::time::Duration;

use caravel_api::v1::HookErrorMode;
use serde_json::Value;

use crate::{HookLog, Level, PodName};

/// One annotation; `None` when it is missing or empty, which Velero takes for the same.
pub(crate) fn annotation<'a>(pod: &'a Value, key: &str) -> Option<&'a str> {
    let value = pod.pointer("/metadata/annotations")?.get(key)?.as_str()?;
    (!value.is_empty()).then_some(value)
}

/// A JSON list of words, or else one word: nothing is split, and no shell is asked.
pub(crate) fn command(value: &str) -> Vec<String> {
    let list = value
        .starts_with('[')
        .then(|| serde_json::from_str(value).ok())
        .flatten();
    list.unwrap_or_else(|| vec![value.to_owned()])
}

/// `Continue` or `Fail`; anything else counts as not said.
pub(crate) fn on_error(value: Option<&str>) -> Option<HookErrorMode> {
    match value {
        Some("Continue") => Some(HookErrorMode::Continue),
        Some("Fail") => Some(HookErrorMode::Fail),
        _ => None,
    }
}

/// A Go duration; one that is none is a warning, and counts as not said.
pub(crate) fn duration(pod: &Value, key: &str, log: &dyn HookLog) -> Option<caravel_api::Duration> {
    let value = annotation(pod, key)?;
    match value.parse::<caravel_api::Duration>() {
        Ok(duration) if duration.0 > Duration::ZERO => Some(duration),
        Ok(_) => None,
        Err(error) => {
            let said = format!("annotation {key}: {error}; the default is used");
            log.line(Level::Warning, &PodName::of(pod), &said);
            None
        }
    }
}

/// A Go boolean (`strconv.ParseBool`); one that is none is a warning, and counts as false.
pub(crate) fn boolean(pod: &Value, key: &str, log: &dyn HookLog) -> bool {
    match annotation(pod, key) {
        None | Some("0" | "f" | "F" | "false" | "False" | "FALSE") => false,
        Some("1" | "t" | "T" | "true" | "True" | "TRUE") => true,
        Some(other) => {
            let said = format!("annotation {key}: {other:?} is neither true nor false; it counts as false");
            log.line(Level::Warning, &PodName::of(pod), &said);
            false
        }
    }
}
