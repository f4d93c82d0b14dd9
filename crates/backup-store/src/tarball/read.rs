//! Reads a tarball, and unpacks it below a folder and nowhere else: only folders and regular files are taken,
//! and no path that leads up or out. Neighbour: `write.rs`.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Write as _},
    path::{Component, Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::{ItemPath, TarballError};

/// An open tarball.
pub struct Reader {
    archive: tar::Archive<MultiGzDecoder<BufReader<File>>>,
    path: PathBuf,
}

/// A regular file in the tarball, read as a stream.
pub struct Entry<'a> {
    inner: tar::Entry<'a, MultiGzDecoder<BufReader<File>>>,
    path: String,
    tarball: &'a Path,
}

impl Entry<'_> {
    /// The entry's name, as `resources/pods/namespaces/shop/web.json`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.inner.size()
    }

    /// Which item it is, if it is one.
    pub fn item_path(&self) -> Option<ItemPath> {
        ItemPath::parse(&self.path)
    }

    /// Reads the item.
    ///
    /// Errors: [`TarballError::Io`], [`TarballError::NotJson`].
    pub fn json(mut self) -> Result<Value, TarballError> {
        let mut text = Vec::new();
        let read = self.inner.read_to_end(&mut text);
        read.map_err(|source| TarballError::Io {
            path: self.tarball.to_owned(),
            source,
        })?;
        serde_json::from_slice(&text).map_err(|source| TarballError::NotJson {
            path: self.tarball.to_owned(),
            entry: self.path,
            source,
        })
    }
}

impl Read for Entry<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

impl Reader {
    /// Opens the file; nothing is read yet.
    ///
    /// Errors: [`TarballError::Io`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, TarballError> {
        let path = path.into();
        let file = File::open(&path).map_err(|source| TarballError::Io {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            archive: tar::Archive::new(MultiGzDecoder::new(BufReader::new(file))),
            path,
        })
    }

    /// Gives each regular file to `each`, in order, to the very end of the tarball; a cut-off tarball is an
    /// error, also when all its entries were whole.
    ///
    /// Errors: [`TarballError`], also those of `each`.
    pub fn for_each(
        mut self,
        mut each: impl FnMut(Entry<'_>) -> Result<(), TarballError>,
    ) -> Result<(), TarballError> {
        let tarball = self.path;
        let failed = |source| TarballError::Io {
            path: tarball.clone(),
            source,
        };
        for entry in self.archive.entries().map_err(failed)? {
            let inner = entry.map_err(failed)?;
            let Some(path) = safe_path(&inner, &tarball)? else {
                continue;
            };
            each(Entry {
                inner,
                path,
                tarball: &tarball,
            })?;
        }
        // tar ends at two empty blocks; gzip's check sum comes after them.
        io::copy(&mut self.archive.into_inner(), &mut io::sink()).map_err(failed)?;
        Ok(())
    }

    /// Unpacks every regular file below `folder`, which is created.
    ///
    /// Errors: [`TarballError`]; what was unpacked before stays.
    pub fn unpack_to(self, folder: &Path) -> Result<(), TarballError> {
        self.unpack_some_to(folder, |_| true)
    }

    /// Unpacks the regular files whose names `wanted` takes; the others are read to their end, and looked at as closely.
    ///
    /// Errors: [`TarballError`]; what was unpacked before stays.
    pub fn unpack_some_to(self, folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<(), TarballError> {
        let failed = |source| TarballError::Io {
            path: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let mut last_parent = PathBuf::new();
        self.for_each(|mut entry| {
            if !wanted(entry.path()) {
                return Ok(());
            }
            // `safe_path` left only plain names, and nothing here makes a symlink, so this stays inside.
            let target = folder.join(entry.path());
            let failed = |source| TarballError::Io {
                path: target.clone(),
                source,
            };
            if let Some(parent) = target.parent().filter(|parent| *parent != last_parent) {
                fs::create_dir_all(parent).map_err(failed)?;
                last_parent = parent.to_owned();
            }
            let mut file = File::create(&target).map_err(failed)?;
            io::copy(&mut entry, &mut file).map_err(failed)?;
            file.flush().map_err(failed)
        })
    }
}

/// The name of a regular file; none for folders. Everything else is refused.
fn safe_path<R: Read>(entry: &tar::Entry<'_, R>, tarball: &Path) -> Result<Option<String>, TarballError> {
    let bytes = entry.path_bytes();
    let shown = String::from_utf8_lossy(&bytes).into_owned();
    let refused = |problem| {
        Err(TarballError::UnsafeEntry {
            path: tarball.to_owned(),
            entry: shown.clone(),
            problem,
        })
    };
    match entry.header().entry_type() {
        tar::EntryType::Regular | tar::EntryType::Continuous => {}
        tar::EntryType::Directory => return Ok(None),
        tar::EntryType::XGlobalHeader => return Ok(None),
        _ => return refused("only folders and regular files belong into a backup"),
    }
    let Ok(name) = std::str::from_utf8(&bytes) else {
        return refused("its name is not UTF-8");
    };
    let mut plain = Vec::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => plain.push(part.to_string_lossy()),
            Component::CurDir => {}
            _ => return refused("its path leads out of the backup"),
        }
    }
    if plain.is_empty() || name.contains('\\') {
        return refused("it has no usable name");
    }
    Ok(Some(plain.join("/")))
}

/// Unpacks the tarball `path` below `folder`; short for [`Reader::open`] and [`Reader::unpack_to`].
///
/// Errors: [`TarballError`].
pub fn unpack(path: &Path, folder: &Path) -> Result<(), TarballError> {
    Reader::open(path)?.unpack_to(folder)
}
