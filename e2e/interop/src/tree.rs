//! Trees with everything that a file system has, and whether two are equal.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};

/// Bytes that do not repeat, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Files of 0, 1, 2 MiB and 20 MiB and one of `large` bytes, folders, links, special modes, an empty folder, odd names,
/// a sparse file. Made with fixed times, so that nothing depends on the clock.
pub fn make(root: &Path, large: usize) -> Result<()> {
    let folder = root.join("folder/<a> & ünï ☃");
    fs::create_dir_all(&folder)?;
    fs::create_dir_all(root.join("empty folder"))?;
    fs::create_dir_all(root.join("sticky"))?;
    for (name, length) in [("0", 0), ("1", 1), ("2MiB", 2 << 20), ("20MiB", 20 << 20)] {
        fs::write(root.join(name), noise(length, length as u64 + 3))?;
    }
    let mut file = fs::File::create(root.join("large"))?;
    for block in 0..large.div_ceil(1 << 20) {
        let length = (large - (block << 20)).min(1 << 20);
        file.write_all(&noise(length, block as u64 + 1000))?;
    }
    fs::write(
        root.join("text"),
        "the same words again and again\n".repeat(40_000),
    )?;
    for number in 0..150 {
        fs::write(
            folder.join(format!("file {number}")),
            noise(number * 37, number as u64),
        )?;
    }
    fs::File::create(root.join("sparse"))?.set_len(64 << 20)?;
    fs::write(root.join("folder/setuid"), "#!")?;
    fs::set_permissions(root.join("folder/setuid"), fs::Permissions::from_mode(0o4755))?;
    fs::set_permissions(root.join("sticky"), fs::Permissions::from_mode(0o1777))?;
    fs::set_permissions(root.join("1"), fs::Permissions::from_mode(0o400))?;
    symlink("../1", root.join("folder/link"))?;
    symlink("/nowhere/at all", root.join("dangling"))?;
    Ok(())
}

/// What a tree holds: per path, everything that a restore must bring back.
#[derive(Debug, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, String>);

impl Tree {
    /// Reads a tree. A folder's time is left out: Kopia restores another one on purpose (kopia-format.md 10.8).
    pub fn read(root: &Path) -> Result<Self> {
        let mut found = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                let path = entry?.path();
                let meta = path.symlink_metadata()?;
                let owner = format!("{}:{}", meta.uid(), meta.gid());
                let line = if meta.is_dir() {
                    folders.push(path.clone());
                    format!("{:o} {owner}", meta.mode())
                } else if meta.is_symlink() {
                    format!("{owner} -> {}", fs::read_link(&path)?.display())
                } else {
                    let sum = Sha256::digest(fs::read(&path)?);
                    let time = (meta.mtime(), meta.mtime_nsec());
                    format!("{:o} {owner} {} {time:?} {sum:x?}", meta.mode(), meta.len())
                };
                found.insert(path.strip_prefix(root)?.to_owned(), line);
            }
        }
        Ok(Self(found))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fails with the first paths that differ.
    pub fn must_equal(&self, other: &Self) -> Result<()> {
        let paths = self.0.keys().chain(other.0.keys());
        let different: Vec<String> = paths
            .filter(|path| self.0.get(*path) != other.0.get(*path))
            .take(6)
            .map(|path| {
                format!(
                    "{}: {:?} became {:?}",
                    path.display(),
                    self.0.get(path),
                    other.0.get(path)
                )
            })
            .collect();
        ensure!(different.is_empty(), "trees differ:\n{}", different.join("\n"));
        Ok(())
    }
}
