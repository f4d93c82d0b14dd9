//! The eight calls over a bucket: S3's, Google's or Azure's. Clients, trust and the meaning of answers are `caravel_storage`.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use caravel_storage::{
    Operation, StorageError, StorageErrorKind,
    azure::{AzureConfig, microsoft_azure},
    bucket::{BucketClient, Place, create, exists, key_path, page},
    gcs::{self, GcsConfig, google_cloud_storage},
    s3::{S3Config, amazon_s3},
};
use futures::StreamExt as _;
use http::Method;
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectStoreExt as _, aws::AmazonS3, azure::MicrosoftAzure,
    gcp::GoogleCloudStorage, list::PaginatedListOptions, path::Path,
};
use tokio::io::AsyncReadExt as _;

use super::{Body, Contents, ObjectStore, PutMode, SignedUrl};

/// How much of an object is in memory at a time: larger than the 5 MiB S3 and Google ask of a part, and 10,000 parts
/// of it hold a tarball of 160 GB.
const PART: usize = 16 << 20;

/// A bucket.
pub struct BucketObjectStore<C> {
    store: C,
    /// The client whose addresses are handed out: those that are reached from elsewhere.
    signer: C,
    place: Place,
}

/// A bucket of an S3 server.
pub type S3ObjectStore = BucketObjectStore<AmazonS3>;
/// A bucket of Google Cloud Storage.
pub type GcsObjectStore = BucketObjectStore<GoogleCloudStorage>;
/// A container of Azure Blob Storage.
pub type AzureObjectStore = BucketObjectStore<MicrosoftAzure>;

impl AzureObjectStore {
    /// Makes the client; nothing is sent.
    ///
    /// Errors: [`StorageErrorKind::Misconfigured`].
    pub fn new(config: &AzureConfig) -> Result<Self, StorageError> {
        let store = microsoft_azure(config)?;
        Ok(Self {
            signer: store.clone(),
            store,
            place: Place::of_azure(config),
        })
    }
}

impl GcsObjectStore {
    /// Makes the clients; nothing is sent.
    ///
    /// Errors: [`StorageErrorKind::Misconfigured`].
    pub fn new(config: &GcsConfig) -> Result<Self, StorageError> {
        Ok(Self {
            store: google_cloud_storage(config)?,
            signer: gcs::signer(config)?,
            place: Place::of_gcs(config),
        })
    }
}

impl S3ObjectStore {
    /// Makes the clients; nothing is sent.
    ///
    /// Errors: [`StorageErrorKind::Misconfigured`].
    pub fn new(config: &S3Config, public_url: Option<&str>) -> Result<Self, StorageError> {
        let store = amazon_s3(config)?;
        let signer = match public_url {
            Some(url) => amazon_s3(&S3Config {
                endpoint: Some(url.to_owned()),
                ..config.clone()
            })?,
            None => store.clone(),
        };
        Ok(Self {
            store,
            signer,
            place: Place::of(config),
        })
    }
}

impl<C: BucketClient> BucketObjectStore<C> {
    async fn put_file(&self, path: &Path, key: &str, file: &std::path::Path) -> Result<(), StorageError> {
        let unreadable = |e: std::io::Error| {
            let cause = format!("cannot read {}: {e}", file.display());
            StorageError::new(StorageErrorKind::Misconfigured, Operation::Put, key, cause)
        };
        let failed = |e| self.place.explain(Operation::Put, key, &e);
        let mut input = tokio::fs::File::open(file).await.map_err(unreadable)?;
        let first = read_part(&mut input).await.map_err(unreadable)?;
        if first.len() < PART {
            return self.store.put(path, first.into()).await.map(drop).map_err(failed);
        }
        let mut upload = self.store.put_multipart(path).await.map_err(failed)?;
        let mut part = first;
        while !part.is_empty() {
            if let Err(error) = upload.put_part(part.into()).await {
                abort(upload, key).await;
                return Err(failed(error));
            }
            part = match read_part(&mut input).await {
                Ok(part) => part,
                Err(error) => {
                    abort(upload, key).await;
                    return Err(unreadable(error));
                }
            };
        }
        upload.complete().await.map(drop).map_err(failed)
    }

    async fn page(&self, prefix: &str, options: PaginatedListOptions) -> Result<Page, StorageError> {
        let page = page(&self.store, &self.place, prefix, options).await?;
        Ok(Page {
            keys: page
                .result
                .objects
                .into_iter()
                .map(|object| object.location.to_string())
                .collect(),
            folders: page
                .result
                .common_prefixes
                .into_iter()
                .map(|folder| format!("{folder}/"))
                .collect(),
            next: page.page_token,
        })
    }

    async fn pages(&self, prefix: &str, delimiter: Option<&'static str>) -> Result<Page, StorageError> {
        let mut all = Page::default();
        loop {
            let delimiter = delimiter.map(Into::into);
            let options = PaginatedListOptions {
                page_token: all.next.take(),
                delimiter,
                ..Default::default()
            };
            let page = self.page(prefix, options).await?;
            all.keys.extend(page.keys);
            all.folders.extend(page.folders);
            all.next = page.next;
            if all.next.is_none() {
                return Ok(all);
            }
        }
    }
}

#[derive(Default)]
struct Page {
    keys: Vec<String>,
    folders: Vec<String>,
    next: Option<String>,
}

impl<C> fmt::Debug for BucketObjectStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketObjectStore({})", self.place)
    }
}

/// The next [`PART`] bytes; fewer only at the end of the file.
async fn read_part(input: &mut tokio::fs::File) -> std::io::Result<Bytes> {
    let mut part = BytesMut::with_capacity(PART);
    while part.len() < PART {
        let room = (PART - part.len()) as u64;
        if (&mut *input).take(room).read_buf(&mut part).await? == 0 {
            break;
        }
    }
    Ok(part.freeze())
}

async fn abort(mut upload: Box<dyn MultipartUpload>, key: &str) {
    if let Err(error) = upload.abort().await {
        let cause = Place::default().explain(Operation::Delete, key, &error);
        tracing::warn!(
            key,
            cause = cause.cause(),
            "the parts of a failed upload stay until the bucket's own clean-up"
        );
    }
}

#[async_trait]
impl<C: BucketClient> ObjectStore for BucketObjectStore<C> {
    async fn put_object(&self, key: &str, body: Body, mode: PutMode) -> Result<(), StorageError> {
        let path = key_path(Operation::Put, key)?;
        match (body, mode) {
            (Body::Bytes(data), PutMode::Create) => create(&self.store, &self.place, &path, key, data).await,
            (Body::Bytes(data), PutMode::Replace) => {
                let put = self.store.put(&path, data.into()).await;
                put.map(drop)
                    .map_err(|e| self.place.explain(Operation::Put, key, &e))
            }
            (Body::File(file), PutMode::Replace) => self.put_file(&path, key, &file).await,
            (Body::File(_), PutMode::Create) => Err(StorageError::new(
                StorageErrorKind::Unsupported,
                Operation::PutIfAbsent,
                key,
                "a file in parts cannot be created with a condition",
            )),
        }
    }

    async fn object_exists(&self, key: &str) -> Result<bool, StorageError> {
        let path = key_path(Operation::Metadata, key)?;
        exists(&self.store, &self.place, &path, key).await
    }

    async fn get_object(&self, key: &str) -> Result<Contents, StorageError> {
        let path = key_path(Operation::Get, key)?;
        let options = GetOptions {
            range: Some(GetRange::Bounded(0..PART as u64)),
            ..Default::default()
        };
        let first = match self.store.get_opts(&path, options).await {
            // An empty object has no first byte.
            Err(e) if self.place.explain(Operation::Get, key, &e).kind() == StorageErrorKind::Damaged => {
                self.store.get(&path).await
            }
            first => first,
        };
        let first = first.map_err(|e| self.place.explain(Operation::Get, key, &e))?;
        let (size, tag) = (first.meta.size, first.meta.e_tag.clone());
        let data = first
            .bytes()
            .await
            .map_err(|e| self.place.explain(Operation::Get, key, &e))?;

        let (store, place, key) = (self.store.clone(), self.place.clone(), key.to_owned());
        let offsets = (data.len() as u64..size).step_by(PART);
        let rest = futures::stream::iter(offsets).then(move |offset| {
            let (store, place, path, key, tag) = (
                store.clone(),
                place.clone(),
                path.clone(),
                key.clone(),
                tag.clone(),
            );
            async move {
                let range = offset..size.min(offset + PART as u64);
                let wanted = range.end - range.start;
                let options = GetOptions {
                    range: Some(GetRange::Bounded(range)),
                    if_match: tag,
                    ..Default::default()
                };
                let read = async { store.get_opts(&path, options).await?.bytes().await };
                let part = read
                    .await
                    .map_err(|e| changed(place.explain(Operation::Get, &key, &e)))?;
                if part.len() as u64 != wanted {
                    let cause = format!(
                        "{} bytes came at {offset} where {wanted} were asked for",
                        part.len()
                    );
                    return Err(StorageError::new(
                        StorageErrorKind::Damaged,
                        Operation::Get,
                        key,
                        cause,
                    ));
                }
                Ok(part)
            }
        });
        Ok(futures::stream::iter([Ok(data)]).chain(rest).boxed())
    }

    async fn list_common_prefixes(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        Ok(self.pages(prefix, Some("/")).await?.folders)
    }

    async fn list_objects(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        Ok(self.pages(prefix, None).await?.keys)
    }

    async fn delete_object(&self, key: &str) -> Result<(), StorageError> {
        let path = key_path(Operation::Delete, key)?;
        let deleted = self.store.delete(&path).await;
        match deleted.map_err(|e| self.place.explain(Operation::Delete, key, &e)) {
            Err(e) if e.is_not_found() => Ok(()),
            deleted => deleted,
        }
    }

    async fn create_signed_url(&self, key: &str, ttl: Duration) -> Result<SignedUrl, StorageError> {
        let path = key_path(Operation::Get, key)?;
        let url = self.signer.signed_url(Method::GET, &path, ttl).await;
        let url = url.map_err(|e| self.place.explain(Operation::Get, key, &e))?;
        Ok(SignedUrl::new(url.to_string()))
    }
}

/// A failed If-Match while reading means that somebody replaced the object.
fn changed(error: StorageError) -> StorageError {
    match error.kind() {
        StorageErrorKind::AlreadyExists => StorageError::new(
            StorageErrorKind::Unavailable,
            error.operation(),
            error.subject(),
            "the object was replaced while it was being read; read it again",
        ),
        _ => error,
    }
}
