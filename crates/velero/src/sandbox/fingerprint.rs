//! What a volume holds, as digests: content and metadata of every entry. Two volumes are the same when these are.
//!
//! Taken is what a backup promises to bring back: path, kind, mode, owner, time of last change, size, target of a link,
//! and every byte. Files are hashed while they are read; nothing is held in memory but 32 bytes an entry.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The entries of one volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Path below the volume → digest of all there is to say about it.
    entries: BTreeMap<PathBuf, [u8; 32]>,
    pub files: usize,
    /// Bytes of the files.
    pub bytes: u64,
}

impl Fingerprint {
    /// Reads a volume. It must not change meanwhile.
    ///
    /// # Errors
    /// Something in it cannot be read.
    pub fn of(volume: &Path) -> io::Result<Self> {
        let mut all = Self::default();
        let mut block = vec![0; 128 * 1024];
        all.folder(volume, Path::new(""), &mut block)?;
        Ok(all)
    }

    fn folder(&mut self, volume: &Path, below: &Path, block: &mut [u8]) -> io::Result<()> {
        let mut names: Vec<OsString> = Vec::new();
        for entry in fs::read_dir(volume.join(below))? {
            names.push(entry?.file_name());
        }
        names.sort();
        for name in names {
            let path = below.join(name);
            let full = volume.join(&path);
            let metadata = fs::symlink_metadata(&full)?;
            let digest = self.entry(&full, &metadata, block)?;
            self.entries.insert(path.clone(), digest);
            if metadata.is_dir() {
                self.folder(volume, &path, block)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, metadata: &Metadata, block: &mut [u8]) -> io::Result<[u8; 32]> {
        let mut digest = Sha256::new();
        for number in [
            i64::from(metadata.mode()),
            i64::from(metadata.uid()),
            i64::from(metadata.gid()),
            metadata.mtime(),
            metadata.mtime_nsec(),
        ] {
            digest.update(number.to_be_bytes());
        }
        if metadata.is_symlink() {
            digest.update(fs::read_link(path)?.as_os_str().as_bytes());
        } else if metadata.is_file() {
            self.files += 1;
            let mut file = File::open(path)?;
            loop {
                match file.read(block)? {
                    0 => break,
                    read => {
                        digest.update(&block[..read]);
                        self.bytes += u64::try_from(read).unwrap_or_default();
                    }
                }
            }
        }
        Ok(digest.finalize().into())
    }

    /// One digest over everything, for people: the first 16 hex digits.
    pub fn short(&self) -> String {
        let mut digest = Sha256::new();
        for (path, entry) in &self.entries {
            digest.update(path.as_os_str().as_bytes());
            digest.update([0]);
            digest.update(entry);
        }
        let bytes: [u8; 32] = digest.finalize().into();
        bytes[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The paths that are not the same in both, sorted.
    pub fn differences<'a>(&'a self, other: &'a Self) -> Vec<&'a Path> {
        let all: std::collections::BTreeSet<_> = self.entries.keys().chain(other.entries.keys()).collect();
        all.into_iter()
            .filter(|path| self.entries.get(*path) != other.entries.get(*path))
            .map(PathBuf::as_path)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::time::{Duration, SystemTime};

    fn volume() -> tempfile::TempDir {
        let volume = tempfile::tempdir().unwrap();
        fs::create_dir(volume.path().join("a")).unwrap();
        fs::write(volume.path().join("a/file"), "content").unwrap();
        symlink("a/file", volume.path().join("link")).unwrap();
        volume
    }

    #[test]
    fn every_kind_of_change_shows() {
        let volume = volume();
        let file = volume.path().join("a/file");
        let before = Fingerprint::of(volume.path()).unwrap();
        assert_eq!((before.files, before.bytes), (1, 7));
        assert_eq!(Fingerprint::of(volume.path()).unwrap(), before);
        let time = file.metadata().unwrap().modified().unwrap();
        for what in ["bytes, with the old time", "mode", "time", "absence"] {
            match what {
                "bytes, with the old time" => fs::write(&file, "CONTENT").unwrap(),
                "mode" => fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap(),
                "absence" => fs::remove_file(&file).unwrap(),
                _ => {}
            }
            if let Ok(file) = File::options().write(true).open(&file) {
                let new = if what == "time" {
                    SystemTime::UNIX_EPOCH + Duration::from_secs(1)
                } else {
                    time
                };
                file.set_modified(new).unwrap();
            }
            let after = Fingerprint::of(volume.path()).unwrap();
            assert!(
                before.differences(&after).contains(&Path::new("a/file")),
                "{what}"
            );
            assert_ne!(before.short(), after.short(), "{what}");
        }
    }
}
