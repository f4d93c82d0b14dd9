//! The objects of the bench, made by bare API calls.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use kube::Client;
use kube::api::{ListParams, PostParams, Request};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::DEADLINE;
use super::verdict::Floor;
use crate::cluster::processes::processor_time;
use crate::scenario::{Cluster, Kind};

/// What is backed up.
pub(super) const SOURCE: &str = "bench-source";
/// What it is restored as.
pub(super) const COPY: &str = "bench-copy";
/// Characters of an object's one value.
pub(super) const SIZE: usize = 2_000;
const PAGE: u32 = 500;

pub(super) fn make_namespace(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string())
}

/// Deletes a namespace of very many objects.
pub(super) fn remove(cluster: &Cluster, namespace: &str) -> Result<()> {
    cluster.begin_deletion(Kind::NAMESPACE, "", namespace)?;
    cluster.wait_until_gone(Kind::NAMESPACE, "", namespace, DEADLINE)
}

/// Makes the objects of these numbers, half of them secrets, `at_once` at a time. They are spelled out before the time is
/// taken, and the answers are not looked into: this is the API server's time and the wire's.
pub(super) fn fill(
    cluster: &Cluster,
    namespace: &str,
    numbers: Range<usize>,
    at_once: usize,
) -> Result<Floor> {
    let bodies: Vec<_> = numbers.map(|number| object(namespace, number)).collect();
    let own = i32::try_from(std::process::id()).context("a pid beyond i32")?;
    let before = processor_time(own).unwrap_or_default();
    let begun = Instant::now();
    cluster.with_client(|client| async move {
        futures::stream::iter(bodies)
            .map(|(resource, body)| create(client.clone(), namespace, resource, body))
            .buffer_unordered(at_once)
            .try_collect::<()>()
            .await
    })?;
    Ok(Floor {
        at_once,
        took: begun.elapsed(),
        processor: processor_time(own).unwrap_or_default().saturating_sub(before),
    })
}

/// Its resource and its JSON. The same number gives the same object.
fn object(namespace: &str, number: usize) -> (&'static str, Vec<u8>) {
    let mut random = StdRng::seed_from_u64(number as u64);
    let text: String = (0..SIZE)
        .map(|_| char::from(random.random_range(b'a'..=b'z')))
        .collect();
    let name = format!("object-{number:05}");
    let metadata = json!({"name": name, "namespace": namespace, "labels": {"app": "bench"}});
    let (resource, object) = if number.is_multiple_of(2) {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"value": text}});
        ("secrets", secret)
    } else {
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": text}});
        ("configmaps", map)
    };
    (resource, object.to_string().into_bytes())
}

async fn create(client: Client, namespace: &str, resource: &str, body: Vec<u8>) -> Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}/{resource}");
    let request = Request::new(path).create(&PostParams::default(), body)?;
    let made = client.request_text(request).await;
    made.map(drop)
        .with_context(|| format!("cannot create one of the {resource} of {namespace}"))
}

/// Lists everything once, a page after the other, and throws it away.
pub(super) fn list(cluster: &Cluster) -> Result<Duration> {
    let begun = Instant::now();
    cluster.with_client(|client| async move {
        for resource in ["secrets", "configmaps"] {
            let mut params = ListParams::default().limit(PAGE);
            loop {
                let path = format!("/api/v1/namespaces/{SOURCE}/{resource}");
                let request = Request::new(path).list(&params)?;
                let page: serde_json::Value = client.request(request).await?;
                match page["metadata"]["continue"].as_str() {
                    Some(token) if !token.is_empty() => params = params.continue_token(token),
                    _ => break,
                }
            }
        }
        anyhow::Ok(())
    })?;
    Ok(begun.elapsed())
}

/// The copy holds what the source holds, value by value.
pub(super) fn same(cluster: &Cluster) -> Result<()> {
    for kind in [Kind::SECRET, Kind::CONFIG_MAP] {
        let values = |namespace: &str| -> Result<Vec<(String, String)>> {
            let objects = cluster.list(kind, namespace, "app=bench")?;
            let mut values: Vec<_> = objects
                .iter()
                .map(|object| (object["metadata"]["name"].to_string(), object["data"].to_string()))
                .collect();
            values.sort();
            Ok(values)
        };
        let (source, copy) = (values(SOURCE)?, values(COPY)?);
        ensure!(
            !source.is_empty() && source == copy,
            "{} of {} {}s were restored, or some differ",
            copy.len(),
            source.len(),
            kind.name()
        );
    }
    Ok(())
}
