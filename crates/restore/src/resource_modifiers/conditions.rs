//! Whether a rule is for an object.

use globset::GlobBuilder;
use kube::core::{Selector, SelectorExt};
use regex::Regex;
use serde_json::Value;

use super::document::Conditions;
use super::json_patch::value_of;

impl Conditions {
    /// # Errors
    /// A pattern, regular expression, selector or pointer that is none.
    pub fn hold(&self, object: &Value, group_resource: &str) -> Result<bool, String> {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let namespace = text("/metadata/namespace");
        if !(namespace.is_empty() || self.namespaces.is_empty()) {
            let any = self
                .namespaces
                .iter()
                .any(|pattern| matches(pattern, namespace, false) == Ok(true));
            if !any {
                return Ok(false);
            }
        }
        if !matches(&self.group_resource, group_resource, true)? {
            return Ok(false);
        }
        if !self.resource_name_regex.is_empty() {
            let regex = Regex::new(&self.resource_name_regex)
                .map_err(|error| format!("error in matching regex {}: {error}", self.resource_name_regex))?;
            if !regex.is_match(text("/metadata/name")) {
                return Ok(false);
            }
        }
        if let Some(wanted) = &self.label_selector {
            let selector = Selector::try_from(wanted.clone())
                .map_err(|error| format!("error in creating label selector: {error}"))?;
            let labels = object.pointer("/metadata/labels");
            let labels = labels.and_then(|labels| serde_json::from_value(labels.clone()).ok());
            if !selector.matches(&labels.unwrap_or_default()) {
                return Ok(false);
            }
        }
        for rule in &self.matches {
            if rule.path.is_empty() {
                return Err("path is required for match rule".to_owned());
            }
            let wanted = value_of(&rule.value)?;
            let found = object.pointer(&rule.path);
            if !found.map_or(wanted.is_null(), |found| *found == wanted) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// `within_dots`: a `*` does not go past a dot, as in `*.apps`.
fn matches(pattern: &str, name: &str, within_dots: bool) -> Result<bool, String> {
    // globset knows only `/` as what a star stops at.
    let parts = |text: &str| {
        if within_dots {
            text.replace('.', "/")
        } else {
            text.to_owned()
        }
    };
    let stops = within_dots && !pattern.contains("**");
    let glob = GlobBuilder::new(&parts(pattern))
        .literal_separator(stops)
        .build()
        .map_err(|error| format!("bad pattern {pattern:?}: {error}"))?;
    Ok(glob.compile_matcher().is_match(parts(name)))
}
