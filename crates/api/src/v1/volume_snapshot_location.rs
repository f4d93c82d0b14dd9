//! VolumeSnapshotLocation: a provider of native snapshots.
//!
//! Mirrors Velero's `pkg/apis/velero/v1/volume_snapshot_location_type.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::SecretKeySelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::phase::VolumeSnapshotLocationPhase;
use crate::schema;

/// Where native snapshots are taken.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "VolumeSnapshotLocation",
    plural = "volumesnapshotlocations",
    singular = "volumesnapshotlocation",
    shortname = "vsl",
    namespaced,
    status = "VolumeSnapshotLocationStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default, remote = "VolumeSnapshotLocationSpec")]
pub struct VolumeSnapshotLocationSpec {
    /// The provider's settings, such as `region` and `s3Url`.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub config: BTreeMap<String, String>,
    /// Key of a Secret with this location's own credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::secret_key_selector")]
    pub credential: Option<SecretKeySelector>,
    /// Provider, such as `aws`.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub provider: String,
}

crate::wire::absent_is_empty!(VolumeSnapshotLocationSpec);

/// Written by nobody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotLocationStatus {
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<VolumeSnapshotLocationPhase>,
}
