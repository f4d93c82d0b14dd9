//! Which repositories there are, of all locations: by the folders in each bucket, and by the BackupRepositories. A cluster
//! that was lost has left folders of namespaces that this one never had.

use std::collections::BTreeSet;

use caravel_api::phase::{BackupStorageLocationAccessMode, UploaderType};
use caravel_api::v1::{BackupRepository, BackupStorageLocation};
use caravel_api::v2alpha1::{DataDownload, DataUpload};
use kube::ResourceExt;
use kube::api::ListParams;

use super::decide::{Observed, Place};
use crate::context::{Context, ResolvedLocation};
use crate::reconcile::chain;

/// Reads all of it; what cannot be seen is an obstacle.
///
/// # Errors
/// The API server cannot be asked.
pub(super) async fn observe(context: &Context) -> Result<Observed, kube::Error> {
    let everything = ListParams::default();
    let mut found = Observed::default();
    for location in context.list::<BackupStorageLocation>(&everything).await? {
        let name = location.name_any();
        match look(context, &location).await {
            Ok((bucket, namespaces)) => {
                add(&mut found.places, &name, &bucket, namespaces);
                found.buckets.insert(name, bucket);
            }
            Err(why) => found.obstacles.push(format!("location {name}: {why}")),
        }
    }
    for repository in context.list::<BackupRepository>(&everything).await? {
        let spec = &repository.spec;
        if let Some(kind @ (UploaderType::Restic | UploaderType::Other(_))) = &spec.repository_type {
            let name = repository.name_any();
            found
                .obstacles
                .push(not_kopia(&format!("BackupRepository {name} ({kind})")));
            continue;
        }
        match found.buckets.get(&spec.backup_storage_location) {
            Some(bucket) => {
                let namespace = spec.volume_namespace.clone();
                add(
                    &mut found.places,
                    &spec.backup_storage_location,
                    bucket,
                    [namespace],
                );
            }
            // Said already, as the location's.
            None if found.obstacles.iter().any(|why| is_of(why, &spec.backup_storage_location)) => {}
            None => found.obstacles.push(format!(
                "BackupRepository {} is of location {}, which does not exist: create the location again, or delete the BackupRepository if nobody needs its data",
                repository.name_any(),
                spec.backup_storage_location
            )),
        }
    }
    found.moving = moving(context, &found).await?;
    Ok(found)
}

/// The same Secret opens them, in Velero: with its old password gone nobody could any more.
fn not_kopia(what: &str) -> String {
    format!(
        "{what} opens with the old password, and this version cannot change it: delete it, and its folder in the bucket, if nobody needs its backups"
    )
}

fn is_of(obstacle: &str, location: &str) -> bool {
    obstacle.starts_with(&format!("location {location}: "))
}

fn add(
    places: &mut BTreeSet<Place>,
    location: &str,
    within: &str,
    namespaces: impl IntoIterator<Item = String>,
) {
    places.extend(namespaces.into_iter().map(|namespace| Place {
        location: location.to_owned(),
        namespace,
        within: within.to_owned(),
    }));
}

/// Where a location's repositories are, and their namespaces.
async fn look(context: &Context, location: &BackupStorageLocation) -> Result<(String, Vec<String>), String> {
    let resolved = context
        .locations
        .resolve(location)
        .await
        .map_err(|error| chain(&error))?;
    let namespaces = folders(&resolved, &resolved.location.repository_prefix("")).await?;
    let restic = folders(&resolved, &restic_prefix(&resolved)).await?;
    if !restic.is_empty() {
        return Err(not_kopia(&format!(
            "the bucket holds restic repositories ({}); each",
            restic.join(", ")
        )));
    }
    let read_only = location.spec.access_mode == Some(BackupStorageLocationAccessMode::ReadOnly);
    if read_only && !namespaces.is_empty() {
        return Err(format!(
            "it is read-only, and holds repositories ({}), which keep the old password: make it ReadWrite, or delete the location if this cluster needs it no more",
            namespaces.join(", ")
        ));
    }
    let bucket = &resolved.location;
    Ok((format!("{}/{}", bucket.bucket, bucket.prefix), namespaces))
}

/// Where Velero kept repositories of restic: `<prefix>/restic/<namespace>`.
fn restic_prefix(resolved: &ResolvedLocation) -> String {
    match resolved.location.prefix.as_str() {
        "" => "restic/".to_owned(),
        prefix => format!("{prefix}/restic/"),
    }
}

/// The folders directly below one.
async fn folders(resolved: &ResolvedLocation, root: &str) -> Result<Vec<String>, String> {
    let store = resolved.object_store().map_err(|error| chain(&error))?;
    let root = format!("{}/", root.trim_end_matches('/'));
    let found = store
        .list_common_prefixes(&root)
        .await
        .map_err(|error| chain(&error))?;
    let name = |folder: &String| {
        let name = folder.strip_prefix(&root)?.trim_end_matches('/');
        (!name.is_empty()).then(|| name.to_owned())
    };
    Ok(found.iter().filter_map(name).collect())
}

/// Where data is moved now, of our own data movers: others have no repository.
///
/// # Errors
/// The API server cannot be asked.
pub(super) async fn moving(
    context: &Context,
    seen: &Observed,
) -> Result<BTreeSet<(String, String)>, kube::Error> {
    let everything = ListParams::default();
    let mut moving = BTreeSet::new();
    let mut add = |location: &str, namespace: String| {
        if let Some(bucket) = seen.buckets.get(location) {
            moving.insert((bucket.clone(), namespace));
        }
    };
    for upload in context.list::<DataUpload>(&everything).await? {
        if !upload.phase().is_finished() && is_built_in(&upload.spec.datamover) {
            add(&upload.spec.backup_storage_location, upload.spec.source_namespace);
        }
    }
    for download in context.list::<DataDownload>(&everything).await? {
        if !download.phase().is_finished() && is_built_in(&download.spec.datamover) {
            add(
                &download.spec.backup_storage_location,
                download.spec.source_namespace,
            );
        }
    }
    Ok(moving)
}

fn is_built_in(data_mover: &str) -> bool {
    matches!(data_mover, "" | "velero")
}
