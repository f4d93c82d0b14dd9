//! The text of `velero restore describe`.
//!
//! Block order: velero-behaviour.md 10.3; mirrors `pkg/cmd/util/output/restore_describer.go`.

use std::fmt::Write;

use caravel_api::v1::{Restore, RestoreSpec, RestoreStatus};
use kube::ResourceExt;

use super::super::flags::format_label_selector;
use super::super::tab_writer;
use super::artifacts::{Files, Read, Results, Volume};
use super::operations::Summary;
use super::words::{cluster_scoped, joined, or_selectors, three_valued, time_or_na};
use super::{metadata, operations, phase_line, resource_list, results, stuck, volumes, what_went_wrong};

/// Everything the text is made of.
pub struct Described {
    pub restore: Restore,
    pub files: Files,
    /// Why it is not finished, in sentences.
    pub waits_for: Vec<String>,
}

/// The text.
pub fn text(described: &Described, details: bool, colours: bool) -> String {
    let restore = &described.restore;
    let status = restore.status.clone().unwrap_or_default();
    let mut out = String::new();
    metadata(&mut out, restore, colours);
    out.push('\n');
    phase_line(
        &mut out,
        "restore",
        &restore.name_any(),
        restore.phase().as_str(),
        colours,
    );
    if let Some(progress) = &status.progress {
        let (total, done) = (progress.total_items, progress.items_restored);
        let _ = if status.completion_timestamp.is_some() {
            writeln!(
                out,
                "Total items to be restored:\t{total}\nItems restored:\t{done}"
            )
        } else {
            writeln!(
                out,
                "Estimated total items to be restored:\t{total}\nItems restored so far:\t{done}"
            )
        };
    }
    let (started, completed) = (
        time_or_na(status.start_timestamp.as_ref()),
        time_or_na(status.completion_timestamp.as_ref()),
    );
    let _ = writeln!(out, "\nStarted:\t{started}\nCompleted:\t{completed}");
    what_went_wrong(&mut out, &status.validation_errors, &status.failure_reason);
    findings(&mut out, &status, &described.files.results);
    spec(&mut out, &restore.spec, &described.files.volumes, details);
    let summary = Summary {
        attempted: status.restore_item_operations_attempted,
        completed: status.restore_item_operations_completed,
        failed: status.restore_item_operations_failed,
    };
    operations::block(
        &mut out,
        "Restore",
        &summary,
        &described.files.operations,
        details,
    );
    if let Some(hooks) = &status.hook_status {
        let _ = writeln!(
            out,
            "\nHooksAttempted: \t{}\nHooksFailed:\t{}",
            hooks.hooks_attempted, hooks.hooks_failed
        );
    }
    if details {
        out.push('\n');
        resource_list(&mut out, &described.files.resource_list);
    }
    stuck::block(&mut out, &described.waits_for);
    tab_writer::describe(&out)
}

fn findings(out: &mut String, status: &RestoreStatus, read: &Read<Results>) {
    match read {
        Read::Got(read) => {
            for (title, findings) in [("Warnings", &read.warnings), ("Errors", &read.errors)] {
                if !findings.is_empty() {
                    out.push('\n');
                    results::block(out, title, findings);
                }
            }
        }
        _ if status.errors == 0 && status.warnings == 0 => {}
        Read::Absent => {
            let _ = writeln!(
                out,
                "\nWarnings:\t{}\nErrors:\t{}",
                status.warnings, status.errors
            );
        }
        Read::Failed(why) => {
            let _ = writeln!(
                out,
                "\nWarnings:\t{}\nErrors:\t{}\n<error getting errors and warnings: {why}>",
                status.warnings, status.errors
            );
        }
    }
}

fn spec(out: &mut String, spec: &RestoreSpec, read: &Read<Vec<Volume>>, details: bool) {
    let _ = writeln!(out, "\nBackup:\t{}", spec.backup_name);
    let all = spec.included_namespaces.iter().all(|namespace| namespace == "*");
    let included = if all {
        "all namespaces found in the backup".to_owned()
    } else {
        spec.included_namespaces.join(", ")
    };
    let _ = writeln!(
        out,
        "\nNamespaces:\n  Included:\t{included}\n  Excluded:\t{}",
        joined(&spec.excluded_namespaces, "<none>")
    );
    let _ = writeln!(
        out,
        "\nResources:\n  Included:\t{}\n  Excluded:\t{}\n  Cluster-scoped:\t{}",
        joined(&spec.included_resources, "*"),
        joined(&spec.excluded_resources, "<none>"),
        cluster_scoped(spec.include_cluster_resources)
    );
    out.push('\n');
    super::pairs(out, "Namespace mappings:", spec.namespace_mapping.iter());
    let _ = writeln!(
        out,
        "\nLabel selector:\t{}",
        format_label_selector(spec.label_selector.as_ref())
    );
    let _ = writeln!(
        out,
        "\nOr label selector:\t{}",
        or_selectors(&spec.or_label_selectors)
    );
    let _ = writeln!(out, "\nRestore PVs:\t{}", three_valued(spec.restore_pvs, "auto"));
    volumes::of_restore(out, read, details);
    let policy = if spec.existing_resource_policy.is_empty() {
        "<none>"
    } else {
        &spec.existing_resource_policy
    };
    let _ = writeln!(out, "\nExisting Resource Policy: \t{policy}");
    let _ = writeln!(
        out,
        "ItemOperationTimeout:\t{}",
        spec.item_operation_timeout.unwrap_or_default()
    );
    let _ = writeln!(
        out,
        "\nPreserve Service NodePorts:\t{}\n",
        three_valued(spec.preserve_node_ports, "auto")
    );
    if let Some(modifier) = &spec.resource_modifier {
        let _ = writeln!(
            out,
            "Resource modifier:\n  Type:\t{}\n  Name:\t{}\n",
            modifier.kind, modifier.name
        );
    }
    if let Some(config) = &spec.uploader_config {
        let _ = writeln!(out, "Uploader config:");
        if let Some(sparse) = config.write_sparse_files {
            let _ = writeln!(out, "  Write Sparse Files:\t{sparse}");
        }
        if config.parallel_files_download > 0 {
            let _ = writeln!(out, "  Parallel Restore:\t{}", config.parallel_files_download);
        }
        out.push('\n');
    }
}
