//! Where a connection keeps copies of what it read, and how much: settings of the connection's file with Kopia's names.

use std::{path::PathBuf, time::Duration};

pub use caravel_repository::cache::PARTS;
use caravel_repository::cache::{CacheSettings, USUAL_BYTES, USUAL_LIST_DURATION};
use serde::{Deserialize, Serialize};

use crate::{
    connection::StorageSettings,
    failure::{Failure, Outcome},
    units,
};

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Caching {
    pub cache_directory: PathBuf,
    /// Bytes of file data.
    #[serde(rename = "maxCacheSize")]
    pub contents: u64,
    /// Bytes of directories and manifests.
    #[serde(rename = "maxMetadataCacheSize")]
    pub metadata: u64,
    /// Seconds for which a list of index blobs is believed.
    #[serde(rename = "maxListCacheDuration")]
    pub list_seconds: u64,
}

impl Default for Caching {
    /// Kopia's sizes, without a folder.
    fn default() -> Self {
        Self {
            cache_directory: PathBuf::new(),
            contents: USUAL_BYTES,
            metadata: USUAL_BYTES,
            list_seconds: USUAL_LIST_DURATION.as_secs(),
        }
    }
}

impl Caching {
    /// In the user's own folder for caches, one for each repository.
    pub fn of_repository(unique_id: &[u8]) -> Outcome<Self> {
        let base = base().ok_or_else(|| {
            Failure::new("there is no home folder (HOME is not set) to keep a cache in")
                .next("velero kopia cache set --cache-directory FOLDER")
        })?;
        let name: String = hex::encode(unique_id).chars().take(16).collect();
        Ok(Self {
            cache_directory: base.join(name),
            ..Self::default()
        })
    }

    /// Bytes that a part may have, where it has a limit of its own.
    pub fn limit(&self, part: &str) -> Option<u64> {
        match part {
            "contents" => Some(self.contents),
            "metadata" | "index-blobs" => Some(self.metadata),
            _ => None,
        }
    }

    /// The same for the engine; none without a folder.
    pub fn engine(&self) -> Option<CacheSettings> {
        let settings = CacheSettings {
            content_bytes: self.contents,
            metadata_bytes: self.metadata,
            list_duration: Duration::from_secs(self.list_seconds),
            ..CacheSettings::in_folder(&self.cache_directory)
        };
        (!self.cache_directory.as_os_str().is_empty()).then_some(settings)
    }

    /// What the engine uses; none when nothing is to be kept, or nowhere.
    pub fn settings(&self) -> Option<CacheSettings> {
        let keeps = self.contents > 0 || self.metadata > 0 || self.list_seconds > 0;
        self.engine().filter(|_| keeps)
    }
}

/// Flags of `cache set`, and of connecting.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// Folder of this connection's cache; what lies in an old one stays until it is cleared.
    #[arg(long, value_name = "FOLDER")]
    cache_directory: Option<PathBuf>,
    /// Megabytes of file data that the cache may keep.
    #[arg(long, value_name = "MB")]
    content_cache_size_mb: Option<u64>,
    /// Megabytes of directories and manifests, and as many of indexes.
    #[arg(long, value_name = "MB")]
    metadata_cache_size_mb: Option<u64>,
    /// How long a list of index blobs is believed, as 30s.
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    max_list_cache_duration: Option<i64>,
}

impl Flags {
    /// Writes what they say into the settings.
    pub fn apply(&self, caching: &mut Caching) -> Outcome {
        if let Some(folder) = &self.cache_directory {
            caching.cache_directory = std::path::absolute(folder).map_err(|error| {
                Failure::usage(format!("--cache-directory {}: {error}", folder.display()))
            })?;
        }
        let bytes = |megabytes: u64| megabytes.saturating_mul(1_000_000);
        caching.contents = self.content_cache_size_mb.map_or(caching.contents, bytes);
        caching.metadata = self.metadata_cache_size_mb.map_or(caching.metadata, bytes);
        if let Some(duration) = self.max_list_cache_duration {
            caching.list_seconds = duration.unsigned_abs() / 1_000_000_000;
        }
        Ok(())
    }

    /// The settings of a new connection to a repository; none: nothing is kept. A folder is as near as its cache would be,
    /// so it has one only when a flag says so.
    pub fn of_connection(&self, storage: &StorageSettings, unique_id: &[u8]) -> Outcome<Option<Caching>> {
        let says_something = self.cache_directory.is_some()
            || self.content_cache_size_mb.is_some()
            || self.metadata_cache_size_mb.is_some()
            || self.max_list_cache_duration.is_some();
        if !says_something && storage.folder().is_some() {
            return Ok(None);
        }
        let usual = Caching::of_repository(unique_id);
        let mut caching = match usual {
            // Without a home folder there is no cache, unless one is named.
            Err(_) if self.cache_directory.is_some() => Caching::default(),
            Err(_) if !says_something => return Ok(None),
            usual => usual?,
        };
        self.apply(&mut caching)?;
        Ok(Some(caching))
    }
}

/// The folder of all caches of ours: the user's own, where there is one.
fn base() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.map(|base| base.join("velero").join("kopia"))
}

/// Where a connection's large indexes lie while it is open, in files without names: in its own cache, or where all are.
pub fn index_folder(caching: Option<&Caching>) -> Option<PathBuf> {
    let own = caching.map(|caching| caching.cache_directory.clone());
    own.filter(|own| !own.as_os_str().is_empty()).or_else(base)
}
