//! The folder that a sandbox lives in: a new one that goes with it, or the user's (`--dir`), which must be empty or a
//! sandbox's already. One process at a time.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::cli::failure::{Failure, Outcome};

/// The file by which a folder is known to be a sandbox's.
const MARKER: &str = ".velero-sandbox";
const MARKER_TEXT: &str = "This folder belongs to `velero sandbox`. Delete all of it, or nothing.\n";

/// A sandbox's folder, held by this process.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Locked while this process has it.
    _lock: std::fs::File,
    /// Set where the folder goes with the sandbox.
    temporary: Option<tempfile::TempDir>,
}

impl Folder {
    /// The user's folder, or a new one below the machine's temporary folder.
    ///
    /// # Errors
    /// It holds something else, another sandbox runs in it, or it cannot be written; nothing was changed then.
    pub fn open(wanted: Option<&Path>) -> Outcome<Self> {
        let Some(path) = wanted else {
            let temporary = tempfile::Builder::new()
                .prefix("velero-sandbox-")
                .permissions(std::fs::Permissions::from_mode(0o700))
                .tempdir()
                .map_err(|error| Failure::new(format!("making a temporary folder: {error}")))?;
            let mut folder = Self::take(temporary.path())?;
            folder.temporary = Some(temporary);
            return Ok(folder);
        };
        if !is_free(path)? {
            return Err(Failure::new(format!(
                "{} holds files that are not a sandbox's; nothing was changed",
                path.display()
            ))
            .next("velero sandbox --dir with a new or empty folder"));
        }
        Self::take(path)
    }

    fn take(path: &Path) -> Outcome<Self> {
        let cannot = |error: std::io::Error| {
            Failure::new(format!(
                "the sandbox's folder {}: {error}; nothing was started",
                path.display()
            ))
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(cannot)?;
        let path = path.canonicalize().map_err(cannot)?;
        let mut lock = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join(MARKER))
            .map_err(cannot)?;
        if lock.try_lock().is_err() {
            return Err(Failure::new(format!(
                "another sandbox runs in {}; nothing was changed",
                path.display()
            ))
            .next("end that one with Ctrl-C, or give another --dir"));
        }
        lock.write_all(MARKER_TEXT.as_bytes()).map_err(cannot)?;
        Ok(Self {
            path,
            _lock: lock,
            temporary: None,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stays when the sandbox ends.
    pub fn stays(&self) -> bool {
        self.temporary.is_none()
    }
}

/// A folder that is not there, empty, or a sandbox's.
fn is_free(path: &Path) -> Outcome<bool> {
    if path.join(MARKER).is_file() {
        return Ok(true);
    }
    match std::fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Failure::new(format!(
            "the sandbox's folder {}: {error}; nothing was changed",
            path.display()
        ))),
    }
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    // A file that is there already might be readable by others, and keeps its mode when it is opened.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    create_private(path)?.write_all(content)
}

/// The same in place of such a file: whoever reads it finds the old or the new one, also after a crash of the machine.
pub fn replace_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    // One that a killed process left.
    let _ = std::fs::remove_file(&new);
    let mut file = create_private(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(new, path)
}

fn create_private(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Bytes of all files below a folder; what cannot be read counts nothing.
pub fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// How many files lie below a folder; one that is not there has none.
pub fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => files_below(&entry.path()),
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_another_program_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("thesis.tex"), "x").unwrap();
        let refusal = Folder::open(Some(folder.path())).unwrap_err().to_string();
        assert!(
            refusal.contains("not a sandbox's; nothing was changed"),
            "{refusal}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_found_again_but_not_by_two_at_once() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("box");
        let first = Folder::open(Some(&path)).unwrap();
        let refusal = Folder::open(Some(&path)).unwrap_err().to_string();
        assert!(refusal.contains("another sandbox runs in"), "{refusal}");
        std::fs::write(first.path().join("state.json"), "{}").unwrap();
        drop(first);
        let again = Folder::open(Some(&path)).unwrap();
        assert!(again.stays() && again.path().join("state.json").exists());
    }

    #[test]
    fn a_file_in_place_of_the_folder_is_said() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refusal = Folder::open(Some(file.path())).unwrap_err().to_string();
        assert!(refusal.contains("nothing was"), "{refusal}");
    }

    #[test]
    fn without_a_folder_there_is_one_that_goes_with_the_sandbox() {
        let folder = Folder::open(None).unwrap();
        let path = folder.path().to_owned();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn secrets_are_readable_by_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        std::fs::write(&path, "old, and open to all").unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }
}
