//! A bucket of its own for each scenario, and what lies in it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Cluster;

/// One bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    name: String,
    folder: Option<PathBuf>,
}

impl Bucket {
    /// An empty bucket. On our own S3 server it is `<name>`, made anew; elsewhere it is the one that the facts name, which must
    /// be empty, since nothing of a stranger's is deleted.
    pub fn fresh(cluster: &Cluster, name: &str) -> Result<Self> {
        let s3 = &cluster.facts().s3;
        let Some(buckets) = &s3.folder else {
            return Ok(Self {
                name: s3.bucket.clone(),
                folder: None,
            });
        };
        let folder = buckets.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot empty the bucket {}", folder.display()))?;
        }
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the bucket {}", folder.display()))?;
        Ok(Self {
            name: name.to_owned(),
            folder: Some(folder),
        })
    }

    /// One that is there, with what is in it, in a cluster that was made after it.
    pub fn existing(cluster: &Cluster, name: &str) -> Result<Self> {
        let buckets = cluster.facts().s3.folder.as_ref();
        let folder = buckets
            .context("buckets can only be found again on our own S3 server")?
            .join(name);
        anyhow::ensure!(folder.is_dir(), "there is no bucket {}", folder.display());
        Ok(Self {
            name: name.to_owned(),
            folder: Some(folder),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the server keeps its objects as files.
    pub fn folder(&self) -> Result<&Path> {
        self.folder
            .as_deref()
            .context("this S3 server's files cannot be looked into; run the scenario on our own cluster")
    }

    /// Every object's key and size in bytes, sorted by key.
    pub fn objects(&self) -> Result<Vec<(String, u64)>> {
        let mut objects = Vec::new();
        collect(self.folder()?, "", &mut objects)?;
        objects.sort();
        Ok(objects)
    }

    /// Bytes of the objects whose key begins so.
    pub fn size_below(&self, prefix: &str) -> Result<u64> {
        Ok(self
            .objects()?
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(_, size)| size)
            .sum())
    }

    /// The content of one object.
    pub fn object(&self, key: &str) -> Result<Vec<u8>> {
        let file = self.folder()?.join(key);
        if !file.is_file() {
            bail!("the bucket {} has no object {key}", self.name);
        }
        Ok(fs::read(file)?)
    }
}

fn collect(folder: &Path, prefix: &str, objects: &mut Vec<(String, u64)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // The server's own work folder.
        if prefix.is_empty() && name.starts_with(".sgwtmp") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), objects)?;
        } else {
            objects.push((format!("{prefix}{name}"), entry.metadata()?.len()));
        }
    }
    Ok(())
}
