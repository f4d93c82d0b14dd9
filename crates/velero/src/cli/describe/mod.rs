//! What the `describe` verbs share: the bucket's files as they read them (`artifacts`), single words (`words`), and the
//! blocks of text that backups and restores both have.
//!
//! Texts are written tab-separated and laid out at the end by `tab_writer`; the samples in shared/samples/cli are
//! Velero's own output for the same objects.

pub mod artifacts;
pub mod backup;
pub mod operations;
pub mod repo;
pub mod restore;
pub mod results;
pub mod schedule;
pub mod stuck;
pub mod volumes;
pub mod words;

#[cfg(test)]
mod tests;

use std::fmt::Write;

use kube::ResourceExt;

use self::words::phase;

/// Annotations that say nothing to a reader.
const HIDDEN_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Name, namespace, labels, annotations.
pub fn metadata<K: ResourceExt>(out: &mut String, object: &K, colours: bool) {
    let name = object.name_any();
    let name = if colours {
        format!("\u{1b}[1m{name}\u{1b}[22m")
    } else {
        name
    };
    let _ = writeln!(
        out,
        "Name:\t{name}\nNamespace:\t{}",
        object.namespace().unwrap_or_default()
    );
    pairs(out, "Labels:", object.labels().iter());
    pairs(
        out,
        "Annotations:",
        object
            .annotations()
            .iter()
            .filter(|(key, _)| *key != HIDDEN_ANNOTATION),
    );
}

/// `Title:<tab>key=value`, one pair a line; `<none>` without any.
pub fn pairs<'a>(out: &mut String, title: &str, pairs: impl Iterator<Item = (&'a String, &'a String)>) {
    let lines: Vec<String> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
    let text = if lines.is_empty() {
        "<none>".to_owned()
    } else {
        lines.join("\n\t")
    };
    let _ = writeln!(out, "{title}\t{text}");
}

/// The phase, with where to read on when it went wrong.
pub fn phase_line(out: &mut String, noun: &str, name: &str, value: &str, colours: bool) {
    let note = match value {
        "Failed" | "PartiallyFailed" => format!(" (run `velero {noun} logs {name}` for more information)"),
        _ => String::new(),
    };
    let _ = writeln!(out, "Phase:\t{}{note}", phase(value, colours));
}

/// Validation errors and the failure's reason, where there are any.
pub fn what_went_wrong(out: &mut String, validation_errors: &[String], failure_reason: &str) {
    if !validation_errors.is_empty() {
        let _ = writeln!(out, "\nValidation errors:\t{}", validation_errors.join("\n\t"));
    }
    if !failure_reason.is_empty() {
        let _ = writeln!(out, "\nFailure Reason:\t{failure_reason}");
    }
}

/// `Resource List:` by kind.
pub fn resource_list(out: &mut String, read: &artifacts::Read<artifacts::ResourceList>) {
    match read {
        artifacts::Read::Absent => {}
        artifacts::Read::Failed(why) => {
            let _ = writeln!(out, "Resource List:\t<error getting resource list: {why}>");
        }
        artifacts::Read::Got(list) => {
            let _ = writeln!(out, "Resource List:");
            for (kind, items) in list {
                let _ = writeln!(out, "  {kind}:");
                for item in items {
                    let _ = writeln!(out, "    - {item}");
                }
            }
        }
    }
}
