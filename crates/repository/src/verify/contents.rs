//! Every pack that live contents lie in: is it there, is it long enough, and do the contents in it open and hash to
//! their names?

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{Level, Problem, Report};
use crate::{
    Repository,
    error::{RepositoryError, Result},
    index::{Entry, merged::MergedIndex},
};

/// From so many percent of a pack's bytes on it is fetched whole.
const WHOLE: u64 = 25;

/// Checks all packs; `false` when `progress` said to end.
pub(super) fn check(
    repository: &Repository,
    index: &MergedIndex,
    level: Level,
    report: &mut Report,
    progress: &mut dyn FnMut(&Report) -> bool,
) -> Result<bool> {
    let blobs = &repository.inner.blobs;
    let mut lengths = BTreeMap::new();
    for prefix in ["p", "q"] {
        lengths.extend(
            blobs
                .list(prefix)?
                .into_iter()
                .map(|blob| (blob.id.as_str().to_owned(), blob.length)),
        );
    }
    for (pack, entries) in by_pack(index) {
        report.packs += 1;
        report.contents += entries.len() as u64;
        let Some(length) = lengths.get(&*pack) else {
            let missing = RepositoryError::not_found(format!("pack {pack} is not in the storage"));
            blame_all(report, &pack, &entries, &missing);
            continue;
        };
        let (inside, outside): (Vec<Entry>, Vec<Entry>) = entries
            .into_iter()
            .partition(|entry| u64::from(entry.pack_offset) + u64::from(entry.packed_length) <= *length);
        let truncated = RepositoryError::damaged(format!("pack {pack} is truncated: it has {length} bytes"));
        blame_all(report, &pack, &outside, &truncated);
        let chosen: Vec<Entry> = inside
            .into_iter()
            .filter(|entry| is_chosen(repository, entry, level))
            .collect();
        read(repository, &pack, *length, &chosen, report)?;
        if !progress(report) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Live entries by their pack, in order of names.
fn by_pack(index: &MergedIndex) -> BTreeMap<Arc<str>, Vec<Entry>> {
    let mut packs: BTreeMap<Arc<str>, Vec<Entry>> = BTreeMap::new();
    for entry in index.live() {
        packs
            .entry(index.pack_name(&entry).clone())
            .or_default()
            .push(entry);
    }
    packs
}

fn is_chosen(repository: &Repository, _: &Entry, level: Level) -> bool {
    let percent = level.percent();
    if percent <= 0.0 || percent >= 100.0 {
        return percent >= 100.0;
    }
    let random = u32::from_le_bytes(repository.inner.environment.random::<4>());
    f64::from(random) / f64::from(u32::MAX) * 100.0 < percent
}

fn read(
    repository: &Repository,
    pack: &Arc<str>,
    length: u64,
    entries: &[Entry],
    report: &mut Report,
) -> Result<()> {
    let wanted: u64 = entries.iter().map(|entry| u64::from(entry.packed_length)).sum();
    let whole = match wanted * 100 >= length * WHOLE && wanted > 0 {
        true => match repository.inner.blobs.get(pack) {
            Ok(bytes) => Some(bytes),
            Err(error) if goes_on(&error) => {
                blame_all(report, pack, entries, &error);
                return Ok(());
            }
            Err(error) => return Err(error),
        },
        false => None,
    };
    for entry in entries {
        report.contents_read += 1;
        report.bytes_read += u64::from(entry.packed_length);
        match read_one(repository, pack, whole.as_ref(), entry) {
            Ok(()) => {}
            Err(error) if goes_on(&error) => blame(report, pack, entry, &error),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a failure says something about these bytes, and not about the way to them.
fn goes_on(error: &RepositoryError) -> bool {
    use caravel_storage::StorageErrorKind::{Damaged, NotFound};
    error
        .storage()
        .is_none_or(|storage| matches!(storage.kind(), Damaged | NotFound))
}

fn read_one(repository: &Repository, pack: &Arc<str>, whole: Option<&Bytes>, entry: &Entry) -> Result<()> {
    let inner = &repository.inner;
    let range = u64::from(entry.pack_offset)..u64::from(entry.pack_offset) + u64::from(entry.packed_length);
    let fetched;
    let segment: &[u8] = match whole {
        Some(bytes) => bytes
            .get(range.start as usize..range.end as usize)
            .ok_or_else(|| RepositoryError::damaged(format!("pack {pack} has {} bytes", bytes.len())))?,
        None => {
            fetched = inner.blobs.get_range(pack, range)?;
            &fetched
        }
    };
    let plain = inner.contents.open_segment(entry, pack, segment)?;
    match *inner.sealer.hash(&plain) == *entry.id.hash() {
        true => Ok(()),
        false => Err(RepositoryError::damaged(
            "its bytes are authentic, but they do not hash to its name",
        )),
    }
}

fn blame(report: &mut Report, pack: &Arc<str>, entry: &Entry, error: &RepositoryError) {
    report.problems.push(Problem {
        blob: Some(pack.to_string()),
        content: Some(entry.id),
        ..Problem::new(error.clone())
    });
}

fn blame_all(report: &mut Report, pack: &Arc<str>, entries: &[Entry], error: &RepositoryError) {
    entries.iter().for_each(|entry| blame(report, pack, entry, error));
}
