//! ServerStatusRequest: asks the server for its version and plug-ins.
//!
//! Mirrors Velero's `pkg/apis/velero/v1/server_status_request_types.go`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::phase::ServerStatusRequestPhase;

/// Nothing to say.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "ServerStatusRequest",
    plural = "serverstatusrequests",
    singular = "serverstatusrequest",
    shortname = "ssr",
    namespaced,
    status = "ServerStatusRequestStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default, remote = "ServerStatusRequestSpec")]
pub struct ServerStatusRequestSpec {}

crate::wire::absent_is_empty!(ServerStatusRequestSpec);

/// A plug-in of the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginInfo {
    /// What it is.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub kind: String,
    /// Its name.
    #[serde(deserialize_with = "crate::wire::null_is_default")]
    #[schemars(extend("x-required" = true))]
    pub name: String,
}

/// The server's answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerStatusRequestStatus {
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<ServerStatusRequestPhase>,
    /// Plug-ins the server knows.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-nullable" = true))]
    pub plugins: Vec<PluginInfo>,
    /// When it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-nullable" = true))]
    pub processed_timestamp: Option<Time>,
    /// The server's version.
    #[serde(
        deserialize_with = "crate::wire::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub server_version: String,
}

impl ServerStatusRequest {
    /// The phase; an object without one is new.
    pub fn phase(&self) -> ServerStatusRequestPhase {
        self.status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default()
    }
}
