//! DownloadRequest: asks the server for a signed URL of a file in the bucket.
//!
//! Mirrors Velero's `pkg/apis/velero/v1/download_request_types.go`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::phase::{DownloadRequestPhase, DownloadTargetKind};

/// Which file of the bucket is wanted.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "DownloadRequest",
    plural = "downloadrequests",
    singular = "downloadrequest",
    namespaced,
    status = "DownloadRequestStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default, remote = "DownloadRequestSpec")]
pub struct DownloadRequestSpec {
    /// What is to be downloaded.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub target: DownloadTarget,
}

crate::wire::absent_is_empty!(DownloadRequestSpec);

/// A file of a Backup or Restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DownloadTarget {
    /// What it is.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub kind: DownloadTargetKind,
    /// Its name.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub name: String,
}

/// Where the file can be fetched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DownloadRequestStatus {
    /// The signed URL; a secret for as long as it lives.
    #[serde(
        rename = "downloadURL",
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub download_url: String,
    /// When it may be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub expiration: Option<Time>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<DownloadRequestPhase>,
}

impl DownloadRequest {
    /// The phase; an object without one is new.
    pub fn phase(&self) -> DownloadRequestPhase {
        self.status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default()
    }
}
