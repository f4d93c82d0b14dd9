//! Contents that no snapshot needs are marked as deleted; marked ones that a snapshot needs after all are revived
//! (kopia-format.md 11.5). Neighbours: `mark.rs` (which are needed), `due.rs` (when marked ones are dropped).

use serde::Serialize;

use super::{Safety, mark, mark::Needed};
use crate::{
    content::ContentId,
    error::Result,
    index::{Entry, merged::MergedIndex},
    manifest::CONTENT_PREFIX,
    repository::Repository,
};

/// How many contents one index blob of tombstones marks at most.
const BATCH: usize = 100_000;

/// What is to be done with a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Holds manifests: only their compaction removes it.
    System,
    InUse,
    /// A snapshot needs it, but it is marked as deleted.
    Revive,
    /// Not needed, but so young that its snapshot may be on its way.
    TooRecent,
    /// Not needed and marked already.
    Marked,
    /// Not needed.
    Mark,
}

/// The verdict on one content, `start` being the second that maintenance began.
pub fn judge(entry: &Entry, needed: bool, start: i64, safety: &Safety) -> Verdict {
    let age = start - i64::from(entry.timestamp);
    match () {
        () if entry.id.prefix() == Some(CONTENT_PREFIX) => Verdict::System,
        () if needed && entry.deleted => Verdict::Revive,
        () if needed => Verdict::InUse,
        () if age < safety.min_content_age_subject_to_gc => Verdict::TooRecent,
        () if entry.deleted => Verdict::Marked,
        () => Verdict::Mark,
    }
}

/// Figures of a collection, with Kopia's names. Sizes are sealed bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotGc {
    pub unreferenced_content_count: u64,
    pub unreferenced_content_size: u64,
    pub deleted_content_count: u64,
    pub deleted_content_size: u64,
    pub unreferenced_recent_content_count: u64,
    pub unreferenced_recent_content_size: u64,
    pub in_use_content_count: u64,
    pub in_use_content_size: u64,
    pub in_use_system_content_count: u64,
    pub in_use_system_content_size: u64,
    pub recovered_content_count: u64,
    pub recovered_content_size: u64,
}

impl SnapshotGc {
    fn count(&mut self, verdict: Verdict, size: u64) {
        let add = |count: &mut u64, total: &mut u64| {
            *count += 1;
            *total += size;
        };
        match verdict {
            Verdict::System => add(
                &mut self.in_use_system_content_count,
                &mut self.in_use_system_content_size,
            ),
            Verdict::InUse => add(&mut self.in_use_content_count, &mut self.in_use_content_size),
            Verdict::TooRecent => add(
                &mut self.unreferenced_recent_content_count,
                &mut self.unreferenced_recent_content_size,
            ),
            Verdict::Marked => add(
                &mut self.unreferenced_content_count,
                &mut self.unreferenced_content_size,
            ),
            Verdict::Mark => {
                add(
                    &mut self.unreferenced_content_count,
                    &mut self.unreferenced_content_size,
                );
                add(&mut self.deleted_content_count, &mut self.deleted_content_size);
            }
            Verdict::Revive => {
                add(&mut self.in_use_content_count, &mut self.in_use_content_size);
                add(
                    &mut self.recovered_content_count,
                    &mut self.recovered_content_size,
                );
            }
        }
    }
}

/// Figures of all verdicts, and what to revive. Plain: no storage.
pub fn decide(
    index: &MergedIndex,
    needed: &Needed,
    start: i64,
    safety: &Safety,
) -> (SnapshotGc, Vec<ContentId>) {
    let (mut figures, mut revive) = (SnapshotGc::default(), Vec::new());
    for entry in index.all() {
        let verdict = judge(&entry, needed.contains(&entry.id), start, safety);
        figures.count(verdict, entry.packed_length.into());
        if verdict == Verdict::Revive {
            revive.push(entry.id);
        }
    }
    (figures, revive)
}

/// What a collection would do now.
pub fn plan(repository: &Repository, start: i64, safety: &Safety) -> Result<SnapshotGc> {
    let needed = mark::needed(repository)?;
    let reading = repository.inner.committed.refresh()?;
    Ok(decide(&reading.index, &needed, start, safety).0)
}

/// Collects.
pub fn act(repository: &Repository, start: i64, safety: &Safety) -> Result<SnapshotGc> {
    // What was not in the index before the walk is not judged by it, whatever its age says.
    let before = repository.inner.committed.refresh()?.index.clone();
    let needed = mark::needed(repository)?;
    let reading = repository.inner.committed.refresh()?;
    let (figures, revive) = decide(&reading.index, &needed, start, safety);
    revive_all(repository, &revive)?;
    // Index readings of this moment for each batch: a tombstone that names a pack that is gone meanwhile would be worse
    // than none.
    loop {
        let index = repository.inner.committed.refresh()?.index.clone();
        let writer = repository.write()?;
        let unneeded = index.all().filter(|entry| {
            judge(entry, needed.contains(&entry.id), start, safety) == Verdict::Mark
                && before.find(&entry.id).is_some_and(|old| !old.deleted)
        });
        for entry in unneeded.take(BATCH) {
            writer.contents().tombstone(&entry, index.pack_name(&entry));
        }
        if writer.contents().pending() == 0 {
            return Ok(figures);
        }
        writer.commit()?;
    }
}

/// Writes contents that are marked as deleted again, as live ones.
fn revive_all(repository: &Repository, ids: &[ContentId]) -> Result<()> {
    let index = repository.inner.committed.current().index.clone();
    let writer = repository.write()?;
    for id in ids {
        let Some(entry) = index.find(id).filter(|entry| entry.deleted) else {
            continue;
        };
        let place = (&entry, index.pack_name(&entry), index.pack_end(&entry));
        writer.contents().copy(&repository.inner.contents, place, false)?;
    }
    writer.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn entry(id: &str, timestamp: i64, deleted: bool) -> Entry {
        Entry {
            id: id.parse().unwrap(),
            deleted,
            format_version: 3,
            compression: 0,
            timestamp: timestamp as u32,
            pack: 0,
            pack_offset: 32,
            packed_length: 128,
            original_length: 100,
        }
    }

    #[test]
    fn verdict_depends_on_need_age_and_mark() {
        let data = "00112233445566778899aabbccddeeff";
        let manifest = "m00112233445566778899aabbccddeeff";
        let start = 1_800_000_000;
        let judge = |id: &str, age: i64, deleted, needed| {
            judge(&entry(id, start - age, deleted), needed, start, &Safety::full())
        };
        for (id, age, deleted, needed, expected) in [
            (manifest, 9 * DAY, false, false, Verdict::System),
            (manifest, 9 * DAY, true, false, Verdict::System),
            (data, 9 * DAY, false, true, Verdict::InUse),
            (data, 0, true, true, Verdict::Revive),
            (data, 9 * DAY, true, true, Verdict::Revive),
            (data, DAY - 1, false, false, Verdict::TooRecent),
            (data, DAY - 1, true, false, Verdict::TooRecent),
            (data, DAY, false, false, Verdict::Mark),
            (data, DAY, true, false, Verdict::Marked),
        ] {
            assert_eq!(
                judge(id, age, deleted, needed),
                expected,
                "{id} {age} {deleted} {needed}"
            );
        }
    }
}
