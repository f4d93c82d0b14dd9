//! Every request of a client passes here, so that its answer is understood while it is still whole:
//! refusals keep their code, listings are checked to be listings, and each request has a deadline.
//! Neighbours: each store's client installs it, `answer.rs` says what a [`Failure`] means.

use std::{
    error::Error as StdError,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header::IF_NONE_MATCH};
use object_store::{
    ClientOptions,
    client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService},
};

use super::answer::Failure;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one request may take beside the time its bytes need.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The slowest line on which a request still ends in time: 64 KiB a second.
const SLOWEST_BYTES_A_SECOND: u64 = 64 << 10;
/// An answer of unknown length is expected to be at most a pack or a page of a listing.
const EXPECTED_BODY: u64 = 32 << 20;

/// Google's condition of a put; `0` asks that there be no object.
const IF_GENERATION_MATCH: &str = "x-goog-if-generation-match";

/// Where Azure says what is wrong, also to HEAD.
const AZURE_CODE: &str = "x-ms-error-code";

/// Makes clients with this side of TLS, our deadlines and our eyes.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    tls: rustls::ClientConfig,
    /// The environment's proxies are not asked.
    direct: bool,
    /// Made with the first client: clones share its connections.
    made: Arc<OnceLock<reqwest::Client>>,
    /// What requests that make an object say beside it.
    on_creation: Option<(HeaderName, HeaderValue)>,
}

impl Connector {
    pub(crate) fn new(tls: rustls::ClientConfig, direct: bool) -> Self {
        Self {
            tls,
            direct,
            made: Arc::default(),
            on_creation: None,
        }
    }

    /// Adds this header to every request that makes an object: for what `object_store` has no setting for.
    #[must_use]
    pub(crate) fn with_creation_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.on_creation = Some((name, value));
        self
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = match self.made.get() {
            Some(client) => client.clone(),
            None => {
                let made = self.make()?;
                self.made.get_or_init(|| made).clone()
            }
        };
        Ok(HttpClient::new(Watched {
            client,
            on_creation: self.on_creation.clone(),
        }))
    }
}

impl Connector {
    fn make(&self) -> object_store::Result<reqwest::Client> {
        let mut client = reqwest::Client::builder();
        if self.direct {
            client = client.no_proxy();
        }
        client
            .tls_backend_preconfigured(self.tls.clone())
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            // A signature is for one host: a redirect is an error that names the cause (wrong region).
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("caravel/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| object_store::Error::Generic {
                store: "bucket",
                source: Box::new(e.without_url()),
            })
    }
}

#[derive(Debug)]
struct Watched {
    client: reqwest::Client,
    on_creation: Option<(HeaderName, HeaderValue)>,
}

/// Whether a request makes an object, or begins to (an upload in parts).
fn creates(request: &HttpRequest) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    match *request.method() {
        Method::PUT => !has("partNumber"),
        Method::POST => has("uploads"),
        _ => false,
    }
}

fn time_for(bytes: u64) -> Duration {
    REQUEST_TIMEOUT + Duration::from_secs(bytes / SLOWEST_BYTES_A_SECOND)
}

fn too_slow(limit: Duration) -> HttpError {
    HttpError::new(HttpErrorKind::Timeout, Failure::Timeout { limit })
}

#[async_trait]
impl HttpService for Watched {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some((name, value)) = self.on_creation.as_ref().filter(|_| creates(&request)) {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        let asked = Asked::of(&request);
        let limit = time_for(request.body().content_length() as u64);
        let answer = tokio::time::timeout(limit, self.client.call(request)).await;
        let answer = answer.map_err(|_| too_slow(limit)).and_then(|answer| answer);
        let (parts, body) = answer.map_err(|e| asked.lost(e))?.into_parts();

        let length = parts.headers.get(http::header::CONTENT_LENGTH);
        let length = length
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .unwrap_or(EXPECTED_BODY);
        // HEAD announces a length without a body.
        let limit = time_for(if asked.method == Method::HEAD { 0 } else { length });
        let body = tokio::time::timeout(limit, body.bytes()).await;
        let body = body
            .map_err(|_| too_slow(limit))
            .and_then(|body| body)
            .map_err(|e| asked.lost(e))?;

        if parts.status.is_success() {
            asked.check(&body)?;
            Ok(HttpResponse::from_parts(parts, body.into()))
        } else {
            let code = parts.headers.get(AZURE_CODE).and_then(|code| code.to_str().ok());
            Err(asked.refused(parts.status, code, &body))
        }
    }
}

/// Whose listing an answer must be.
#[derive(Clone, Copy)]
enum Listing {
    /// S3's, version 2; Google's too.
    S3,
    Azure,
}

impl Listing {
    fn asked_for(query: &str) -> Option<Self> {
        let has = |wanted: &str| query.split('&').any(|pair| pair == wanted);
        if has("list-type=2") {
            Some(Self::S3)
        } else if has("comp=list") {
            Some(Self::Azure)
        } else {
            None
        }
    }
}

/// What of a request decides how its answer is taken.
struct Asked {
    method: Method,
    listing: Option<Listing>,
    creating: bool,
}

impl Asked {
    fn of(request: &HttpRequest) -> Self {
        let query = request.uri().query().unwrap_or_default();
        Self {
            method: request.method().clone(),
            listing: Listing::asked_for(query),
            creating: request.headers().contains_key(IF_NONE_MATCH)
                || request.headers().contains_key(IF_GENERATION_MATCH),
        }
    }

    /// No answer, or half of one.
    fn lost(&self, error: HttpError) -> HttpError {
        let failure = Failure::of_transport(&error);
        let kind = match (error.kind(), &failure) {
            // Trying again does not make a certificate known.
            (_, Failure::Certificate(_)) => HttpErrorKind::Unknown,
            (HttpErrorKind::Connect, _) => HttpErrorKind::Connect,
            // It may have been done. `create` in mod.rs reads back before it tries again.
            _ if self.creating => HttpErrorKind::Unknown,
            (kind, _) => kind,
        };
        HttpError::new(kind, failure)
    }

    /// The store said no.
    fn refused(&self, status: StatusCode, code: Option<&str>, body: &Bytes) -> HttpError {
        let transient = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
            || matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
            );
        let kind = match transient && !self.creating {
            true => HttpErrorKind::Interrupted,
            false => HttpErrorKind::Unknown,
        };
        HttpError::new(kind, Failure::of_answer(status, body).with_code(code))
    }

    /// A listing that is not one, or that ends without saying where it goes on, would be read as a shorter
    /// or empty one (guarantee 4).
    fn check(&self, body: &Bytes) -> Result<(), HttpError> {
        let Some(listing) = self.listing else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(body);
        let encloses = |name: &str| {
            text.contains(&format!("<{name}")) && text.trim_end().ends_with(&format!("</{name}>"))
        };
        let (whole, ends) = match listing {
            Listing::S3 => (
                encloses("ListBucketResult"),
                !text.contains("<IsTruncated>true</IsTruncated>")
                    || text.contains("<NextContinuationToken>")
                        && !text.contains("<NextContinuationToken></Next"),
            ),
            // The last page has the element too, and nothing in it.
            Listing::Azure => (encloses("EnumerationResults"), text.contains("<NextMarker")),
        };
        if whole && ends {
            return Ok(());
        }
        Err(HttpError::new(HttpErrorKind::Decode, Failure::PartialListing))
    }
}

/// The innermost cause, whose text holds no address.
pub(crate) fn innermost<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}
