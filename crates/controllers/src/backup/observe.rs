//! Everything a backup needs to know before it starts, read once.

use std::collections::BTreeSet;

use caravel_api::labels;
use caravel_api::v1::{Backup, BackupStorageLocation, VolumeSnapshotLocation};
use caravel_backup::collect::Selection;
use caravel_backup::discovery::Resources;
use caravel_backup::filter::{NamespaceFilter, NamespaceNotes, spec_errors};
use caravel_backup::log::BackupLog;
use caravel_backup::{cluster, preflight};
use kube::api::{Api, ListParams};
use kube::core::ApiResource;
use serde_json::Value;

use super::Settings;
use super::decide::{Observed, location_name};
use super::defaults::{self, ClusterVersion};
use crate::context::Context;
use crate::reconcile::Error;

/// What was read: for the decision, and for the run.
pub(super) struct Seen {
    pub(super) observed: Observed,
    pub(super) discovered: Resources,
    pub(super) namespaces: Vec<Value>,
    /// None when the spec's filters are wrong.
    pub(super) selection: Option<(Selection, NamespaceNotes)>,
}

pub(super) async fn observe(context: &Context, settings: &Settings, backup: &Backup) -> Result<Seen, Error> {
    let list = ListParams::default();
    let mut namespaces = Vec::new();
    let namespace_resource = ApiResource::erase::<k8s_openapi::api::core::v1::Namespace>(&());
    let (discovered, locations, version, ()) = tokio::try_join!(
        Resources::discover(&context.client),
        context.list::<BackupStorageLocation>(&list),
        context.client.apiserver_version(),
        cluster::list(
            &context.client,
            &namespace_resource,
            "",
            None,
            settings.page_size,
            |item| namespaces.push(item)
        ),
    )?;
    let name = location_name(backup, &locations, &settings.default_location);
    let location = locations
        .into_iter()
        .find(|location| location.metadata.name.as_deref() == Some(&name));
    let version = ClusterVersion {
        git_version: version.git_version,
        major: version.major,
        minor: version.minor,
    };
    let backup = defaults::apply(
        backup,
        &settings.defaults,
        &name,
        &excluded(&namespaces),
        &version,
    );
    let mut observed = Observed {
        missing_snapshot_locations: missing_snapshot_locations(context, &backup).await?,
        backup,
        location,
        volume_errors: Vec::new(),
    };
    let selection = selection(&mut observed, &discovered, &namespaces);
    if let Some((selection, _)) = &selection {
        let scratch = tempfile::NamedTempFile::new_in(&settings.scratch)?;
        // Not the backup's log: what is listed here is listed again, and counted, when the backup runs.
        let log = BackupLog::create(scratch.path(), super::display_name(&observed.backup))?;
        let spec = &observed.backup.spec;
        let client = &context.client;
        let errors =
            preflight::validation_errors(client, &discovered, selection, spec, settings.enable_csi, &log)
                .await?;
        observed.volume_errors.extend(errors);
    }
    Ok(Seen {
        observed,
        discovered,
        namespaces,
        selection,
    })
}

fn selection(
    observed: &mut Observed,
    discovered: &Resources,
    namespaces: &[Value],
) -> Option<(Selection, NamespaceNotes)> {
    let spec = &observed.backup.spec;
    if !spec_errors(spec).is_empty() {
        return None;
    }
    let existing: BTreeSet<String> = namespaces
        .iter()
        .map(|object| cluster::name(object).to_owned())
        .collect();
    let (filter, notes) =
        NamespaceFilter::new(&spec.included_namespaces, &spec.excluded_namespaces, &existing);
    match Selection::new(spec, filter, discovered) {
        Ok(selection) => Some((selection, notes)),
        Err(error) => {
            observed.volume_errors.push(error.to_string());
            None
        }
    }
}

/// Namespaces that ask to be left out of every backup.
fn excluded(namespaces: &[Value]) -> Vec<String> {
    let asks = |object: &&Value| {
        cluster::metadata_entry(object, "labels", labels::EXCLUDE_FROM_BACKUP) == Some("true")
    };
    namespaces
        .iter()
        .filter(asks)
        .map(|object| cluster::name(object).to_owned())
        .collect()
}

async fn missing_snapshot_locations(context: &Context, backup: &Backup) -> Result<Vec<String>, kube::Error> {
    let api: Api<VolumeSnapshotLocation> = context.api();
    let mut missing = Vec::new();
    if backup.spec.snapshot_volumes == Some(false) {
        return Ok(missing);
    }
    for name in &backup.spec.volume_snapshot_locations {
        if api.get_opt(name).await?.is_none() {
            missing.push(name.clone());
        }
    }
    Ok(missing)
}
