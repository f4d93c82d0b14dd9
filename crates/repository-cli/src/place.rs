//! `<id>` or `<id>/path/below` → an entry: of a snapshot by the snapshot's own id, or of any object (kopia-format.md 9,
//! 10). Kopia's `ls`, `show`, `diff` and `restore` take the same.

use caravel_repository::{
    DEEPEST, Directory, DirectoryEntry, EntryType, FileMode, ManifestId, ObjectId, Repository,
    RepositoryErrorKind, SnapshotManifest,
};
use rustix::process::{getegid, geteuid};

use crate::failure::{Failure, Outcome};

/// Finds the entry that `text` names.
///
/// Errors: when there is no such snapshot, object or name, saying which part is missing.
pub fn find(repository: &Repository, text: &str) -> Outcome<DirectoryEntry> {
    Ok(find_below(repository, text)?.0)
}

/// The same for a restore: an object that is nobody's entry gets the attributes of what this user makes now.
pub fn find_to_restore(repository: &Repository, text: &str) -> Outcome<DirectoryEntry> {
    let (mut entry, origin) = find_below(repository, text)?;
    if origin == Origin::Object {
        let mode = if entry.kind == EntryType::Directory {
            0o755
        } else {
            0o644
        };
        entry.mode = FileMode::from_unix(mode);
        entry.mtime = repository.environment().clock.now();
        (entry.uid, entry.gid) = (geteuid().as_raw(), getegid().as_raw());
    }
    Ok(entry)
}

/// Whether an entry has attributes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It has those that it was saved with.
    Snapshot,
    /// It has none.
    Object,
}

fn find_below(repository: &Repository, text: &str) -> Outcome<(DirectoryEntry, Origin)> {
    let (id, below) = text.split_once('/').unwrap_or((text, ""));
    let (mut entry, mut origin) = root(repository, id)?;
    let mut walked = id.to_owned();
    for name in below.split('/').filter(|name| !name.is_empty()) {
        if entry.kind != EntryType::Directory {
            return Err(Failure::new(format!(
                "{walked} is not a directory, so {name:?} is not in it"
            )));
        }
        let directory = repository.read_directory(entry.object)?;
        let found = directory
            .entries
            .into_iter()
            .find(|entry| entry.file_name() == name.as_bytes() || entry.name == name);
        entry = found.ok_or_else(|| {
            Failure::new(format!("there is no {name:?} in {walked}"))
                .next(format!("velero kopia ls {walked}"))
        })?;
        walked = format!("{walked}/{name}");
        origin = Origin::Snapshot;
    }
    Ok((entry, origin))
}

/// Reads a directory that lies `level` directories below what the user named.
///
/// Errors: as the repository's, and when no backup makes a tree so deep.
pub fn directory(repository: &Repository, entry: &DirectoryEntry, level: usize) -> Outcome<Directory> {
    match level <= DEEPEST {
        true => Ok(repository.read_directory(entry.object)?),
        false => Err(Failure::new(format!(
            "its folders are nested too deeply: more than {DEEPEST} levels"
        ))),
    }
}

/// The root of a snapshot, or an object as an entry without attributes.
fn root(repository: &Repository, id: &str) -> Outcome<(DirectoryEntry, Origin)> {
    if let Ok(manifest) = id.parse::<ManifestId>() {
        match repository.load_snapshot(&manifest) {
            Ok(snapshot) => return Ok((root_of(id, snapshot.manifest)?, Origin::Snapshot)),
            // 32 digits may also name a content.
            Err(error) if error.kind() == RepositoryErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    let object: ObjectId = id.parse().map_err(|_| nothing(id))?;
    let kind = match object.content.prefix() {
        Some(b'k') => EntryType::Directory,
        _ => EntryType::File,
    };
    if object.levels == 0 && repository.content_info(&object.content).is_none() {
        // Somebody may have written it after the index was listed.
        repository.refresh_blocking()?;
        if repository.content_info(&object.content).is_none() {
            return Err(nothing(id));
        }
    }
    let mut entry = DirectoryEntry::new(kind, id.as_bytes(), object);
    if kind == EntryType::File {
        entry.size = length(repository, object)?;
    }
    Ok((entry, Origin::Object))
}

/// Bytes of an object that is not a directory.
fn length(repository: &Repository, object: ObjectId) -> Outcome<u64> {
    let mut reader = repository.open_object(object)?;
    let of_one_content = || Some(repository.content_info(&object.content)?.original_length.into());
    let known = reader.length().or_else(of_one_content);
    if let Some(length) = known.filter(|_| !object.compressed) {
        return Ok(length);
    }
    // Of one that was compressed before it was named nobody says it.
    let mut length = 0;
    while let Some(piece) = reader.next_piece()? {
        length += piece.len() as u64;
    }
    Ok(length)
}

fn root_of(id: &str, manifest: SnapshotManifest) -> Outcome<DirectoryEntry> {
    manifest
        .root_entry
        .ok_or_else(|| Failure::new(format!("snapshot {id} has no root: nothing of it was saved")))
}

fn nothing(id: &str) -> Failure {
    Failure::new(format!(
        "{id:?} is neither a snapshot nor an object of this repository"
    ))
    .next("velero kopia snapshot list --all --manifest-id")
}

/// Go's text of a file mode: `drwxr-xr-x`, `Lrwxrwxrwx`, `urwxr-xr-x` with setuid.
pub fn mode_text(entry: &DirectoryEntry) -> String {
    let mode = entry.mode.to_unix();
    let mut text = match entry.kind {
        EntryType::Directory => "d",
        EntryType::Symlink => "L",
        EntryType::File => "",
    }
    .to_owned();
    for (bit, letter) in [(0o4000, 'u'), (0o2000, 'g'), (0o1000, 't')] {
        if mode & bit != 0 {
            text.push(letter);
        }
    }
    if text.is_empty() {
        text.push('-');
    }
    for (position, letter) in "rwxrwxrwx".chars().enumerate() {
        text.push(if mode & (0o400 >> position) != 0 {
            letter
        } else {
            '-'
        });
    }
    text
}

/// What a listing calls the entry's size: a directory's is that of all files below.
pub fn size(entry: &DirectoryEntry) -> u64 {
    entry.summary.as_ref().map_or(entry.size, |summary| summary.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        let object = "00112233445566778899aabbccddeeff".parse().unwrap();
        for (kind, mode, text) in [
            (EntryType::Directory, 0o755, "drwxr-xr-x"),
            (EntryType::Symlink, 0o777, "Lrwxrwxrwx"),
            (EntryType::File, 0o4755, "urwxr-xr-x"),
            (EntryType::Directory, 0o1777, "dtrwxrwxrwx"),
            (EntryType::File, 0o640, "-rw-r-----"),
        ] {
            let mut entry = DirectoryEntry::new(kind, b"x", object);
            entry.mode = FileMode::from_unix(mode);
            assert_eq!(mode_text(&entry), text);
        }
    }
}
