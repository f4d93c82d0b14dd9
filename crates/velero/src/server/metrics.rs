//! `/metrics` and `/healthz`: what the API objects say at the moment of asking (velero-behaviour.md 9.4, the gauges).
//! Of counters and histograms there are those of maintenance, since this server started, as Velero's; the others come with
//! the issue that makes them survive restarts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use caravel_api::labels;
use caravel_api::phase::BackupStorageLocationPhase;
use caravel_api::v1::{Backup, BackupPhase, BackupStorageLocation, Restore};
use caravel_controllers::backup_repository::{Counted, DURATION_BUCKETS};
use caravel_controllers::context::Context;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ListParams;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Listens on `address` (`:8085` is every interface).
pub(super) async fn serve(
    context: &Context,
    address: &str,
    shutdown: CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let full = if address.starts_with(':') {
        format!("0.0.0.0{address}")
    } else {
        address.to_owned()
    };
    let address: SocketAddr = full
        .parse()
        .with_context(|| format!("--metrics-address {address:?} is not an address like :8085"))?;
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for metrics"))?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/metrics", get(metrics))
        .with_state(context.clone());
    Ok(tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "metrics are not served any more");
        }
    }))
}

async fn metrics(State(context): State<Context>) -> Result<String, StatusCode> {
    text(&context).await.map_err(|error| {
        tracing::warn!(%error, "metrics cannot be read");
        StatusCode::SERVICE_UNAVAILABLE
    })
}

/// What the ended backups of one schedule say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ended {
    /// When the last one that was Completed ended.
    last_success: Option<Timestamp>,
    /// Of the one that ended last.
    last: Option<Timestamp>,
    last_is_completed: bool,
    last_items: i64,
    last_errors: i64,
}

/// By schedule; backups of none are the empty one's, as in Velero.
fn by_schedule(backups: &[Backup]) -> BTreeMap<&str, Ended> {
    let mut found: BTreeMap<&str, Ended> = BTreeMap::new();
    for backup in backups {
        let status = backup.status.as_ref();
        let ended = status.and_then(|status| Some((status, status.completion_timestamp.as_ref()?.0)));
        let Some((status, time)) = ended.filter(|_| backup.phase().is_finished()) else {
            continue;
        };
        let schedule = backup.labels().get(labels::SCHEDULE_NAME);
        let of_schedule = found
            .entry(schedule.map(String::as_str).unwrap_or_default())
            .or_default();
        let is_completed = backup.phase() == BackupPhase::Completed;
        if is_completed {
            of_schedule.last_success = of_schedule.last_success.max(Some(time));
        }
        if of_schedule.last <= Some(time) {
            of_schedule.last = Some(time);
            of_schedule.last_is_completed = is_completed;
            of_schedule.last_items = status
                .progress
                .as_ref()
                .map_or(0, |progress| progress.total_items.into());
            of_schedule.last_errors = status.errors.into();
        }
    }
    found
}

/// A label's value, as Prometheus' text format writes it.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

async fn text(context: &Context) -> Result<String, kube::Error> {
    let all = ListParams::default();
    let (backups, restores, locations) = tokio::try_join!(
        context.list::<Backup>(&all),
        context.list::<Restore>(&all),
        context.list::<BackupStorageLocation>(&all)
    )?;
    let mut text = String::new();
    let mut typed = std::collections::BTreeSet::new();
    let mut gauge = |name: &'static str, labels: &str, value: i64| {
        // Writing to a String cannot fail. A metric's type is said once.
        if typed.insert(name) {
            let _ = writeln!(text, "# TYPE velero_{name} gauge");
        }
        let _ = writeln!(text, "velero_{name}{labels} {value}");
    };
    gauge(
        "backup_total",
        "",
        i64::try_from(backups.len()).unwrap_or(i64::MAX),
    );
    gauge(
        "restore_total",
        "",
        i64::try_from(restores.len()).unwrap_or(i64::MAX),
    );
    for (schedule, backups) in by_schedule(&backups) {
        let labels = format!("{{schedule=\"{}\"}}", escaped(schedule));
        gauge(
            "backup_last_status",
            &labels,
            i64::from(backups.last_is_completed),
        );
        gauge("backup_items_total", &labels, backups.last_items);
        gauge("backup_items_errors", &labels, backups.last_errors);
        if let Some(time) = backups.last_success {
            gauge("backup_last_successful_timestamp", &labels, time.as_second());
        }
    }
    for location in &locations {
        let phase = location.status.as_ref().and_then(|status| status.phase.clone());
        let labels = format!("{{backup_location_name=\"{}\"}}", location.name_any());
        gauge(
            "backup_location_status_gauge",
            &labels,
            i64::from(phase == Some(BackupStorageLocationPhase::Available)),
        );
    }
    text.push_str(&maintenance(&context.maintenance.all()));
    Ok(text)
}

/// `velero_repo_maintenance_*`, by repository.
fn maintenance(all: &BTreeMap<String, Counted>) -> String {
    let mut text = String::new();
    if all.is_empty() {
        return text;
    }
    total(&mut text, "success", all, |counted| counted.success);
    total(&mut text, "failure", all, |counted| counted.failure);
    let name = "velero_repo_maintenance_duration_seconds";
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# TYPE {name} histogram");
    for (repository, counted) in all {
        let label = format!("repository_name=\"{}\"", escaped(repository));
        for (bucket, count) in DURATION_BUCKETS.iter().zip(counted.at_most) {
            let _ = writeln!(text, "{name}_bucket{{{label},le=\"{bucket}\"}} {count}");
        }
        let _ = writeln!(text, "{name}_bucket{{{label},le=\"+Inf\"}} {}", counted.timed);
        let _ = writeln!(text, "{name}_sum{{{label}}} {}", counted.seconds);
        let _ = writeln!(text, "{name}_count{{{label}}} {}", counted.timed);
    }
    text
}

/// One counter of all repositories.
fn total(text: &mut String, outcome: &str, all: &BTreeMap<String, Counted>, count: impl Fn(&Counted) -> u64) {
    let name = format!("velero_repo_maintenance_{outcome}_total");
    let _ = writeln!(text, "# TYPE {name} counter");
    for (repository, counted) in all {
        let label = escaped(repository);
        let _ = writeln!(text, "{name}{{repository_name=\"{label}\"}} {}", count(counted));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn backup(value: &serde_json::Value) -> Backup {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn the_last_success_of_each_schedule_is_known_as_in_velero() {
        caravel_cases::each("pkg_controller/Test_getLastSuccessBySchedule.json", |case| {
            let backups: Vec<Backup> = case
                .input("backups")
                .as_array()
                .into_iter()
                .flatten()
                .map(backup)
                .collect();
            let ours: serde_json::Map<_, _> = by_schedule(&backups)
                .into_iter()
                .filter_map(|(schedule, ended)| {
                    Some((schedule.to_owned(), json!(ended.last_success?.to_string())))
                })
                .collect();
            caravel_cases::same(&json!(ours), case.want("want"))
        });
    }

    #[test]
    fn the_last_status_is_that_of_the_backup_that_ended_last() {
        let ended = |phase: &str, minute: u8, errors: u8| {
            backup(
                &json!({"metadata": {"labels": {"velero.io/schedule-name": "daily"}}, "spec": {}, "status": {
                "phase": phase, "completionTimestamp": format!("2026-01-01T00:{minute:02}:00Z"), "errors": errors,
                "progress": {"totalItems": 7}}}),
            )
        };
        let backups = [ended("PartiallyFailed", 2, 3), ended("Completed", 1, 0)];
        let found = by_schedule(&backups)["daily"];
        assert_eq!(
            (found.last_is_completed, found.last_items, found.last_errors),
            (false, 7, 3)
        );
        assert_eq!(found.last_success.unwrap().to_string(), "2026-01-01T00:01:00Z");
    }

    #[test]
    fn maintenance_is_told_in_prometheus_own_words() {
        let counted = Counted {
            success: 2,
            failure: 1,
            at_most: [0, 1, 2, 2, 2, 2, 2, 2, 2],
            timed: 2,
            seconds: 700,
        };
        let told = maintenance(&BTreeMap::from([("shop-default-kopia".to_owned(), counted)]));
        for line in [
            "# TYPE velero_repo_maintenance_success_total counter",
            "velero_repo_maintenance_success_total{repository_name=\"shop-default-kopia\"} 2",
            "velero_repo_maintenance_failure_total{repository_name=\"shop-default-kopia\"} 1",
            "# TYPE velero_repo_maintenance_duration_seconds histogram",
            "velero_repo_maintenance_duration_seconds_bucket{repository_name=\"shop-default-kopia\",le=\"300\"} 1",
            "velero_repo_maintenance_duration_seconds_bucket{repository_name=\"shop-default-kopia\",le=\"+Inf\"} 2",
            "velero_repo_maintenance_duration_seconds_sum{repository_name=\"shop-default-kopia\"} 700",
            "velero_repo_maintenance_duration_seconds_count{repository_name=\"shop-default-kopia\"} 2",
        ] {
            assert!(told.lines().any(|told| told == line), "{line}\n{told}");
        }
        assert_eq!(maintenance(&BTreeMap::new()), "");
    }

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        assert_eq!(escaped("a\"} 1\n\\"), "a\\\"} 1\\n\\\\");
    }
}
