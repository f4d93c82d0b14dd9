//! `status.progress`, the only field that a data mover writes (decisions.md 1).

use std::time::Duration;

use caravel_uploader::Progress;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::movement::Movement;

/// At most once a second, and only when something has changed.
const INTERVAL: Duration = Duration::from_secs(1);

/// Reports until it is dropped. A patch that fails is only progress not shown.
pub(crate) async fn report<K: Movement>(api: &Api<K>, name: &str, progress: &Progress) {
    let mut shown = (0, 0);
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = (progress.bytes_done(), progress.total_bytes());
        if now == shown {
            continue;
        }
        let patch = json!({"status": {"progress": {"bytesDone": now.0, "totalBytes": now.1}}});
        match api
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
        {
            Ok(_) => shown = now,
            Err(error) => tracing::debug!(%error, name, "progress is not shown this time"),
        }
    }
}
