//! Flag values as Velero's own flag types read them (pflag's booleans, comma lists, `key=value` lists, Go durations).
//!
//! Mirrors Velero's `pkg/cmd/util/flag`. One difference on purpose: a list flag that is given twice adds to the list,
//! where Velero keeps only the last one and loses the first without a word.

use std::collections::BTreeMap;

use caravel_api::Duration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Go's `strconv.ParseBool`.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        other => Err(format!("{other:?} is neither true nor false")),
    }
}

/// A Go duration such as `1h30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    text.parse()
        .map_err(|error: caravel_api::InvalidDuration| error.to_string())
}

/// `a,b,c` of one or several flags as one list, empty entries left out.
pub fn list(values: &[String]) -> Vec<String> {
    values
        .iter()
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(str::to_owned)
        .collect()
}

/// `key=value,key2="value,with,commas"`.
pub fn map(values: &[String]) -> Result<BTreeMap<String, String>, String> {
    let mut map = BTreeMap::new();
    for value in values {
        for entry in split_quoted(value) {
            let (key, value) = entry
                .split_once('=')
                .ok_or_else(|| format!("{entry:?} is not key=value"))?;
            map.insert(key.trim().to_owned(), value.to_owned());
        }
    }
    Ok(map)
}

/// `a:b,c:d`; nothing stands for two things.
pub fn pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut pairs = BTreeMap::new();
    for entry in list(&[text.to_owned()]) {
        let (from, to) = match entry.split_once(':') {
            Some((from, to)) if !from.is_empty() && !to.is_empty() && !to.contains(':') => (from, to),
            _ => return Err(format!("{entry:?} is not a:b")),
        };
        if let Some(before) = pairs.insert(from.to_owned(), to.to_owned()) {
            return Err(format!("{from:?} stands for both {before:?} and {to:?}"));
        }
    }
    Ok(pairs)
}

/// Splits at commas outside double quotes; the quotes themselves go.
fn split_quoted(text: &str) -> Vec<String> {
    let (mut entries, mut entry, mut quoted) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => entries.push(std::mem::take(&mut entry)),
            letter => entry.push(letter),
        }
    }
    entries.push(entry);
    entries.retain(|entry| !entry.is_empty());
    entries
}

/// `app=shop,tier!=web,env in (a, b),!legacy` as the selector object of the API.
///
/// Grammar: Kubernetes' `labels.Parse`. Keys and values are checked by the API server.
pub fn label_selector(text: &str) -> Result<LabelSelector, String> {
    let (mut labels, mut expressions) = (BTreeMap::new(), Vec::new());
    for part in split_outside_parentheses(text) {
        let part = part.trim();
        if let Some((key, operator, values)) = set_expression(part)? {
            expressions.push(expression(key, operator, Some(values)));
        } else if let Some((key, value)) = part.split_once("!=") {
            expressions.push(expression(key, "NotIn", Some(vec![value.trim().to_owned()])));
        } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            labels.insert(key.trim().to_owned(), value.trim().to_owned());
        } else if let Some(key) = part.strip_prefix('!') {
            expressions.push(expression(key, "DoesNotExist", None));
        } else if part.is_empty() || part.contains(char::is_whitespace) {
            return Err(format!(
                "invalid label selector {text:?}: {part:?} is no requirement; write key=value, key!=value, key in (a, b), key or !key"
            ));
        } else {
            expressions.push(expression(part, "Exists", None));
        }
    }
    Ok(LabelSelector {
        match_labels: (!labels.is_empty()).then_some(labels),
        match_expressions: (!expressions.is_empty()).then_some(expressions),
    })
}

/// `app=shop or app=web` as selectors; none when the text is empty.
pub fn or_selectors(text: &str) -> Result<Vec<LabelSelector>, String> {
    let parts = text.split(" or ").map(str::trim).filter(|part| !part.is_empty());
    parts.map(label_selector).collect()
}

/// `pods=ns1/a,ns1/b;persistentvolumes=pv1`: kind → names in their order.
pub fn ordered_resources(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut orders = BTreeMap::new();
    for entry in text.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (kind, names) = entry
            .split_once('=')
            .ok_or_else(|| format!("invalid OrderedResources '{entry}': it is not kind=name,name"))?;
        orders.insert(kind.trim().to_owned(), names.trim().to_owned());
    }
    Ok(orders)
}

fn expression(key: &str, operator: &str, values: Option<Vec<String>>) -> LabelSelectorRequirement {
    LabelSelectorRequirement {
        key: key.trim().to_owned(),
        operator: operator.to_owned(),
        values,
    }
}

/// Key, operator and values.
type SetExpression<'a> = (&'a str, &'static str, Vec<String>);

/// `key in (a, b)` or `key notin (a, b)`; `None` for another kind of requirement.
fn set_expression(part: &str) -> Result<Option<SetExpression<'_>>, String> {
    let Some((head, tail)) = part.split_once('(') else {
        return Ok(None);
    };
    let values = tail
        .strip_suffix(')')
        .ok_or_else(|| format!("invalid label selector: {part:?} lacks a closing parenthesis"))?;
    let values = values.split(',').map(|value| value.trim().to_owned()).collect();
    match head.split_whitespace().collect::<Vec<_>>()[..] {
        [key, "in"] => Ok(Some((key, "In", values))),
        [key, "notin"] => Ok(Some((key, "NotIn", values))),
        _ => Err(format!(
            "invalid label selector: {part:?} is neither \"key in (…)\" nor \"key notin (…)\""
        )),
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// A selector object as kubectl writes it: `app=shop,tier in (a,b)`; `<none>` when it selects everything.
pub fn format_label_selector(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else {
        return "<none>".to_owned();
    };
    let labels = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|requirement| {
        let (key, values) = (
            &requirement.key,
            requirement
                .values
                .iter()
                .flatten()
                .cloned()
                .collect::<Vec<_>>()
                .join(","),
        );
        match requirement.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.clone(),
        }
    });
    let parts: Vec<String> = labels.chain(expressions).collect();
    if parts.is_empty() {
        "<none>".to_owned()
    } else {
        parts.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_gos() {
        assert_eq!(boolean("T"), Ok(true));
        assert_eq!(boolean("0"), Ok(false));
        assert!(boolean("yes").unwrap_err().contains("neither true nor false"));
    }

    #[test]
    fn a_list_flag_given_twice_adds_up() {
        assert_eq!(list(&["a,b".into(), "c,".into()]), ["a", "b", "c"]);
    }

    #[test]
    fn a_quoted_value_may_hold_commas() {
        let read = map(&["region=us-east-1,tags=\"a=b,c=d\"".into()]).unwrap();
        assert_eq!(read["tags"], "a=b,c=d");
        assert_eq!(read["region"], "us-east-1");
        assert!(map(&["region".into()]).unwrap_err().contains("not key=value"));
    }

    #[test]
    fn orders_and_alternatives_are_read() {
        let orders = ordered_resources("pods=ns1/a,ns1/b;persistentvolumes=pv1").unwrap();
        assert_eq!(orders["pods"], "ns1/a,ns1/b");
        assert_eq!(orders["persistentvolumes"], "pv1");
        assert!(ordered_resources("pods").is_err());
        assert_eq!(or_selectors("app=shop or app=web").unwrap().len(), 2);
        assert!(or_selectors("").unwrap().is_empty());
    }

    #[test]
    fn selectors_become_objects() {
        let selector = label_selector("app=shop,tier in (a, b),!old").unwrap();
        assert_eq!(
            format_label_selector(Some(&selector)),
            "app=shop,tier in (a,b),!old"
        );
        assert_eq!(
            format_label_selector(Some(&label_selector("a!=b,c").unwrap())),
            "a notin (b),c"
        );
        assert_eq!(format_label_selector(None), "<none>");
        for wrong in ["", "a b", "a in b,", "a of (b)", "a in (b"] {
            assert!(label_selector(wrong).is_err(), "{wrong}");
        }
    }
}
