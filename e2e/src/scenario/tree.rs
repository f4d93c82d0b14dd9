//! A folder tree as facts that can be compared: path, type, mode, owner, time, size, content, link target.
//!
//! Holes are compared apart from content (a restored hole may lie elsewhere and still be the same file), by
//! [`Tree::allocated`]. `lost+found` of a fresh ext4 is left out: it belongs to the file system.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Type, permissions and the setuid, setgid and sticky bits, as st_mode.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification, in nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Bytes, for regular files; else 0.
    pub size: u64,
    /// SHA-256 of a file's content, target of a symbolic link, else empty.
    pub content: String,
    /// Bytes that the file system holds for it.
    pub allocated: u64,
}

/// Everything below a folder, and the folder itself as `.`, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

/// What a comparison leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlike {
    /// Nothing: everything must be equal.
    Nothing,
    /// What `kopia snapshot restore` cannot set right: times of folders (it sets them before it fills the folder:
    /// kopia-format.md 10.8), and times of symbolic links below the microsecond (it sets them with lutimes, rounded up).
    AsKopiaRestores,
}

impl Tree {
    /// Reads a folder tree.
    pub fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.visit(root, ".")?;
        Ok(tree)
    }

    /// One entry by its path, written with a leading `./`.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Takes an entry out, for those that are known to be left out.
    pub fn without(mut self, path: &str) -> Self {
        self.entries.remove(path);
        self
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True for a tree that was never read.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all regular files.
    pub fn size(&self) -> u64 {
        self.entries.values().map(|entry| entry.size).sum()
    }

    /// Bytes that the file system holds for all of it: what holes save is not in it.
    pub fn allocated(&self) -> u64 {
        self.entries.values().map(|entry| entry.allocated).sum()
    }

    /// One digest over all of it.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (path, entry) in &self.entries {
            hash.update(describe(path, entry, Unlike::Nothing));
        }
        hex::encode(hash.finalize())
    }

    /// What differs, a line each; empty for equal trees.
    pub fn differences(&self, other: &Self, unlike: Unlike) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, entry) in &self.entries {
            match other.entries.get(path) {
                None => lines.push(format!("{path}: missing afterwards")),
                Some(after) => {
                    let (before, after) = (describe(path, entry, unlike), describe(path, after, unlike));
                    if before != after {
                        lines.push(format!("before {before}after  {after}"));
                    }
                }
            }
        }
        let new = other
            .entries
            .keys()
            .filter(|path| !self.entries.contains_key(*path));
        lines.extend(new.map(|path| format!("{path}: only afterwards")));
        lines
    }

    /// Fails with the first differences.
    pub fn must_equal(&self, other: &Self, unlike: Unlike) -> Result<()> {
        let differences = self.differences(other, unlike);
        anyhow::ensure!(
            differences.is_empty(),
            "{} of {} entries differ:\n{}",
            differences.len(),
            self.len(),
            differences
                .iter()
                .take(20)
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join("\n")
        );
        Ok(())
    }

    fn visit(&mut self, path: &Path, name: &str) -> Result<()> {
        let metadata =
            fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
        let kind = metadata.file_type();
        let content = if kind.is_file() {
            sha256(path)?
        } else if kind.is_symlink() {
            hex::encode(fs::read_link(path)?.as_os_str().as_bytes())
        } else {
            String::new()
        };
        self.entries.insert(
            name.to_owned(),
            Entry {
                mode: metadata.mode(),
                uid: metadata.uid(),
                gid: metadata.gid(),
                mtime_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
                size: if kind.is_file() { metadata.len() } else { 0 },
                content,
                allocated: if kind.is_file() {
                    metadata.blocks() * 512
                } else {
                    0
                },
            },
        );
        if kind.is_dir() {
            for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
                let entry = entry?;
                let child = entry.file_name();
                if name == "." && child == "lost+found" {
                    continue;
                }
                self.visit(&entry.path(), &format!("{name}/{}", child.to_string_lossy()))?;
            }
        }
        Ok(())
    }
}

fn describe(path: &str, entry: &Entry, unlike: Unlike) -> String {
    const KIND: u32 = 0o170_000;
    const FOLDER: u32 = 0o040_000;
    const LINK: u32 = 0o120_000;
    let time = match (unlike, entry.mode & KIND) {
        (Unlike::AsKopiaRestores, FOLDER) => 0,
        (Unlike::AsKopiaRestores, LINK) => (entry.mtime_ns + 999) / 1_000 * 1_000,
        _ => entry.mtime_ns,
    };
    format!(
        "{path} mode {:o} owner {}:{} mtime {time} size {} content {}\n",
        entry.mode, entry.uid, entry.gid, entry.size, entry.content
    )
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file
            .read(&mut buffer)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if read == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_mode_or_link_is_seen_and_folder_times_can_be_left_out() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        fs::create_dir(root.join("sub")).expect("writable");
        fs::write(root.join("sub/file"), "one").expect("writable");
        std::os::unix::fs::symlink("nowhere", root.join("link")).expect("writable");
        let before = Tree::read(root).expect("readable");
        assert_eq!(before.len(), 4);
        assert!(
            before
                .differences(&Tree::read(root).expect("readable"), Unlike::Nothing)
                .is_empty()
        );

        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(root.join("sub/new"), "").expect("writable");
        fs::remove_file(root.join("sub/new")).expect("writable");
        let touched = Tree::read(root).expect("readable");
        assert_eq!(before.differences(&touched, Unlike::Nothing).len(), 1);
        assert!(before.differences(&touched, Unlike::AsKopiaRestores).is_empty());

        fs::write(root.join("sub/file"), "two").expect("writable");
        fs::remove_file(root.join("link")).expect("writable");
        let changed = before.differences(&Tree::read(root).expect("readable"), Unlike::AsKopiaRestores);
        assert_eq!(changed.len(), 2, "{changed:?}");
    }
}
