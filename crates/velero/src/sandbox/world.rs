//! All that makes a sandbox: the cluster, the object store, and our own installation, as `velero install` makes it.

use std::path::Path;
use std::sync::Arc;

use caravel_api::labels::DEFAULT_NAMESPACE;
use caravel_sandbox::{Authorization, Sandbox};
use kube::Client;

use super::container::{self, Velero};
use super::container_log;
use super::folder::Folder;
use super::object_store::{self, ObjectStore};
use super::shop::{self, Shop, Size};
use super::state::{Keeper, Saved};
use super::tar::{self, Tar};
use crate::cli::failure::{Failure, Outcome, chain};
use crate::cli::install;

/// The namespace of Velero.
pub const VELERO: &str = DEFAULT_NAMESPACE;

/// The node agent's ConfigMap; it does not exist until somebody writes it.
pub const NODE_AGENT_CONFIGMAP: &str = "node-agent-config";

/// A running sandbox. Its folder goes last.
pub struct World {
    pub sandbox: Sandbox,
    pub objects: ObjectStore,
    pub shop: Shop,
    /// Of the shop.
    pub size: Size,
    /// Where the folder stays.
    keeper: Option<Keeper>,
    pub folder: Folder,
    /// Whether what a story compares is changed before, by one byte.
    pub spoil: bool,
    /// Volumes and nodes of a story that has many.
    pub volumes: usize,
    pub nodes: usize,
}

impl World {
    /// Starts a cluster of so many nodes, as it was saved in the folder if it was, and waits until Velero runs in it.
    pub async fn start(folder: Folder, size: Size, saved: Option<Saved>, nodes: usize) -> Outcome<Self> {
        let objects = serve(&folder).await?;
        Self::over(folder, objects, size, saved, nodes).await
    }

    /// Another cluster of one node, whose Velero has the same bucket.
    pub async fn beside(other: &Self, folder: Folder) -> Outcome<Self> {
        let objects = serve(&other.folder).await?;
        Self::over(folder, objects, other.size, None, 1).await
    }

    async fn over(
        folder: Folder,
        objects: ObjectStore,
        size: Size,
        saved: Option<Saved>,
        nodes: usize,
    ) -> Outcome<Self> {
        container_log::start();
        let shop = Shop::new(size);
        let mut cluster = Sandbox::builder()
            .nodes(nodes)
            .folder(folder.path().join("cluster"))
            // Our manifests must grant what the product needs, as in a real cluster.
            .authorization(Authorization::Rbac)
            .image(container::IMAGE, Arc::new(Velero::default()))
            .image(shop::IMAGE, Arc::new(shop.clone()))
            .image(tar::IMAGE, Arc::new(Tar));
        if let Some(mut saved) = saved {
            saved.point_to(&objects.url());
            cluster = cluster.saved(saved.cluster);
        }
        let cluster = cluster.start().await;
        let sandbox =
            cluster.map_err(|error| Failure::new(format!("starting the cluster: {}", chain(&error))))?;
        let api = sandbox.api().clone();
        let keeper = folder
            .stays()
            .then(|| Keeper::start(folder.path(), api, objects.url()));
        let world = Self {
            sandbox,
            objects,
            shop,
            size,
            keeper,
            folder,
            spoil: false,
            volumes: 1,
            nodes,
        };
        install::quietly(&installation(&world.objects), VELERO, &world.client()).await?;
        Ok(world)
    }

    /// A client of the cluster, as its administrator.
    pub fn client(&self) -> Client {
        self.sandbox.client()
    }

    /// Ends everything; what is to stay is written.
    pub async fn end(self) -> Outcome {
        self.sandbox.shutdown().await;
        match self.keeper {
            Some(keeper) => keeper.end().await,
            None => Ok(()),
        }
    }
}

/// The object store of a sandbox's folder.
async fn serve(folder: &Folder) -> Outcome<ObjectStore> {
    ObjectStore::start(&folder.path().join("object-store"))
        .await
        .map_err(|error| Failure::new(format!("starting the object store: {error:#}")))
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
        node_agent_configmap: Some(NODE_AGENT_CONFIGMAP.into()),
        image: format!("{}:v{}", container::IMAGE, env!("CARGO_PKG_VERSION")),
        ..install::Args::default()
    }
}

/// Whether a folder is still there.
pub fn is_there(folder: &Path) -> bool {
    folder.symlink_metadata().is_ok()
}
