//! `velero kopia repository sync-to filesystem|s3|gcs|azure`: the same repository in another place, blob by blob.
//!
//! Packs go first, what names them last (index blobs, then the format blob of an empty place), so that a copy that broke
//! off never names what it does not hold. Blobs that exist there with the same length are not copied again: a blob's
//! bytes never change, `kopia.maintenance` and the format blobs apart, which are copied when they are newer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use caravel_repository::format::FORMAT_BLOB;
use caravel_storage::{BlobId, BlobMetadata, Storage, StorageErrorKind};
use clap::Subcommand;
use parking_lot::Mutex;

use super::provider;
use crate::{
    app::App,
    console::Counting,
    failure::{Failure, Outcome},
    units,
};

/// Where to.
#[derive(Debug, Subcommand)]
pub enum Place {
    /// To a folder.
    Filesystem(Args<provider::Filesystem>),
    /// To a bucket.
    S3(Args<provider::S3>),
    /// To a bucket of Google Cloud Storage.
    Gcs(Args<provider::Gcs>),
    /// To a container of Azure Blob Storage.
    Azure(Args<provider::Azure>),
}

/// Flags of one place.
#[derive(Debug, clap::Args)]
pub struct Args<P: clap::Args> {
    #[command(flatten)]
    place: P,
    #[command(flatten)]
    how: How,
}

/// Flags of every place.
#[derive(Clone, Debug, clap::Args)]
pub struct How {
    /// Blobs that only the other place has are deleted there.
    #[arg(long)]
    delete: bool,
    /// Say what would be copied and deleted, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Blobs copied at the same time.
    #[arg(long, default_value_t = 4, value_name = "N")]
    parallel: usize,
    /// Fail when the other place has no repository yet.
    #[arg(long)]
    must_exist: bool,
}

/// Runs the command.
pub fn run(place: &Place, app: &App) -> Outcome {
    let (settings, how) = match place {
        Place::Filesystem(args) => (args.place.settings()?, &args.how),
        Place::S3(args) => (args.place.settings()?, &args.how),
        Place::Gcs(args) => (args.place.settings()?, &args.how),
        Place::Azure(args) => (args.place.settings()?, &args.how),
    };
    // Opened, so that nothing is copied from what is no repository of ours.
    let source = app.open()?.storage();
    if let Some(folder) = settings.folder().filter(|_| !how.dry_run && !how.must_exist) {
        provider::make_folder(folder)?;
    }
    let target = app.storage(&settings)?;
    let copy = Copy {
        app,
        source,
        target,
        how,
    };
    let work = copy.compare()?;
    let size = |blobs: &[BlobMetadata]| units::bytes(blobs.iter().map(|blob| blob.length).sum());
    app.console.say(format!(
        "{} blobs ({}) to copy, {} to delete, {} are there.",
        work.copy.len(),
        size(&work.copy),
        work.delete.len(),
        work.same
    ));
    if how.dry_run {
        return Ok(());
    }
    copy.act(&work)?;
    app.console.say("Both places hold the same repository.");
    Ok(())
}

struct Copy<'a> {
    app: &'a App,
    source: Arc<dyn Storage>,
    target: Arc<dyn Storage>,
    how: &'a How,
}

/// What is to be done.
struct Work {
    copy: Vec<BlobMetadata>,
    delete: Vec<BlobMetadata>,
    same: usize,
}

/// Packs, then everything else, then indexes, then what makes a place a repository.
fn turn(name: &str) -> u8 {
    match name {
        FORMAT_BLOB => 4,
        _ if name.starts_with("kopia.") => 3,
        _ if name.starts_with(['x', 'n']) => 2,
        _ if name.starts_with(['p', 'q']) => 0,
        _ => 1,
    }
}

/// Blobs that are written over in place.
fn changes(name: &str) -> bool {
    name.starts_with("kopia.") || name.starts_with("udmrepo.")
}

impl Copy<'_> {
    fn compare(&self) -> Outcome<Work> {
        let app = self.app;
        // The target first, the source last: what is written meanwhile is copied, not taken for foreign.
        let mut there: BTreeMap<BlobId, BlobMetadata> = app
            .wait(self.target.list(""))?
            .into_iter()
            .map(|blob| (blob.id.clone(), blob))
            .collect();
        self.check_target(&there)?;
        let mut work = Work {
            copy: Vec::new(),
            delete: Vec::new(),
            same: 0,
        };
        for blob in app.wait(self.source.list(""))? {
            let known = there.remove(&blob.id);
            let newer = |known: &BlobMetadata| changes(blob.id.as_str()) && blob.timestamp > known.timestamp;
            match known {
                Some(known) if known.length == blob.length && !newer(&known) => work.same += 1,
                _ => work.copy.push(blob),
            }
        }
        work.copy.sort_by_key(|blob| turn(blob.id.as_str()));
        if self.how.delete {
            work.delete.extend(there.into_values());
            // What names others goes before what is named.
            work.delete
                .sort_by_key(|blob| std::cmp::Reverse(turn(blob.id.as_str())));
        }
        Ok(work)
    }

    /// The other place is empty, or holds this very repository.
    fn check_target(&self, there: &BTreeMap<BlobId, BlobMetadata>) -> Outcome {
        let format = BlobId::from(FORMAT_BLOB);
        if there.contains_key(&format) {
            let environment = &self.app.environment;
            let id = |storage: &Arc<dyn Storage>| {
                let asked = caravel_repository::peek_unique_id(storage.clone(), environment);
                self.app.wait(asked)
            };
            return match id(&self.source)? == id(&self.target)? {
                true => Ok(()),
                false => Err(
                    Failure::new("the other place holds another repository; nothing was copied")
                        .next("velero kopia repository sync-to --help    (to an empty folder or prefix)"),
                ),
            };
        }
        if self.how.must_exist {
            return Err(
                Failure::new("the other place holds no repository yet, and --must-exist is given")
                    .next("velero kopia repository sync-to --help    (without --must-exist)"),
            );
        }
        // A copy that broke off has packs and no format blob: it may go on. Anything else is somebody else's.
        let foreign = there.keys().find(|id| !is_of_a_repository(id.as_str()));
        match foreign {
            None => Ok(()),
            Some(id) => Err(Failure::new(format!(
                "the other place holds {id}, which is of no repository; nothing was copied"
            ))
            .next("velero kopia repository sync-to --help    (to an empty folder or prefix)")),
        }
    }

    fn act(&self, work: &Work) -> Outcome {
        let total: u64 = work.copy.iter().map(|blob| blob.length).sum();
        let done = AtomicU64::new(0);
        self.app.console.watch(
            "Copying blobs",
            Counting::Bytes,
            || (done.load(Ordering::Relaxed), total),
            || {
                for group in work
                    .copy
                    .chunk_by(|a, b| turn(a.id.as_str()) == turn(b.id.as_str()))
                {
                    self.group(group, &done)?;
                }
                Ok::<(), Failure>(())
            },
        )?;
        for blob in &work.delete {
            self.app.wait(self.target.delete(&blob.id))?;
        }
        Ok(())
    }

    /// Copies blobs whose order among themselves does not matter.
    fn group(&self, blobs: &[BlobMetadata], done: &AtomicU64) -> Outcome {
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                if failed.lock().is_some() {
                    return;
                }
                match self.one(&blob.id) {
                    Ok(()) => done.fetch_add(blob.length, Ordering::Relaxed),
                    Err(failure) => {
                        failed.lock().get_or_insert(failure);
                        return;
                    }
                };
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.how.parallel.clamp(1, 64) {
                scope.spawn(work);
            }
        });
        failed.into_inner().map_or(Ok(()), Err)
    }

    fn one(&self, id: &BlobId) -> Outcome {
        let data = match self.app.wait(self.source.get(id)) {
            // Maintenance removed it since it was listed: nobody needs it.
            Err(error) if error.kind() == StorageErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        Ok(self.app.wait(self.target.put(id, data))?)
    }
}

/// Whether a repository has blobs of such names.
fn is_of_a_repository(name: &str) -> bool {
    ["p", "q", "x", "n", "m", "l", "s", "_log_", "kopia.", "udmrepo."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_goes_before_what_names_it() {
        let mut names = [
            "kopia.repository",
            "xn0_a-s1-c1",
            "kopia.blobcfg",
            "pab-s1",
            "_log_x",
            "qab-s1",
        ];
        names.sort_by_key(|name| turn(name));
        assert_eq!(
            names,
            [
                "pab-s1",
                "qab-s1",
                "_log_x",
                "xn0_a-s1-c1",
                "kopia.blobcfg",
                "kopia.repository"
            ]
        );
    }
}
