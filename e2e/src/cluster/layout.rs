//! The cluster's root folder: who may use it, and what lies where.
//!
//! Two rules keep the host safe. Nothing is deleted unless the marker file says that the folder is ours, and one `up` or
//! `down` runs at a time (the lock lies beside the folder, since the folder itself goes away).

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

const MARKER: &str = ".caravel-e2e-cluster";
const MARKER_TEXT: &str =
    "This folder belongs to `cargo xtask cluster`. `cargo xtask cluster down` deletes all of it.\n";

/// Paths below the root folder.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

/// Held while the cluster is brought up or down; dropping it lets the next one in.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Layout {
    /// Names the folder; touches nothing.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the root.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// A path below the root as text, for command lines and configuration files.
    pub fn text(&self, relative: impl AsRef<Path>) -> String {
        self.path(relative).to_string_lossy().into_owned()
    }

    /// Creates a folder below the root.
    pub fn folder(&self, relative: impl AsRef<Path>) -> Result<PathBuf> {
        let folder = self.path(relative);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    /// Writes a file below the root, with its folder.
    pub fn write(&self, relative: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let file = self.path(relative);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    /// True when the folder carries our marker.
    pub fn is_ours(&self) -> bool {
        self.path(MARKER).is_file()
    }

    /// Takes an empty or missing folder for the cluster by putting the marker there.
    ///
    /// # Errors
    /// A folder that has content but no marker belongs to someone else and stays as it is.
    pub fn claim(&self) -> Result<()> {
        if self.is_ours() {
            return Ok(());
        }
        let occupied = fs::read_dir(&self.root).is_ok_and(|mut entries| entries.next().is_some());
        if occupied {
            bail!(
                "{} is not empty and has no {MARKER}: it is not ours. Set CARAVEL_E2E_ROOT to another folder",
                self.root.display()
            );
        }
        self.write(MARKER, MARKER_TEXT)?;
        Ok(())
    }

    /// Deletes everything below the root, if the marker is there; the marker goes last, so that an interrupted deletion
    /// can be finished by the next one.
    pub fn delete(&self) -> Result<()> {
        if !self.is_ours() {
            return Ok(());
        }
        for entry in
            fs::read_dir(&self.root).with_context(|| format!("cannot list {}", self.root.display()))?
        {
            let entry = entry?;
            if entry.file_name() == MARKER {
                continue;
            }
            let path = entry.path();
            let removed = if entry.file_type()?.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.with_context(|| {
                format!(
                    "cannot delete {} (is something still mounted there?)",
                    path.display()
                )
            })?;
        }
        fs::remove_file(self.path(MARKER)).context("cannot delete the marker")?;
        fs::remove_dir(&self.root).with_context(|| format!("cannot delete {}", self.root.display()))
    }

    /// Takes the lock, or says who has it.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.root.with_extension("lock");
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}; the cluster needs root", path.display()))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).with_context(|| {
            format!(
                "another `cargo xtask cluster` is at work (it holds {}); try again when it is done",
                path.display()
            )
        })?;
        Ok(Lock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_folder_is_neither_claimed_nor_deleted() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("thesis.txt"), "mine").expect("writable");
        let layout = Layout::new(folder.path());
        let refused = layout.claim().expect_err("the folder is someone else's");
        assert!(refused.to_string().contains("not ours"), "{refused}");
        layout.delete().expect("deleting what is not ours does nothing");
        assert!(folder.path().join("thesis.txt").exists());
    }

    #[test]
    fn our_own_folder_is_deleted_with_all_it_holds() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::new(parent.path().join("cluster"));
        layout.claim().expect("a new folder can be claimed");
        layout.write("etcd/member/snap", "x").expect("writable");
        layout.delete().expect("ours");
        assert!(!layout.root().exists());
    }

    #[test]
    fn only_one_holds_the_lock() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::new(parent.path().join("cluster"));
        let held = layout.lock().expect("free");
        assert!(layout.lock().is_err());
        drop(held);
        layout.lock().expect("free again");
    }
}
