//! Names of Kubernetes: labels and subdomains of DNS, qualified names, label values; and what is said of bad ones.
//! Source: `k8s.io/apimachinery` v0.34, `pkg/util/validation/validation.go` and `pkg/api/validation/path`.

/// Longest DNS label and label value.
const LABEL: usize = 63;
/// Longest DNS subdomain.
const SUBDOMAIN: usize = 253;

/// What is wrong with a name that must be a DNS-1035 label (kinds, plurals, versions); empty: nothing.
pub fn dns_1035_label(name: &str) -> Vec<String> {
    let mut wrong = too_long(name, LABEL);
    let starts = name.starts_with(|first: char| first.is_ascii_lowercase());
    if !starts || !is_dns_label(name) {
        wrong.push(format!(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
             validation is '{}')",
            "[a-z]([-a-z0-9]*[a-z0-9])?"
        ));
    }
    wrong
}

/// What is wrong with a name that must be a DNS-1123 label (namespaces); empty: nothing.
pub fn dns_1123_label(name: &str) -> Vec<String> {
    let mut wrong = too_long(name, LABEL);
    if !is_dns_label(name) {
        wrong.push(format!(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
             and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '{}')",
            "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
        ));
    }
    wrong
}

/// What is wrong with a name that must be a DNS-1123 subdomain (most objects, groups); empty: nothing.
pub fn dns_1123_subdomain(name: &str) -> Vec<String> {
    let mut wrong = too_long(name, SUBDOMAIN);
    if !name.split('.').all(is_dns_label) {
        wrong.push(format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
             must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '{}')",
            "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
        ));
    }
    wrong
}

/// What is wrong with a label or annotation key, `example.com/name`; empty: nothing.
pub fn qualified_name(key: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = match key.split_once('/') {
        None => key,
        Some((_, name)) if name.contains('/') => {
            return vec![format!(
                "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                qualified_words(&["MyName", "my.name", "123-abc"])
            )];
        }
        Some((prefix, name)) => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(
                    dns_1123_subdomain(prefix)
                        .into_iter()
                        .map(|why| format!("prefix part {why}")),
                );
            }
            name
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL {
        wrong.push(format!("name part must be no more than {LABEL} bytes"));
    }
    if !is_qualified(name) {
        wrong.push(format!(
            "name part {}",
            qualified_words(&["MyName", "my.name", "123-abc"])
        ));
    }
    wrong
}

/// What is wrong with the value of a label; empty: nothing.
pub fn label_value(value: &str) -> Vec<String> {
    let mut wrong = too_long(value, LABEL);
    if !value.is_empty() && !is_qualified(value) {
        wrong.push(format!(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
             for validation is '{}')",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
        ));
    }
    wrong
}

/// What is wrong with a name as one segment of a URL's path; empty: nothing.
pub fn path_segment(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    ['/', '%']
        .into_iter()
        .filter(|letter| name.contains(*letter))
        .map(|letter| format!("may not contain '{letter}'"))
        .collect()
}

fn too_long(name: &str, most: usize) -> Vec<String> {
    if name.len() > most {
        vec![format!("must be no more than {most} bytes")]
    } else {
        Vec::new()
    }
}

fn is_dns_label(name: &str) -> bool {
    let inside = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    match name.as_bytes() {
        [] => false,
        [first, .., last] if !inside(*first) || !inside(*last) => false,
        bytes if bytes.len() == 1 => inside(bytes[0]),
        bytes => bytes.iter().all(|letter| inside(*letter) || *letter == b'-'),
    }
}

fn is_qualified(name: &str) -> bool {
    match name.as_bytes() {
        [] => false,
        [one] => one.is_ascii_alphanumeric(),
        [first, middle @ .., last] => {
            first.is_ascii_alphanumeric()
                && last.is_ascii_alphanumeric()
                && middle
                    .iter()
                    .all(|letter| letter.is_ascii_alphanumeric() || b"-_.".contains(letter))
        }
    }
}

fn qualified_words(examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|one| format!("'{one}'")).collect();
    format!(
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
         character (e.g. {}, regex used for validation is '{}')",
        examples.join(",  or "),
        "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kubernetes_takes_are_taken() {
        assert!(dns_1035_label("backups").is_empty());
        assert!(dns_1123_label("1a-b").is_empty());
        assert!(dns_1123_subdomain("velero.io").is_empty());
        assert!(qualified_name("velero.io/backup-name").is_empty());
        assert!(qualified_name("app").is_empty());
        assert!(label_value("").is_empty());
        assert!(path_segment("system:masters").is_empty());
    }

    #[test]
    fn names_that_kubernetes_refuses_are_refused() {
        for name in ["", "1a", "a-", "A", "a.b"] {
            assert_eq!(dns_1035_label(name).len(), 1, "{name}");
        }
        for name in ["", "a..b", "-a", "a_b"] {
            assert_eq!(dns_1123_subdomain(name).len(), 1, "{name}");
        }
        assert_eq!(dns_1123_label(&"a".repeat(64)), ["must be no more than 63 bytes"]);
        assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
        assert_eq!(qualified_name("a/b/c").len(), 1);
        assert_eq!(qualified_name("a/").len(), 2);
        assert_eq!(label_value("a b").len(), 1);
        assert_eq!(
            path_segment("a/b%"),
            ["may not contain '/'", "may not contain '%'"]
        );
    }
}
