//! CEL rules (`x-kubernetes-validations`) as far as `rules/expression.rs` understands them; a rule that it does not
//! understand is taken as holding.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/apiserver/schema/cel/validation.go`.

mod expression;

use serde_json::Value;

use crate::error::FieldError;

use super::list_type;
use super::node::{Additional, Node, Rule};
use super::path::Path;
use expression::Expression;

/// Adds an error for each rule that is broken. Errors that make rules pointless are said to do so instead.
pub(super) fn check(root: &Node, object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let blocks = |error: &FieldError| {
        let reasons = [
            "FieldValueNotSupported",
            "FieldValueRequired",
            "FieldValueTooLong",
            "FieldValueTooMany",
            "FieldValueTypeInvalid",
        ];
        reasons.contains(&error.reason)
    };
    if errors.iter().any(blocks) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing \
                   errors to complete validation";
        errors.push(FieldError::invalid("<nil>", &Value::Null, why));
    } else {
        walk(root, object, old, &Path::ROOT, errors);
    }
}

fn walk(node: &Node, value: &Value, old: Option<&Value>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    // What did not change is not reported.
    if old == Some(value) {
        return;
    }
    for rule in &node.rules {
        if Expression::read(&rule.rule).is_some_and(|rule| rule.holds(value, old) == Some(false)) {
            errors.push(broken(rule, node, path));
        }
    }
    match value {
        Value::Object(fields) => {
            let old = old.filter(|_| node.map_type.as_deref() != Some("atomic"));
            for (name, value) in fields {
                let was = old.and_then(|old| old.get(name));
                match (node.properties.get(name), &node.additional) {
                    (Some(child), _) => walk(child, value, was, &path.field(name), errors),
                    (None, Some(Additional::Schema(child))) => {
                        walk(child, value, was, &path.key(name), errors)
                    }
                    _ => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(child) = node.items.as_deref() else {
                return;
            };
            for (index, item) in items.iter().enumerate() {
                let was = list_type::counterpart(node, item, old);
                walk(child, item, was, &path.index(index), errors);
            }
        }
        _ => {}
    }
}

fn broken(rule: &Rule, node: &Node, path: &Path<'_>) -> FieldError {
    let message = match rule.message.trim() {
        "" => format!("failed rule: {}", rule.rule.trim()),
        message => message.to_owned(),
    };
    let field = match (path.is_root(), rule.field_path.trim()) {
        (false, inside) => format!("{path}{inside}"),
        (true, "") => "<nil>".to_owned(),
        (true, inside) => inside.trim_start_matches('.').to_owned(),
    };
    let shown = Value::from(node.kind.as_str());
    match rule.reason.as_str() {
        "FieldValueForbidden" => FieldError::forbidden(field, &message),
        "FieldValueRequired" => FieldError::required(field, &message),
        "FieldValueDuplicate" => FieldError::duplicate(field, &shown),
        _ => FieldError::invalid(field, &shown, &message),
    }
}
