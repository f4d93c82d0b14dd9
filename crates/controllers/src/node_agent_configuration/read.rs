//! JSON → [`Configuration`].
//!
//! A value that cannot be right is refused with its key, and costs only what hangs on it: `loadConcurrency` number by
//! number, rule by rule; `loadAffinity` and `backupPVC` entry by entry; every other key as a whole. In place of what is
//! refused holds what held before, at the start Velero's default. (Velero passes unknown keys over in silence.)

use std::collections::BTreeMap;

use caravel_exposer::settings::{BackupPvc, CachePvc, LoadAffinity, RestorePvc};
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::quantity;
use super::values::{Place, Refused, Taken};
use super::{Configuration, LoadConcurrency, PerNode};

/// What a label selector of Kubernetes knows.
const LABEL_OPERATORS: &[&str] = &["In", "NotIn", "Exists", "DoesNotExist"];
/// What the affinity of a pod knows besides.
const NODE_OPERATORS: &[&str] = &["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
/// All keys.
const KEYS: &[&str] = &[
    "loadConcurrency",
    "prepareQueueLength",
    "loadAffinity",
    "backupPVC",
    "restorePVC",
    "cachePVC",
    "podResources",
    "priorityClassName",
    "privilegedFsBackup",
    "podLabels",
    "podAnnotations",
];

/// A ConfigMap as it was understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    pub configuration: Configuration,
    /// Values that do not count, in the order of their keys.
    pub refused: Vec<Refused>,
    /// What is right and has no effect, one sentence each.
    pub remarks: Vec<String>,
}

/// The text is not what the node agent's ConfigMap holds.
#[derive(Debug, thiserror::Error)]
pub enum NotReadable {
    #[error("it is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a JSON object is expected, it is {0}")]
    NotAnObject(String),
}

/// Reads the ConfigMap's one value. `before` is what holds in place of values that are refused.
///
/// # Errors
/// [`NotReadable`], when there is nothing to read keys from.
pub fn read(text: &str, before: &Configuration) -> Result<Reading, NotReadable> {
    let value: Value = serde_json::from_str(text)?;
    let whole = Place::new("", &value);
    let Ok(entries) = whole.entries() else {
        return Err(NotReadable::NotAnObject(whole.refused("").value));
    };
    let mut reading = Reading::default();
    for (key, place) in entries {
        let place = Place::new(key, place.value);
        reading.section(key, &place, before);
    }
    Ok(reading)
}

/// Takes a section, or what held before.
macro_rules! take {
    ($reading:ident, $before:ident, $place:ident, $($field:ident).+, $read:expr) => {
        match $read {
            Ok(value) => $reading.configuration.$($field).+ = value,
            Err(refused) => {
                $reading.refused.push(refused);
                $reading.configuration.$($field).+ = $before.$($field).+.clone();
            }
        }
    };
}

impl Reading {
    fn section(&mut self, key: &str, place: &Place<'_>, before: &Configuration) {
        let reading = self;
        match key {
            "loadConcurrency" => reading.load_concurrency(place, &before.load_concurrency),
            // Velero's page "Node-agent Prepare Queue Length" shows it here, its code reads it inside loadConcurrency.
            "prepareQueueLength" => {
                let known = reading.configuration.load_concurrency.prepare_queue_length;
                match place.number() {
                    Ok(number) => {
                        reading.configuration.load_concurrency.prepare_queue_length = known.or(Some(number));
                    }
                    Err(refused) => reading.refused.push(refused),
                }
            }
            "loadAffinity" => {
                let read = reading.load_affinity(place);
                take!(reading, before, place, settings.load_affinity, read);
            }
            "backupPVC" => {
                let read = reading.backup_pvc(place, before);
                take!(reading, before, place, settings.backup_pvc, read);
            }
            "restorePVC" => {
                let read = reading.restore_pvc(place);
                take!(reading, before, place, settings.restore_pvc, read);
            }
            "cachePVC" => {
                let read = reading.cache_pvc(place);
                take!(reading, before, place, settings.cache_pvc, read.map(Some));
            }
            "podResources" => {
                let read = reading.pod_resources(place);
                take!(reading, before, place, settings.pod_resources, read);
            }
            "priorityClassName" => {
                take!(reading, before, place, settings.priority_class_name, place.text());
            }
            "privilegedFsBackup" => {
                take!(reading, before, place, privileged_fs_backup, place.boolean());
                reading.remarks.push(
                    "privilegedFsBackup is of file system backup, which this version does not have yet"
                        .into(),
                );
            }
            "podLabels" => take!(reading, before, place, settings.pod_labels, place.labels()),
            "podAnnotations" => take!(
                reading,
                before,
                place,
                settings.pod_annotations,
                place.annotations()
            ),
            _ => reading
                .refused
                .push(place.refused(format!("unknown key; known are {}", KEYS.join(", ")))),
        }
    }

    fn load_concurrency(&mut self, place: &Place<'_>, before: &LoadConcurrency) {
        let known = ["globalConfig", "perNodeConfig", "prepareQueueLength"];
        let fields = match place.fields(&known, &mut self.refused) {
            Ok(fields) => fields,
            Err(refused) => {
                self.refused.push(refused);
                self.configuration.load_concurrency = before.clone();
                return;
            }
        };
        let mut said = LoadConcurrency::default();
        if let Some(place) = fields.get("globalConfig") {
            said.global = self.or(place.number(), before.global);
        }
        if let Some(place) = fields.get("prepareQueueLength") {
            let before = before.prepare_queue_length;
            said.prepare_queue_length = self.or(place.number().map(Some), before);
        }
        if let Some(place) = fields.get("perNodeConfig") {
            match place.elements() {
                Ok(rules) => {
                    for rule in &rules {
                        match Self::per_node(rule) {
                            Ok(rule) => said.per_node.push(rule),
                            Err(refused) => self.refused.push(refused),
                        }
                    }
                }
                Err(refused) => {
                    self.refused.push(refused);
                    said.per_node.clone_from(&before.per_node);
                }
            }
        }
        let beside = self.configuration.load_concurrency.prepare_queue_length;
        said.prepare_queue_length = said.prepare_queue_length.or(beside);
        self.configuration.load_concurrency = said;
    }

    fn or<T>(&mut self, read: Taken<T>, before: T) -> T {
        read.unwrap_or_else(|refused| {
            self.refused.push(refused);
            before
        })
    }

    fn per_node(rule: &Place<'_>) -> Taken<PerNode> {
        let fields = rule.exactly(&["nodeSelector", "number"])?;
        let selector = fields
            .get("nodeSelector")
            .ok_or_else(|| rule.refused("nodeSelector is missing"))?;
        let number = fields
            .get("number")
            .ok_or_else(|| rule.refused("number is missing"))?;
        Ok(PerNode {
            node_selector: selector.selector(LABEL_OPERATORS)?,
            number: number.number()?,
        })
    }

    /// An entry that cannot be read must not become "anywhere": then the whole list is refused. Entries that nobody will
    /// ever look at are said.
    pub(crate) fn load_affinity(&mut self, place: &Place<'_>) -> Taken<Vec<LoadAffinity>> {
        let mut said: Vec<LoadAffinity> = Vec::new();
        for entry in place.elements()? {
            let fields = entry.exactly(&["nodeSelector", "storageClass"])?;
            let selector = fields
                .get("nodeSelector")
                .ok_or_else(|| entry.refused("nodeSelector is missing"))?;
            let storage_class = fields.get("storageClass").map(Place::text).transpose()?;
            let read = LoadAffinity {
                node_selector: selector.selector(NODE_OPERATORS)?,
                storage_class: storage_class.unwrap_or_default(),
            };
            if said.iter().any(|other| other.storage_class == read.storage_class) {
                let why = if read.storage_class.is_empty() {
                    "only the first entry without storageClass counts; write all conditions into that one"
                        .into()
                } else {
                    format!(
                        "only the first entry of storageClass {} counts",
                        read.storage_class
                    )
                };
                self.refused.push(entry.refused(why));
                continue;
            }
            said.push(read);
        }
        Ok(said)
    }

    fn backup_pvc(
        &mut self,
        place: &Place<'_>,
        before: &Configuration,
    ) -> Taken<BTreeMap<String, BackupPvc>> {
        let mut said = BTreeMap::new();
        for (class, entry) in place.entries()? {
            match self.backup_pvc_of(&entry) {
                Ok(entry) => drop(said.insert(class.to_owned(), entry)),
                Err(refused) => {
                    self.refused.push(refused);
                    if let Some(entry) = before.settings.backup_pvc.get(class) {
                        said.insert(class.to_owned(), entry.clone());
                    }
                }
            }
        }
        Ok(said)
    }

    fn backup_pvc_of(&mut self, entry: &Place<'_>) -> Taken<BackupPvc> {
        let known = [
            "storageClass",
            "readOnly",
            "spcNoRelabeling",
            "annotations",
            "secretNames",
            "configMapNames",
        ];
        let fields = entry.fields(&known, &mut self.refused)?;
        self.not_copied(&fields);
        let flag = |name| fields.get(name).map(Place::boolean).transpose();
        let read_only = flag("readOnly")?.unwrap_or(false);
        let spc_no_relabeling = flag("spcNoRelabeling")?.unwrap_or(false);
        if let (true, false, Some(place)) = (spc_no_relabeling, read_only, fields.get("spcNoRelabeling")) {
            self.refused
                .push(place.refused("it counts only together with readOnly: true"));
        }
        let storage_class = fields.get("storageClass").map(Place::text).transpose()?;
        let annotations = fields.get("annotations").map(Place::annotations).transpose()?;
        Ok(BackupPvc {
            storage_class: storage_class.unwrap_or_default(),
            read_only,
            spc_no_relabeling: spc_no_relabeling && read_only,
            annotations: annotations.unwrap_or_default(),
        })
    }

    fn not_copied(&mut self, fields: &BTreeMap<&str, Place<'_>>) {
        for place in ["secretNames", "configMapNames"]
            .iter()
            .filter_map(|name| fields.get(name))
        {
            self.refused.push(place.refused(
                "this version does not copy Secrets and ConfigMaps into Velero's namespace yet; put them there yourself",
            ));
        }
    }

    fn restore_pvc(&mut self, place: &Place<'_>) -> Taken<RestorePvc> {
        let known = ["ignoreDelayBinding", "secretNames", "configMapNames"];
        let fields = place.fields(&known, &mut self.refused)?;
        self.not_copied(&fields);
        let ignore = fields.get("ignoreDelayBinding").map(Place::boolean).transpose()?;
        Ok(RestorePvc {
            ignore_delay_binding: ignore.unwrap_or(false),
        })
    }

    /// The page calls the threshold `thresholdInGB`, the code `residentThresholdInMB`.
    fn cache_pvc(&mut self, place: &Place<'_>) -> Taken<CachePvc> {
        let known = ["storageClass", "residentThresholdInMB", "thresholdInGB"];
        let fields = place.fields(&known, &mut self.refused)?;
        let threshold = |name| fields.get(name).map(Place::megabytes).transpose();
        let in_gigabytes = threshold("thresholdInGB")?.map(|gigabytes| gigabytes.saturating_mul(1024));
        let storage_class = fields.get("storageClass").map(Place::text).transpose()?;
        let storage_class = storage_class
            .filter(|class| !class.is_empty())
            .ok_or_else(|| place.refused("storageClass is missing"))?;
        Ok(CachePvc {
            storage_class,
            resident_threshold_mb: threshold("residentThresholdInMB")?.or(in_gigabytes).unwrap_or(0),
        })
    }

    /// One wrong value and none of them counts, as Velero's page says.
    pub(crate) fn pod_resources(&mut self, place: &Place<'_>) -> Taken<Option<ResourceRequirements>> {
        const OF_POD: [(&str, &str, &str); 3] = [
            ("cpu", "cpuRequest", "cpuLimit"),
            ("memory", "memoryRequest", "memoryLimit"),
            (
                "ephemeral-storage",
                "ephemeralStorageRequest",
                "ephemeralStorageLimit",
            ),
        ];
        let known = OF_POD.map(|(_, request, limit)| [request, limit]).concat();
        let fields = place.fields(&known, &mut self.refused)?;
        let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
        for (resource, request, limit) in OF_POD {
            let request_value = self.quantity(fields.get(request), resource, &mut requests)?;
            let limit_value = self.quantity(fields.get(limit), resource, &mut limits)?;
            if let (Some(asked), Some(most), Some(place)) = (request_value, limit_value, fields.get(request))
                && asked > most
            {
                return Err(place.refused(format!("it is more than {limit}")));
            }
        }
        let all = ResourceRequirements {
            requests: (!requests.is_empty()).then_some(requests),
            limits: (!limits.is_empty()).then_some(limits),
            ..ResourceRequirements::default()
        };
        Ok((all != ResourceRequirements::default()).then_some(all))
    }

    /// Puts a quantity into the list of its kind; "0" and "" mean that there is none.
    fn quantity(
        &mut self,
        place: Option<&Place<'_>>,
        resource: &str,
        into: &mut BTreeMap<String, Quantity>,
    ) -> Taken<Option<f64>> {
        let Some(place) = place else { return Ok(None) };
        let text = place.text()?;
        if text.is_empty() {
            return Ok(None);
        }
        let value = quantity::value(&text).filter(|value| *value >= 0.0);
        let value = value.ok_or_else(|| place.refused("a quantity such as 500m or 1Gi is expected"))?;
        if value == 0.0 {
            return Ok(None);
        }
        into.insert(resource.to_owned(), Quantity(text));
        Ok(Some(value))
    }
}
