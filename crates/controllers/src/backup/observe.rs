//! Everything a backup needs to know before it starts, read once.

use std::collections::BTreeSet;
use std::sync::Arc;

use caravel_api::labels;
use caravel_api::v1::{Backup, BackupStorageLocation, VolumeSnapshotLocation};
use caravel_backup::collect::Selection;
use caravel_backup::discovery::Resources;
use caravel_backup::filter::{NamespaceFilter, NamespaceNotes, spec_errors};
use caravel_backup::log::BackupLog;
use caravel_backup::resource_policies::{self, Found, Policies};
use caravel_backup::volumes::Rules;
use caravel_backup::{cluster, preflight};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::core::ApiResource;
use serde_json::Value;

use super::Settings;
use super::decide::{Observed, location_name};
use super::defaults::{self, ClusterVersion};
use super::snapshot_locations;
use crate::context::Context;
use crate::reconcile::{Error, chain};

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
    let mut backup = defaults::apply(
        backup,
        &settings.defaults,
        &name,
        &excluded(&namespaces),
        &version,
    );
    let policies = policies_of(context, settings, &backup).await?;
    let snapshot_locations = snapshot_locations::choose(
        &backup.spec.volume_snapshot_locations,
        &context.list::<VolumeSnapshotLocation>(&list).await?,
        &settings.defaults.snapshot_locations,
    );
    let snapshot_location_errors = match snapshot_locations {
        Ok(chosen) => {
            backup.spec.volume_snapshot_locations = chosen;
            Vec::new()
        }
        Err(errors) => errors,
    };
    let mut observed = Observed {
        policies,
        snapshot_location_errors,
        backup,
        location,
        volume_errors: Vec::new(),
    };
    let selection = selection(&mut observed, &discovered, &namespaces);
    if let Some((selection, _)) = &selection {
        let scratch = tempfile::NamedTempFile::new_in(&settings.scratch)?;
        // Not the backup's log: what is listed here is listed again, and counted, when the backup runs.
        let log = BackupLog::create(scratch.path(), super::display_name(&observed.backup))?;
        let rules = Rules {
            spec: &observed.backup.spec,
            enable_csi: settings.enable_csi,
            policies: observed
                .policies
                .as_ref()
                .ok()
                .and_then(|policies| policies.as_deref()),
        };
        let client = &context.client;
        let errors = preflight::validation_errors(client, &discovered, selection, rules, &log).await?;
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
    // Broken patterns are among the errors above.
    let (filter, notes) =
        NamespaceFilter::new(&spec.included_namespaces, &spec.excluded_namespaces, &existing).ok()?;
    // Without the policies it is not known what is selected; the decision says what is wrong with them.
    let policies = observed.policies.as_ref().ok()?;
    match Selection::new(spec, filter, discovered, policies.as_deref()) {
        Ok(selection) => Some((selection, notes)),
        Err(error) => {
            observed.volume_errors.push(error.to_string());
            None
        }
    }
}

/// The resource policies that the Backup and the server name. The inner error is the user's; an API server that is away
/// is not.
async fn policies_of(
    context: &Context,
    settings: &Settings,
    backup: &Backup,
) -> Result<Result<Option<Arc<Policies>>, String>, kube::Error> {
    let own = match backup
        .spec
        .resource_policy
        .as_ref()
        .map(resource_policies::referenced)
    {
        Some(Err(error)) => return Ok(Err(chain(&error))),
        Some(Ok(name)) => Some(config_map(context, name).await?),
        None => None,
    };
    let global = match &settings.defaults.global_volume_policies {
        Some(name) => Some(config_map(context, name).await?),
        None => None,
    };
    let policies = resource_policies::for_backup(own.as_ref(), global.as_ref());
    Ok(policies
        .map(|policies| policies.map(Arc::new))
        .map_err(|error| chain(&error)))
}

async fn config_map(context: &Context, name: &str) -> Result<Found, kube::Error> {
    Ok(Found {
        name: format!("{}/{name}", context.namespace),
        map: context.api::<ConfigMap>().get_opt(name).await?,
    })
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
