//! `--repo-maintenance-job-configmap`: what an administrator says about maintenance Jobs.
//!
//! Key `global` holds for all repositories, `<namespace>-<location>-<type>` for one. `podResources`, `loadAffinity` and
//! `keepLatestMaintenanceJobs` of the one come before the global ones; `priorityClassName`, `podLabels` and
//! `podAnnotations` are only read from `global`. A value that cannot be right is refused with its key and costs only
//! itself (decision 0010), where Velero goes back to its defaults as a whole. The ConfigMap is read for each Job anew.
//! Source: Velero v1.18.3 `pkg/types/repo_maintenance.go`, `getJobConfig` in `pkg/repository/maintenance/maintenance.go`.

use std::collections::BTreeMap;

use caravel_exposer::settings::LoadAffinity;
use k8s_openapi::api::core::v1::ResourceRequirements;
use serde_json::Value;

use crate::node_agent_configuration::{Place, Reading, Refused, is_label_value, is_qualified_name};

/// The key that holds for all repositories.
const GLOBAL: &str = "global";
/// `keepLatestMaintenanceJobs` where nobody says it: Velero's.
pub(super) const KEPT: usize = 3;
/// All keys.
const KNOWN: &[&str] = &[
    "loadAffinity",
    "podResources",
    "keepLatestMaintenanceJobs",
    "priorityClassName",
    "podAnnotations",
    "podLabels",
];
/// Those that are of `global` alone.
const ONLY_GLOBAL: &[&str] = &["priorityClassName", "podAnnotations", "podLabels"];
/// Longest text that is repeated in a message, in characters.
const LONGEST: usize = 60;

/// What is said about the Jobs of one repository.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct JobConfiguration {
    /// `loadAffinity`, its first entry: where the pod may run.
    pub load_affinity: Option<LoadAffinity>,
    /// `podResources`; none: the pod is BestEffort.
    pub pod_resources: Option<ResourceRequirements>,
    /// `keepLatestMaintenanceJobs`.
    pub keep: Option<usize>,
    /// `priorityClassName`; empty: the cluster's default.
    pub priority_class_name: String,
    /// `podLabels`: in place of those that are inherited for clouds.
    pub pod_labels: BTreeMap<String, String>,
    /// `podAnnotations`: likewise.
    pub pod_annotations: BTreeMap<String, String>,
}

/// A ConfigMap's data, as far as it concerns the repository with this key; and every value that does not count.
pub(super) fn read(data: &BTreeMap<String, String>, key: &str) -> (JobConfiguration, Vec<Refused>) {
    let mut refused = Vec::new();
    let mut of_one = section(data, key, &mut refused);
    let global = section(data, GLOBAL, &mut refused);
    of_one.load_affinity = of_one.load_affinity.or(global.load_affinity);
    of_one.pod_resources = of_one.pod_resources.or(global.pod_resources);
    of_one.keep = of_one.keep.or(global.keep);
    of_one.priority_class_name = global.priority_class_name;
    of_one.pod_labels = global.pod_labels;
    of_one.pod_annotations = global.pod_annotations;
    (of_one, refused)
}

fn section(data: &BTreeMap<String, String>, key: &str, refused: &mut Vec<Refused>) -> JobConfiguration {
    let mut said = JobConfiguration::default();
    let Some(text) = data.get(key) else {
        return said;
    };
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            refused.push(Refused {
                key: key.to_owned(),
                value: text.chars().take(LONGEST).collect(),
                why: format!("it is not JSON: {error}"),
            });
            return said;
        }
    };
    let fields = match Place::new(key, &value).fields(KNOWN, refused) {
        Ok(fields) => fields,
        Err(why) => {
            refused.push(why);
            return said;
        }
    };
    for (name, place) in &fields {
        if key != GLOBAL && ONLY_GLOBAL.contains(name) {
            refused.push(place.refused("it counts only under the key global"));
        } else if let Err(why) = take(&mut said, name, place, refused) {
            refused.push(why);
        }
    }
    said
}

fn take(
    said: &mut JobConfiguration,
    name: &str,
    place: &Place<'_>,
    refused: &mut Vec<Refused>,
) -> Result<(), Refused> {
    let mut reading = Reading::default();
    match name {
        "loadAffinity" => {
            let all = reading.load_affinity(place)?;
            said.load_affinity = all.into_iter().next();
        }
        "podResources" => said.pod_resources = reading.pod_resources(place)?,
        "keepLatestMaintenanceJobs" => {
            said.keep = usize::try_from(place.megabytes()?).ok();
        }
        "priorityClassName" => said.priority_class_name = place.text()?,
        "podLabels" => {
            let right = |key: &str, value: &str| is_qualified_name(key) && is_label_value(value);
            said.pod_labels = entries(place, refused, right)?;
        }
        _ => said.pod_annotations = entries(place, refused, |key, _| is_qualified_name(key))?,
    }
    refused.append(&mut reading.refused);
    Ok(())
}

/// Labels or annotations that the API server will take; the others are refused one by one.
fn entries(
    place: &Place<'_>,
    refused: &mut Vec<Refused>,
    is_right: impl Fn(&str, &str) -> bool,
) -> Result<BTreeMap<String, String>, Refused> {
    let (right, wrong): (BTreeMap<_, _>, BTreeMap<_, _>) = place
        .texts()?
        .into_iter()
        .partition(|(key, value)| is_right(key, value));
    for (key, value) in wrong {
        refused.push(Refused {
            key: format!("{}.{key}", place.key),
            value: value.chars().take(LONGEST).collect(),
            why: "the API server takes no such label or annotation".to_owned(),
        });
    }
    Ok(right)
}
