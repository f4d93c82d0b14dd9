//! Where a connection keeps copies of what it read, and how much: settings of the connection's file with Kopia's names.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Outcome};

/// Subfolders of a cache, with Kopia's names. Nothing else in the folder is ever touched.
pub const PARTS: [&str; 5] = ["contents", "metadata", "indexes", "own-writes", "blob-list"];

const GIGABYTE: u64 = 1_000_000_000;

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
            contents: 5 * GIGABYTE,
            metadata: 5 * GIGABYTE,
            list_seconds: 30,
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
            "metadata" => Some(self.metadata),
            _ => None,
        }
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
