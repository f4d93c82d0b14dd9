//! What names, label keys and label values may be.
//! Source: `k8s.io/apimachinery` v0.34 `pkg/util/validation` and `pkg/api/validation/path`.

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
     and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
     and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
     alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
     an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
     must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
     validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  \
     or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

const MAX_SUBDOMAIN: usize = 253;
const MAX_LABEL: usize = 63;

/// What a rule says of a name: its complaints, none when the name is good.
pub(super) type Rule = fn(&str) -> Vec<String>;

/// Most objects: `a.b-c`.
pub(super) fn subdomain(name: &str) -> Vec<String> {
    let good = name.split('.').all(is_label);
    judged(name, MAX_SUBDOMAIN, good, SUBDOMAIN)
}

/// Namespaces, containers, volumes of pods: `b-c`.
pub(super) fn label(name: &str) -> Vec<String> {
    judged(name, MAX_LABEL, is_label(name), LABEL)
}

/// Services: a label that starts with a letter.
pub(super) fn label_1035(name: &str) -> Vec<String> {
    let good = is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase());
    judged(name, MAX_LABEL, good, LABEL_1035)
}

/// Roles and bindings: what can be a part of a path.
pub(super) fn path_segment(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|part| name.contains(**part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// Keys of labels and annotations, finalizers: `example.com/Name_1`.
pub(super) fn qualified(name: &str) -> Vec<String> {
    let mut said = Vec::new();
    let part = match name.split_once('/') {
        None => name,
        Some((_, rest)) if rest.contains('/') => {
            return vec![
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                 with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                 validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and \
                 '/' (e.g. 'example.com/MyName')"
                    .to_owned(),
            ];
        }
        Some((prefix, rest)) => {
            if prefix.is_empty() {
                said.push("prefix part must be non-empty".to_owned());
            } else {
                said.extend(subdomain(prefix).iter().map(|why| format!("prefix part {why}")));
            }
            rest
        }
    };
    if part.is_empty() {
        said.push("name part must be non-empty".to_owned());
    } else if part.len() > MAX_LABEL {
        said.push(format!("name part must be no more than {MAX_LABEL} bytes"));
    }
    if !is_name_part(part) {
        said.push(QUALIFIED.to_owned());
    }
    said
}

/// Values of labels.
pub(super) fn label_value(value: &str) -> Vec<String> {
    judged(value, MAX_LABEL, value.is_empty() || is_name_part(value), VALUE)
}

/// Keys of ConfigMaps and Secrets.
pub(super) fn config_key(key: &str) -> Vec<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let mut said = judged(
        key,
        MAX_SUBDOMAIN,
        !key.is_empty() && key.chars().all(allowed),
        CONFIG_KEY,
    );
    match key {
        "." | ".." => said.push(format!("must not be '{key}'")),
        _ if key.starts_with("..") => said.push("must not start with '..'".to_owned()),
        _ => {}
    }
    said
}

fn judged(name: &str, longest: usize, good: bool, otherwise: &str) -> Vec<String> {
    let mut said = Vec::new();
    if name.len() > longest {
        said.push(format!("must be no more than {longest} bytes"));
    }
    if !good {
        said.push(otherwise.to_owned());
    }
    said
}

fn is_label(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(edge) && name.ends_with(edge) && name.chars().all(|c| edge(c) || c == '-')
}

fn is_name_part(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    name.starts_with(edge) && name.ends_with(edge) && name.chars().all(|c| edge(c) || "-_.".contains(c))
}
