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
    let (id, below) = text.split_once('/').unwrap_or((text, ""));
    let mut entry = root(repository, id)?;
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
    }
    Ok(entry)
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

/// The root of a snapshot, or an object as an entry of the user's own.
fn root(repository: &Repository, id: &str) -> Outcome<DirectoryEntry> {
    if let Ok(manifest) = id.parse::<ManifestId>() {
        match repository.load_snapshot(&manifest) {
            Ok(snapshot) => return root_of(id, snapshot.manifest),
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
    // It has no attributes, so it gets those of what somebody makes now.
    entry.mode = FileMode::from_unix(if kind == EntryType::File { 0o644 } else { 0o755 });
    entry.mtime = repository.environment().clock.now();
    (entry.uid, entry.gid) = (geteuid().as_raw(), getegid().as_raw());
    Ok(entry)
}

/// Bytes of an object that is not a directory.
fn length(repository: &Repository, object: ObjectId) -> Outcome<u64> {
    let mut reader = repository.open_object(object)?;
    if let Some(length) = reader.length() {
        return Ok(length);
    }
    // Of one that was compressed as a whole nobody says it.
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
