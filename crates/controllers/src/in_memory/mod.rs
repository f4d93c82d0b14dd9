//! For tests: a cluster with Velero's kinds and no controllers, and a bucket that several clusters share; all in memory.

mod bucket;
pub(crate) mod storage;

use std::sync::Arc;

use caravel_api::v1::BackupStorageLocation;
use caravel_api_server::ApiServer;
use caravel_backup_repository::{Environment, PASSWORD_KEY, PASSWORD_SECRET, Prepare, Repository, prepare};
use caravel_backup_store::ProcessCredentials;
use caravel_repository::crypto::hkdf_sha256;
use caravel_repository::{KeyDerivation, RepositoryError, SnapshotFilter, SnapshotManifest};
use http::{Method, Request};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::{ByteString, NamespaceResourceScope};
use kube::api::PostParams;
use kube::client::Body;
use kube::{Api, Client};
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::context::Context;
use crate::reconcile::Error;

pub(crate) use bucket::{Bucket, Turn};

/// Velero's namespace.
pub(crate) const NAMESPACE: &str = "velero";
/// What the repositories of [`repository`] are opened with.
pub(crate) const PASSWORD: &str = "correct horse";

/// Not slow, and still another key for another password or salt.
struct QuickKeys;

impl KeyDerivation for QuickKeys {
    fn derive(
        &self,
        _: &str,
        password: &[u8],
        salt: &[u8],
    ) -> Result<zeroize::Zeroizing<[u8; 32]>, RepositoryError> {
        Ok(hkdf_sha256(password, salt, b"test"))
    }
}

/// The machine, with keys that cost nothing.
pub(crate) fn environment() -> Environment {
    Environment {
        cpu_threads: 1,
        key_derivation: Arc::new(QuickKeys),
        ..Environment::system()
    }
}

/// One cluster: its API server, and what a controller in it is given.
pub(crate) struct Cluster {
    pub context: Context,
}

impl Cluster {
    /// With the location `default` in the bucket, and the password of [`repository`].
    pub async fn new(bucket: &Bucket) -> Self {
        let client = ApiServer::builder().seed(1).build().client();
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        for definition in caravel_api::crds() {
            definitions
                .create(&PostParams::default(), &definition)
                .await
                .unwrap();
        }
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        let context = Context::new(client, NAMESPACE, ProcessCredentials::default())
            .over(Arc::new(bucket.clone()), environment());
        let cluster = Self { context };
        cluster
            .create::<BackupStorageLocation>(
                json!({"metadata": {"name": "default"}, "status": {"phase": "Available"},
                "spec": {"provider": "aws", "objectStorage": {"bucket": "b"}, "config": {"region": "here"}}}),
            )
            .await;
        cluster
            .create::<Secret>(json!({"metadata": {"name": PASSWORD_SECRET},
                "data": {PASSWORD_KEY: ByteString(PASSWORD.into())}}))
            .await;
        cluster
    }

    /// From now on its bucket is another one.
    pub fn reach(&mut self, bucket: &Bucket) {
        let context = self.context.clone();
        self.context = context.over(Arc::new(bucket.clone()), environment());
    }

    /// Creates an object in Velero's namespace.
    pub async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<Scope = NamespaceResourceScope>
            + Clone
            + Serialize
            + DeserializeOwned
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).unwrap();
        let api = self.context.api::<K>();
        api.create(&PostParams::default(), &object).await.unwrap()
    }

    /// An object of Velero's namespace.
    pub async fn get<K>(&self, name: &str) -> Option<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        self.context.api::<K>().get_opt(name).await.unwrap()
    }
}

/// A controller's context, whose client waits for its turn before each request of this kind: `PATCH`, `/backups/b1`.
pub(crate) fn in_turn(
    context: &Context,
    turn: &Arc<Turn>,
    method: Method,
    path_end: &'static str,
) -> Context {
    let (client, turn) = (context.client.clone(), Arc::clone(turn));
    let service = tower::service_fn(move |request: Request<Body>| {
        let is_it = *request.method() == method && request.uri().path().ends_with(path_end);
        let (client, turn) = (client.clone(), Arc::clone(&turn));
        async move {
            if is_it {
                turn.pass(path_end).await?;
            }
            Ok::<_, Error>(client.send(request).await?)
        }
    });
    Context {
        client: Client::new(service, NAMESPACE),
        ..context.clone()
    }
}

/// The repository of a namespace's volumes in the location `default`; made where there is none.
pub(crate) async fn repository(bucket: &Bucket, namespace: &str) -> Repository {
    let storage = Arc::new(bucket.repository(namespace));
    let password = SecretString::from(PASSWORD);
    prepare(storage, &password, Prepare::ConnectOrCreate, environment())
        .await
        .unwrap()
}

/// Adds a snapshot of nothing; gives its id. For a test on several threads.
pub(crate) fn add_snapshot(repository: &Repository, path: &str) -> String {
    let manifest: SnapshotManifest = serde_json::from_value(json!({
        "source": {"host": "default", "userName": "default", "path": path},
        "startTime": "2026-11-21T09:00:00Z", "endTime": "2026-11-21T09:00:01Z"}))
    .unwrap();
    tokio::task::block_in_place(|| {
        let writer = repository.write().unwrap();
        let id = writer.put_snapshot(&manifest).unwrap();
        writer.commit().unwrap();
        id.to_string()
    })
}

/// The ids of the snapshots that are there now, sorted.
pub(crate) async fn snapshots(bucket: &Bucket, namespace: &str) -> Vec<String> {
    let found = repository(bucket, namespace).await;
    let found = found.snapshots(&SnapshotFilter::default()).await.unwrap();
    let mut ids: Vec<String> = found.iter().map(|snapshot| snapshot.id.to_string()).collect();
    ids.sort();
    ids
}
