//! Files of a backup or restore, through a DownloadRequest: the server answers with a signed URL, and this command
//! fetches it. The user needs no credentials of the bucket.
//!
//! The URL is a secret for as long as it lives (ten minutes): it is never printed, and errors are stripped of it.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use caravel_api::v1::{
    Backup, BackupStorageLocation, DownloadRequest, DownloadRequestSpec, DownloadTarget, DownloadTargetKind,
};
use flate2::read::MultiGzDecoder;
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;

use super::connection::client_configuration;
use super::describe::artifacts::Read;
use super::failure::{Failure, Outcome, chain, kubernetes};

/// How long the server may take to answer a DownloadRequest (Velero's value for `describe`; `logs` has `--timeout`).
pub const DEADLINE: Duration = Duration::from_secs(30);
/// How long the object store may take to connect, and between two reads.
const STORE_DEADLINE: Duration = Duration::from_secs(60);

/// Fetches files of one backup location.
pub struct Downloader {
    client: Client,
    namespace: String,
    http: Http,
    deadline: Duration,
}

/// Clients of the object store. One on this machine is never asked for through a proxy.
struct Http {
    usual: reqwest::Client,
    direct: reqwest::Client,
}

impl Http {
    fn get(&self, url: url::Url) -> reqwest::RequestBuilder {
        let is_here = caravel_storage::s3::is_loopback(&url);
        let client = if is_here { &self.direct } else { &self.usual };
        client.get(url)
    }
}

/// Why there is no file.
enum Missing {
    /// The object store has none of this name.
    NotFound,
    /// Anything else.
    Failure(Failure),
}

impl Missing {
    fn failure(self, kind: &DownloadTargetKind, name: &str) -> Failure {
        match self {
            Self::NotFound => Failure::new(format!("the backup location holds no {kind} of {name}")),
            Self::Failure(failure) => failure,
        }
    }
}

impl Downloader {
    /// A downloader that trusts the public roots, `SSL_CERT_FILE`, `--cacert` (or the client configuration's
    /// `cacert`), and else the location's own certificates.
    pub async fn new(
        client: Client,
        namespace: &str,
        location: &str,
        cacert: Option<&Path>,
        deadline: Duration,
    ) -> Outcome<Self> {
        let configured = client_configuration("cacert").filter(|path| !path.is_empty());
        let trusted = match cacert.or(configured.as_deref().map(Path::new)) {
            Some(path) => Some(read(path)?),
            None => location_certificates(&client, namespace, location).await,
        };
        Ok(Self {
            client,
            namespace: namespace.to_owned(),
            http: http(trusted.as_deref())?,
            deadline,
        })
    }

    /// The file as it lies in the bucket.
    pub async fn zipped(&self, kind: DownloadTargetKind, name: &str) -> Outcome<Vec<u8>> {
        self.fetch_zipped(kind.clone(), name)
            .await
            .map_err(|missing| missing.failure(&kind, name))
    }

    /// The file's content, unzipped.
    pub async fn bytes(&self, kind: DownloadTargetKind, name: &str) -> Outcome<Vec<u8>> {
        self.fetch(kind.clone(), name)
            .await
            .map_err(|missing| missing.failure(&kind, name))
    }

    /// The file as JSON; a file that is not there is `Absent`.
    pub async fn json<T: DeserializeOwned>(&self, kind: DownloadTargetKind, name: &str) -> Read<T> {
        match self.fetch(kind.clone(), name).await {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(content) => Read::Got(content),
                Err(error) => Read::Failed(format!("{kind} of {name} is not what it should be: {error}")),
            },
            Err(Missing::NotFound) => Read::Absent,
            Err(Missing::Failure(failure)) => Read::Failed(failure.message()),
        }
    }

    async fn fetch(&self, kind: DownloadTargetKind, name: &str) -> Result<Vec<u8>, Missing> {
        let body = self.fetch_zipped(kind.clone(), name).await?;
        unzip(&body).map_err(|error| {
            Missing::Failure(Failure::new(format!(
                "downloading {kind} of {name}: unzipping it: {error}"
            )))
        })
    }

    async fn fetch_zipped(&self, kind: DownloadTargetKind, name: &str) -> Result<Vec<u8>, Missing> {
        let url = self
            .signed_url(kind.clone(), name)
            .await
            .map_err(Missing::Failure)?;
        let what = format!("downloading {kind} of {name}");
        let failed = |error: reqwest::Error| Missing::Failure(explain(&what, &error.without_url()));
        // The text is not repeated: it is signed.
        let url = url::Url::parse(&url).map_err(|error| {
            Missing::Failure(Failure::new(format!("{what}: the server's address: {error}")))
        })?;
        let response = self.http.get(url).send().await.map_err(failed)?;
        if response.status() == http::StatusCode::NOT_FOUND {
            return Err(Missing::NotFound);
        }
        let response = response.error_for_status().map_err(failed)?;
        Ok(response.bytes().await.map_err(failed)?.to_vec())
    }

    async fn signed_url(&self, kind: DownloadTargetKind, name: &str) -> Outcome<String> {
        let api: Api<DownloadRequest> = Api::namespaced(self.client.clone(), &self.namespace);
        let spec = DownloadRequestSpec {
            target: DownloadTarget {
                kind: kind.clone(),
                name: name.to_owned(),
            },
        };
        let request = DownloadRequest::new(&request_name(name), spec);
        let request_name = request.metadata.name.clone().unwrap_or_default();
        let title = format!(
            "DownloadRequest {}/{request_name} for {kind} of {name}",
            self.namespace
        );
        api.create(&PostParams::default(), &request)
            .await
            .map_err(|error| kubernetes(format!("creating {title}"), &error))?;
        let answer = tokio::time::timeout(self.deadline, answer(api.clone(), &request_name)).await;
        // The server deletes it after ten minutes; nobody needs the URL for so long. A failure to delete is not ours to report.
        let _ = api.delete(&request_name, &DeleteParams::default()).await;
        match answer {
            Ok(Some(url)) => Ok(url),
            Ok(None) => Err(Failure::new(format!(
                "{title} was deleted before the server answered it"
            ))),
            Err(_) => Err(Failure::new(format!(
                "{title}: the server has not answered within {} s",
                self.deadline.as_secs()
            ))
            .next(format!(
                "kubectl -n {} logs deployment/velero    (or --timeout with a longer time)",
                self.namespace
            ))),
        }
    }
}

async fn answer(api: Api<DownloadRequest>, name: &str) -> Option<String> {
    let requests = watcher::watch_object(api, name).default_backoff();
    pin_mut!(requests);
    let mut seen = false;
    while let Some(next) = requests.next().await {
        match next {
            Ok(Some(request)) => {
                seen = true;
                if let Some(url) = request
                    .status
                    .map(|status| status.download_url)
                    .filter(|url| !url.is_empty())
                {
                    return Some(url);
                }
            }
            Ok(None) if seen => return None,
            // Not there yet for this watch, or an error that the next try may not meet; the deadline ends it.
            _ => {}
        }
    }
    None
}

/// `<name>-<uuid>`, like Velero's; 16 random bytes are as good as a UUID.
fn request_name(name: &str) -> String {
    let random: u128 = rand::random();
    let mut stem = name.to_owned();
    stem.truncate(253 - 33);
    format!("{stem}-{random:032x}")
}

fn unzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    // A proxy may have unzipped it on the way.
    if !body.starts_with(&[0x1f, 0x8b]) {
        return Ok(body.to_vec());
    }
    let mut content = Vec::new();
    MultiGzDecoder::new(body).read_to_end(&mut content)?;
    Ok(content)
}

fn explain(what: &str, error: &reqwest::Error) -> Failure {
    let text = chain(error);
    let failure = Failure::new(format!("{what}: {text}"));
    if text.contains("certificate") {
        failure.next("the same command with --cacert FILE (the certificates of the object store)")
    } else if error.is_connect() {
        failure.next("check that this machine reaches the object store (config s3Url, or publicUrl, of the BackupStorageLocation)")
    } else {
        failure
    }
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| Failure::new(format!("reading certificates from {}: {error}", path.display())))
}

fn http(trusted: Option<&[u8]>) -> Outcome<Http> {
    // Whom the server trusts, this command trusts: the public roots, `SSL_CERT_FILE` and what is given.
    let tls = caravel_storage::s3::tls_client_config(trusted, false).map_err(|why| {
        Failure::new(format!("the certificates to trust: {why}")).next("give a PEM file with --cacert")
    })?;
    let build = |builder: reqwest::ClientBuilder| {
        let client = builder
            .tls_backend_preconfigured(tls.clone())
            .connect_timeout(STORE_DEADLINE)
            .read_timeout(STORE_DEADLINE)
            .build();
        client.map_err(|error| {
            Failure::new(format!(
                "preparing the connection to the object store: {}",
                chain(&error)
            ))
        })
    };
    Ok(Http {
        usual: build(reqwest::Client::builder())?,
        direct: build(reqwest::Client::builder().no_proxy())?,
    })
}

/// The location of a backup, for its certificates. Unknown backups have none.
pub async fn location_of(client: &Client, namespace: &str, backup: &str) -> String {
    let api: Api<Backup> = Api::namespaced(client.clone(), namespace);
    api.get_opt(backup)
        .await
        .ok()
        .flatten()
        .map(|backup| backup.spec.storage_location)
        .unwrap_or_default()
}

/// Certificates that the location carries or refers to; none when they cannot be read, since `--cacert` can replace
/// them and the connection itself will say what is missing.
async fn location_certificates(client: &Client, namespace: &str, name: &str) -> Option<Vec<u8>> {
    if name.is_empty() {
        return None;
    }
    let api: Api<BackupStorageLocation> = Api::namespaced(client.clone(), namespace);
    let store = api.get_opt(name).await.ok()??.spec.object_storage;
    if let Some(pem) = store.ca_cert {
        return Some(pem.0);
    }
    let reference = store.ca_cert_ref?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets.get_opt(&reference.name).await.ok()??;
    secret.data?.remove(&reference.key).map(|pem| pem.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn files_come_out_unzipped_even_when_written_in_several_parts() {
        let mut zipped = Vec::new();
        for part in ["one ", "two"] {
            let mut writer = flate2::write::GzEncoder::new(&mut zipped, flate2::Compression::default());
            writer.write_all(part.as_bytes()).unwrap();
            writer.finish().unwrap();
        }
        assert_eq!(unzip(&zipped).unwrap(), b"one two");
        assert_eq!(unzip(b"plain").unwrap(), b"plain");
    }

    #[test]
    fn a_request_is_named_after_its_backup_and_stays_legal() {
        assert!(request_name("b1").starts_with("b1-"));
        assert_ne!(request_name("b1"), request_name("b1"));
        assert!(request_name(&"x".repeat(300)).len() <= 253);
    }

    #[tokio::test]
    async fn guarantee_8_a_failed_download_does_not_show_the_signed_url() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let url = "http://127.0.0.1:1/bucket/b1-logs.gz?X-Amz-Signature=topsecret";
        let url = url::Url::parse(url).unwrap();
        let error = http(None).ok().unwrap().get(url).send().await.unwrap_err();
        let text = explain("downloading BackupLog of b1", &error.without_url()).to_string();
        assert!(!text.contains("topsecret") && !text.contains("bucket"), "{text}");
        assert!(
            text.contains("BackupLog of b1") && text.contains("Next:"),
            "{text}"
        );
    }
}
