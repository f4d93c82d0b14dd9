//! What is in an unpacked backup: names and paths, not objects. A restore of any size keeps only this in memory and
//! reads each object when its turn comes. Layout: velero-behaviour.md 2.2 (`resources/<gr>/namespaces/<ns>/<name>.json`
//! and `resources/<gr>/cluster/<name>.json`; the copies below `<version>` and `<version>-preferredversion` are read only
//! with `EnableAPIGroupVersions`, where [`crate::versions`] chose one).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::group_resource::GroupResource;

/// The names of one resource, by namespace; cluster-scoped ones stand under the empty namespace.
pub type NamesByNamespace = BTreeMap<String, BTreeSet<Arc<str>>>;

/// An unpacked backup.
#[derive(Clone, Debug)]
pub struct BackupContents {
    root: PathBuf,
    resources: BTreeMap<GroupResource, NamesByNamespace>,
    /// Versions to read, in place of the plain copies.
    chosen: BTreeMap<GroupResource, String>,
}

/// The versions in which a backup holds a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedVersions {
    /// The one that the backup's cluster preferred; its copies are the plain ones, too.
    pub preferred: Option<String>,
    /// All, the preferred one included, by name.
    pub all: BTreeSet<String>,
}

/// What the folder of the preferred version ends with.
const PREFERRED: &str = "-preferredversion";

/// The unpacked backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// No `resources` directory: not a backup, or one of Velero before 1.0.
    #[error(
        "the backup's tarball holds no `resources` directory: it is damaged or not a backup; check it with `velero backup download`"
    )]
    NoResources,
    /// The scratch directory could not be read.
    #[error("reading the unpacked backup at {path}: {source}; check the server's scratch volume")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Asked for by an item action, or a name that would lead out of the backup.
    #[error("the backup does not have {group_resource} {namespace:?}/{name:?}")]
    NotInBackup {
        /// Resource.
        group_resource: String,
        /// Empty for cluster scope.
        namespace: String,
        /// Name.
        name: String,
    },
    /// An object in the backup is not JSON.
    #[error("object {path} in the backup is not JSON ({source}); the backup's tarball is damaged")]
    NotJson {
        /// Path below `resources`.
        path: String,
        /// Where it stops being JSON; never the content (it may be a Secret).
        #[source]
        source: serde_json::Error,
    },
}

impl BackupContents {
    /// Lists what `root` (where the tarball was unpacked) holds.
    pub fn read(root: &Path) -> Result<Self, ContentsError> {
        let resources_dir = root.join("resources");
        if !resources_dir.is_dir() {
            return Err(ContentsError::NoResources);
        }
        let mut resources = BTreeMap::new();
        for group_resource in folder_names(&resources_dir)? {
            let dir = resources_dir.join(&group_resource);
            let mut names = NamesByNamespace::new();
            let cluster = object_names(&dir.join("cluster"))?;
            if !cluster.is_empty() {
                names.insert(String::new(), cluster);
            }
            for namespace in folder_names(&dir.join("namespaces"))? {
                let in_namespace = object_names(&dir.join("namespaces").join(&namespace))?;
                names.insert(namespace, in_namespace);
            }
            resources.insert(GroupResource::parse(&group_resource), names);
        }
        Ok(Self {
            root: root.to_owned(),
            resources,
            chosen: BTreeMap::new(),
        })
    }

    /// What a restore reads: a tarball without `resources` is one of a backup that selected nothing.
    pub fn read_or_empty(root: &Path) -> Result<Self, ContentsError> {
        match Self::read(root) {
            Err(ContentsError::NoResources) => Ok(Self {
                root: root.to_owned(),
                resources: BTreeMap::new(),
                chosen: BTreeMap::new(),
            }),
            read => read,
        }
    }

    /// The versions of each resource, from the names of folders. A backup of Velero before 1.4 has none.
    pub fn versions(&self) -> Result<BTreeMap<GroupResource, SavedVersions>, ContentsError> {
        let mut found = BTreeMap::new();
        for group_resource in self.resources.keys() {
            let mut saved = SavedVersions::default();
            for folder in folder_names(&self.root.join("resources").join(group_resource.to_string()))? {
                if folder == "namespaces" || folder == "cluster" {
                    continue;
                }
                let version = folder.strip_suffix(PREFERRED);
                if let Some(version) = version {
                    saved.preferred = Some(version.to_owned());
                }
                saved.all.insert(version.unwrap_or(&folder).to_owned());
            }
            found.insert(group_resource.clone(), saved);
        }
        Ok(found)
    }

    /// From now on the objects of these resources are read in these versions. One that is not there is read as it was in the
    /// preferred version.
    pub fn read_versions(&mut self, versions: BTreeMap<GroupResource, String>) {
        self.chosen = versions;
    }

    /// True when it holds no object at all.
    pub fn is_empty(&self) -> bool {
        self.resources
            .values()
            .flat_map(BTreeMap::values)
            .all(BTreeSet::is_empty)
    }

    /// Resources with anything in them, as `resource.group`.
    pub fn resources(&self) -> impl Iterator<Item = &GroupResource> {
        self.resources.keys()
    }

    /// Names of one resource; `None` when the backup has none.
    pub fn names(&self, group_resource: &GroupResource) -> Option<&NamesByNamespace> {
        self.resources.get(group_resource)
    }

    /// True when the backup holds this object; `namespace` is empty for cluster scope.
    pub fn contains(&self, group_resource: &GroupResource, namespace: &str, name: &str) -> bool {
        self.resources
            .get(group_resource)
            .and_then(|names| names.get(namespace))
            .is_some_and(|names| names.contains(name))
    }

    /// Reads one object. Small and local; called from async code directly. Only what [`BackupContents::read`] found is
    /// read: no name leads out of the backup.
    pub fn object(
        &self,
        group_resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> Result<Value, ContentsError> {
        if !self.contains(group_resource, namespace, name) {
            return Err(ContentsError::NotInBackup {
                group_resource: group_resource.to_string(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            });
        }
        let resources = self.root.join("resources");
        let below = |version| object_path(group_resource, version, namespace, name);
        let chosen = self
            .chosen
            .get(group_resource)
            .map(|version| below(Some(version)));
        let below = chosen
            .filter(|below| resources.join(below).is_file())
            .unwrap_or_else(|| below(None));
        let path = resources.join(&below);
        let bytes = std::fs::read(&path).map_err(|source| ContentsError::Io { path, source })?;
        serde_json::from_slice(&bytes).map_err(|source| ContentsError::NotJson { path: below, source })
    }
}

/// `pods/namespaces/shop/app-0.json`, `persistentvolumes/cluster/pv-1.json`; below the folder of a version where one is given.
fn object_path(
    group_resource: &GroupResource,
    version: Option<&String>,
    namespace: &str,
    name: &str,
) -> String {
    let resource = match version {
        Some(version) => format!("{group_resource}/{version}"),
        None => group_resource.to_string(),
    };
    if namespace.is_empty() {
        format!("{resource}/cluster/{name}.json")
    } else {
        format!("{resource}/namespaces/{namespace}/{name}.json")
    }
}

fn folder_names(dir: &Path) -> Result<BTreeSet<String>, ContentsError> {
    entries(dir, |name| Some(name.to_owned()))
}

fn object_names(dir: &Path) -> Result<BTreeSet<Arc<str>>, ContentsError> {
    entries(dir, |file| file.strip_suffix(".json").map(Arc::from))
}

/// What `each` makes of the names in a directory; nothing when it does not exist.
fn entries<T: Ord>(dir: &Path, each: impl Fn(&str) -> Option<T>) -> Result<BTreeSet<T>, ContentsError> {
    let wrap = |source| ContentsError::Io {
        path: dir.to_owned(),
        source,
    };
    let read = match std::fs::read_dir(dir) {
        Ok(read) => read,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(wrap(error)),
    };
    read.filter_map(|entry| match entry {
        Ok(entry) => each(&entry.file_name().to_string_lossy()).map(Ok),
        Err(error) => Some(Err(wrap(error))),
    })
    .collect()
}
