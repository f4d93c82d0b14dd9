//! Writes the tarball to a file, entry by entry. Neighbour: `read.rs`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use serde_json::Value;

use super::{FORMAT_VERSION, ItemPath, Reader, TarballError};

const ENTRY_MODE: u32 = 0o755;

/// A tarball being written. Without [`Writer::finish`] it is cut off and no reader takes it.
pub struct Writer {
    tar: tar::Builder<GzEncoder<BufWriter<File>>>,
    path: PathBuf,
    time: Option<Timestamp>,
}

impl Writer {
    /// Creates the file (or empties it) and writes the version.
    ///
    /// Errors: [`TarballError::Io`].
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, TarballError> {
        let mut writer = Self::start(path.into())?;
        writer.append_bytes("metadata/version", format!("{FORMAT_VERSION}\n").as_bytes())?;
        Ok(writer)
    }

    fn start(path: PathBuf) -> Result<Self, TarballError> {
        let file = File::create(&path).map_err(|source| TarballError::Io {
            path: path.clone(),
            source,
        })?;
        let gzip = GzEncoder::new(BufWriter::new(file), Compression::default());
        Ok(Self {
            tar: tar::Builder::new(gzip),
            path,
            time: None,
        })
    }

    /// Entries get this time instead of the current one.
    #[must_use]
    pub fn with_time(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// Adds an item: of the preferred version the plain and the `-preferredversion` copy, of another one only
    /// the one below its version. `namespace` is empty for cluster-scoped items.
    ///
    /// Errors: [`TarballError::BadItemPath`], [`TarballError::Io`].
    pub fn append(
        &mut self,
        group_resource: &str,
        version: &str,
        preferred: bool,
        namespace: &str,
        name: &str,
        item: &Value,
    ) -> Result<(), TarballError> {
        let mut path = ItemPath {
            group_resource: group_resource.to_owned(),
            version: Some(version.to_owned()),
            preferred,
            namespace: Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty()),
            name: name.to_owned(),
        };
        let json = item.to_string();
        let versioned = path.entry()?;
        if preferred {
            path.version = None;
            self.append_bytes(&path.entry()?, json.as_bytes())?;
        }
        self.append_bytes(&versioned, json.as_bytes())
    }

    fn append_bytes(&mut self, entry: &str, data: &[u8]) -> Result<(), TarballError> {
        self.append_stream(entry, data.len() as u64, data)
    }

    fn append_stream(&mut self, entry: &str, size: u64, data: impl io::Read) -> Result<(), TarballError> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(ENTRY_MODE);
        header.set_size(size);
        let time = self.time.unwrap_or_else(Timestamp::now).as_second();
        header.set_mtime(u64::try_from(time).unwrap_or_default());
        let appended = self.tar.append_data(&mut header, entry, data);
        appended.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> TarballError {
        TarballError::Io {
            path: self.path.clone(),
            source,
        }
    }

    /// Writes the end and flushes to the disk; the size of the file in bytes.
    ///
    /// Errors: [`TarballError::Io`].
    pub fn finish(self) -> Result<u64, TarballError> {
        let Self { tar, path, .. } = self;
        let finish = || -> io::Result<u64> {
            let file = tar
                .into_inner()?
                .finish()?
                .into_inner()
                .map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            Ok(file.metadata()?.len())
        };
        finish().map_err(|source| TarballError::Io { path, source })
    }
}

/// Copies the tarball `from` to `to`, with `items` instead of those at the same place (both copies of a
/// preferred version), and those that had none at the end. Entries stream; only replaced items are in memory.
/// What the finalizer does after asynchronous operations.
///
/// Errors: [`TarballError`].
pub fn replace(from: &Path, to: &Path, items: &[(ItemPath, Value)]) -> Result<u64, TarballError> {
    let mut replacing = BTreeMap::new();
    for (path, item) in items {
        replacing.insert(path.entry()?, item);
        if path.preferred && path.version.is_some() {
            replacing.insert(
                ItemPath {
                    version: None,
                    ..path.clone()
                }
                .entry()?,
                item,
            );
        }
    }
    let mut writer = Writer::start(to.to_owned())?;
    Reader::open(from)?.for_each(|entry| {
        if replacing.contains_key(entry.path()) {
            return Ok(());
        }
        let (path, size) = (entry.path().to_owned(), entry.size());
        writer.append_stream(&path, size, entry)
    })?;
    for (entry, item) in replacing {
        writer.append_bytes(&entry, item.to_string().as_bytes())?;
    }
    writer.finish()
}
