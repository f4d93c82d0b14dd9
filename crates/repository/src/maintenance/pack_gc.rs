//! Packs that no index entry names, and session markers left behind, are deleted (kopia-format.md 11.5).
//!
//! Order matters: markers are listed first, then packs, and the index is read last. A session whose marker is not
//! there any more has then committed, and its packs are found in the index; one without a marker yet has only young
//! packs.

use std::collections::{BTreeMap, HashSet};

use caravel_storage::BlobMetadata;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Safety;
use crate::{
    blob::names::session_of,
    error::{RepositoryError, Result},
    repository::Repository,
};

/// Clocks of some systems do not move between two calls; Kopia adds the same.
const SLACK_SECS: i64 = 1;

/// Figures of a deletion, with Kopia's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PackGc {
    pub unreferenced_pack_count: u64,
    pub unreferenced_total_size: u64,
    pub deleted_pack_count: u64,
    pub deleted_total_size: u64,
    /// Unreferenced, but too young or of a session at work.
    pub retained_pack_count: u64,
    pub retained_total_size: u64,
}

/// What an observation of the storage said.
pub struct Observed {
    /// Packs and session markers.
    pub blobs: Vec<BlobMetadata>,
    /// By session: when its marker was last written.
    pub sessions: BTreeMap<String, Timestamp>,
    /// Packs that an index entry names.
    pub used: HashSet<std::sync::Arc<str>>,
}

/// What to delete. Plain: no storage. `start` is when maintenance began, by the storage's clock.
pub fn decide(observed: &Observed, start: Timestamp, safety: &Safety) -> (PackGc, Vec<String>) {
    let cutoff = start
        .checked_add(SignedDuration::from_secs(SLACK_SECS))
        .unwrap_or(start);
    let age = |time: Timestamp| cutoff.duration_since(time).as_secs();
    let working = |blob: &BlobMetadata| {
        let marker = session_of(blob.id.as_str()).and_then(|session| observed.sessions.get(session));
        marker.is_some_and(|written| age(*written) < safety.session_expiration_age)
    };
    let (mut figures, mut delete) = (PackGc::default(), Vec::new());
    for blob in &observed.blobs {
        if observed.used.contains(blob.id.as_str()) {
            continue;
        }
        let young = blob.timestamp > cutoff || age(blob.timestamp) < safety.pack_delete_min_age;
        if young || working(blob) {
            figures.retained_pack_count += 1;
            figures.retained_total_size += blob.length;
        } else {
            figures.unreferenced_pack_count += 1;
            figures.unreferenced_total_size += blob.length;
            delete.push(blob.id.as_str().to_owned());
        }
    }
    (figures, delete)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    checkpoint_time: Timestamp,
}

/// Markers, packs, index: in this order.
pub fn observe(repository: &Repository) -> Result<Observed> {
    let inner = &repository.inner;
    let mut blobs = inner.blobs.list("s")?;
    let mut sessions: BTreeMap<String, Timestamp> = BTreeMap::new();
    for blob in &blobs {
        let name = blob.id.as_str();
        let Some(session) = session_of(name) else {
            return Err(unreadable(name, "its name holds no session"));
        };
        let body = match inner.blobs.get(name) {
            Err(error) if error.is_missing_blob() => continue,
            other => other?,
        };
        let plain = inner.sealer.open_blob(name, &body);
        let plain = plain.ok_or_else(|| unreadable(name, "it was altered: it cannot be opened"))?;
        let marker: Marker = serde_json::from_slice(&plain).map_err(|e| unreadable(name, &e.to_string()))?;
        let written = sessions
            .entry(session.to_owned())
            .or_insert(marker.checkpoint_time);
        *written = (*written).max(marker.checkpoint_time);
    }
    blobs.extend(inner.blobs.list("p")?);
    blobs.extend(inner.blobs.list("q")?);
    let index = inner.committed.refresh()?.index.clone();
    let used = index.all().map(|entry| index.pack_name(&entry).clone()).collect();
    Ok(Observed {
        blobs,
        sessions,
        used,
    })
}

fn unreadable(name: &str, why: &str) -> RepositoryError {
    RepositoryError::damaged(format!(
        "session marker {name} cannot be read ({why}), so it is not known whether its packs are still needed; \
         delete it when no client is writing"
    ))
}

/// Deletes.
pub fn act(repository: &Repository, start: Timestamp, safety: &Safety) -> Result<PackGc> {
    let (mut figures, delete) = decide(&observe(repository)?, start, safety);
    repository.inner.blobs.delete_all(&delete)?;
    figures.deleted_pack_count = figures.unreferenced_pack_count;
    figures.deleted_total_size = figures.unreferenced_total_size;
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use caravel_storage::BlobId;

    use super::*;

    const HOUR: i64 = 3600;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hours * HOUR).unwrap()
    }

    /// What is deleted at hour 0 of blobs written so many hours before.
    fn deleted(blobs: &[(&str, i64)], sessions: &[(&str, i64)], used: &[&str]) -> Vec<String> {
        let blob = |(name, age): &(&str, i64)| BlobMetadata {
            id: BlobId::from(*name),
            length: 10,
            timestamp: at(-age),
        };
        let observed = Observed {
            blobs: blobs.iter().map(blob).collect(),
            sessions: sessions
                .iter()
                .map(|(s, age)| ((*s).to_owned(), at(-age)))
                .collect(),
            used: used.iter().map(|name| (*name).into()).collect(),
        };
        decide(&observed, at(0), &Safety::full()).1
    }

    #[test]
    fn only_unreferenced_packs_of_a_day_go() {
        let packs = [("p1-sa", 30), ("p2-sa", 30), ("p3-sa", 23), ("p4-sa", -1)];
        assert_eq!(deleted(&packs, &[], &["p2-sa"]), ["p1-sa"]);
    }

    #[test]
    fn packs_and_marker_of_a_session_at_work_stay_for_four_days() {
        let packs = [("p1-sa", 90), ("sff-sa", 90), ("p1-sb", 90)];
        assert_eq!(deleted(&packs, &[("sa", 90)], &[]), ["p1-sb"]);
        assert_eq!(deleted(&packs, &[("sa", 97)], &[]), ["p1-sa", "sff-sa", "p1-sb"]);
    }
}
