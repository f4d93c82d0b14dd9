//! What the server says about itself: discovery and OpenAPI. Answers carry an `ETag`, and a client that has them
//! already is told so.
//! Source: Kubernetes v1.34, `k8s.io/apiserver/pkg/endpoints/discovery/aggregated`, `k8s.io/kube-openapi/pkg/handler3`.

use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, HOST, HeaderName, IF_NONE_MATCH, LOCATION, VARY,
};
use http::{HeaderValue, Method, Request, Response};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::answer;
use super::{ResponseBody, not_allowed};
use crate::kind::Kind;
use crate::registry::Registry;
use crate::request::Query;
use crate::{discovery, openapi};

/// Documents under their hash never change: clients keep them this long.
const FAR: jiff::SignedDuration = jiff::SignedDuration::from_hours(365 * 24);

/// Answers a path that is neither a resource nor the server's health.
pub(crate) fn answer(
    registry: &Registry,
    words: &[&str],
    request: &Request<Bytes>,
    now: jiff::Timestamp,
) -> Response<ResponseBody> {
    let kinds = registry.kinds();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer::refused(&not_allowed());
    }
    let found = match words {
        [] => Some(json!({"paths": paths(kinds)})),
        ["api"] if wants_aggregated(request) => return aggregated(registry, true, request),
        ["apis"] if wants_aggregated(request) => return aggregated(registry, false, request),
        ["api"] => Some(discovery::versions(host(request))),
        ["api", version] => discovery::resources(kinds, "", version),
        ["apis"] => Some(discovery::groups(kinds)),
        ["apis", group] => discovery::group(kinds, group),
        ["apis", group, version] => discovery::resources(kinds, group, version),
        ["openapi", "v3"] => Some(openapi::index(kinds)),
        ["openapi", "v3", "api", version] => return document(kinds, "", version, request, now),
        ["openapi", "v3", "apis", group, version] => return document(kinds, group, version, request, now),
        _ => None,
    };
    match found {
        Some(found) => answer::json(200, &found),
        None => nothing(),
    }
}

fn nothing() -> Response<ResponseBody> {
    answer::text(404, "404 page not found\n")
}

/// Where the client reached the server.
fn host(request: &Request<Bytes>) -> &str {
    let of_uri = request.uri().authority().map(http::uri::Authority::as_str);
    of_uri.or_else(|| header(request, HOST)).unwrap_or("127.0.0.1")
}

fn header(request: &Request<Bytes>, name: HeaderName) -> Option<&str> {
    request.headers().get(name)?.to_str().ok()
}

/// The first acceptable media type is aggregated discovery, v2.
fn wants_aggregated(request: &Request<Bytes>) -> bool {
    let is_v2 = |media: &str| {
        let has = |wanted: &str| media.split(';').any(|parameter| parameter.trim() == wanted);
        has("application/json") && has("as=APIGroupDiscoveryList") && has("v=v2")
    };
    header(request, ACCEPT).is_some_and(|accept| accept.split(',').any(is_v2))
}

fn aggregated(registry: &Registry, core: bool, request: &Request<Bytes>) -> Response<ResponseBody> {
    let list = registry.discovery(core);
    let etag = hex::encode_upper(Sha256::digest(list));
    if has_already(request, &etag) {
        return unchanged(&etag);
    }
    let mut response = answer::text(200, list);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(discovery::AGGREGATED));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    tag(&mut response, &etag);
    response
}

fn document(
    kinds: &[Kind],
    group: &str,
    version: &str,
    request: &Request<Bytes>,
    now: jiff::Timestamp,
) -> Response<ResponseBody> {
    let hash = openapi::hash(kinds, group, version);
    let asked = Query::parse(request.uri().query().unwrap_or_default())
        .text("hash")
        .to_owned();
    if !asked.is_empty() && asked != hash {
        return moved(&format!("{}?hash={hash}", request.uri().path()));
    }
    if has_already(request, &hash) {
        return unchanged(&hash);
    }
    let Some(document) = openapi::document(kinds, group, version) else {
        return nothing();
    };
    let mut response = answer::json(200, &document);
    tag(&mut response, &hash);
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if asked.is_empty() {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    } else {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        let expires = (now + FAR).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if let Ok(expires) = HeaderValue::from_str(&expires) {
            headers.insert(EXPIRES, expires);
        }
    }
    response
}

fn has_already(request: &Request<Bytes>, etag: &str) -> bool {
    header(request, IF_NONE_MATCH)
        .is_some_and(|known| known.split(',').any(|one| one.trim().trim_matches('"') == etag))
}

fn unchanged(etag: &str) -> Response<ResponseBody> {
    let mut response = answer::text(304, "");
    // Clients write the headers of this answer over those that they kept: it says nothing of a body.
    response.headers_mut().remove(CONTENT_TYPE);
    tag(&mut response, etag);
    response
}

fn moved(to: &str) -> Response<ResponseBody> {
    let mut response = answer::text(301, "");
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

fn tag(response: &mut Response<ResponseBody>, etag: &str) {
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        response.headers_mut().insert(ETAG, etag);
    }
}

/// `/`: every path that is no resource.
fn paths(kinds: &[Kind]) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/api",
        "/apis",
        "/healthz",
        "/livez",
        "/openapi/v3",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    for kind in kinds {
        if kind.group.is_empty() {
            paths.push(format!("/api/{}", kind.version));
        } else {
            paths.push(format!("/apis/{}", kind.group));
            paths.push(format!("/apis/{}/{}", kind.group, kind.version));
        }
    }
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::Value;

    use super::*;
    use crate::{ApiServer, User};

    async fn ask(path: &str, headers: &[(HeaderName, &str)]) -> Response<ResponseBody> {
        let server = ApiServer::builder().seed(1).build();
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let user = User {
            name: "anyone".to_owned(),
            groups: vec!["system:masters".to_owned()],
        };
        server
            .handle(&user, request.body(Bytes::new()).expect("a request"))
            .await
    }

    async fn body(response: Response<ResponseBody>) -> Value {
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[tokio::test]
    async fn discovery_is_aggregated_for_those_who_ask() {
        let plain = body(ask("/apis", &[]).await).await;
        assert_eq!(plain["kind"], "APIGroupList");
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        let response = ask("/apis", &[(ACCEPT, kubectl)]).await;
        assert_eq!(response.headers()[CONTENT_TYPE], discovery::AGGREGATED);
        let etag = response.headers()[ETAG].to_str().expect("text").to_owned();
        assert_eq!(body(response).await["kind"], "APIGroupDiscoveryList");
        let again = ask("/apis", &[(ACCEPT, kubectl), (IF_NONE_MATCH, &etag)]).await;
        assert_eq!(again.status(), 304);
        assert_eq!(again.headers().get(CONTENT_TYPE), None);
    }

    #[tokio::test]
    async fn a_document_stands_under_its_hash_and_an_old_hash_leads_to_it() {
        let index = body(ask("/openapi/v3", &[]).await).await;
        let url = index["paths"]["apis/coordination.k8s.io/v1"]["serverRelativeURL"]
            .as_str()
            .expect("a URL");
        let response = ask(url, &[]).await;
        assert_eq!(response.headers()[CACHE_CONTROL], "public, immutable");
        assert_eq!(body(response).await["openapi"], "3.0.0");
        let old = ask("/openapi/v3/apis/coordination.k8s.io/v1?hash=OLD", &[]).await;
        assert_eq!(
            (old.status().as_u16(), old.headers()[LOCATION].to_str().ok()),
            (301, Some(url))
        );
        assert_eq!(ask("/openapi/v3/apis/nope/v1", &[]).await.status(), 404);
        assert_eq!(ask("/apis/nope", &[]).await.status(), 404);
    }
}
