//! S3's object lock: two headers of a put, and `PutObjectRetention`.

use std::{error::Error as StdError, time::Duration};

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use md5::{Digest as _, Md5};
use object_store::{
    ClientOptions,
    aws::{AmazonS3, AwsAuthorizer},
    client::{HttpConnector as _, HttpRequest},
    path::Path,
    signer::Signer as _,
};

use super::{
    S3Config,
    client::{self, Locked},
};
use crate::{
    LockMode, ObjectLock, StorageError,
    bucket::{http::Connector, locking::Locks},
};

const MODE: HeaderName = HeaderName::from_static("x-amz-object-lock-mode");
const UNTIL: HeaderName = HeaderName::from_static("x-amz-object-lock-retain-until-date");
const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");
const MD5: HeaderName = HeaderName::from_static("content-md5");
const RETENTION: &str = "retention=";
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// The locks of one bucket.
pub(super) struct S3Locks {
    config: S3Config,
    connector: Connector,
}

impl S3Locks {
    pub fn new(config: S3Config, connector: Connector) -> Self {
        Self { config, connector }
    }

    /// A request that `object_store` has no call for, signed with the client's key; `query` says what of the object it is
    /// about.
    pub async fn ask(
        &self,
        store: &AmazonS3,
        (method, key, query): (Method, &Path, &str),
        mut headers: HeaderMap,
        body: String,
    ) -> object_store::Result<Bytes> {
        // Only for the address, in the way in which the client writes names.
        let address = store.signed_url(method.clone(), key, Duration::from_secs(1));
        let mut url = address.await?;
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        // S3 wants one with every request about locks: servers of before 2025 MD5, which says nothing about safety here.
        let md5 = BASE64_STANDARD.encode(Md5::digest(&body));
        headers.insert(MD5, HeaderValue::from_str(&md5).map_err(failed)?);
        let checksum = BASE64_STANDARD.encode(digest(&SHA256, body.as_bytes()));
        headers.insert(CHECKSUM, HeaderValue::from_str(&checksum).map_err(failed)?);
        let mut request = HttpRequest::new(body.into());
        *request.method_mut() = method;
        *request.uri_mut() = url.as_str().parse().map_err(failed)?;
        *request.headers_mut() = headers;
        let credentials = store.credentials().get_credential().await?;
        let region = self.config.region.as_deref().unwrap_or(client::DEFAULT_REGION);
        AwsAuthorizer::new(&credentials, "s3", region).try_authorize(&mut request, None)?;
        let client = self.connector.connect(&ClientOptions::new())?;
        let answer = client.execute(request).await.map_err(failed)?;
        answer.into_body().bytes().await.map_err(failed)
    }

    async fn put_lock(&self, store: &AmazonS3, key: &Path, lock: &ObjectLock) -> object_store::Result<()> {
        let (mode, until) = (lock.mode, lock.until);
        let body = format!(
            "<Retention xmlns=\"{NAMESPACE}\"><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>"
        );
        let put = (Method::PUT, key, RETENTION);
        self.ask(store, put, HeaderMap::new(), body).await.map(drop)
    }

    async fn get_lock(&self, store: &AmazonS3, key: &Path) -> object_store::Result<Option<ObjectLock>> {
        let get = (Method::GET, key, RETENTION);
        let said = self.ask(store, get, HeaderMap::new(), String::new()).await?;
        Ok(lock_in(&said))
    }
}

#[async_trait]
impl Locks<AmazonS3> for S3Locks {
    fn client(&self, store: &AmazonS3, lock: &ObjectLock) -> Result<AmazonS3, StorageError> {
        let mut headers = HeaderMap::new();
        let value = |text: String| HeaderValue::from_str(&text).expect("letters and digits");
        headers.insert(MODE, value(lock.mode.to_string()));
        headers.insert(UNTIL, value(lock.until.to_string()));
        let locked = Locked {
            headers,
            credentials: store.credentials().clone(),
        };
        client::amazon_s3_with(&self.config, self.connector.clone(), Some(locked))
    }

    async fn extend(&self, store: &AmazonS3, key: &Path, lock: &ObjectLock) -> object_store::Result<()> {
        let Err(error) = self.put_lock(store, key, lock).await else {
            return Ok(());
        };
        match self.get_lock(store, key).await {
            // One that ends later is as good (the period was longer once), and no store makes it end earlier.
            Ok(Some(held)) if held.until >= lock.until => Ok(()),
            // Few may change the mode of a lock, so an old one goes on in its own.
            Ok(Some(held)) if held.mode != lock.mode => {
                let until = lock.until;
                let lock = ObjectLock { until, ..held };
                self.put_lock(store, key, &lock).await
            }
            _ => Err(error),
        }
    }
}

/// The lock in the server's answer.
fn lock_in(said: &[u8]) -> Option<ObjectLock> {
    let said = std::str::from_utf8(said).ok()?;
    let value = |name: &str| {
        let (_, rest) = said.split_once(&format!("<{name}>"))?;
        Some(rest.split_once('<')?.0.trim())
    };
    Some(ObjectLock {
        mode: LockMode::by_name(value("Mode")?)?,
        until: value("RetainUntilDate")?.parse().ok()?,
    })
}

fn failed(error: impl StdError + Send + Sync + 'static) -> object_store::Error {
    object_store::Error::Generic {
        store: "S3",
        source: Box::new(error),
    }
}
