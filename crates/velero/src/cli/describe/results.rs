//! The `Errors:` and `Warnings:` blocks.

use std::fmt::Write;

use super::artifacts::Findings;

/// The messages, each kind under its own heading.
pub fn block(out: &mut String, title: &str, findings: &Findings) {
    let _ = writeln!(out, "{title}:");
    entries(out, "  Velero:   ", &findings.velero);
    entries(out, "  Cluster:  ", &findings.cluster);
    if findings.namespaces.values().all(Vec::is_empty) {
        let _ = writeln!(out, "  Namespaces: <none>");
        return;
    }
    let _ = writeln!(out, "  Namespaces:");
    for (namespace, messages) in findings
        .namespaces
        .iter()
        .filter(|(_, messages)| !messages.is_empty())
    {
        entries(out, &format!("    {namespace}:"), messages);
    }
}

fn entries(out: &mut String, title: &str, messages: &[String]) {
    let Some((first, rest)) = messages.split_first() else {
        let _ = writeln!(out, "{title}\t<none>");
        return;
    };
    let _ = writeln!(out, "{title}\t{}", first.trim_end());
    let indent = " ".repeat(title.len());
    for message in rest {
        let _ = writeln!(out, "{indent}\t{}", message.trim_end());
    }
}
