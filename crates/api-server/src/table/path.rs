//! The JSONPath of printer columns: `.status.phase`, `.metadata.annotations['a\.b']`, `.spec.items[0].name`,
//! `.status.conditions[?(@.type=="Ready")].status`.
//! Source: `k8s.io/client-go` v0.34 `util/jsonpath`, the simple paths that a CustomResourceDefinition may name.

use serde_json::Value;

#[derive(Debug, PartialEq)]
enum Step {
    Field(String),
    /// Negative: from the end.
    Index(i64),
    Every,
    /// The items whose field has this text.
    Where(String, String),
}

/// The first value on the path; `None` when there is none or the path cannot be read.
pub(super) fn first<'a>(path: &str, object: &'a Value) -> Option<&'a Value> {
    let steps = parse(path)?;
    let mut found = vec![object];
    for step in &steps {
        found = found.into_iter().flat_map(|value| follow(step, value)).collect();
    }
    found.into_iter().next()
}

fn follow<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Field(name), Value::Object(fields)) => fields.get(name).into_iter().collect(),
        (Step::Index(place), Value::Array(items)) => {
            let from_end = usize::try_from(-place)
                .ok()
                .and_then(|back| items.len().checked_sub(back));
            let place = usize::try_from(*place).ok().or(from_end);
            place.and_then(|place| items.get(place)).into_iter().collect()
        }
        (Step::Every, Value::Array(items)) => items.iter().collect(),
        (Step::Every, Value::Object(fields)) => fields.values().collect(),
        (Step::Where(field, wanted), Value::Array(items)) => {
            let matches = |item: &&Value| first(field, item).and_then(Value::as_str) == Some(wanted);
            items.iter().filter(matches).collect()
        }
        _ => Vec::new(),
    }
}

fn parse(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path
        .trim()
        .trim_start_matches('{')
        .trim_end_matches('}')
        .trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (step, after) = bracket(inside)?;
            steps.push(step);
            rest = after;
        } else {
            let named = rest.strip_prefix('.').unwrap_or(rest);
            let (name, after) = field(named);
            rest = after;
            match name.as_str() {
                // `.[0]`: the brackets follow.
                "" if rest.starts_with('[') => {}
                "" => return None,
                "*" => steps.push(Step::Every),
                _ => steps.push(Step::Field(name)),
            }
        }
    }
    Some(steps)
}

/// A field name up to the next `.` or `[`; a backslash takes the next sign as it is.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut signs = text.char_indices();
    while let Some((place, sign)) = signs.next() {
        match sign {
            '\\' => name.extend(signs.next().map(|(_, sign)| sign)),
            '.' | '[' => return (name, &text[place..]),
            _ => name.push(sign),
        }
    }
    (name, "")
}

/// What stands in brackets, and what follows them.
fn bracket(inside: &str) -> Option<(Step, &str)> {
    if let Some(filter) = inside.strip_prefix("?(@") {
        let (condition, after) = filter.split_once(")]")?;
        let (field, wanted) = condition.split_once("==")?;
        let wanted = wanted.trim().trim_matches(['"', '\'']);
        return Some((Step::Where(field.trim().to_owned(), wanted.to_owned()), after));
    }
    if let Some(quote) = inside.chars().next().filter(|sign| matches!(sign, '\'' | '"')) {
        let (name, after) = inside[1..].split_once(&format!("{quote}]"))?;
        return Some((Step::Field(name.replace("\\.", ".")), after));
    }
    let (content, after) = inside.split_once(']')?;
    let step = match content.trim() {
        "*" => Step::Every,
        number => Step::Index(number.parse().ok()?),
    };
    Some((step, after))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_of_printer_columns_are_followed() {
        let object = json!({
            "metadata": {"annotations": {"a.b/c": "x"}},
            "status": {"phase": "New", "list": [{"n": 1}, {"n": 2}],
                       "conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        for (path, wanted) in [
            (".status.phase", json!("New")),
            ("{.status.phase}", json!("New")),
            (".metadata.annotations['a\\.b/c']", json!("x")),
            (".metadata.annotations.a\\.b/c", json!("x")),
            (".status.list[1].n", json!(2)),
            (".status.list[-1].n", json!(2)),
            (".status.list[*].n", json!(1)),
            (".status.conditions[?(@.type==\"Ready\")].status", json!("True")),
            (".status.conditions[?(@.type=='Ready')].status", json!("True")),
        ] {
            assert_eq!(first(path, &object), Some(&wanted), "{path}");
        }
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        for path in [
            ".status.none",
            ".status.list[7]",
            ".status[",
            ".status.conditions[?(@.type==\"No\")].status",
            "..",
        ] {
            assert_eq!(first(path, &json!({"status": {"list": []}})), None, "{path}");
        }
    }
}
