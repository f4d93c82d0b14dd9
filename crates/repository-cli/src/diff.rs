//! `velero kopia diff`: what changed between two snapshots or directories, from their directories alone.

use std::collections::BTreeMap;

use caravel_repository::{DirectoryEntry, EntryType, Repository};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use crate::{
    app::App,
    console::Console,
    failure::{Failure, Outcome},
    json, place,
};

/// Compare two snapshots or directories.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The older one.
    #[arg(value_name = "ID[/PATH]")]
    object_path1: String,
    /// The newer one.
    #[arg(value_name = "ID[/PATH]")]
    object_path2: String,
    /// Only the figures that otherwise come last, as JSON.
    #[arg(long)]
    stats_only: bool,
}

/// Figures, under Kopia's names.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    file_entries: Changes,
    directory_entries: Changes,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Changes {
    added: u64,
    removed: u64,
    modified: u64,
    same_content_but_different_metadata: u64,
    same_content_but_different_mode: u64,
    same_content_but_different_modification_time: u64,
    same_content_but_different_user_owner: u64,
    same_content_but_different_group_owner: u64,
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open()?;
    let before = place::find(&repository, &args.object_path1)?;
    let after = place::find(&repository, &args.object_path2)?;
    if is_directory(&before) != is_directory(&after) {
        return Err(Failure::usage("a directory and a file cannot be compared"));
    }
    let mut comparison = Comparison {
        repository: &repository,
        console: &app.console,
        silent: args.stats_only,
        level: 0,
        stats: Stats::default(),
    };
    comparison.entry(Some(&before), Some(&after), ".")?;
    json::print(&app.console, &comparison.stats)?;
    app.console.flush()
}

fn is_directory(entry: &DirectoryEntry) -> bool {
    entry.kind == EntryType::Directory
}

struct Comparison<'a> {
    repository: &'a Repository,
    console: &'a Console,
    silent: bool,
    /// How deep in the tree it is.
    level: usize,
    stats: Stats,
}

impl Comparison<'_> {
    fn entry(
        &mut self,
        before: Option<&DirectoryEntry>,
        after: Option<&DirectoryEntry>,
        path: &str,
    ) -> Outcome {
        match (before, after) {
            (None, None) => Ok(()),
            (None, Some(added)) => {
                self.of_kind(added).added += 1;
                if is_directory(added) {
                    self.tell(format!("added directory {path}"))?;
                    return self.directories(None, Some(added), path);
                }
                self.tell(format!("added file {path} ({} bytes)", added.size))
            }
            (Some(removed), None) => {
                self.of_kind(removed).removed += 1;
                if is_directory(removed) {
                    self.tell(format!("removed directory {path}"))?;
                    return self.directories(Some(removed), None, path);
                }
                self.tell(format!("removed file {path} ({} bytes)", removed.size))
            }
            (Some(before), Some(after)) if before.object == after.object => {
                note_metadata(self.of_kind(after), before, after);
                Ok(())
            }
            (Some(before), Some(after)) => self.changed(before, after, path),
        }
    }

    fn changed(&mut self, before: &DirectoryEntry, after: &DirectoryEntry, path: &str) -> Outcome {
        self.metadata(before, after, path)?;
        let both_directories = is_directory(before) && is_directory(after);
        // Kopia counts what changed in its attributes and in its bytes twice.
        if differs(before, after, path) {
            match both_directories {
                true => self.stats.directory_entries.modified += 1,
                false => self.stats.file_entries.modified += 1,
            }
        }
        match (is_directory(before), is_directory(after)) {
            (true, true) => self.directories(Some(before), Some(after), path),
            (true, false) => self.tell(format!("changed {path} from directory to non-directory")),
            (false, true) => self.tell(format!("changed {path} from non-directory to a directory")),
            (false, false) => {
                self.stats.file_entries.modified += 1;
                self.tell(format!(
                    "changed {path} at {} (size {} -> {})",
                    time(after.mtime),
                    before.size,
                    after.size
                ))
            }
        }
    }

    fn metadata(&mut self, before: &DirectoryEntry, after: &DirectoryEntry, path: &str) -> Outcome {
        if before.mode != after.mode {
            let (old, new) = (place::mode_text(before), place::mode_text(after));
            self.tell(format!("{path} modes differ: {old} {new}"))?;
        }
        let (old, new) = (place::size(before), place::size(after));
        // Of the two directories that were named, Kopia does not say it.
        if old != new && path != "." {
            self.tell(format!("{path} sizes differ: {old} {new}"))?;
        }
        if before.mtime != after.mtime {
            let (old, new) = (time(before.mtime), time(after.mtime));
            self.tell(format!("{path} modification times differ: {old} {new}"))?;
        }
        if before.uid != after.uid {
            self.tell(format!("{path} owner users differ: {} {}", before.uid, after.uid))?;
        }
        if before.gid != after.gid {
            self.tell(format!(
                "{path} owner groups differ: {} {}",
                before.gid, after.gid
            ))?;
        }
        Ok(())
    }

    fn directories(
        &mut self,
        before: Option<&DirectoryEntry>,
        after: Option<&DirectoryEntry>,
        path: &str,
    ) -> Outcome {
        let mut old = self.children(before)?;
        let added = self.children(after)?;
        self.level += 1;
        let by_name: BTreeMap<Vec<u8>, usize> = old
            .iter()
            .enumerate()
            .filter_map(|(at, entry)| Some((entry.as_ref()?.file_name(), at)))
            .collect();
        for new in added.into_iter().flatten() {
            let known = by_name.get(&new.file_name()).and_then(|at| old[*at].take());
            self.entry(known.as_ref(), Some(&new), &format!("{path}/{}", new.name))?;
        }
        for gone in old.into_iter().flatten() {
            self.entry(Some(&gone), None, &format!("{path}/{}", gone.name))?;
        }
        self.level -= 1;
        Ok(())
    }

    fn children(&self, directory: Option<&DirectoryEntry>) -> Outcome<Vec<Option<DirectoryEntry>>> {
        let Some(directory) = directory else {
            return Ok(Vec::new());
        };
        let read = place::directory(self.repository, directory, self.level)?;
        Ok(read.entries.into_iter().map(Some).collect())
    }

    fn of_kind(&mut self, entry: &DirectoryEntry) -> &mut Changes {
        match is_directory(entry) {
            true => &mut self.stats.directory_entries,
            false => &mut self.stats.file_entries,
        }
    }

    fn tell(&self, line: String) -> Outcome {
        if self.silent {
            Ok(())
        } else {
            self.console.line(line)
        }
    }
}

/// Whether any attribute does; of the two directories that were named, Kopia does not compare the sizes.
fn differs(before: &DirectoryEntry, after: &DirectoryEntry, path: &str) -> bool {
    let attributes = |entry: &DirectoryEntry| (entry.mode, entry.mtime, entry.uid, entry.gid);
    attributes(before) != attributes(after) || (path != "." && place::size(before) != place::size(after))
}

/// The same bytes; what else differs is only counted.
fn note_metadata(counts: &mut Changes, before: &DirectoryEntry, after: &DirectoryEntry) {
    let differences = [
        (
            before.mode != after.mode,
            &mut counts.same_content_but_different_mode,
        ),
        (
            before.mtime != after.mtime,
            &mut counts.same_content_but_different_modification_time,
        ),
        (
            before.uid != after.uid,
            &mut counts.same_content_but_different_user_owner,
        ),
        (
            before.gid != after.gid,
            &mut counts.same_content_but_different_group_owner,
        ),
    ];
    let mut any = false;
    for (differs, count) in differences {
        *count += u64::from(differs);
        any |= differs;
    }
    counts.same_content_but_different_metadata += u64::from(any);
}

/// As Go writes a time.
fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S%.f %z %Z")
        .to_string()
}
