//! The repository's folder as files (kopia-format.md 1.3): to count, damage, age and remove blobs behind both programs.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};

/// Every blob whose name starts with `prefix`: name and file.
pub fn find(repository: &Path, prefix: &str) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut folders = vec![repository.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let below = path.strip_prefix(repository)?.to_string_lossy().replace('/', "");
            if let Some(name) = below.strip_suffix(".f").filter(|name| name.starts_with(prefix)) {
                found.push((name.to_owned(), path));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Bytes of all blobs whose name starts with `prefix`.
pub fn bytes(repository: &Path, prefix: &str) -> Result<u64> {
    let lengths = find(repository, prefix)?
        .into_iter()
        .map(|(_, file)| Ok(fs::metadata(file)?.len()));
    lengths.sum()
}

/// Makes every blob older by `by`.
pub fn age(repository: &Path, by: Duration) -> Result<()> {
    for (_, file) in find(repository, "")? {
        let file = fs::File::open(file)?;
        let time = file.metadata()?.modified()? - by;
        file.set_modified(time)?;
    }
    Ok(())
}

/// Makes the index blobs a day apart in age, so that epochs advance without waiting.
pub fn spread_index(repository: &Path) -> Result<()> {
    let index = find(repository, "x")?;
    let count = index.len();
    for (position, (_, file)) in index.into_iter().enumerate() {
        let age = Duration::from_secs(86_400 * (count - position) as u64);
        fs::File::open(file)?.set_modified(SystemTime::now() - age)?;
    }
    Ok(())
}

/// Copies a whole repository.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("a name")?);
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Whether two folders hold the same files with the same bytes, side files of the store apart.
pub fn same(a: &Path, b: &Path) -> Result<bool> {
    let read = |folder: &Path| -> Result<Vec<(String, Vec<u8>)>> {
        let blobs = find(folder, "")?;
        blobs
            .into_iter()
            .map(|(name, file)| Ok((name, fs::read(file)?)))
            .collect()
    };
    Ok(read(a)? == read(b)?)
}
