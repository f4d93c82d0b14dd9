//! All that makes a sandbox: the cluster, the object store, and our own installation, as `velero install` makes it.

use std::path::Path;
use std::sync::Arc;

use caravel_api::labels::DEFAULT_NAMESPACE;
use caravel_api::v1::BackupStorageLocation;
use caravel_sandbox::Sandbox;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::container::{self, Velero};
use super::container_log;
use super::folder::{self, Folder};
use super::object_store::{self, ObjectStore};
use super::shop::{self, Shop, Size};
use crate::cli::failure::{Failure, Outcome, chain, kubernetes};
use crate::cli::install;

/// The namespace of Velero.
pub const VELERO: &str = DEFAULT_NAMESPACE;
/// The file with the cluster's objects, where they stay.
const STATE: &str = "cluster.json";

/// A running sandbox. Its folder goes last.
pub struct World {
    pub sandbox: Sandbox,
    pub objects: ObjectStore,
    pub shop: Shop,
    pub folder: Folder,
    /// Whether what a story compares is changed before, by one byte.
    pub spoil: bool,
}

impl World {
    /// Starts the cluster and waits until Velero runs in it.
    pub async fn start(folder: Folder, size: Size) -> Outcome<Self> {
        container_log::start();
        let shop = Shop::new(size);
        let objects = ObjectStore::start(&folder.path().join("object-store"))
            .await
            .map_err(|error| Failure::new(format!("starting the object store: {error:#}")))?;
        let mut cluster = Sandbox::builder()
            .folder(folder.path().join("cluster"))
            .image(container::IMAGE, Arc::new(Velero::default()))
            .image(shop::IMAGE, Arc::new(shop.clone()));
        if let Some(saved) = saved(&folder)? {
            cluster = cluster.saved(saved);
        }
        let cluster = cluster.start().await;
        let sandbox =
            cluster.map_err(|error| Failure::new(format!("starting the cluster: {}", chain(&error))))?;
        let world = Self {
            sandbox,
            objects,
            shop,
            folder,
            spoil: false,
        };
        world.install().await?;
        Ok(world)
    }

    /// A client of the cluster, as its administrator.
    pub fn client(&self) -> Client {
        self.sandbox.client()
    }

    async fn install(&self) -> Outcome {
        let args = installation(&self.objects);
        install::quietly(&args, VELERO, &self.client()).await?;
        self.point_to_objects().await
    }

    /// After a restart the object store has another port.
    async fn point_to_objects(&self) -> Outcome {
        let api: Api<BackupStorageLocation> = Api::namespaced(self.client(), VELERO);
        let patch = json!({"spec": {"config": {"s3Url": self.objects.url()}}});
        let patched = api
            .patch("default", &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched
            .map_err(|error| kubernetes("pointing the BackupStorageLocation to the object store", &error))?;
        Ok(())
    }

    /// Ends everything; what is to stay is written.
    pub async fn end(self) -> Outcome {
        let api = self.sandbox.api().clone();
        self.sandbox.shutdown().await;
        if !self.folder.stays() {
            return Ok(());
        }
        let path = self.folder.path().join(STATE);
        let saved = serde_json::to_vec(&api.save());
        saved
            .map_err(std::io::Error::other)
            .and_then(|state| folder::replace_private(&path, &state))
            .map_err(|error| Failure::new(format!("saving the cluster to {}: {error}", path.display())))
    }
}

/// The cluster's objects as they were at the last end of this sandbox.
fn saved(folder: &Folder) -> Outcome<Option<Value>> {
    let path = folder.path().join(STATE);
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::new(format!(
            "reading the saved cluster {}: {error}; nothing was started",
            path.display()
        ))
        .next("velero sandbox with another --dir")
    };
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| unreadable(&error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&error)),
    }
}

/// `velero install --provider aws --bucket backups …`.
fn installation(objects: &ObjectStore) -> install::Args {
    let config = format!("region=us-east-1,s3ForcePathStyle=true,s3Url={}", objects.url());
    install::Args {
        provider: Some("aws".into()),
        bucket: Some(object_store::BUCKET.into()),
        secret_file: Some(objects.credentials_file().to_owned()),
        backup_location_config: vec![config],
        use_volume_snapshots: Some(false),
        use_node_agent: Some(true),
        image: format!("{}:v{}", container::IMAGE, env!("CARGO_PKG_VERSION")),
        ..install::Args::default()
    }
}

/// Whether a folder is still there.
pub fn is_there(folder: &Path) -> bool {
    folder.symlink_metadata().is_ok()
}
