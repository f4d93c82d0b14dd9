//! Is a value what its schema says? The checks, their order and their words are those of Kubernetes.
//! Source: `k8s.io/kube-openapi` of v0.34, `pkg/validation/validate`, through which apiextensions-apiserver
//! checks custom resources; unchanged values of an update pass whatever they are (`ratcheting.go`).

use serde_json::{Map, Value};

use crate::error::FieldError;

use super::node::{Additional, Node};
use super::path::Path;
use super::{format, list_type, number};

/// What was found: the errors go to the caller's list; the count chooses the most fitting of several schemas.
type Matches = usize;

/// Adds an error for everything in `value` that `node` does not allow. With the value as it was before (`old`),
/// what did not change is not reported.
pub(super) fn check(
    node: &Node,
    value: &Value,
    old: Option<&Value>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Matches {
    let before = errors.len();
    let matches = check_whole(node, value, old, path, errors);
    if old == Some(value) {
        errors.truncate(before);
    }
    matches
}

fn check_whole(
    node: &Node,
    value: &Value,
    old: Option<&Value>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Matches {
    let limits = &node.limits;
    let format = format::known(&limits.format);
    if value.is_null() {
        let matches = check_type(node, format, value, path, errors);
        check_allowed(node, value, path, errors);
        return matches;
    }
    let mut matches = 0;
    if !types(node).is_empty() || format.is_some() {
        matches += 1 + check_type(node, format, value, path, errors);
    }
    matches += 1 + check_junctors(node, value, old, path, errors);
    if let Value::String(text) = value {
        check_text(node, text, path, errors);
        matches += 1;
        if let Some(format) = format {
            if !format::accepts(format, text) {
                errors.push(wrong_type(path, &limits.format, text));
            }
            matches += 1;
        }
    }
    if let Value::Number(number) = value {
        number::check(limits, number, path, errors);
        matches += 2;
    }
    if let Value::Array(items) = value {
        matches += 2 + check_items(node, items, old, path, errors);
    }
    check_allowed(node, value, path, errors);
    matches += 1;
    if let Value::Object(fields) = value {
        matches += 1 + check_fields(node, fields, old, path, errors);
    }
    matches + 1
}

/// `spec.x: Invalid value: 0: spec.x in body should be …`.
pub(super) fn wrong(path: &Path<'_>, value: &Value, why: &str) -> FieldError {
    FieldError::invalid(path.or_nil(), value, &format!("{path} in body {why}"))
}

fn wrong_type(path: &Path<'_>, expected: &str, found: &str) -> FieldError {
    let why = format!(
        "{path} in body must be of type {expected}: {}",
        super::words::quote(found)
    );
    FieldError::type_invalid(path.or_nil(), &found.into(), &why)
}

fn types(node: &Node) -> &[&str] {
    if node.int_or_string {
        return &["integer", "string"];
    }
    match node.kind.as_str() {
        "object" => &["object"],
        "array" => &["array"],
        "string" => &["string"],
        "integer" => &["integer"],
        "number" => &["number"],
        "boolean" => &["boolean"],
        _ => &[],
    }
}

fn check_type(
    node: &Node,
    format: Option<&str>,
    value: &Value,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Matches {
    let types = types(node);
    let has = |name: &str| types.contains(&name);
    let (found, found_format) = match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
        Value::Number(number) if number.is_i64() => ("integer", "int64"),
        Value::Number(_) => ("number", "float64"),
    };
    if value.is_null() {
        if !types.is_empty() && !node.nullable {
            errors.push(wrong_type(path, &types.join(","), found));
            return 0;
        }
        return 1;
    }
    let fits = has(found)
        || (found == "integer" && has("number"))
        || (found == "number" && has("integer") && value.as_f64().is_some_and(number::is_whole));
    let is_text = matches!(value, Value::String(_) | Value::Array(_));
    if format.is_some() {
        if !is_text && !fits {
            errors.push(wrong_type(path, &node.limits.format, found_format));
            return 0;
        }
        // Upstream leaves text with a format to the format.
        if is_text && !has("number") && !has("integer") {
            return 1;
        }
    }
    if !fits {
        errors.push(wrong_type(path, &types.join(","), found));
        return 0;
    }
    1
}

/// `enum`.
fn check_allowed(node: &Node, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let allowed = &node.limits.allowed;
    let same = |one: &Value| match (one, value) {
        (Value::Number(one), Value::Number(other)) => number::same(one, other),
        _ => one == value,
    };
    if allowed.is_empty() || allowed.iter().any(same) {
        return;
    }
    let supported: Vec<String> = allowed
        .iter()
        .map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned))
        .collect();
    errors.push(FieldError::not_supported(path.or_nil(), value, &supported));
}

/// The first thing wrong with a text.
fn check_text(node: &Node, text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let limits = &node.limits;
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if let Some(most) = limits.max_length.filter(|most| length > *most) {
        errors.push(FieldError::too_long(path.or_nil(), most));
    } else if let Some(least) = limits.min_length.filter(|least| length < *least) {
        errors.push(wrong(
            path,
            &text.into(),
            &format!("should be at least {least} chars long"),
        ));
    } else if let Some(pattern) = &limits.pattern {
        let why = match &pattern.compiled {
            Ok(regex) if regex.is_match(text) => return,
            Ok(_) => format!("should match '{}'", pattern.source),
            Err(why) => format!("should match '{}, but pattern is invalid: {why}'", pattern.source),
        };
        errors.push(wrong(path, &text.into(), &why));
    }
}

fn check_items(
    node: &Node,
    items: &[Value],
    old: Option<&Value>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Matches {
    let mut matches = 0;
    if let Some(child) = node.items.as_deref() {
        for (index, item) in items.iter().enumerate() {
            let was = list_type::counterpart(node, item, old);
            matches += check(child, item, was, &path.index(index), errors);
        }
    }
    let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
    if let Some(least) = node.limits.min_items.filter(|least| count < *least) {
        errors.push(wrong(
            path,
            &count.into(),
            &format!("should have at least {least} items"),
        ));
    }
    if let Some(most) = node.limits.max_items.filter(|most| count > *most) {
        errors.push(FieldError::too_many(path.or_nil(), count, most));
    }
    matches
}

fn check_fields(
    node: &Node,
    fields: &Map<String, Value>,
    old: Option<&Value>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Matches {
    let mut matches = 0;
    check_count(node, fields, path, errors);
    let old = old.filter(|_| node.map_type.as_deref() != Some("atomic"));
    let was = |name: &str| {
        let is_type = path.is_root() && (name == "apiVersion" || name == "kind");
        old.filter(|_| !is_type).and_then(|old| old.get(name))
    };
    for (name, value) in fields
        .iter()
        .filter(|(name, _)| !node.properties.contains_key(*name))
    {
        match &node.additional {
            Some(Additional::Schema(child)) => {
                matches += check(child, value, was(name), &path.field(name), errors);
            }
            Some(Additional::Any(false)) => {
                let why = format!("{path}.{name} in body is a forbidden property");
                errors.push(FieldError::invalid(path.or_nil(), &name.as_str().into(), &why));
            }
            _ => {}
        }
    }
    for (name, child) in &node.properties {
        if let Some(value) = fields.get(name) {
            matches += check(child, value, was(name), &path.field(name), errors);
        }
    }
    for name in node
        .limits
        .required
        .iter()
        .filter(|name| !fields.contains_key(*name))
    {
        errors.push(FieldError::required(path.field(name).to_string(), ""));
    }
    matches
}

fn check_count(node: &Node, fields: &Map<String, Value>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let count = i64::try_from(fields.len()).unwrap_or(i64::MAX);
    if let Some(least) = node.limits.min_properties.filter(|least| count < *least) {
        errors.push(wrong(
            path,
            &count.into(),
            &format!("should have at least {least} properties"),
        ));
    }
    if let Some(most) = node.limits.max_properties.filter(|most| count > *most) {
        errors.push(FieldError::too_many(path.or_nil(), count, most));
    }
}

/// `anyOf`, `oneOf`, `allOf` and `not`: for the first two, the errors of the schema that fits best are told too.
fn check_junctors(
    node: &Node,
    value: &Value,
    old: Option<&Value>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Matches {
    let mut matches = 1;
    let try_one = |child: &Node| {
        let mut found = Vec::new();
        let matches = check_whole(child, value, old, path, &mut found);
        (matches, found)
    };
    // Upstream names the path inside the sentence and no field.
    let say = |what: &str| FieldError::invalid("<nil>", &"".into(), &format!("\"{path}\" {what}"));
    if !node.any_of.is_empty() {
        let tried: Vec<_> = node.any_of.iter().map(try_one).collect();
        if let Some((fitting, _)) = tried.iter().find(|(_, found)| found.is_empty()) {
            matches += fitting;
        } else {
            errors.push(say("must validate at least one schema (anyOf)"));
            matches += best(tried, errors);
        }
    }
    if !node.one_of.is_empty() {
        let tried: Vec<_> = node.one_of.iter().map(try_one).collect();
        let fitting: Vec<Matches> = tried
            .iter()
            .filter(|(_, found)| found.is_empty())
            .map(|(matches, _)| *matches)
            .collect();
        match fitting.as_slice() {
            [one] => matches += one,
            [] => {
                errors.push(say(
                    "must validate one and only one schema (oneOf). Found none valid",
                ));
                matches += best(tried, errors);
            }
            many => errors.push(say(&format!(
                "must validate one and only one schema (oneOf). Found {} valid alternatives",
                many.len()
            ))),
        }
    }
    if !node.all_of.is_empty() {
        let mut valid = 0;
        for (found_matches, found) in node.all_of.iter().map(try_one) {
            valid += usize::from(found.is_empty());
            matches += found_matches;
            errors.extend(found);
        }
        if valid == 0 {
            errors.push(say("must validate all the schemas (allOf). None validated"));
        } else if valid < node.all_of.len() {
            errors.push(say("must validate all the schemas (allOf)"));
        }
    }
    if node.not.as_deref().is_some_and(|not| try_one(not).1.is_empty()) {
        errors.push(say("must not validate the schema (not)"));
    }
    matches
}

/// Tells the errors of the schema with the most matches, the first of several.
fn best(tried: Vec<(Matches, Vec<FieldError>)>, errors: &mut Vec<FieldError>) -> Matches {
    let mut best: Option<(Matches, Vec<FieldError>)> = None;
    for (matches, found) in tried {
        if best.as_ref().is_none_or(|(most, _)| matches > *most) {
            best = Some((matches, found));
        }
    }
    let (matches, found) = best.unwrap_or_default();
    errors.extend(found);
    matches
}
