//! The sandbox's object storage: an S3 server on loopback over a folder, so that the product's S3 path is what runs.
//!
//! The server is `s3s` (signatures, requests) over `s3s-fs` (one file an object). Its address is loopback only, and
//! its key is random, known to nobody but this sandbox.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::sync::RwLock;
use tokio_util::task::AbortOnDropHandle;

use self::files::Files;
use super::folder;

mod files;

/// The bucket that backups go to.
pub const BUCKET: &str = "backups";

/// A running server; dropped, it ends.
pub struct ObjectStore {
    address: SocketAddr,
    credentials_file: PathBuf,
    bucket: PathBuf,
    _server: AbortOnDropHandle<()>,
}

impl ObjectStore {
    /// Serves `folder`; the key is made at the first start and found again at the next.
    ///
    /// # Errors
    /// The folder cannot be written, or loopback gives no port.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let objects = folder.join("objects");
        let bucket = objects.join(BUCKET);
        std::fs::create_dir_all(&bucket)
            .with_context(|| format!("cannot make the bucket {}", bucket.display()))?;
        let credentials_file = folder.join("credentials");
        let key = Key::of(&credentials_file)?;
        let files = Files::new(&objects)
            .map_err(|error| anyhow::anyhow!("cannot serve {}: {error:?}", objects.display()))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(key.id.clone(), key.secret.clone()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen on 127.0.0.1 for the object store")?;
        Ok(Self {
            address: listener.local_addr().context("the object store has no address")?,
            credentials_file,
            bucket,
            _server: AbortOnDropHandle::new(tokio::spawn(serve(listener, service.build()))),
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The file with what opens it, as `velero install --secret-file` takes it.
    pub fn credentials_file(&self) -> &Path {
        &self.credentials_file
    }

    /// Its content.
    #[cfg(test)]
    pub fn credentials(&self) -> String {
        std::fs::read_to_string(&self.credentials_file).unwrap()
    }

    /// The file that an object is in.
    pub fn file(&self, object: &str) -> PathBuf {
        self.bucket.join(object)
    }

    /// How many objects lie below this folder of the bucket.
    pub fn names_below(&self, folder: &str) -> usize {
        folder::files_below(&self.bucket.join(folder))
    }

    /// Bytes of all objects in the bucket.
    pub fn bytes(&self) -> u64 {
        folder::bytes_below(&self.bucket)
    }
}

/// `s3s-fs` looks whether an object exists and then writes it; of two that create the same one, both would win. One
/// who creates waits until nobody else writes.
async fn answer(
    service: S3Service,
    writers: Arc<RwLock<()>>,
    request: Request<Incoming>,
) -> Result<Response<s3s::Body>, s3s::HttpError> {
    let creates = request.headers().contains_key(http::header::IF_NONE_MATCH);
    let (mut alone, mut among_others) = (None, None);
    match *request.method() {
        http::Method::PUT if creates => alone = Some(writers.write().await),
        http::Method::PUT => among_others = Some(writers.read().await),
        _ => {}
    }
    let answer = hyper::service::Service::call(&service, request).await;
    drop((alone, among_others));
    answer
}

async fn serve(listener: TcpListener, service: S3Service) {
    let http = Builder::new(TokioExecutor::new());
    let writers = Arc::new(RwLock::new(()));
    let service = service_fn(move |request| answer(service.clone(), writers.clone(), request));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    let connection = http.serve_connection(TokioIo::new(socket), service.clone()).into_owned();
                    connections.spawn(async move {
                        // A client that hangs up is no failure of the server.
                        let _ = connection.await;
                    });
                }
                // Out of file descriptors, for a moment.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The access key of one sandbox.
struct Key {
    id: String,
    secret: String,
}

impl Key {
    /// The key that this file holds, or a new one, which the file then holds.
    fn of(path: &Path) -> anyhow::Result<Self> {
        if let Some(known) = std::fs::read_to_string(path).ok().as_deref().and_then(Self::read) {
            return Ok(known);
        }
        let new = Self {
            id: format!("SANDBOX{:013X}", rand::random::<u64>() >> 12),
            secret: format!("{:032x}{:08x}", rand::random::<u128>(), rand::random::<u32>()),
        };
        folder::write_private(path, new.file().as_bytes())?;
        Ok(new)
    }

    fn read(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
        };
        Some(Self {
            id: value("aws_access_key_id")?,
            secret: value("aws_secret_access_key")?,
        })
    }

    fn file(&self) -> String {
        let Self { id, secret } = self;
        format!("[default]\naws_access_key_id={id}\naws_secret_access_key={secret}\n")
    }
}

#[cfg(test)]
mod tests;
