//! Writing into a repository: objects and manifests, made visible by one commit.
//! Neighbour: `content/writer.rs` (what happens underneath).

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    content::{
        compression::Compressor,
        writer::{ContentWriter, Layout, WriterParts},
    },
    error::{RepositoryError, Result},
    maintenance::MaintenanceParameters,
    manifest::{CONTENT_PREFIX, Entry, Labels, ManifestId, load},
    object::{
        ObjectId,
        indirect::Piece,
        writer::{self, ObjectOptions, ObjectWriter},
    },
    repository::Repository,
    snapshot::{
        DirectoryEntry, DirectorySummary, SnapshotManifest, directory, go_json, manifest::RESERVED_LABELS,
    },
    splitter::Rule,
};

/// With so many `m` contents, the next commit writes all manifests into one (Kopia's own figure).
const COMPACT_MANIFESTS_AT: usize = 16;

/// Writes into a repository. Threads may write objects at the same time through one `Writer`; nothing is visible
/// before [`Writer::commit`]. One that is dropped leaves only garbage. All methods block: not for a runtime's
/// worker threads, except `commit_async`.
pub struct Writer {
    repository: Repository,
    contents: Arc<ContentWriter>,
    rule: Rule,
    directory_options: ObjectOptions,
    manifests: Mutex<Vec<Entry>>,
}

impl Writer {
    pub(crate) fn new(repository: &Repository) -> Result<Self> {
        let inner = &repository.inner;
        inner.refuse_unkept_retention()?;
        let parts = WriterParts {
            blobs: inner.blobs.clone(),
            sealer: inner.sealer.clone(),
            environment: inner.environment.clone(),
            committed: inner.committed.clone(),
            identity: inner.identity.clone(),
            layout: Layout::of(&inner.format)?,
            format: inner.format.clone(),
            guard: inner.guard.clone(),
        };
        inner
            .guard
            .check(&inner.format, &inner.blobs, &inner.environment)?;
        Ok(Self {
            rule: inner.format.config.split_rule()?,
            repository: repository.clone(),
            contents: Arc::new(ContentWriter::new(parts)),
            directory_options: ObjectOptions::default(),
            manifests: Mutex::default(),
        })
    }

    /// Compresses directories from here on: `zstd-fastest` is what Kopia's own command does, none what Velero does.
    #[must_use]
    pub fn with_directory_compressor(mut self, compressor: Option<Compressor>) -> Self {
        self.directory_options.compressor = compressor;
        self
    }

    /// The repository it writes into.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Plaintext bytes written so far that were not in the repository before.
    pub fn new_bytes(&self) -> u64 {
        self.contents.new_bytes()
    }

    /// Starts an object of file data (or a symlink's target).
    pub fn object(&self) -> ObjectWriter<'_> {
        self.object_with(ObjectOptions::default())
    }

    /// The same, compressed or cut as a policy says.
    pub fn object_with(&self, options: ObjectOptions) -> ObjectWriter<'_> {
        ObjectWriter::new(&self.contents, self.rule, None, options)
    }

    /// Joins objects of file data that this writer, or one before, wrote: one after another, without reading or writing
    /// their bytes again. Returns the new object and its length.
    ///
    /// Errors: as of reading the objects' lists; `Invalid` for an object of one content whose length is not given.
    pub fn concatenate(&self, parts: &[(ObjectId, u64)]) -> Result<(ObjectId, u64)> {
        let with_pieces = |(object, length): &(ObjectId, u64)| -> Result<(ObjectId, Vec<Piece>, u64)> {
            let pieces = match object.list() {
                Some(_) => self.repository.pieces_of(*object)?,
                None => Vec::new(),
            };
            Ok((*object, pieces, *length))
        };
        let parts = parts.iter().map(with_pieces).collect::<Result<Vec<_>>>()?;
        writer::concatenate(self.object(), &parts)
    }

    /// Writes a directory object; sorts `entries`.
    pub fn write_directory(
        &self,
        entries: &mut [DirectoryEntry],
        summary: &DirectorySummary,
    ) -> Result<ObjectId> {
        let mut object = ObjectWriter::new(&self.contents, self.rule, Some(b'k'), self.directory_options);
        directory::encode(entries, summary, |piece| object.write(piece))?;
        Ok(object.finish()?.0)
    }

    /// Adds a manifest to the next commit. `labels` must have a `type`.
    pub fn put_manifest(&self, labels: Labels, payload: &impl Serialize) -> Result<ManifestId> {
        if !labels.contains_key("type") {
            return Err(RepositoryError::invalid(
                "a manifest without a type label cannot be saved",
            ));
        }
        let json = String::from_utf8(go_json::to_vec(payload)).expect("JSON is UTF-8");
        let data = RawValue::from_string(json).expect("our own JSON is well formed");
        let id = ManifestId::new(&self.repository.inner.environment);
        let modified = self.repository.inner.environment.clock.now();
        let entry = Entry {
            id: id.to_string(),
            labels: Some(labels),
            modified,
            deleted: false,
            data: Some(data),
        };
        self.manifests.lock().push(entry);
        Ok(id)
    }

    /// Deletes a manifest with the next commit.
    pub fn delete_manifest(&self, id: &ManifestId) {
        let modified = self.repository.inner.environment.clock.now();
        let entry = Entry {
            id: id.to_string(),
            labels: None,
            modified,
            deleted: true,
            data: None,
        };
        self.manifests.lock().push(entry);
    }

    /// Puts a manifest in the place of all that have exactly these labels: policies, parameters.
    pub fn replace_manifest(&self, labels: Labels, payload: &impl Serialize) -> Result<ManifestId> {
        for old in self.repository.find_manifests(&labels)? {
            if old.labels == labels {
                self.delete_manifest(&old.id);
            }
        }
        self.put_manifest(labels, payload)
    }

    /// Adds a snapshot to the next commit and returns the id it will have.
    ///
    /// Errors: `Invalid` when a tag uses the name of a source label or the source is not complete.
    pub fn put_snapshot(&self, snapshot: &SnapshotManifest) -> Result<ManifestId> {
        if let Some(tag) = RESERVED_LABELS
            .iter()
            .find(|label| snapshot.tags.contains_key(**label))
        {
            return Err(RepositoryError::invalid(format!(
                "a snapshot's tag cannot be called {tag:?}"
            )));
        }
        let source = &snapshot.source;
        if source.host.is_empty() || source.user_name.is_empty() || source.path.is_empty() {
            return Err(RepositoryError::invalid(
                "a snapshot needs host, user name and path of its source",
            ));
        }
        let stored = SnapshotManifest {
            id: String::new(),
            ..snapshot.clone()
        };
        self.put_manifest(stored.labels(), &stored)
    }

    /// Default maintenance parameters (kopia-format.md 11.1), owned by `user@host`.
    pub fn put_maintenance_parameters(&self, owner: &str) {
        let parameters = MaintenanceParameters::standard(owner);
        self.put_manifest(MaintenanceParameters::labels(), &parameters)
            .expect("labels with a type");
    }

    /// What is underneath, for maintenance.
    pub(crate) fn contents(&self) -> &ContentWriter {
        &self.contents
    }

    /// Writes all manifests into one content when there are many, with the next commit. Returns how many there were;
    /// 0 when nothing is to be done.
    pub(crate) fn compact_manifests(&self) -> Result<usize> {
        let reading = self.repository.inner.committed.refresh()?;
        let contents = reading.index.live_with_prefix(CONTENT_PREFIX).count();
        if contents < COMPACT_MANIFESTS_AT {
            return Ok(0);
        }
        self.write_manifests(Vec::new())?;
        Ok(contents)
    }

    /// Makes everything written visible in one step: packs durable first, then one index blob. No other thread
    /// may be writing.
    ///
    /// Errors: all of it is visible or nothing; which one is unknown when the storage's answer to the index blob
    /// was lost. It may be called again, except after a pack has failed. `TooSlow` when others moved on by two
    /// epochs meanwhile; nothing is visible then.
    pub fn commit(&self) -> Result<()> {
        let mut entries = self.manifests.lock();
        if !entries.is_empty() {
            // They stay noted until they are among the contents that this or a later attempt commits.
            self.write_manifests(entries.clone())?;
            entries.clear();
        }
        drop(entries);
        self.contents.commit()
    }

    /// How many contents wait for the next commit. Each takes some 130 bytes of memory meanwhile, and 34 afterwards.
    pub fn pending_contents(&self) -> usize {
        self.contents.pending()
    }

    /// Makes the contents written so far known, and no manifest: a long upload does so on the way (Kopia: every ten
    /// minutes). What no snapshot refers to within a day is collected by maintenance, as if it had not been committed. No
    /// other thread may be writing.
    ///
    /// Errors: as of [`Writer::commit`].
    pub fn commit_contents(&self) -> Result<()> {
        self.contents.commit()
    }

    /// [`Writer::commit`] for callers on a runtime.
    pub async fn commit_async(self) -> Result<()> {
        let environment = self.repository.inner.environment.clone();
        crate::blob::run(&environment, move || self.commit()).await
    }

    fn write_manifests(&self, mut entries: Vec<Entry>) -> Result<()> {
        let reading = self.repository.inner.committed.fresh()?;
        let contents = reading.index.live_with_prefix(CONTENT_PREFIX).count();
        let mut replaced = Vec::new();
        if contents >= COMPACT_MANIFESTS_AT {
            let loaded = self.repository.load_manifests()?;
            let deleted: Vec<String> = entries
                .iter()
                .filter(|e| e.deleted)
                .map(|e| e.id.clone())
                .collect();
            let kept = loaded
                .live_entries()
                .into_iter()
                .filter(|e| !deleted.contains(&e.id));
            entries.retain(|e| !e.deleted);
            entries.splice(0..0, kept);
            replaced = loaded.contents;
        }
        let written = self.contents.write(
            Some(CONTENT_PREFIX),
            &load::encode(entries),
            Some(Compressor::ZSTD_FASTEST),
        )?;
        for old in replaced.iter().filter(|old| **old != written) {
            self.contents.delete(old)?;
        }
        Ok(())
    }
}
