//! The product, installed as the session does it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Bucket, Cluster, Kind, step};
use crate::run::Said;

/// The namespace of the product.
pub const NAMESPACE: &str = "velero";

/// An installed product and the bucket that its default location points to.
pub struct Installation {
    bucket: Bucket,
}

/// What `install` is told; the defaults are the session's.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Instead of the bucket that was made.
    pub bucket: Option<String>,
    /// Instead of the cluster's authority; `Some(None)` leaves `--cacert` out.
    pub ca_file: Option<Option<PathBuf>>,
    /// Instead of the right credentials.
    pub credentials_file: Option<PathBuf>,
    /// Further words.
    pub more: Vec<String>,
}

impl Installation {
    /// Removes an earlier installation, makes an empty bucket named after the scenario, installs, and waits for the default
    /// location to be Available.
    pub fn fresh(cluster: &Cluster, scenario: &str) -> Result<Self> {
        let installation = Self::with(cluster, scenario, &Options::default())?;
        step("wait for the location", || {
            cluster.wait_for_phase(
                Kind::BACKUP_STORAGE_LOCATION,
                NAMESPACE,
                "default",
                &["Available"],
                Duration::from_secs(60),
            )
        })?;
        Ok(installation)
    }

    /// The same with other options, and without waiting for the location.
    pub fn with(cluster: &Cluster, scenario: &str, options: &Options) -> Result<Self> {
        step("remove an earlier installation", || Self::remove(cluster))?;
        let bucket = Bucket::fresh(cluster, &scenario.replace('_', "-"))?;
        let installation = Self { bucket };
        let said = step("install", || installation.install(cluster, options))?;
        anyhow::ensure!(
            said.succeeded(),
            "install ended with {}: {}",
            said.code,
            said.both().trim()
        );
        Ok(installation)
    }

    /// One that somebody else has made, in the same namespace, on that bucket.
    pub fn of_another(bucket: Bucket) -> Self {
        Self { bucket }
    }

    /// The same install command again, on a bucket that has backups; removes an earlier installation and waits for the location.
    pub fn again(cluster: &Cluster, bucket: Bucket) -> Result<Self> {
        step("remove an earlier installation", || Self::remove(cluster))?;
        Self::on(cluster, bucket, &Options::default())
    }

    /// Installs on that bucket, where nothing is installed, and waits for the location.
    pub fn on(cluster: &Cluster, bucket: Bucket, options: &Options) -> Result<Self> {
        let installation = Self { bucket };
        let said = step("install", || installation.install(cluster, options))?;
        anyhow::ensure!(
            said.succeeded(),
            "install ended with {}: {}",
            said.code,
            said.both().trim()
        );
        cluster.wait_for_phase(
            Kind::BACKUP_STORAGE_LOCATION,
            NAMESPACE,
            "default",
            &["Available"],
            Duration::from_secs(60),
        )?;
        Ok(installation)
    }

    /// Types `velero install …`.
    pub fn install(&self, cluster: &Cluster, options: &Options) -> Result<Said> {
        let facts = cluster.facts();
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let mut words: Vec<String> = [
            "install",
            "--provider",
            "aws",
            "--plugins",
            "velero/velero-plugin-for-aws:v1.14.3",
            "--bucket",
            options.bucket.as_deref().unwrap_or(self.bucket.name()),
            "--secret-file",
            &text(
                options
                    .credentials_file
                    .as_ref()
                    .unwrap_or(&facts.s3.credentials_file),
            ),
            "--backup-location-config",
            &format!(
                "region={},s3ForcePathStyle=true,s3Url={}",
                facts.s3.region, facts.s3.url
            ),
        ]
        .map(str::to_owned)
        .to_vec();
        if let Some(ca) = options.ca_file.as_ref().unwrap_or(&facts.s3.ca_file) {
            words.extend(["--cacert".to_owned(), text(ca)]);
        }
        words.extend(
            [
                "--use-node-agent",
                "--features=EnableCSI",
                "--image",
                &facts.image,
                "--wait",
            ]
            .map(str::to_owned),
        );
        words.extend(options.more.iter().cloned());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        cluster.velero(&words)
    }

    /// Deletes the product's namespace and what it holds; CRDs stay, as with Velero.
    ///
    /// Objects whose controller goes away with them are freed of its finalizer, as `velero uninstall` does.
    pub fn remove(cluster: &Cluster) -> Result<()> {
        Self::remove_from(cluster, NAMESPACE)
    }

    /// The same for an installation in another namespace.
    pub fn remove_from(cluster: &Cluster, namespace: &str) -> Result<()> {
        if cluster.get(Kind::NAMESPACE, "", namespace)?.is_none() {
            return Ok(());
        }
        cluster.begin_deletion(Kind::NAMESPACE, "", namespace)?;
        super::until(
            &format!("the end of namespace {namespace}"),
            Duration::from_secs(120),
            || {
                let Some(left) = cluster.get(Kind::NAMESPACE, "", namespace)? else {
                    return Ok(Ok(()));
                };
                for kind in [
                    Kind::DATA_UPLOAD,
                    Kind::DATA_DOWNLOAD,
                    Kind::RESTORE,
                    Kind::BACKUP,
                ] {
                    // Before the first install there are no such kinds.
                    for object in cluster.list(kind, namespace, "").unwrap_or_default() {
                        let name = object["metadata"]["name"].as_str().unwrap_or_default();
                        if !object["metadata"]["finalizers"].is_null() {
                            // It may be gone by now, which is the aim.
                            let _ = cluster.merge(
                                kind,
                                namespace,
                                name,
                                &json!({"metadata": {"finalizers": null}}),
                            );
                        }
                    }
                }
                Ok(Err(format!(
                    "it still holds something: {}",
                    left["status"]["conditions"]
                )))
            },
        )
    }

    /// The bucket of the default location.
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The DataUploads of a backup.
    pub fn data_uploads(&self, cluster: &Cluster, backup: &str) -> Result<Vec<Value>> {
        cluster.list(
            Kind::DATA_UPLOAD,
            NAMESPACE,
            &format!("velero.io/backup-name={backup}"),
        )
    }

    /// The password of the repositories, as the cluster's Secret has it.
    pub fn repository_password(&self, cluster: &Cluster) -> Result<String> {
        cluster
            .kubectl(&[
                "get",
                "secret",
                "velero-repo-credentials",
                "--namespace",
                NAMESPACE,
                "--output",
                "go-template={{index .data \"repository-password\" | base64decode}}",
            ])
            .context("the repository password's Secret is missing")
    }

    /// Fails when a DataUpload, DataDownload, temporary PVC, pod or snapshot is left in the product's namespace.
    pub fn nothing_temporary_is_left(&self, cluster: &Cluster) -> Result<()> {
        super::until(
            "the end of every temporary object",
            Duration::from_secs(60),
            || {
                let mut left = Vec::new();
                for kind in [Kind::PERSISTENT_VOLUME_CLAIM, Kind::VOLUME_SNAPSHOT] {
                    left.extend(names(kind, &cluster.list(kind, NAMESPACE, "")?));
                }
                left.extend(names(
                    Kind::POD,
                    &cluster.list(Kind::POD, NAMESPACE, "velero.io/data-upload")?,
                ));
                left.extend(names(
                    Kind::POD,
                    &cluster.list(Kind::POD, NAMESPACE, "velero.io/data-download")?,
                ));
                // Contents are cluster-scoped: one that was moved to the product's namespace names it.
                let contents = cluster.list(Kind::VOLUME_SNAPSHOT_CONTENT, "", "")?;
                let ours = |content: &&Value| content["spec"]["volumeSnapshotRef"]["namespace"] == NAMESPACE;
                left.extend(names(
                    Kind::VOLUME_SNAPSHOT_CONTENT,
                    &contents.iter().filter(ours).cloned().collect::<Vec<_>>(),
                ));
                Ok(if left.is_empty() {
                    Ok(())
                } else {
                    Err(left.join(", "))
                })
            },
        )
    }
}

fn names(kind: Kind, objects: &[Value]) -> Vec<String> {
    objects
        .iter()
        .map(|object| {
            format!(
                "{} {}",
                kind.name(),
                object["metadata"]["name"].as_str().unwrap_or_default()
            )
        })
        .collect()
}
