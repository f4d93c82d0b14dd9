//! The `Backup Volumes:` block and the restore's `CSI Snapshot Restores:`.

use std::fmt::Write;

use super::artifacts::{DataMovement, Read, Volume};

const MORE: &str = "specify --details for more information";

/// Volumes of a backup by the way they were saved.
pub fn of_backup(out: &mut String, volumes: &Read<Vec<Volume>>, details: bool) {
    let _ = writeln!(out, "Backup Volumes:");
    let volumes = match volumes {
        Read::Got(volumes) => volumes,
        Read::Absent => {
            let _ = writeln!(out, "  <not known yet: the backup has not saved its volumes>");
            return;
        }
        Read::Failed(why) => {
            let _ = writeln!(out, "  <error getting backup volume info: {why}>");
            return;
        }
    };
    others(out, "Velero-Native Snapshots", volumes, "NativeSnapshot");
    let csi: Vec<&Volume> = with_method(volumes, "CSISnapshot").collect();
    if csi.is_empty() {
        let _ = writeln!(out, "\n  CSI Snapshots: <none included>\n");
    } else {
        let _ = writeln!(out, "\n  CSI Snapshots:");
        csi.iter().for_each(|volume| csi_volume(out, volume, details));
        out.push('\n');
    }
    others(out, "Pod Volume Backups", volumes, "PodVolumeBackup");
}

fn with_method<'a>(volumes: &'a [Volume], method: &'static str) -> impl Iterator<Item = &'a Volume> {
    volumes
        .iter()
        .filter(move |volume| volume.method == method && !volume.skipped)
}

/// Ways that only other versions write: which volumes, and how it ended.
fn others(out: &mut String, title: &str, volumes: &[Volume], method: &'static str) {
    let mut lines = with_method(volumes, method).peekable();
    if lines.peek().is_none() {
        let _ = writeln!(out, "  {title}: <none included>");
        return;
    }
    let _ = writeln!(out, "  {title}:");
    for volume in lines {
        let _ = writeln!(
            out,
            "    {}/{} ({}): {}",
            volume.pvc_namespace, volume.pvc_name, volume.pv_name, volume.result
        );
    }
}

fn csi_volume(out: &mut String, volume: &Volume, details: bool) {
    let _ = writeln!(out, "    {}/{}:", volume.pvc_namespace, volume.pvc_name);
    if volume.snapshot_data_moved {
        let moved = volume.snapshot_data_movement_info.clone().unwrap_or_default();
        if !details {
            let _ = writeln!(out, "      Data Movement: included, {MORE}");
            return;
        }
        let _ = writeln!(out, "      Data Movement:");
        movement(out, "        ", &moved);
        let _ = writeln!(out, "        Moved data Size (bytes): {}", moved.size);
        if moved.incremental_size > 0 {
            let _ = writeln!(
                out,
                "        Incremental data Size (bytes): {}",
                moved.incremental_size
            );
        }
        let _ = writeln!(out, "        Result: {}", volume.result);
        return;
    }
    if !details {
        let _ = writeln!(out, "      Snapshot: included, {MORE}");
        return;
    }
    let snapshot = volume.csi_snapshot_info.clone().unwrap_or_default();
    let _ = writeln!(out, "      Snapshot:");
    if !snapshot.operation_id.is_empty() {
        let _ = writeln!(out, "        Operation ID: {}", snapshot.operation_id);
    }
    let _ = writeln!(
        out,
        "        Snapshot Content Name: {}\n        Storage Snapshot ID: {}\n        Snapshot Size (bytes): {}\n        CSI Driver: {}\n        Result: {}",
        snapshot.vsc_name, snapshot.snapshot_handle, snapshot.size, snapshot.driver, volume.result
    );
}

/// Volumes that a restore brought back from snapshots.
pub fn of_restore(out: &mut String, volumes: &Read<Vec<Volume>>, details: bool) {
    let volumes = match volumes {
        Read::Got(volumes) => volumes,
        Read::Absent => return,
        Read::Failed(why) => {
            let _ = writeln!(
                out,
                "\nCSI Snapshot Restores:\t<error getting restore volume info: {why}>"
            );
            return;
        }
    };
    let csi: Vec<&Volume> = with_method(volumes, "CSISnapshot").collect();
    if csi.is_empty() {
        let _ = writeln!(out, "\nCSI Snapshot Restores: <none included>");
        return;
    }
    let _ = writeln!(out, "\nCSI Snapshot Restores:");
    for volume in csi {
        let _ = writeln!(out, "  {}/{}:", volume.pvc_namespace, volume.pvc_name);
        match (&volume.snapshot_data_movement_info, details) {
            (Some(moved), true) => {
                let _ = writeln!(out, "    Data Movement:");
                movement(out, "      ", moved);
            }
            (Some(_), false) => {
                let _ = writeln!(out, "    Data Movement: {MORE}");
            }
            (None, true) => {
                let snapshot = volume.csi_snapshot_info.clone().unwrap_or_default();
                let _ = writeln!(
                    out,
                    "    Snapshot:\n      Snapshot Content Name: {}\n      Storage Snapshot ID: {}\n      CSI Driver: {}",
                    snapshot.vsc_name, snapshot.snapshot_handle, snapshot.driver
                );
            }
            (None, false) => {
                let _ = writeln!(out, "    Snapshot: {MORE}");
            }
        }
    }
}

fn movement(out: &mut String, indent: &str, moved: &DataMovement) {
    let mover = if moved.data_mover.is_empty() {
        "velero"
    } else {
        &moved.data_mover
    };
    let _ = writeln!(
        out,
        "{indent}Operation ID: {}\n{indent}Data Mover: {mover}\n{indent}Uploader Type: {}",
        moved.operation_id, moved.uploader_type
    );
}
