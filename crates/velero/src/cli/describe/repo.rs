//! The text of `velero repo describe`: what the cluster knows of a backup repository. Its size and its snapshots are in the
//! bucket, which this terminal may not be allowed to read: the text says which command shows them.

use std::fmt::Write;

use caravel_api::labels::MAINTAIN_NOW;
use caravel_api::v1::{BackupRepository, BackupRepositoryMaintenanceStatus, BackupStorageLocation};
use kube::ResourceExt;

use super::super::tab_writer;
use super::words::{phase, time};
use super::{metadata, pairs};

/// The text; `location` is the repository's, if there is one of that name.
pub fn text(
    repository: &BackupRepository,
    location: Option<&BackupStorageLocation>,
    colours: bool,
) -> String {
    let (spec, status) = (&repository.spec, repository.status.clone().unwrap_or_default());
    let mut out = String::new();
    metadata(&mut out, repository, colours);
    let _ = writeln!(out, "\nPhase:\t{}", phase(repository.phase().as_str(), colours));
    if !status.message.is_empty() {
        let _ = writeln!(out, "Message:\t{}", status.message);
    }
    let kind = spec
        .repository_type
        .as_ref()
        .map_or("kopia", |kind| kind.as_str());
    let _ = writeln!(out, "\nRepository Type:\t{kind}");
    let _ = writeln!(out, "Volume Namespace:\t{}", spec.volume_namespace);
    let _ = writeln!(out, "Storage Location:\t{}", spec.backup_storage_location);
    place(&mut out, &spec.volume_namespace, location);
    pairs(&mut out, "Configuration:", spec.repository_config.iter());
    maintenance(&mut out, repository);
    tab_writer::describe(&out)
}

/// Where its blobs are, and how to look at them.
fn place(out: &mut String, namespace: &str, location: Option<&BackupStorageLocation>) {
    let Some(location) = location else {
        let _ = writeln!(
            out,
            "Bucket:\t<not known: there is no storage location of this name>"
        );
        return;
    };
    let storage = &location.spec.object_storage;
    let (bucket, prefix) = (storage.bucket.trim_matches('/'), storage.prefix.trim_matches('/'));
    let below = if prefix.is_empty() {
        String::new()
    } else {
        format!("{prefix}/")
    };
    let _ = writeln!(out, "Bucket:\t{bucket}, below {below}kopia/{namespace}/");
    let prefix = if prefix.is_empty() {
        String::new()
    } else {
        format!(" --prefix {prefix}")
    };
    let place = match location.spec.provider.trim_start_matches("velero.io/") {
        "azure" => format!("azure --container {bucket}"),
        "gcp" => format!("gcs --bucket {bucket}"),
        _ => format!("s3 --bucket {bucket}"),
    };
    let _ = writeln!(
        out,
        "Size and Snapshots:\t<in the bucket>; with its credentials:\n\tvelero kopia repository connect {place}{prefix} --velero-namespace {namespace}\n\tvelero kopia snapshot list --all    and    velero kopia content stats"
    );
}

fn maintenance(out: &mut String, repository: &BackupRepository) {
    let status = repository.status.clone().unwrap_or_default();
    let frequency = repository.spec.maintenance_frequency;
    let last = status
        .last_maintenance_time
        .as_ref()
        .map_or_else(|| "<never>".to_owned(), |last| time(Some(last)));
    let _ = writeln!(out, "\nMaintenance Frequency:\t{frequency}");
    let _ = writeln!(out, "Last Maintenance:\t{last}");
    if let Some(asked) = repository.annotations().get(MAINTAIN_NOW) {
        let _ = writeln!(out, "Asked For:\t{asked}, not begun yet");
    }
    let _ = writeln!(out, "\nRecent Maintenance:");
    if status.recent_maintenance.is_empty() {
        let _ = writeln!(out, "\t<none>");
    }
    // Newest first: that is what one looks for.
    for run in status.recent_maintenance.iter().rev() {
        let _ = writeln!(out, "\t{}", line(run));
    }
}

/// `2026-11-22 01:00:00 +0000 UTC  Succeeded  12s`, and the reason of one that failed.
pub fn line(run: &BackupRepositoryMaintenanceStatus) -> String {
    let result = run
        .result
        .as_ref()
        .map_or_else(|| "<running>".to_owned(), ToString::to_string);
    let took = match (&run.start_timestamp, &run.complete_timestamp) {
        (Some(start), Some(end)) => format!("  {}s", end.0.duration_since(start.0).as_secs()),
        _ => String::new(),
    };
    let why = if run.message.is_empty() {
        String::new()
    } else {
        format!("  {}", run.message)
    };
    format!("{}  {result}{took}{why}", time(run.start_timestamp.as_ref()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn repository(status: serde_json::Value, annotations: serde_json::Value) -> BackupRepository {
        serde_json::from_value(json!({
            "metadata": {"name": "shop-default-kopia", "namespace": "velero", "annotations": annotations},
            "spec": {"volumeNamespace": "shop", "backupStorageLocation": "default", "repositoryType": "kopia",
                "maintenanceFrequency": "1h0m0s", "repositoryConfig": {"cacheLimitMB": "1024"}},
            "status": status}))
        .unwrap()
    }

    fn location() -> BackupStorageLocation {
        serde_json::from_value(json!({"metadata": {"name": "default"},
            "spec": {"provider": "aws", "objectStorage": {"bucket": "backups", "prefix": "dr/"}}}))
        .unwrap()
    }

    #[test]
    fn a_repository_is_told_with_its_place_its_history_newest_first_and_how_to_look_into_it() {
        let status = json!({"phase": "Ready", "lastMaintenanceTime": "2026-11-22T01:00:12Z", "recentMaintenance": [
            {"startTimestamp": "2026-11-22T00:00:00Z", "completeTimestamp": "2026-11-22T00:00:05Z", "result": "Failed",
                "message": "the bucket is away"},
            {"startTimestamp": "2026-11-22T01:00:00Z", "completeTimestamp": "2026-11-22T01:00:12Z", "result": "Succeeded"}]});
        let text = text(&repository(status, json!({})), Some(&location()), false);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        for expected in [
            "Phase:  Ready",
            "Maintenance Frequency:  1h0m0s",
            "Last Maintenance:       2026-11-22 01:00:12 +0000 UTC",
        ] {
            assert!(lines.contains(&expected), "{expected}\n{text}");
        }
        assert!(text.contains("backups, below dr/kopia/shop/"), "{text}");
        assert!(
            text.contains("connect s3 --bucket backups --prefix dr --velero-namespace shop"),
            "{text}"
        );
        let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words}\n{text}"));
        let failed = "2026-11-22 00:00:00 +0000 UTC  Failed  5s  the bucket is away";
        assert!(at("2026-11-22 01:00:00 +0000 UTC  Succeeded  12s") < at(failed));
    }

    #[test]
    fn what_is_not_known_or_not_there_is_said() {
        let status = json!({"phase": "NotReady", "message": "the password is wrong"});
        let asked = json!({"velero.io/maintain-now": "full"});
        let text = text(&repository(status, asked), None, false);
        for expected in [
            "the password is wrong",
            "there is no storage location of this name",
            "<never>",
            "full, not begun yet",
            "<none>",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }
}
