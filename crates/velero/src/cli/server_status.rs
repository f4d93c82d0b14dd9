//! Asking the server about itself, by way of a ServerStatusRequest: its version and its plug-ins. Mirrors
//! `pkg/cmd/cli/serverstatus/server_status.go`.

use std::time::Duration;

use caravel_api::phase::ServerStatusRequestPhase;
use caravel_api::v1::{ServerStatusRequest, ServerStatusRequestStatus};
use futures::{StreamExt, pin_mut};
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};

use super::failure::chain;

/// Velero's prefix of the names of such requests.
const GENERATE_NAME: &str = "velero-cli-";

/// Asks the server, and takes the question back if it is not answered in time: nobody else would.
///
/// # Errors
/// Why there is no answer, in words for the output.
pub async fn ask(
    client: Client,
    namespace: &str,
    timeout: Duration,
) -> Result<ServerStatusRequestStatus, String> {
    let api: Api<ServerStatusRequest> = Api::namespaced(client, namespace);
    let late = || "timed out waiting for server status request to be processed".to_owned();
    let give_up = tokio::time::Instant::now() + timeout;
    let mut request = ServerStatusRequest::default();
    request.metadata.generate_name = Some(GENERATE_NAME.to_owned());
    let request = tokio::time::timeout_at(give_up, api.create(&PostParams::default(), &request))
        .await
        .map_err(|_| late())?
        .map_err(|error| chain(&error))?;
    let name = request.name_any();
    if let Ok(status) = tokio::time::timeout_at(give_up, answer(api.clone(), &name)).await {
        return status;
    }
    let _ = tokio::time::timeout(timeout, api.delete(&name, &DeleteParams::default())).await;
    Err(late())
}

async fn answer(api: Api<ServerStatusRequest>, name: &str) -> Result<ServerStatusRequestStatus, String> {
    let requests = watcher::watch_object(api, name).default_backoff();
    pin_mut!(requests);
    let mut seen = false;
    while let Some(next) = requests.next().await {
        match next {
            Ok(Some(request)) => {
                seen = true;
                if request.phase() == ServerStatusRequestPhase::Processed {
                    return Ok(request.status.unwrap_or_default());
                }
            }
            Ok(None) if seen => break,
            // Not there yet for this watch, or an error that the next try may not meet; the deadline ends it.
            _ => {}
        }
    }
    Err("the ServerStatusRequest was deleted before it was answered".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    use kube::client::Body;
    use serde_json::json;

    /// A cluster whose server answers after `answers` looks; none: there is no server.
    fn cluster(answers: Option<&'static str>) -> Client {
        let service = tower::service_fn(move |request: http::Request<Body>| async move {
            let mut object = json!({"apiVersion": "velero.io/v1", "kind": "ServerStatusRequest",
                "metadata": {"name": "velero-cli-x", "namespace": "velero", "resourceVersion": "1"}});
            if request.method() == http::Method::GET {
                match answers {
                    Some(version) => {
                        object["status"] = json!({"phase": "Processed", "serverVersion": version})
                    }
                    None => return std::future::pending().await,
                }
            }
            let answer = match request.uri().query() {
                Some(query) if query.contains("watch=true") => return std::future::pending().await,
                _ if request.uri().path().ends_with("serverstatusrequests")
                    && request.method() == http::Method::GET =>
                {
                    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [object]})
                }
                _ => object,
            };
            Ok::<_, std::io::Error>(http::Response::new(Body::from(answer.to_string().into_bytes())))
        });
        Client::new(service, "velero")
    }

    #[tokio::test]
    async fn the_servers_version_is_its_answer_to_a_request() {
        let version = ask(cluster(Some("v1.18.3")), "velero", Duration::from_secs(5)).await;
        assert_eq!(
            version.map(|status| status.server_version),
            Ok("v1.18.3".to_owned())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_not_there_is_waited_for_no_longer_than_the_timeout() {
        let before = tokio::time::Instant::now();
        let version = ask(cluster(None), "velero", Duration::from_secs(5)).await;
        assert!(
            version
                .unwrap_err()
                .starts_with("timed out waiting for server status request")
        );
        assert!(
            before.elapsed() < Duration::from_secs(12),
            "{:?}",
            before.elapsed()
        );
    }
}
