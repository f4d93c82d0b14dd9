//! The tree that is measured.

use std::{
    fs,
    io::{BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::tree::noise;

const WORDS: [&str; 16] = [
    "repository",
    "of",
    "the",
    "volume",
    "was",
    "written",
    "and",
    "then",
    "read",
    "again",
    "by",
    "another",
    "client",
    "in",
    "a",
    "hurry",
];

/// What was made.
pub struct Made {
    pub files: usize,
    pub bytes: u64,
}

/// Makes the tree at a part of its full size.
pub fn make(root: &Path, scale: f64) -> Result<Made> {
    let scaled = |count: usize| ((count as f64 * scale) as usize).max(1);
    let mut made = Made { files: 0, bytes: 0 };
    for (folder, files, block) in [("random", 64, random as fn(u64) -> Vec<u8>), ("text", 32, prose)] {
        fs::create_dir_all(root.join(folder))?;
        for file in 0..files {
            let mut out = BufWriter::new(fs::File::create(root.join(folder).join(format!("{file:02}")))?);
            for number in 0..scaled(32) {
                out.write_all(&block(file * 1000 + number as u64))?;
            }
            out.flush()?;
            made.files += 1;
            made.bytes += (scaled(32) as u64) << 20;
        }
    }
    let small = noise(16 << 10, 31);
    for number in 0..scaled(100_000) {
        let folder = root.join("small").join(format!("{:03}", number / 200));
        if number % 200 == 0 {
            fs::create_dir_all(&folder)?;
        }
        let length = (number * 2_654_435_761) % 8193;
        let mut bytes = small[number % 8000..][..length].to_vec();
        // No two alike.
        let count = length.min(8);
        bytes[..count].copy_from_slice(&(number as u64).to_be_bytes()[8 - count..]);
        fs::write(folder.join(format!("{number:06}")), &bytes)?;
        made.files += 1;
        made.bytes += length as u64;
    }
    Ok(made)
}

/// A MiB that does not repeat.
fn random(seed: u64) -> Vec<u8> {
    noise(1 << 20, seed + 1)
}

/// A MiB of words in a different order each time.
fn prose(seed: u64) -> Vec<u8> {
    let mut text = Vec::with_capacity((1 << 20) + 16);
    for byte in noise(1 << 18, seed + 100_000) {
        text.extend_from_slice(WORDS[usize::from(byte % 16)].as_bytes());
        text.push(if byte < 16 { b'\n' } else { b' ' });
        if text.len() >= 1 << 20 {
            break;
        }
    }
    text.truncate(1 << 20);
    text
}

/// Reads everything once.
pub fn warm(root: &Path) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for file in files(root)? {
        let mut file = fs::File::open(root.join(file))?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(())
}

/// Gives the room of every file back but leaves the file. An ext4 that gives an inode free does not use it again for up to five
/// minutes (`recently_deleted`) and looks at each such inode anew for every file that is made: a restore after the removal
/// of the last one took 26 s instead of 10.
pub fn empty(root: &Path) -> Result<()> {
    for file in files(root)? {
        fs::File::create(root.join(file))?;
    }
    Ok(())
}

/// Fails unless both trees hold the same files with the same bytes.
pub fn same(a: &Path, b: &Path) -> Result<()> {
    let (names, other) = (files(a)?, files(b)?);
    ensure!(names == other, "{} files became {}", names.len(), other.len());
    for name in names {
        let equal = fs::read(a.join(&name))? == fs::read(b.join(&name))?;
        ensure!(equal, "{} came back otherwise", name.display());
    }
    Ok(())
}

/// Every file below a folder, relative to it, in order of names.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(root)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}
