//! Which VolumeSnapshotLocations a Backup uses: one of each provider (velero-behaviour.md 3.2; upstream
//! `validateAndGetSnapshotLocations`). Pure.

use std::collections::BTreeMap;

use caravel_api::v1::VolumeSnapshotLocation;
use kube::ResourceExt;

/// The names to write into `spec.volumeSnapshotLocations`, by provider: those that are `named`; of a provider that none
/// is named of the only one, else the server's default.
///
/// # Errors
/// All that is wrong, as validation errors.
pub fn choose(
    named: &[String],
    all: &[VolumeSnapshotLocation],
    defaults: &BTreeMap<String, String>,
) -> Result<Vec<String>, Vec<String>> {
    let mut chosen: BTreeMap<&str, String> = BTreeMap::new();
    let mut errors = Vec::new();
    for name in named {
        let Some(location) = all.iter().find(|location| location.name_any() == *name) else {
            errors.push(format!("a VolumeSnapshotLocation CRD for the location {name} with the name specified in the backup spec needs to be created before this snapshot can be executed. Error: volumesnapshotlocations.velero.io {name:?} not found"));
            continue;
        };
        let provider = &*location.spec.provider;
        match chosen.get(provider) {
            Some(other) if other != name => errors.push(format!(
                "more than one VolumeSnapshotLocation name specified for provider {provider}: {name}; unexpected name was {other}"
            )),
            _ => drop(chosen.insert(provider, name.clone())),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    for (provider, names) in by_provider(all) {
        if chosen.contains_key(provider) {
            continue;
        }
        match (&names[..], defaults.get(provider)) {
            ([only], _) => drop(chosen.insert(provider, only.clone())),
            (_, Some(default)) if names.contains(default) => drop(chosen.insert(provider, default.clone())),
            (_, Some(default)) => errors.push(format!(
                "error getting volume snapshot location named {default}: it does not exist; correct the server's --default-volume-snapshot-locations"
            )),
            (_, None) => errors.push(format!(
                "provider {provider} has more than one possible volume snapshot location, and none were specified explicitly or as a default"
            )),
        }
    }
    if errors.is_empty() {
        Ok(chosen.into_values().collect())
    } else {
        Err(errors)
    }
}

fn by_provider(all: &[VolumeSnapshotLocation]) -> BTreeMap<&str, Vec<String>> {
    let mut locations: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for location in all {
        let names = locations.entry(&*location.spec.provider).or_default();
        names.push(location.name_any());
    }
    locations
}
