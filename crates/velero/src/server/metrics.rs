//! `/metrics` and `/healthz`: what the API objects say at the moment of asking (velero-behaviour.md 9.4, the gauges).
//! Counters and histograms come with the issue that makes them survive restarts.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use caravel_api::phase::BackupStorageLocationPhase;
use caravel_api::v1::{Backup, BackupPhase, BackupStorageLocation, Restore};
use caravel_controllers::context::Context;
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
    let ended = backups.iter().filter_map(|backup| {
        let time = backup.status.as_ref()?.completion_timestamp.as_ref()?.0;
        Some((time, backup.phase() == BackupPhase::Completed))
    });
    if let Some((_, completed)) = ended.clone().max() {
        gauge("backup_last_status", "{schedule=\"\"}", i64::from(completed));
    }
    if let Some((time, _)) = ended.filter(|(_, completed)| *completed).max() {
        gauge(
            "backup_last_successful_timestamp",
            "{schedule=\"\"}",
            time.as_second(),
        );
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
    Ok(text)
}
