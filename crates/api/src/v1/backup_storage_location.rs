//! BackupStorageLocation: a bucket for backups.
//!
//! Mirrors Velero's `pkg/apis/velero/v1/backupstoragelocation_types.go`.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::SecretKeySelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::phase::{BackupStorageLocationAccessMode, BackupStorageLocationPhase};
use crate::schema;

/// Where backups are stored, and how it is reached.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "BackupStorageLocation",
    plural = "backupstoragelocations",
    singular = "backupstoragelocation",
    shortname = "bsl",
    namespaced,
    status = "BackupStorageLocationStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name": "Phase", "type": "string", "jsonPath": ".status.phase"}"#,
    printcolumn = r#"{"name": "Last Validated", "type": "date", "jsonPath": ".status.lastValidationTime"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Default", "type": "boolean", "jsonPath": ".spec.default"}"#
)]
#[serde(rename_all = "camelCase", default, remote = "BackupStorageLocationSpec")]
pub struct BackupStorageLocationSpec {
    /// Whether backups may be written to it; nothing means ReadWrite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<BackupStorageLocationAccessMode>,
    /// How often the bucket is looked at for backups that the cluster does not know; 0 never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub backup_sync_period: Option<Duration>,
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
    /// True for the location of backups that name none.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "crate::wire::is_default"
    )]
    pub default: bool,
    /// Where in the object store.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub object_storage: ObjectStorageLocation,
    /// Provider, such as `aws`.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub provider: String,
    /// How often the bucket is checked; 0 never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub validation_frequency: Option<Duration>,
}

crate::wire::absent_is_empty!(BackupStorageLocationSpec);

/// A bucket and a path in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectStorageLocation {
    /// Name of the bucket.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub bucket: String,
    /// PEM certificates to trust when talking to the store; excludes `caCertRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bytes")]
    pub ca_cert: Option<ByteString>,
    /// Key of a Secret with such certificates; excludes `caCert`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::secret_key_selector")]
    pub ca_cert_ref: Option<SecretKeySelector>,
    /// Path within the bucket.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub prefix: String,
}

/// Whether the location can be used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStorageLocationStatus {
    /// Whether backups may be written to it; nothing means ReadWrite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<BackupStorageLocationAccessMode>,
    /// Not used any more.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub last_synced_revision: String,
    /// When the bucket was last looked at for unknown backups.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub last_synced_time: Option<Time>,
    /// When the bucket was last checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub last_validation_time: Option<Time>,
    /// Why it is so, for people.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub message: String,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupStorageLocationPhase>,
}
