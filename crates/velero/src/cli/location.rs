//! The BackupStorageLocation a new Backup goes to, and whether it can take one.

use caravel_api::v1::{BackupStorageLocation, BackupStorageLocationAccessMode, BackupStorageLocationPhase};
use kube::api::Api;
use kube::{Client, ResourceExt};

use super::describe::words;
use super::failure::{Failure, Outcome};

/// Refuses a Backup, with the location's own reason, where the server would have to.
pub async fn check(client: &Client, namespace: &str, wanted: Option<&str>) -> Outcome {
    let api: Api<BackupStorageLocation> = Api::namespaced(client.clone(), namespace);
    let locations = words::fetch(&api, namespace, "BackupStorageLocation", &[]).await?;
    verdict(&locations, namespace, wanted)
}

fn verdict(locations: &[BackupStorageLocation], namespace: &str, wanted: Option<&str>) -> Outcome {
    let location = match wanted {
        Some(name) => locations.iter().find(|location| location.name_any() == name),
        None => locations
            .iter()
            .find(|location| location.spec.default)
            .or_else(|| locations.iter().find(|location| location.name_any() == "default")),
    };
    let show = format!("kubectl -n {namespace} get backupstoragelocations");
    let Some(location) = location else {
        let which = wanted.map_or_else(
            || "no default BackupStorageLocation exists".to_owned(),
            |name| format!("BackupStorageLocation {namespace}/{name} does not exist"),
        );
        return Err(Failure::new(which).next(show));
    };
    let name = location.name_any();
    let status = location.status.clone().unwrap_or_default();
    if status.phase == Some(BackupStorageLocationPhase::Unavailable) {
        let why = if status.message.is_empty() {
            "the server has not said why".to_owned()
        } else {
            status.message
        };
        return Err(Failure::new(format!("backup is refused: BackupStorageLocation {namespace}/{name} is Unavailable: {why}"))
            .next(format!("kubectl -n {namespace} get backupstoragelocation {name} -o yaml    (change its spec or its Secret; it is checked again every minute)")));
    }
    if location.spec.access_mode == Some(BackupStorageLocationAccessMode::ReadOnly) {
        return Err(Failure::new(format!(
            "backup is refused: BackupStorageLocation {namespace}/{name} is ReadOnly"
        ))
        .next(show));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use caravel_api::v1::{BackupStorageLocationSpec, BackupStorageLocationStatus};

    fn location(
        name: &str,
        default: bool,
        phase: Option<BackupStorageLocationPhase>,
        message: &str,
    ) -> BackupStorageLocation {
        let spec = BackupStorageLocationSpec {
            default,
            ..Default::default()
        };
        let mut location = BackupStorageLocation::new(name, spec);
        location.status = Some(BackupStorageLocationStatus {
            phase,
            message: message.into(),
            ..Default::default()
        });
        location
    }

    #[test]
    fn a_backup_to_an_unavailable_location_is_refused_with_the_locations_reason() {
        let down = location(
            "main",
            true,
            Some(BackupStorageLocationPhase::Unavailable),
            "bucket backups does not exist",
        );
        let refusal = verdict(&[down], "velero", None).unwrap_err();
        assert!(
            refusal
                .to_string()
                .contains("velero/main is Unavailable: bucket backups does not exist"),
            "{refusal}"
        );
        assert_eq!(refusal.code(), 1);
    }

    #[test]
    fn a_location_that_was_not_checked_yet_is_tried() {
        assert!(verdict(&[location("default", false, None, "")], "velero", None).is_ok());
    }

    #[test]
    fn a_missing_location_is_named() {
        let refusal = verdict(&[], "velero", Some("dr")).unwrap_err().to_string();
        assert!(
            refusal.contains("velero/dr does not exist") && refusal.contains("Next: kubectl"),
            "{refusal}"
        );
        assert!(
            verdict(&[], "velero", None)
                .unwrap_err()
                .to_string()
                .contains("no default")
        );
    }
}
