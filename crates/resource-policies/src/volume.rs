//! What a policy's conditions look at: a PV, else the volume of a pod, with the PVC between them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::document::{CsiCondition, NfsCondition};
use crate::text;

/// A volume as the API shows it. The PV counts before the pod's volume.
#[derive(Clone, Copy, Debug, Default)]
pub struct Volume<'a> {
    pub persistent_volume: Option<&'a Value>,
    pub pod_volume: Option<&'a Value>,
    pub claim: Option<&'a Value>,
}

/// What is known of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeFacts {
    /// In thousand-millionths of a byte (`capacity.rs`).
    pub capacity: i128,
    pub storage_class: String,
    pub nfs: Option<NfsCondition>,
    pub csi: Option<CsiCondition>,
    /// The word of `volumeTypes`; empty when it is of no known type.
    pub volume_type: String,
    pub pvc_labels: BTreeMap<String, String>,
    pub pvc_phase: String,
    pub pvc_volume_mode: String,
    pub pvc_access_modes: Vec<String>,
}

impl Volume<'_> {
    /// `None` when there is nothing to look at.
    pub fn facts(self) -> Option<VolumeFacts> {
        let mut facts = match (self.persistent_volume, self.pod_volume) {
            (Some(volume), _) => of_persistent_volume(volume),
            (None, Some(volume)) => of_pod_volume(volume),
            (None, None) => {
                self.claim?;
                VolumeFacts::default()
            }
        };
        if let Some(claim) = self.claim {
            facts.add_claim(claim);
        }
        Some(facts)
    }
}

impl VolumeFacts {
    fn add_claim(&mut self, claim: &Value) {
        self.pvc_labels = texts(claim.pointer("/metadata/labels"));
        self.pvc_phase = text(claim, "/status/phase").to_owned();
        self.pvc_volume_mode = text(claim, "/spec/volumeMode").to_owned();
        let modes = claim.pointer("/spec/accessModes").and_then(Value::as_array);
        self.pvc_access_modes = modes
            .into_iter()
            .flatten()
            .filter_map(|mode| mode.as_str().map(str::to_owned))
            .collect();
    }
}

fn texts(map: Option<&Value>) -> BTreeMap<String, String> {
    let map = map.and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn of_persistent_volume(volume: &Value) -> VolumeFacts {
    let spec = &volume["spec"];
    VolumeFacts {
        capacity: super::capacity::quantity(text(spec, "/capacity/storage")).unwrap_or_default(),
        storage_class: text(spec, "/storageClassName").to_owned(),
        nfs: nfs(spec),
        csi: csi(spec),
        volume_type: type_of(spec, PERSISTENT),
        ..VolumeFacts::default()
    }
}

fn of_pod_volume(volume: &Value) -> VolumeFacts {
    VolumeFacts {
        nfs: nfs(volume),
        csi: csi(volume),
        volume_type: type_of(volume, OF_POD),
        ..VolumeFacts::default()
    }
}

fn nfs(spec: &Value) -> Option<NfsCondition> {
    let nfs = spec.get("nfs").filter(|nfs| !nfs.is_null())?;
    Some(NfsCondition {
        server: text(nfs, "/server").to_owned(),
        path: text(nfs, "/path").to_owned(),
    })
}

fn csi(spec: &Value) -> Option<CsiCondition> {
    let csi = spec.get("csi").filter(|csi| !csi.is_null())?;
    Some(CsiCondition {
        driver: text(csi, "/driver").to_owned(),
        volume_attributes: texts(csi.get("volumeAttributes")),
    })
}

/// The first source that is set. The word is the field's name, `storageos` apart.
fn type_of(spec: &Value, sources: &[&str]) -> String {
    let set = |source: &&&str| spec.get(**source).is_some_and(|value| !value.is_null());
    match sources.iter().find(set) {
        Some(&"storageos") => "storageOS".to_owned(),
        Some(source) => (*source).to_owned(),
        None => String::new(),
    }
}

/// In the order in which upstream looks (`volume_types_conditions.go`).
const PERSISTENT: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flocker",
    "flexVolume",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

const OF_POD: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flocker",
    "flexVolume",
    "gcePersistentDisk",
    "gitRepo",
    "glusterfs",
    "iscsi",
    "nfs",
    "secret",
    "rbd",
    "downwardAPI",
    "configMap",
    "projected",
    "ephemeral",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "scaleIO",
    "storageos",
    "vsphereVolume",
    "hostPath",
    "emptyDir",
];
