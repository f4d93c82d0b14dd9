//! The volume for a cache that the node agent may give to a restore (`cachePVC`): copies of what is read lie there, and
//! large indexes.
//!
//! A copy is never needed (decision 0015): a volume that is not there, takes no writes or is full costs one sentence, and
//! the restore reads from the storage. Limits are Velero's: four fifths of the repository's for contents, one for metadata.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use caravel_repository::{CacheSettings, Environment};
use caravel_uploader::VolumeMode;

use crate::volume::Volumes;

/// Subfolder of mapped indexes, beside the cache's own.
const INDEXES: &str = "mapped-indexes";

/// A volume for copies of what is read.
#[derive(Clone, Debug)]
pub struct CacheVolume {
    /// Where it is on this machine.
    pub folder: PathBuf,
    /// What the repository allows its cache, in MiB.
    pub limit_mb: u64,
}

impl CacheVolume {
    /// The same environment with this cache; unchanged where there is no volume.
    pub(crate) fn used_by(&self, environment: Environment, volumes: &dyn Volumes) -> Environment {
        // What is only a folder would fill the node's own disk.
        if let Err(error) = volumes.check(&self.folder, VolumeMode::Filesystem) {
            tracing::warn!(
                "there is no cache volume ({error}): this goes on without it, and reads from the storage"
            );
            return environment;
        }
        let bytes = self.limit_mb.saturating_mul(1 << 20);
        Environment {
            index_folder: environment
                .index_folder
                .as_deref()
                .map(|usual| self.index_folder(usual)),
            cache: Some(CacheSettings {
                content_bytes: bytes / 5 * 4,
                metadata_bytes: bytes / 5,
                ..CacheSettings::in_folder(&self.folder)
            }),
            ..environment
        }
    }

    /// Here, where a folder can be made; the cache itself says what is wrong with the volume. Indexes that find no room
    /// later on stay in memory. One that is mapped is no copy: a volume that breaks under it ends the process.
    fn index_folder(&self, usual: &Path) -> PathBuf {
        let here = self.folder.join(INDEXES);
        match DirBuilder::new().recursive(true).mode(0o700).create(&here) {
            Ok(()) => here,
            Err(_) => usual.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::NotAVolume;

    /// Every folder is a volume.
    #[derive(Debug)]
    struct Folders;

    impl Volumes for Folders {
        fn check(&self, path: &Path, _: VolumeMode) -> Result<(), NotAVolume> {
            match path.is_dir() {
                true => Ok(()),
                false => Err(NotAVolume::NotMounted {
                    path: path.display().to_string(),
                }),
            }
        }
    }

    fn environment() -> Environment {
        Environment {
            index_folder: Some("/scratch".into()),
            ..Environment::system()
        }
    }

    fn volume(folder: &Path) -> CacheVolume {
        CacheVolume {
            folder: folder.to_owned(),
            limit_mb: 5000,
        }
    }

    #[test]
    fn contents_have_four_fifths_of_the_limit_and_metadata_one() {
        let folder = tempfile::tempdir().unwrap();
        let environment = volume(folder.path()).used_by(environment(), &Folders);
        let cache = environment.cache.unwrap();
        assert_eq!(cache.folder, folder.path());
        assert_eq!(
            (cache.content_bytes, cache.metadata_bytes),
            (4000 << 20, 1000 << 20)
        );
        assert_eq!(environment.index_folder.unwrap(), folder.path().join(INDEXES));
    }

    #[test]
    fn indexes_that_are_kept_in_memory_stay_there() {
        let folder = tempfile::tempdir().unwrap();
        let environment = volume(folder.path()).used_by(Environment::system(), &Folders);
        assert!(environment.cache.is_some());
        assert_eq!(environment.index_folder, None);
    }

    #[test]
    fn a_cache_volume_that_is_not_there_is_gone_without() {
        let folder = tempfile::tempdir().unwrap();
        let environment = volume(&folder.path().join("missing")).used_by(environment(), &Folders);
        assert!(environment.cache.is_none());
        assert_eq!(environment.index_folder, Some("/scratch".into()));
    }

    #[test]
    fn a_cache_volume_that_takes_no_folder_leaves_indexes_where_they_usually_are() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(INDEXES), "in the way").unwrap();
        let environment = volume(folder.path()).used_by(environment(), &Folders);
        assert_eq!(environment.index_folder, Some("/scratch".into()));
    }
}
