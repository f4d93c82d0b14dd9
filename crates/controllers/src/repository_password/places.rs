//! Which repositories there are, of all locations: by the folders in each bucket, and by the BackupRepositories. A cluster
//! that was lost has left folders of namespaces that this one never had.

use std::collections::{BTreeMap, BTreeSet};

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
    let mut within = BTreeMap::new();
    for location in context.list::<BackupStorageLocation>(&everything).await? {
        let name = location.name_any();
        match look(context, &location).await {
            Ok((bucket, namespaces)) => {
                add(&mut found.places, &name, &bucket, namespaces);
                within.insert(name, bucket);
            }
            Err(why) => found.obstacles.push(format!("location {name}: {why}")),
        }
    }
    for repository in context.list::<BackupRepository>(&everything).await? {
        let spec = &repository.spec;
        if matches!(
            spec.repository_type,
            Some(UploaderType::Restic | UploaderType::Other(_))
        ) {
            continue;
        }
        match within.get(&spec.backup_storage_location) {
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
    found.moving = moving(context).await?;
    Ok(found)
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
    let namespaces = folders(&resolved).await?;
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

async fn folders(resolved: &ResolvedLocation) -> Result<Vec<String>, String> {
    let store = resolved.object_store().map_err(|error| chain(&error))?;
    let root = resolved.location.repository_prefix("");
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

/// Of our own data movers: others have no repository.
async fn moving(context: &Context) -> Result<BTreeSet<(String, String)>, kube::Error> {
    let everything = ListParams::default();
    let mut moving = BTreeSet::new();
    for upload in context.list::<DataUpload>(&everything).await? {
        if !upload.phase().is_finished() && is_built_in(&upload.spec.datamover) {
            let spec = upload.spec;
            moving.insert((spec.backup_storage_location, spec.source_namespace));
        }
    }
    for download in context.list::<DataDownload>(&everything).await? {
        if !download.phase().is_finished() && is_built_in(&download.spec.datamover) {
            let spec = download.spec;
            moving.insert((spec.backup_storage_location, spec.source_namespace));
        }
    }
    Ok(moving)
}

fn is_built_in(data_mover: &str) -> bool {
    matches!(data_mover, "" | "velero")
}
