//! `velero version`: the version of this command, and of the server by way of a ServerStatusRequest.
//!
//! Mirrors `pkg/cmd/cli/version/version.go` and `pkg/cmd/cli/serverstatus/server_status.go`; sample `version.txt`. As
//! with Velero, a server whose version cannot be learned is told in the output and is no failure.

use caravel_api::phase::ServerStatusRequestPhase;
use caravel_api::v1::ServerStatusRequest;
use futures::{StreamExt, pin_mut};
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};

use super::connection::Global;
use super::failure::{Outcome, chain};
use super::flags::{boolean, duration};
use super::output::emit;

/// Velero's prefix of the names of such requests.
const GENERATE_NAME: &str = "velero-cli-";

/// Print the velero version and associated image.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only the version of this command, not the server's.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    client_only: Option<bool>,
    /// How long the server may take to report its version.
    #[arg(long, default_value = "5s", value_parser = duration)]
    timeout: caravel_api::Duration,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    emit(&client())?;
    if args.client_only.unwrap_or(false) {
        return Ok(());
    }
    let asked = async {
        let client = global.client().await.map_err(|failure| failure.message())?;
        ask(client, &global.namespace(), *args.timeout).await
    };
    emit(&server(asked.await))
}

/// This command's version, as its server says it too.
pub fn own() -> String {
    format!("v{}", env!("CARGO_PKG_VERSION"))
}

fn client() -> String {
    let commit = option_env!("CARAVEL_GIT_COMMIT").unwrap_or("-");
    format!("Client:\n\tVersion: {}\n\tGit commit: {commit}\n", own())
}

fn server(version: Result<String, String>) -> String {
    match version {
        Err(why) => format!("<error getting server version: {why}>\n"),
        Ok(version) => {
            let warning = match older(&own(), &version) {
                None => String::new(),
                Some(which) => format!(
                    "# WARNING: the client version does not match the server version. Please update {which}\n"
                ),
            };
            format!("Server:\n\tVersion: {version}\n{warning}")
        }
    }
}

/// Which of the two to update: the one whose major and minor version are lower. A version that is none is the oldest.
fn older(client: &str, server: &str) -> Option<&'static str> {
    let minor = |version: &str| -> Option<(u64, u64)> {
        let mut parts = version.strip_prefix('v')?.split(['.', '-', '+']);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    match minor(client).cmp(&minor(server)) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Less => Some("client"),
        std::cmp::Ordering::Greater => Some("server"),
    }
}

/// Asks the server, and takes the question back if it is not answered in time: nobody else would.
async fn ask(client: Client, namespace: &str, timeout: std::time::Duration) -> Result<String, String> {
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
    if let Ok(version) = tokio::time::timeout_at(give_up, answer(api.clone(), &name)).await {
        return version;
    }
    let _ = tokio::time::timeout(timeout, api.delete(&name, &DeleteParams::default())).await;
    Err(late())
}

async fn answer(api: Api<ServerStatusRequest>, name: &str) -> Result<String, String> {
    let requests = watcher::watch_object(api, name).default_backoff();
    pin_mut!(requests);
    let mut seen = false;
    while let Some(next) = requests.next().await {
        match next {
            Ok(Some(request)) => {
                seen = true;
                if request.phase() == ServerStatusRequestPhase::Processed {
                    return Ok(request
                        .status
                        .map(|status| status.server_version)
                        .unwrap_or_default());
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
    use std::time::Duration;

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
        assert_eq!(version, Ok("v1.18.3".to_owned()));
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

    #[test]
    fn the_output_is_veleros() {
        assert_eq!(server(Ok(own())), format!("Server:\n\tVersion: {}\n", own()));
        assert_eq!(
            server(Err("timed out".into())),
            "<error getting server version: timed out>\n"
        );
        assert!(client().starts_with("Client:\n\tVersion: v") && client().contains("\n\tGit commit: "));
    }

    #[test]
    fn versions_that_differ_in_more_than_the_patch_say_which_one_to_update() {
        assert_eq!(older("v1.18.3", "v1.18.0-rc.1"), None);
        assert_eq!(older("v1.17.0", "v1.18.3"), Some("client"));
        assert_eq!(older("v2.0.0", "v1.18.3"), Some("server"));
        assert_eq!(older("v0.1.0", "main"), Some("server"));
        let text = server(Ok("v99.0.0".into()));
        assert!(text.ends_with(
            "# WARNING: the client version does not match the server version. Please update client\n"
        ));
    }
}
