//! The `server-status-request` controller: answers `velero version` and `velero plugin get`.
//!
//! Mirrors Velero's `pkg/controller/server_status_request_controller.go`.

pub mod decide;

use std::sync::Arc;

use async_trait::async_trait;
use caravel_api::phase::ServerStatusRequestPhase;
use caravel_api::v1::{PluginInfo, ServerStatusRequest};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::decide::{Decision, LIFETIME, decide};
use crate::context::Context;
use crate::reconcile::{Error, Key, Next, Reconciler, Source, run};

/// What the server says of itself.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `v0.1.0`.
    pub server_version: String,
    /// Whether CSI snapshots are on; without it their actions are not there.
    pub enable_csi: bool,
}

/// Starts the controller.
pub fn spawn(context: Context, settings: Settings, shutdown: CancellationToken) -> JoinHandle<()> {
    let source = Source::own(&context, |request: &ServerStatusRequest| vec![Key::of(request)]);
    let plugins = plugins(&context, settings.enable_csi);
    let controller = ServerStatusRequests {
        context,
        server_version: settings.server_version,
        plugins,
    };
    tokio::spawn(run(controller, vec![source], 1, shutdown))
}

/// What is built in, under the names and kinds of Velero's plug-ins, sorted as Velero sorts them.
fn plugins(context: &Context, enable_csi: bool) -> Vec<PluginInfo> {
    let mut plugins = vec![
        plugin("ObjectStore", "velero.io/aws"),
        plugin("ObjectStore", "velero.io/azure"),
        plugin("ObjectStore", "velero.io/gcp"),
    ];
    for action in
        caravel_backup::item_actions::built_in(&context.client, &context.namespace, enable_csi, None)
    {
        plugins.push(plugin(
            version_of("BackupItemAction", action.name()),
            action.name(),
        ));
    }
    for action in
        caravel_restore::item_actions::built_in(&context.client, &Arc::default(), &context.namespace)
    {
        plugins.push(plugin(
            version_of("RestoreItemAction", action.name()),
            action.name(),
        ));
    }
    plugins.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
    plugins
}

fn plugin(kind: impl Into<String>, name: &str) -> PluginInfo {
    PluginInfo {
        kind: kind.into(),
        name: name.to_owned(),
    }
}

/// Velero's actions for CSI run asynchronous operations, which came with version 2 of the interface.
fn version_of(kind: &str, name: &str) -> String {
    let version = if name.starts_with("velero.io/csi-") {
        "V2"
    } else {
        ""
    };
    format!("{kind}{version}")
}

struct ServerStatusRequests {
    context: Context,
    server_version: String,
    plugins: Vec<PluginInfo>,
}

#[async_trait]
impl Reconciler for ServerStatusRequests {
    fn name(&self) -> &'static str {
        "server-status-request"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let api: Api<ServerStatusRequest> = self.context.api();
        let Some(request) = api.get_opt(&key.name).await? else {
            return Ok(Next::Done);
        };
        let processed = request
            .status
            .as_ref()
            .and_then(|status| status.processed_timestamp.as_ref())
            .map(|time| time.0);
        match decide(&request.phase(), processed, self.context.clock.now()) {
            Decision::Leave => Ok(Next::Done),
            Decision::Keep(left) => Ok(Next::After(left)),
            Decision::Answer => {
                self.answer(&api, &request).await?;
                Ok(Next::After(LIFETIME))
            }
            Decision::Delete => delete(&api, &request).await,
        }
    }
}

impl ServerStatusRequests {
    /// The one place that writes the status.
    async fn answer(
        &self,
        api: &Api<ServerStatusRequest>,
        request: &ServerStatusRequest,
    ) -> Result<(), Error> {
        let patch = json!({
            "metadata": { "resourceVersion": request.resource_version() },
            "status": {
                "phase": ServerStatusRequestPhase::Processed,
                "serverVersion": self.server_version,
                "plugins": self.plugins,
                "processedTimestamp": self.context.now(),
            },
        });
        api.patch(
            &request.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await?;
        Ok(())
    }
}

async fn delete(api: &Api<ServerStatusRequest>, request: &ServerStatusRequest) -> Result<Next, Error> {
    let same = Preconditions {
        uid: request.uid(),
        resource_version: None,
    };
    let parameters = DeleteParams {
        preconditions: Some(same),
        ..DeleteParams::default()
    };
    match api.delete(&request.name_any(), &parameters).await {
        Ok(_) => Ok(Next::Done),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Next::Done),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use caravel_api::v1::ServerStatusRequestStatus;
    use kube::Client;
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::Value;

    /// Method and body of each write, in order.
    type Sent = Arc<Mutex<Vec<(String, Value)>>>;

    /// A controller above an API server that holds one request; what is sent to change it is noted.
    fn controller(status: ServerStatusRequestStatus) -> (ServerStatusRequests, Sent) {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&sent);
        let object = json!({"apiVersion": "velero.io/v1", "kind": "ServerStatusRequest", "status": status,
            "metadata": {"name": "velero-cli-x", "namespace": "velero", "uid": "u", "resourceVersion": "7"}});
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (object, noted) = (object.clone(), Arc::clone(&noted));
            async move {
                let (parts, body) = request.into_parts();
                if parts.method != http::Method::GET {
                    let body = serde_json::from_slice(&body.collect_bytes().await?)?;
                    noted.lock().push((parts.method.to_string(), body));
                }
                let body = Body::from(object.to_string().into_bytes());
                Ok::<_, Error>(http::Response::new(body))
            }
        });
        let context = Context::new(Client::new(service, "velero"), "velero", Default::default());
        let controller = ServerStatusRequests {
            plugins: plugins(&context, true),
            context,
            server_version: "v1.2.3".to_owned(),
        };
        (controller, sent)
    }

    #[tokio::test]
    async fn a_new_request_is_answered_with_version_and_plug_ins() {
        let (controller, sent) = controller(ServerStatusRequestStatus::default());
        let next = controller
            .reconcile(&Key::new("velero", "velero-cli-x"))
            .await
            .expect("answered");
        assert_eq!(next, Next::After(LIFETIME));
        let sent = sent.lock();
        let [(method, patch)] = sent.as_slice() else {
            panic!("{sent:?}")
        };
        assert_eq!(method, "PATCH");
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let status = &patch["status"];
        assert_eq!(status["phase"], "Processed");
        assert_eq!(status["serverVersion"], "v1.2.3");
        let plugins = status["plugins"].as_array().expect("a list");
        for known in [
            json!({"name": "velero.io/aws", "kind": "ObjectStore"}),
            json!({"name": "velero.io/gcp", "kind": "ObjectStore"}),
            json!({"name": "velero.io/csi-pvc-backupper", "kind": "BackupItemActionV2"}),
            json!({"name": "velero.io/dataupload", "kind": "RestoreItemAction"}),
        ] {
            assert!(plugins.contains(&known), "{known} is not in {plugins:?}");
        }
    }

    #[tokio::test]
    async fn an_old_answer_is_deleted_if_it_is_still_the_same_request() {
        let status = ServerStatusRequestStatus {
            phase: Some(ServerStatusRequestPhase::Processed),
            processed_timestamp: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                jiff::Timestamp::UNIX_EPOCH,
            )),
            ..Default::default()
        };
        let (controller, sent) = controller(status);
        let next = controller
            .reconcile(&Key::new("velero", "velero-cli-x"))
            .await
            .expect("deleted");
        assert_eq!(next, Next::Done);
        let sent = sent.lock();
        let [(method, options)] = sent.as_slice() else {
            panic!("{sent:?}")
        };
        assert_eq!(method, "DELETE");
        assert_eq!(options["preconditions"]["uid"], "u");
    }
}
