//! Label and field selectors: `k8s.io/apimachinery` v0.34, `pkg/labels` and `pkg/fields`; the fields each kind can be
//! selected by are in its `strategy.go` (`ToSelectableFields`).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::error::{ApiError, Reason};
use crate::kind::Kind;

/// What a list, watch or deletecollection is narrowed to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
    Exists(String),
    Missing(String),
    Greater(String, i64),
    Less(String, i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldRequirement {
    path: String,
    equal: bool,
    value: String,
}

impl Selector {
    /// Of the `labelSelector` and `fieldSelector` parameters.
    pub fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, ApiError> {
        let bad = |why: String| ApiError::new(Reason::BadRequest, why);
        let selector = Self {
            labels: parse_labels(labels).map_err(|why| bad(format!("unable to parse requirement: {why}")))?,
            fields: parse_fields(fields).map_err(|why| bad(format!("invalid field selector: {why}")))?,
        };
        for field in &selector.fields {
            if !selectable(kind, &field.path) {
                return Err(bad(unknown_field(kind, &field.path)));
            }
        }
        Ok(selector)
    }

    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|requirement| requirement.holds(labels))
            && self
                .fields
                .iter()
                .all(|field| (field_value(object, &field.path) == field.value) == field.equal)
    }

    /// The one name this selects, if it does so.
    pub fn with_name(mut self, name: &str) -> Self {
        self.fields.push(FieldRequirement {
            path: "metadata.name".to_owned(),
            equal: true,
            value: name.to_owned(),
        });
        self
    }
}

impl Requirement {
    fn holds(&self, labels: &Value) -> bool {
        let value = |key: &str| labels.get(key).and_then(Value::as_str);
        let number = |key: &str| value(key).and_then(|text| text.parse::<i64>().ok());
        match self {
            Self::In(key, values) => value(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => value(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => value(key).is_some(),
            Self::Missing(key) => value(key).is_none(),
            Self::Greater(key, bound) => number(key).is_some_and(|value| value > *bound),
            Self::Less(key, bound) => number(key).is_some_and(|value| value < *bound),
        }
    }
}

/// Splits at commas outside parentheses, then reads each requirement.
fn parse_labels(text: &str) -> Result<Vec<Requirement>, String> {
    let mut requirements = Vec::new();
    let mut depth = 0usize;
    let mut start = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                requirements.push(parse_requirement(&text[start..at])?);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        requirements.push(parse_requirement(&text[start..])?);
    } else if start > 0 {
        return Err("found '', expected: identifier after ','".to_owned());
    }
    Ok(requirements)
}

fn parse_requirement(text: &str) -> Result<Requirement, String> {
    let text = text.trim();
    let key = |key: &str| -> Result<String, String> {
        let key = key.trim();
        if is_label_key(key) {
            Ok(key.to_owned())
        } else {
            Err(format!(
                "<nil>: Invalid value: \"{key}\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
            ))
        }
    };
    if let Some(name) = text.strip_prefix('!') {
        return Ok(Requirement::Missing(key(name)?));
    }
    if let Some((name, value)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(key(name)?, one(name, value)?));
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(key(name)?, one(name, value)?));
    }
    for (sign, greater) in [('>', true), ('<', false)] {
        if let Some((name, value)) = text.split_once(sign) {
            let bound = value
                .trim()
                .parse()
                .map_err(|_| format!("for 'Gt', 'Lt' operators, the value must be an integer: {value}"))?;
            return Ok(if greater {
                Requirement::Greater(key(name)?, bound)
            } else {
                Requirement::Less(key(name)?, bound)
            });
        }
    }
    match text.split_once(char::is_whitespace) {
        None => Ok(Requirement::Exists(key(text)?)),
        Some((name, rest)) => parse_set(&key(name)?, rest.trim()),
    }
}

fn parse_set(key: &str, rest: &str) -> Result<Requirement, String> {
    let (word, list) = rest
        .split_once('(')
        .ok_or_else(|| format!("found '{rest}', expected: in, notin, =, ==, !=, gt, lt"))?;
    let list = list
        .trim_end()
        .strip_suffix(')')
        .ok_or_else(|| "found '', expected: ',' or ')'".to_owned())?;
    let values: BTreeSet<String> = list
        .split(',')
        .enumerate()
        .map(|(place, value)| checked(key, place, value))
        .collect::<Result<_, _>>()?;
    match word.trim() {
        "in" => Ok(Requirement::In(key.to_owned(), values)),
        "notin" => Ok(Requirement::NotIn(key.to_owned(), values)),
        other => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
    }
}

fn one(key: &str, value: &str) -> Result<BTreeSet<String>, String> {
    Ok(BTreeSet::from([checked(key, 0, value)?]))
}

/// A value that a label can have.
fn checked(key: &str, place: usize, value: &str) -> Result<String, String> {
    let value = value.trim();
    if is_label_value(value) {
        return Ok(value.to_owned());
    }
    Err(format!(
        "values[{place}][{}]: Invalid value: \"{value}\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        key.trim()
    ))
}

/// Whether labels satisfy a `LabelSelector` object; one without requirements matches everything.
pub(crate) fn labels_match(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"]
        .as_object()
        .is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)));
    let holds = |expression: &Value| {
        let key = expression["key"].as_str().unwrap_or_default().to_owned();
        let values = expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|value| value.as_str().map(str::to_owned))
            .collect();
        match expression["operator"].as_str() {
            Some("In") => Requirement::In(key, values).holds(labels),
            Some("NotIn") => Requirement::NotIn(key, values).holds(labels),
            Some("Exists") => Requirement::Exists(key).holds(labels),
            Some("DoesNotExist") => Requirement::Missing(key).holds(labels),
            _ => false,
        }
    };
    equal
        && selector["matchExpressions"]
            .as_array()
            .is_none_or(|all| all.iter().all(holds))
}

/// An optional DNS prefix and a name.
fn is_label_key(key: &str) -> bool {
    let name = match key.split_once('/') {
        Some((prefix, name)) if !prefix.is_empty() && prefix.len() <= 253 && !name.contains('/') => name,
        Some(_) => return false,
        None => key,
    };
    !name.is_empty() && is_label_value(name)
}

/// At most 63 letters, digits, `-`, `_`, `.`; begins and ends with a letter or digit; may be empty.
fn is_label_value(value: &str) -> bool {
    let inner = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    value.len() <= 63
        && value.chars().all(inner)
        && (value.is_empty()
            || (value.starts_with(|letter: char| letter.is_ascii_alphanumeric())
                && value.ends_with(|letter: char| letter.is_ascii_alphanumeric())))
}

fn parse_fields(text: &str) -> Result<Vec<FieldRequirement>, String> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (path, equal, value) = part
                .split_once("!=")
                .map(|(path, value)| (path, false, value))
                .or_else(|| part.split_once("==").map(|(path, value)| (path, true, value)))
                .or_else(|| part.split_once('=').map(|(path, value)| (path, true, value)))
                .ok_or_else(|| format!("'{text}'; can't understand '{part}'"))?;
            Ok(FieldRequirement {
                path: path.trim().to_owned(),
                equal,
                value: value.to_owned(),
            })
        })
        .collect()
}

/// Whether objects of a kind can be selected by this field.
fn selectable(kind: &Kind, path: &str) -> bool {
    if path == "metadata.name" || (path == "metadata.namespace" && kind.is_namespaced()) {
        return true;
    }
    match &kind.custom {
        Some(custom) => custom.selectable_fields.iter().any(|field| field == path),
        None => fields_of(kind).contains(&path),
    }
}

/// What is said of a field that a kind does not offer: kinds that offer none of their own name the two of all kinds.
fn unknown_field(kind: &Kind, path: &str) -> String {
    if kind.custom.is_none() && fields_of(kind).is_empty() {
        format!("\"{path}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    } else {
        format!("field label not supported: {path}")
    }
}

/// Fields of a built-in kind, besides name and namespace.
fn fields_of(kind: &Kind) -> &'static [&'static str] {
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("" | "events.k8s.io", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "reason",
            "reportingComponent",
            "reportingController",
            "source",
            "type",
        ],
        ("", "secrets") => &["type"],
        ("", "namespaces") => &["status.phase"],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "replicationcontrollers") | ("apps", "replicasets") => &["status.replicas"],
        ("batch", "jobs") => &["status.successful"],
        _ => &[],
    }
}

/// A field as its selector compares it: absent is empty, false or zero.
fn field_value(object: &Value, path: &str) -> String {
    let path = match path {
        "reportingController" => "reportingComponent",
        "status.successful" => "status.succeeded",
        "source" => "source.component",
        other => other,
    };
    let path = path.replace("regarding.", "involvedObject.");
    let mut value = object;
    for step in path.split('.') {
        value = &value[step];
    }
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        _ if matches!(path.as_str(), "spec.unschedulable" | "spec.hostNetwork") => "false".to_owned(),
        _ if matches!(path.as_str(), "status.replicas" | "status.succeeded") => "0".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::builtin::kinds;

    fn pods() -> Kind {
        kinds::kinds()
            .into_iter()
            .find(|kind| kind.plural == "pods")
            .unwrap()
    }

    fn selects(labels: &str, fields: &str) -> bool {
        let pod = json!({"metadata": {"name": "web", "labels": {"app": "shop", "tier": "3"}}, "spec": {"nodeName": "one"}});
        Selector::parse(&pods(), labels, fields).unwrap().matches(&pod)
    }

    #[test]
    fn label_requirements_are_all_needed() {
        for holds in [
            "",
            "app=shop",
            "app==shop,tier",
            "app in (shop, other),!gone",
            "gone!=x",
            "gone notin (x)",
            "tier>2",
        ] {
            assert!(selects(holds, ""), "{holds}");
        }
        for fails in [
            "app=other",
            "app!=shop",
            "gone",
            "!app",
            "app notin (shop)",
            "app=shop,tier=4",
            "gone=",
        ] {
            assert!(!selects(fails, ""), "{fails}");
        }
    }

    #[test]
    fn fields_compare_as_text() {
        assert!(selects(
            "",
            "metadata.name=web,spec.nodeName!=two,spec.hostNetwork=false"
        ));
        assert!(!selects("", "status.phase=Running"));
    }

    #[test]
    fn a_field_a_kind_does_not_offer_is_a_bad_request() {
        let error = Selector::parse(&pods(), "", "spec.color=red").unwrap_err();
        assert_eq!(error.reason, Reason::BadRequest);
        assert_eq!(error.message, "field label not supported: spec.color");
    }

    #[test]
    fn nonsense_is_a_bad_request() {
        for nonsense in ["a b", "a in (b", "=", "a,,b", "-x", "a=-b", "a in (-b)"] {
            assert!(Selector::parse(&pods(), nonsense, "").is_err(), "{nonsense}");
        }
    }
}
