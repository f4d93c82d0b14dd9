//! What is wrong with the filters of a spec, in Velero's sense (velero-behaviour.md 3.2).

use std::collections::BTreeSet;

use caravel_api::v1::BackupSpec;

use super::{uses_old_filters, wildcard};

/// What is wrong with the filters of a spec; empty when nothing is.
pub fn spec_errors(spec: &BackupSpec) -> Vec<String> {
    let mut errors = Vec::new();
    let scoped = [
        &spec.included_cluster_scoped_resources,
        &spec.excluded_cluster_scoped_resources,
        &spec.included_namespace_scoped_resources,
        &spec.excluded_namespace_scoped_resources,
    ];
    if uses_old_filters(spec) && scoped.iter().any(|list| !list.is_empty()) {
        errors.push(
            "include-resources, exclude-resources and include-cluster-resources are old filter parameters.\n\
             include-cluster-scoped-resources, exclude-cluster-scoped-resources, include-namespace-scoped-resources and \
             exclude-namespace-scoped-resources are new filter parameters.\nThey cannot be used together"
                .to_owned(),
        );
    }
    if spec.label_selector.is_some() && !spec.or_label_selectors.is_empty() {
        errors.push(
            "encountered labelSelector as well as orLabelSelectors in backup spec, only one can be specified"
                .to_owned(),
        );
    }
    let mut say = |what: &str, wrong: Vec<String>| {
        errors.extend(
            wrong
                .iter()
                .map(|why| format!("Invalid included/excluded {what} lists: {why}")),
        );
    };
    say(
        "resource",
        list_errors(&spec.included_resources, &spec.excluded_resources),
    );
    let namespaces = namespace_errors(&spec.included_namespaces, &spec.excluded_namespaces);
    say("namespace", namespaces);
    let cluster = scoped_errors(
        &spec.included_cluster_scoped_resources,
        &spec.excluded_cluster_scoped_resources,
    );
    let namespaced = scoped_errors(
        &spec.included_namespace_scoped_resources,
        &spec.excluded_namespace_scoped_resources,
    );
    for (what, wrong) in [("cluster-scoped", cluster), ("namespace-scoped", namespaced)] {
        errors.extend(
            wrong
                .iter()
                .map(|why| format!("Invalid {what} included/excluded resource lists: {why}")),
        );
    }
    errors
}

fn both<'a>(included: &'a [String], excluded: &'a [String]) -> (BTreeSet<&'a str>, BTreeSet<&'a str>) {
    let set = |list: &'a [String]| list.iter().map(String::as_str).collect::<BTreeSet<_>>();
    (set(included), set(excluded))
}

fn in_both(included: &BTreeSet<&str>, excluded: &BTreeSet<&str>) -> Vec<String> {
    let shared = excluded.intersection(included);
    shared
        .map(|entry| format!("excludes list cannot contain an item in the includes list: {entry}"))
        .collect()
}

const STAR_AND_OTHERS: &str = "includes list must either contain '*' only, or a non-empty list of items";

/// Of old resource lists, and of the lists of a restore.
pub fn list_errors(included: &[String], excluded: &[String]) -> Vec<String> {
    let (included, excluded) = both(included, excluded);
    let mut errors = Vec::new();
    if included.len() > 1 && included.contains("*") {
        errors.push(STAR_AND_OTHERS.to_owned());
    }
    if excluded.contains("*") {
        errors.push("excludes list cannot contain '*'".to_owned());
    }
    errors.extend(in_both(&included, &excluded));
    errors
}

/// Of namespace lists: each entry is a namespace's name once its pattern characters are taken for letters.
pub fn namespace_errors(included: &[String], excluded: &[String]) -> Vec<String> {
    let mut errors = list_errors(included, excluded);
    let (included, excluded) = both(included, excluded);
    errors.extend(
        included
            .iter()
            .chain(&excluded)
            .filter_map(|entry| namespace_error(entry)),
    );
    errors
}

fn namespace_error(entry: &str) -> Option<String> {
    // Velero takes the empty text for "no namespace".
    if entry.is_empty() {
        return None;
    }
    if let Err(error) = wildcard::validate(entry) {
        return Some(error.to_string());
    }
    let name = entry.replace(['*', '?', '[', ']'], "x");
    (!is_dns_label(&name)).then(|| {
        format!(
            "invalid namespace {entry:?}: a lowercase RFC 1123 label must consist of at most 63 lower case alphanumeric \
             characters or '-', and must start and end with an alphanumeric character"
        )
    })
}

fn is_dns_label(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    name.len() <= 63
        && ends.is_some_and(|(first, last)| legal(*first) && legal(*last))
        && bytes.iter().all(|byte| legal(*byte) || *byte == b'-')
}

/// Of the new, scoped lists: excluding `*` alone is how "none" is said.
pub fn scoped_errors(included: &[String], excluded: &[String]) -> Vec<String> {
    let (included, excluded) = both(included, excluded);
    let mut errors = Vec::new();
    if included.len() > 1 && included.contains("*") {
        errors.push(STAR_AND_OTHERS.to_owned());
    }
    if excluded.len() > 1 && excluded.contains("*") {
        errors.push("excludes list must either contain '*' only, or a non-empty list of items".to_owned());
    }
    if !included.is_empty() && excluded.contains("*") {
        errors.push("when exclude is '*', include cannot have value".to_owned());
    }
    errors.extend(in_both(&included, &excluded));
    errors
}
