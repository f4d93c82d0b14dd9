//! `cargo xtask bench resources`: secrets and config maps of 2 KB by the ten thousand, backed up and restored by us and by the
//! real Velero on the same cluster in the same run, beside the bare API calls.
//!
//! Nothing is asserted (decisions.md section 4). Each measurement has a freshly started server to itself: the other one is
//! scaled to none. Times are a user's: from the command's start until the object's phase is seen to be Completed.
//! The floor of a backup is listing the objects in pages of 500, that of a restore creating them, several at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::pod_memory::{Peak, PodMemory};
use crate::facts::Facts;
use crate::scenario::{Bucket, Cluster, Installation, Kind, Side, phase, step, until};
use crate::scenarios;

/// How much to measure.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Secrets and config maps together.
    pub objects: usize,
    /// As many afterwards, by us alone, for the growth of memory.
    pub grown: Option<usize>,
    /// Cargo profile of the product's image; none when the images that are loaded and `CARAVEL_VELERO` are to be measured.
    pub profile: Option<String>,
}

const SOURCE: &str = "bench-source";
const COPY: &str = "bench-copy";
/// Characters of an object's one value.
const SIZE: usize = 2_000;
/// As many objects as the restore creates at a time; and more, to see whether that is what holds it up.
const AT_ONCE: [usize; 2] = [8, 32];
const PAGE: u32 = 500;
const DEADLINE: Duration = Duration::from_secs(1_800);

struct Measured {
    what: String,
    took: Duration,
    /// By the object's own start and completion, whole seconds.
    stated: String,
    peak: Peak,
}

/// Measures and prints.
pub fn run(settings: &Settings) -> Result<()> {
    let facts = match &settings.profile {
        Some(profile) => scenarios::prepared(true, true, profile)?,
        None => Facts::read()?,
    };
    let cluster = Cluster::connect_to(facts)?;
    let (ours, theirs) = (Side::ours(), Side::theirs(&cluster)?);
    let _installation = Installation::fresh(&cluster, "bench_resources")?;
    theirs.install(&cluster, &Bucket::fresh(&cluster, "bench-resources-theirs")?)?;
    for side in [&ours, &theirs] {
        scale(&cluster, side, 0)?;
    }
    remove(&cluster, SOURCE)?;
    remove(&cluster, COPY)?;

    let mut floors = Vec::new();
    make_namespace(&cluster, SOURCE)?;
    floors.push((
        AT_ONCE[0],
        step("make the objects", || {
            fill(&cluster, SOURCE, 0, settings.objects, AT_ONCE[0])
        })?,
    ));
    make_namespace(&cluster, COPY)?;
    floors.push((
        AT_ONCE[1],
        step("make as many, more at a time", || {
            fill(&cluster, COPY, 0, settings.objects, AT_ONCE[1])
        })?,
    ));
    step("remove those", || remove(&cluster, COPY))?;
    let listed = step("list them", || list(&cluster))?;

    let mut results = Vec::new();
    for side in [&theirs, &ours] {
        results.push(backup(&cluster, side, "b1")?);
        results.push(restore(&cluster, side, "b1", "r1")?);
    }
    println!(
        "\n{} secrets and config maps of {SIZE} characters",
        settings.objects
    );
    println!("floor: listing them {:.1} s", listed.as_secs_f64());
    for (at_once, took) in &floors {
        println!(
            "floor: creating them, {at_once} at a time, {:.1} s",
            took.as_secs_f64()
        );
    }
    print(&results);
    if let Some(grown) = settings.grown {
        growth(&cluster, &ours, settings.objects, grown, &results)?;
    }
    step("remove everything", || {
        remove(&cluster, SOURCE)?;
        Installation::remove_from(&cluster, theirs.namespace)
    })
}

/// The same by us with more objects: what each further one costs.
fn growth(cluster: &Cluster, ours: &Side, from: usize, to: usize, few: &[Measured]) -> Result<()> {
    step("make more objects", || {
        fill(cluster, SOURCE, from, to, AT_ONCE[1])
    })?;
    let many = [backup(cluster, ours, "b2")?, restore(cluster, ours, "b2", "r2")?];
    println!("\n{to} objects, by ours");
    print(&many);
    let few = few.iter().skip(few.len().saturating_sub(many.len()));
    for (few, many) in few.zip(&many) {
        let more = many.peak.server as f64 - few.peak.server as f64;
        println!(
            "{}: {:.0} bytes for each further object",
            many.what,
            more / (to - from) as f64
        );
    }
    Ok(())
}

fn print(results: &[Measured]) {
    println!(
        "{:<18} {:>8} {:>10} {:>14} {:>12}",
        "", "seconds", "stated", "server's peak", "pod's peak"
    );
    for measured in results {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "{:<18} {:>8.1} {:>10} {:>10.1} MiB {:>8.1} MiB",
            measured.what,
            measured.took.as_secs_f64(),
            measured.stated,
            mib(measured.peak.server),
            mib(measured.peak.pod)
        );
    }
}

fn backup(cluster: &Cluster, side: &Side, name: &str) -> Result<Measured> {
    let words = ["backup", "create", name, "--include-namespaces", SOURCE];
    measure(cluster, side, Kind::BACKUP, name, &words)
}

/// Restores into another namespace, and removes it afterwards, untimed.
fn restore(cluster: &Cluster, side: &Side, backup: &str, name: &str) -> Result<Measured> {
    let mapping = format!("{SOURCE}:{COPY}");
    let words = [
        "restore",
        "create",
        name,
        "--from-backup",
        backup,
        "--namespace-mappings",
        &mapping,
    ];
    let measured = measure(cluster, side, Kind::RESTORE, name, &words)?;
    step("compare", || same(cluster))?;
    step("remove the copy", || remove(cluster, COPY))?;
    Ok(measured)
}

fn measure(cluster: &Cluster, side: &Side, kind: Kind, name: &str, words: &[&str]) -> Result<Measured> {
    let what = format!("{} {}", side.name, words[0]);
    step(&what, || {
        scale(cluster, side, 0)?;
        scale(cluster, side, 1)?;
        // It answers, so it is up; its location is looked at anew.
        side.velero_ok(cluster, &["version"])?;
        side.wait_for_location(cluster)?;
        let memory = PodMemory::watch(cluster, side.namespace)?;
        let begun = Instant::now();
        side.velero_ok(cluster, words)?;
        let object = loop {
            let object = cluster.must_get(kind, side.namespace, name)?;
            match phase(&object) {
                "Completed" => break object,
                "PartiallyFailed" | "Failed" | "FailedValidation" => {
                    bail!("{what} ended {}", object["status"])
                }
                _ if begun.elapsed() > DEADLINE => bail!("{what} is still {}", object["status"]),
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        let took = begun.elapsed();
        let peak = memory.peak()?;
        scale(cluster, side, 0)?;
        println!("   {:.1} s, {}", took.as_secs_f64(), object["status"]);
        let stated = stated(&object["status"]);
        Ok(Measured {
            what: what.clone(),
            took,
            stated,
            peak,
        })
    })
}

/// `35 s`, of a status's two times.
fn stated(status: &serde_json::Value) -> String {
    let seconds = |field: &str| -> Option<i64> {
        let time = status[field].as_str()?;
        let clock: Vec<i64> = time
            .get(11..19)?
            .split(':')
            .filter_map(|part| part.parse().ok())
            .collect();
        Some(clock.first()? * 3_600 + clock.get(1)? * 60 + clock.get(2)?)
    };
    match (seconds("startTimestamp"), seconds("completionTimestamp")) {
        // Over midnight.
        (Some(start), Some(end)) => format!("{} s", (end - start).rem_euclid(86_400)),
        _ => "?".to_owned(),
    }
}

fn scale(cluster: &Cluster, side: &Side, replicas: u32) -> Result<()> {
    let replicas_word = format!("--replicas={replicas}");
    cluster.kubectl(&[
        "scale",
        "deployment/velero",
        "--namespace",
        side.namespace,
        &replicas_word,
    ])?;
    let selector = ["--namespace", side.namespace, "--selector=deploy=velero"];
    if replicas == 0 {
        return until("the server's end", Duration::from_secs(120), || {
            let pods = cluster.kubectl(&[&["get", "pods", "--output=name"], &selector[..]].concat())?;
            Ok(if pods.trim().is_empty() { Ok(()) } else { Err(pods) })
        });
    }
    let rollout = [
        "rollout",
        "status",
        "deployment/velero",
        "--timeout=120s",
        "--namespace",
        side.namespace,
    ];
    cluster.kubectl(&rollout).map(drop)
}

fn make_namespace(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string())
}

/// Deletes a namespace of very many objects.
fn remove(cluster: &Cluster, namespace: &str) -> Result<()> {
    cluster.kubectl(&[
        "delete",
        "namespace",
        namespace,
        "--ignore-not-found",
        "--wait=false",
    ])?;
    until(&format!("the end of {namespace}"), DEADLINE, || {
        Ok(match cluster.get(Kind::NAMESPACE, "", namespace)? {
            None => Ok(()),
            Some(left) => Err(left["status"]["conditions"].to_string()),
        })
    })
}

/// Makes the objects of these numbers, half of them secrets, `at_once` at a time.
fn fill(cluster: &Cluster, namespace: &str, from: usize, to: usize, at_once: usize) -> Result<Duration> {
    let begun = Instant::now();
    cluster.with_client(|client| async move {
        futures::stream::iter(from..to)
            .map(|number| create(client.clone(), namespace, number))
            .buffer_unordered(at_once)
            .try_collect::<()>()
            .await
    })?;
    Ok(begun.elapsed())
}

async fn create(client: Client, namespace: &str, number: usize) -> Result<()> {
    // The same number gives the same object.
    let mut random = StdRng::seed_from_u64(number as u64);
    let text: String = (0..SIZE)
        .map(|_| char::from(random.random_range(b'a'..=b'z')))
        .collect();
    let name = format!("object-{number:05}");
    let metadata = json!({"name": name, "namespace": namespace, "labels": {"app": "bench"}});
    let params = PostParams::default();
    let made = if number.is_multiple_of(2) {
        let object: Secret =
            serde_json::from_value(json!({"metadata": metadata, "stringData": {"value": text}}))?;
        Api::namespaced(client, namespace)
            .create(&params, &object)
            .await
            .map(drop)
    } else {
        let object: ConfigMap =
            serde_json::from_value(json!({"metadata": metadata, "data": {"value": text}}))?;
        Api::namespaced(client, namespace)
            .create(&params, &object)
            .await
            .map(drop)
    };
    made.with_context(|| format!("cannot create {namespace}/{name}"))
}

/// Lists everything once, a page after the other, and throws it away.
fn list(cluster: &Cluster) -> Result<Duration> {
    let begun = Instant::now();
    cluster.with_client(|client| async move {
        for resource in ["secrets", "configmaps"] {
            let mut params = ListParams::default().limit(PAGE);
            loop {
                let path = format!("/api/v1/namespaces/{SOURCE}/{resource}");
                let request = kube::core::Request::new(path).list(&params)?;
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
fn same(cluster: &Cluster) -> Result<()> {
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
        anyhow::ensure!(
            !source.is_empty() && source == copy,
            "{} of {} {}s were restored, or some differ",
            copy.len(),
            source.len(),
            kind.name()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_states_its_seconds_over_midnight_too() {
        let status =
            json!({"startTimestamp": "2026-11-21T23:59:50Z", "completionTimestamp": "2026-11-22T00:00:05Z"});
        assert_eq!(stated(&status), "15 s");
        assert_eq!(stated(&json!({})), "?");
    }
}
