//! The `Backup Item Operations:` and `Restore Item Operations:` blocks.

use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::artifacts::{Operation, Read};
use super::words::time;

/// How many operations there were and how they ended, from the object's status.
pub struct Summary {
    pub attempted: i32,
    pub completed: i32,
    pub failed: i32,
}

/// The block; nothing when no operation was started. `noun` is `Backup` or `Restore`.
pub fn block(
    out: &mut String,
    noun: &str,
    summary: &Summary,
    operations: &Read<Vec<Operation>>,
    details: bool,
) {
    let Summary {
        attempted,
        completed,
        failed,
    } = summary;
    if *attempted == 0 {
        return;
    }
    match operations {
        Read::Got(operations) if details => {
            let _ = writeln!(out, "{noun} Item Operations:");
            operations.iter().for_each(|operation| one(out, noun, operation));
        }
        Read::Failed(why) if details => {
            let _ = writeln!(
                out,
                "{noun} Item Operations:\t<error getting operation info: {why}>"
            );
        }
        _ => {
            let hint = "(specify --details for more information)";
            let _ = writeln!(
                out,
                "{noun} Item Operations:\t{completed} of {attempted} completed successfully, {failed} failed {hint}"
            );
        }
    }
}

fn one(out: &mut String, noun: &str, operation: &Operation) {
    let (spec, status) = (&operation.spec, &operation.status);
    let item = &spec.resource_identifier;
    let _ = writeln!(
        out,
        "  Operation for {} {}/{}:",
        item.group_resource(),
        item.namespace,
        item.name
    );
    let _ = writeln!(out, "    {noun} Item Action Plugin:\t{}", spec.item_action);
    let _ = writeln!(out, "    Operation ID:\t{}", spec.operation_id);
    if !spec.post_operation_items.is_empty() {
        let _ = writeln!(out, "    Items to Update:");
        for item in &spec.post_operation_items {
            let _ = writeln!(
                out,
                "\t{} {}/{}",
                item.group_resource(),
                item.namespace,
                item.name
            );
        }
    }
    let _ = writeln!(out, "    Phase:\t{}", status.phase);
    if !status.error.is_empty() {
        let _ = writeln!(out, "    Operation Error:\t{}", status.error);
    }
    if status.n_total > 0 || status.n_completed > 0 {
        let _ = writeln!(
            out,
            "    Progress:\t{} of {} complete ({})",
            status.n_completed, status.n_total, status.operation_units
        );
    }
    if !status.description.is_empty() {
        let _ = writeln!(out, "    Progress description:\t{}", status.description);
    }
    let mut at = |title: &str, when: &Option<Time>| {
        if when.is_some() {
            let _ = writeln!(out, "    {title}:\t{}", time(when.as_ref()));
        }
    };
    at("Created", &status.created);
    at("Started", &status.started);
    at("Updated", &status.updated);
}
