//! Single words of `get` and `describe`: times, spans, lists, three-valued booleans, phases; and the objects by name.

use std::fmt::Debug;

use caravel_controllers::decoded::{self, Decoded};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::Resource;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::flags::format_label_selector;

/// `2026-11-21 03:29:56 +0000 UTC`, as Go prints a time; `<nil>` without one.
pub fn time(time: Option<&Time>) -> String {
    time.map_or_else(|| "<nil>".to_owned(), |time| stamp(time.0))
}

/// The same, where Velero writes `<n/a>` without one.
pub fn time_or_na(time: Option<&Time>) -> String {
    time.map_or_else(|| "<n/a>".to_owned(), |time| stamp(time.0))
}

fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

/// `29d`, `5h`, `3m ago`: kubectl's short spans.
pub fn remaining(when: Timestamp, now: Timestamp) -> String {
    let secs = when.duration_since(now).as_secs();
    if secs >= 0 {
        short_span(secs)
    } else {
        format!("{} ago", short_span(-secs))
    }
}

fn short_span(secs: i64) -> String {
    match secs {
        ..60 => format!("{secs}s"),
        60..3600 => format!("{}m", secs / 60),
        3600..86400 => format!("{}h", secs / 3600),
        86400..31_536_000 => format!("{}d", secs / 86400),
        _ => format!("{}y", secs / 31_536_000),
    }
}

/// Entries with commas; `empty` without any.
pub fn joined(entries: &[String], empty: &str) -> String {
    if entries.is_empty() {
        empty.to_owned()
    } else {
        entries.join(", ")
    }
}

/// `true`, `false`, or what absence means.
pub fn three_valued(value: Option<bool>, absent: &'static str) -> &'static str {
    match value {
        Some(true) => "true",
        Some(false) => "false",
        None => absent,
    }
}

/// Cluster-scoped resources: `included`, `excluded`, `auto`.
pub fn cluster_scoped(value: Option<bool>) -> &'static str {
    match value {
        Some(true) => "included",
        Some(false) => "excluded",
        None => "auto",
    }
}

/// Selectors with `or` between them.
pub fn or_selectors(selectors: &[LabelSelector]) -> String {
    let all: Vec<String> = selectors
        .iter()
        .map(|selector| format_label_selector(Some(selector)))
        .collect();
    if all.is_empty() {
        "<none>".to_owned()
    } else {
        all.join(" or ")
    }
}

/// A phase, green when all is well and red when it is not.
pub fn phase(phase: &str, colours: bool) -> String {
    let colour = match phase {
        _ if !colours => return phase.to_owned(),
        "Completed" => 32,
        "Failed" | "PartiallyFailed" | "FailedValidation" => 31,
        _ => return phase.to_owned(),
    };
    format!("\u{1b}[{colour}m{phase}\u{1b}[0m")
}

/// The objects with these names, or all of them. Of all, one that cannot be read is told on standard error and left
/// out; asked for by its name it is a failure.
pub async fn fetch<K>(api: &Api<K>, namespace: &str, noun: &str, names: &[String]) -> Outcome<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    if names.is_empty() {
        return list(api, namespace, noun, &ListParams::default()).await;
    }
    let mut found = Vec::new();
    for name in names {
        found.push(one(api, namespace, noun, name).await?);
    }
    Ok(found)
}

/// The objects that `params` select; one that cannot be read is told on standard error and left out.
pub async fn list<K>(api: &Api<K>, namespace: &str, noun: &str, params: &ListParams) -> Outcome<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let (found, bad) = decoded::list(api, params)
        .await
        .map_err(|error| kubernetes(format!("listing {noun}s in namespace {namespace}"), &error))?;
    for bad in bad {
        eprintln!("Warning: left out: {bad}");
    }
    Ok(found)
}

/// The object with this name.
pub async fn one<K>(api: &Api<K>, namespace: &str, noun: &str, name: &str) -> Outcome<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let object = decoded::get(api, name)
        .await
        .map_err(|error| kubernetes(format!("getting {noun} {namespace}/{name}"), &error))?;
    match object {
        Some(Decoded::Object(object)) => Ok(object),
        Some(Decoded::Bad(bad)) => {
            let plural = K::plural(&());
            Err(Failure::new(bad.to_string()).next(format!(
                "kubectl -n {namespace} edit {plural}.velero.io {name}    (or delete it)"
            )))
        }
        None => Err(Failure::new(format!("{noun} {namespace}/{name} does not exist"))
            .next(format!("velero {noun} get"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use caravel_api::v1::Backup;

    #[test]
    fn spans_are_kubectls() {
        let now: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
        for (when, text) in [
            ("2026-12-20T23:00:00Z", "29d"),
            ("2026-11-21T05:10:00Z", "5h"),
            ("2026-11-20T23:57:00Z", "3m ago"),
            ("2028-11-21T00:00:00Z", "2y"),
            ("2026-11-21T00:00:09Z", "9s"),
        ] {
            assert_eq!(remaining(when.parse().unwrap(), now), text);
        }
    }

    /// An API server with a list of Backups of which one does not decode.
    fn cluster() -> Api<Backup> {
        let service = tower::service_fn(|request: http::Request<kube::client::Body>| async move {
            let object = |name: &str, spec: serde_json::Value| {
                serde_json::json!({"apiVersion": "velero.io/v1", "kind": "Backup", "spec": spec,
                    "metadata": {"name": name, "namespace": "velero"}})
            };
            let (bad, good) = (
                object("bad", serde_json::json!({"ttl": "soon"})),
                object("good", serde_json::Value::Null),
            );
            let answer = match request.uri().path().rsplit('/').next() {
                Some("bad") => bad,
                _ => {
                    serde_json::json!({"kind": "BackupList", "apiVersion": "velero.io/v1", "metadata": {}, "items": [bad, good]})
                }
            };
            let body = kube::client::Body::from(answer.to_string().into_bytes());
            Ok::<_, std::io::Error>(http::Response::new(body))
        });
        Api::namespaced(kube::Client::new(service, "velero"), "velero")
    }

    #[tokio::test]
    async fn one_object_that_cannot_be_read_does_not_hide_the_others() {
        let found = fetch(&cluster(), "velero", "backup", &[]).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].metadata.name.as_deref(), Some("good"));
    }

    #[tokio::test]
    async fn an_object_that_cannot_be_read_is_a_failure_that_says_the_field_when_it_is_asked_for() {
        let failure = fetch(&cluster(), "velero", "backup", &["bad".into()])
            .await
            .unwrap_err();
        let text = failure.to_string();
        assert!(
            text.contains("Backup velero/bad cannot be read: spec.ttl: invalid duration \"soon\""),
            "{text}"
        );
        assert!(
            text.contains("Next: kubectl -n velero edit backups.velero.io bad"),
            "{text}"
        );
    }
}
