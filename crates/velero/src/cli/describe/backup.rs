//! The text of `velero backup describe`.
//!
//! Block order: velero-behaviour.md 10.3; mirrors `pkg/cmd/util/output/backup_describer.go`.

use std::fmt::Write;

use caravel_api::v1::{Backup, BackupSpec, BackupStatus};
use kube::ResourceExt;

use super::super::flags::format_label_selector;
use super::super::tab_writer;
use super::artifacts::{Files, Read, Results};
use super::operations::Summary;
use super::words::{cluster_scoped, joined, or_selectors, three_valued, time_or_na};
use super::{metadata, operations, phase_line, resource_list, results, stuck, volumes, what_went_wrong};

/// Everything the text is made of.
pub struct Described {
    pub backup: Backup,
    pub files: Files,
    /// Why it is not finished, in sentences.
    pub waits_for: Vec<String>,
}

/// The text.
pub fn text(described: &Described, details: bool, colours: bool) -> String {
    let backup = &described.backup;
    let status = backup.status.clone().unwrap_or_default();
    let mut out = String::new();
    metadata(&mut out, backup, colours);
    out.push('\n');
    phase_line(
        &mut out,
        "backup",
        &backup.name_any(),
        backup.phase().as_str(),
        colours,
    );
    if status.queue_position > 0 {
        let _ = writeln!(out, "Queue position:\t{}", status.queue_position);
    }
    if let Some(policy) = &backup.spec.resource_policy {
        let _ = writeln!(
            out,
            "\nResource policies:\n  Type:\t{}\n  Name:\t{}",
            policy.kind, policy.name
        );
    }
    if let Some(files) = backup
        .spec
        .uploader_config
        .as_ref()
        .map(|config| config.parallel_files_upload)
        .filter(|files| *files > 0)
    {
        let _ = writeln!(out, "\nUploader config:\n  Parallel files upload:\t{files}");
    }
    what_went_wrong(&mut out, &status.validation_errors, &status.failure_reason);
    findings(&mut out, &status, &described.files.results, details);
    out.push('\n');
    spec(&mut out, &backup.spec);
    out.push('\n');
    times(&mut out, &status);
    let summary = Summary {
        attempted: status.backup_item_operations_attempted,
        completed: status.backup_item_operations_completed,
        failed: status.backup_item_operations_failed,
    };
    operations::block(&mut out, "Backup", &summary, &described.files.operations, details);
    if details {
        resource_list(&mut out, &described.files.resource_list);
        out.push('\n');
    }
    volumes::of_backup(&mut out, &described.files.volumes, details);
    if let Some(hooks) = &status.hook_status {
        let _ = writeln!(
            out,
            "\nHooksAttempted:\t{}\nHooksFailed:\t{}",
            hooks.hooks_attempted, hooks.hooks_failed
        );
    }
    stuck::block(&mut out, &described.waits_for);
    tab_writer::describe(&out)
}

/// Errors and warnings: their numbers, or with `--details` every message.
fn findings(out: &mut String, status: &BackupStatus, read: &Read<Results>, details: bool) {
    out.push('\n');
    if let (true, Read::Got(read)) = (details, read) {
        for (title, findings) in [("Errors", &read.errors), ("Warnings", &read.warnings)] {
            if !findings.is_empty() {
                results::block(out, title, findings);
                out.push('\n');
            }
        }
        return;
    }
    if status.errors > 0 || status.warnings > 0 {
        let _ = writeln!(
            out,
            "Errors:\t{}\nWarnings:\t{}\n",
            status.errors, status.warnings
        );
    }
    if let (true, Read::Failed(why)) = (details, read) {
        let _ = writeln!(out, "<error getting errors and warnings: {why}>\n");
    }
}

pub fn spec(out: &mut String, spec: &BackupSpec) {
    let namespaces = joined(&spec.included_namespaces, "*");
    let _ = writeln!(
        out,
        "Namespaces:\n  Included:\t{namespaces}\n  Excluded:\t{}\n",
        joined(&spec.excluded_namespaces, "<none>")
    );
    resources(out, spec);
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
    let _ = writeln!(out, "\nStorage Location:\t{}", spec.storage_location);
    let _ = writeln!(
        out,
        "\nVelero-Native Snapshot PVs:\t{}",
        three_valued(spec.snapshot_volumes, "auto")
    );
    if let Some(by_default) = spec
        .default_volumes_to_fs_backup
        .or(spec.default_volumes_to_restic)
    {
        let _ = writeln!(out, "File System Backup (Default):\t{by_default}");
    }
    let _ = writeln!(
        out,
        "Snapshot Move Data:\t{}",
        three_valued(spec.snapshot_move_data, "auto")
    );
    let mover = if spec.datamover.is_empty() {
        "velero"
    } else {
        &spec.datamover
    };
    let _ = writeln!(out, "Data Mover:\t{mover}");
    let _ = writeln!(out, "\nTTL:\t{}", spec.ttl.unwrap_or_default());
    let _ = writeln!(
        out,
        "\nCSISnapshotTimeout:\t{}",
        spec.csi_snapshot_timeout.unwrap_or_default()
    );
    let _ = writeln!(
        out,
        "ItemOperationTimeout:\t{}",
        spec.item_operation_timeout.unwrap_or_default()
    );
    let hooks: Vec<String> = spec
        .hooks
        .iter()
        .flat_map(|hooks| &hooks.resources)
        .map(|hook| hook.name.clone())
        .collect();
    let _ = writeln!(out, "\nHooks:\t{}", joined(&hooks, "<none>"));
    if !spec.ordered_resources.is_empty() {
        let _ = writeln!(out, "\nOrderedResources:");
        for (kind, order) in &spec.ordered_resources {
            let _ = writeln!(out, "  {kind}: {order}");
        }
    }
}

/// Three lines with the old filters, four with those that name a scope, or with none: as Velero.
fn resources(out: &mut String, spec: &BackupSpec) {
    let scoped = [
        &spec.included_cluster_scoped_resources,
        &spec.excluded_cluster_scoped_resources,
        &spec.included_namespace_scoped_resources,
        &spec.excluded_namespace_scoped_resources,
    ];
    let old = spec.include_cluster_resources.is_some()
        || !spec.included_resources.is_empty()
        || !spec.excluded_resources.is_empty();
    if old {
        let _ = writeln!(
            out,
            "Resources:\n  Included:\t{}\n  Excluded:\t{}\n  Cluster-scoped:\t{}",
            joined(&spec.included_resources, "*"),
            joined(&spec.excluded_resources, "<none>"),
            cluster_scoped(spec.include_cluster_resources)
        );
        return;
    }
    let _ = writeln!(
        out,
        "Resources:\n  Included cluster-scoped:\t{}\n  Excluded cluster-scoped:\t{}\n  Included namespace-scoped:\t{}\n  Excluded namespace-scoped:\t{}",
        joined(scoped[0], "<none>"),
        joined(scoped[1], "<none>"),
        joined(scoped[2], "*"),
        joined(scoped[3], "<none>")
    );
}

fn times(out: &mut String, status: &BackupStatus) {
    let _ = writeln!(out, "Backup Format Version:\t{}", status.format_version);
    let (started, completed) = (
        time_or_na(status.start_timestamp.as_ref()),
        time_or_na(status.completion_timestamp.as_ref()),
    );
    let _ = writeln!(out, "\nStarted:\t{started}\nCompleted:\t{completed}");
    let _ = writeln!(out, "\nExpiration:\t{}\n", time_or_na(status.expiration.as_ref()));
    if let Some(progress) = &status.progress {
        let (total, done) = (progress.total_items, progress.items_backed_up);
        let _ = if status.completion_timestamp.is_some() || total == done {
            writeln!(
                out,
                "Total items to be backed up:\t{total}\nItems backed up:\t{done}\n"
            )
        } else {
            writeln!(
                out,
                "Estimated total items to be backed up:\t{total}\nItems backed up so far:\t{done}\n"
            )
        };
    }
}
