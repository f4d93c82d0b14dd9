//! An API server that is a plain function, under a `kube::Client`.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Uri};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub uri: Uri,
    /// Null where nothing was sent.
    pub body: Value,
}

impl Asked {
    /// `/api/v1/namespaces/shop/pods/web`.
    pub fn path(&self) -> &str {
        self.uri.path()
    }
}

/// A client whose every request `answer` answers, with a status code and JSON.
///
/// # Panics
/// The client panics where an answer has no legal status code.
pub fn client(answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static) -> Client {
    slow_client(move |asked| std::future::ready(answer(&asked)))
}

/// As [`client`], of an API server that takes its time.
///
/// # Panics
/// As [`client`].
pub fn slow_client<F, R>(answer: F) -> Client
where
    F: Fn(Asked) -> R + Send + Sync + 'static,
    R: Future<Output = (u16, Value)> + Send + 'static,
{
    let answer = Arc::new(answer);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let answer = Arc::clone(&answer);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap_or_default();
            let asked = Asked {
                method: parts.method,
                uri: parts.uri,
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            let (code, answer) = answer(asked).await;
            let response = http::Response::builder()
                .status(code)
                .header("content-type", "application/json")
                .body(Body::from(answer.to_string().into_bytes()));
            Ok::<_, Infallible>(response.unwrap_or_else(|error| panic!("status {code}: {error}")))
        }
    });
    Client::new(service, "velero")
}

/// A list of objects, as the API server answers.
pub fn list(items: &[Value]) -> (u16, Value) {
    let list =
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items});
    (200, list)
}

/// A refusal (`404`, `NotFound`).
pub fn failure(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": reason});
    (code, status)
}

/// Aggregated discovery of the groups: those of `/api` (the core group) or of `/apis`.
pub fn discovery(groups: &[Value], path: &str) -> (u16, Value) {
    let is_core = |group: &&Value| (group["metadata"]["name"] == "") == (path == "/api");
    let items: Vec<&Value> = groups.iter().filter(is_core).collect();
    let list = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
    (200, list)
}
