//! The server over HTTPS, on loopback only: a certificate made for this run, a bearer token, a kubeconfig.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rand::TryRngCore;
use rand::rngs::OsRng;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{ApiError, Reason};
use crate::server::answer;
use crate::server::faulty::{Dead, reset};
use crate::server::{ApiServer, ResponseBody};
use crate::user::User;

/// As the API server of Kubernetes limits request bodies.
const MAX_BODY: usize = 3 * 1024 * 1024;
/// A peer that does not finish its TLS handshake is dropped.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Connections that do not end by themselves are dropped after this.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(2);

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the sandbox listens on loopback addresses only, not on {0}")]
    NotLoopback(SocketAddr),
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot make a certificate")]
    Certificate(#[source] rcgen::Error),
    #[error("cannot use the certificate just made")]
    Tls(#[source] rustls::Error),
    #[error("the machine gives no random bytes")]
    Random,
}

/// A server that listens; ends when dropped or [`Serving::shutdown`] is called.
pub struct Serving {
    /// `https://127.0.0.1:41234`.
    pub url: String,
    pub address: SocketAddr,
    /// PEM of the certificate authority made for this run.
    pub certificate_authority: String,
    /// What callers put after `Authorization: Bearer`.
    pub token: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Serving {
    /// A kubeconfig for kubectl; holds the token, so keep it 0600.
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: sandbox\n\
             clusters:\n- name: sandbox\n  cluster:\n    server: {url}\n    certificate-authority-data: {ca}\n\
             users:\n- name: sandbox\n  user:\n    token: {token}\n\
             contexts:\n- name: sandbox\n  context:\n    cluster: sandbox\n    user: sandbox\n    namespace: default\n",
            url = self.url,
            ca = STANDARD.encode(&self.certificate_authority),
            token = self.token,
        )
    }

    /// Stops listening and drops the connections.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        // Those that are left end with the process.
        let _ = tokio::time::timeout(SHUTDOWN_WITHIN, self.tasks.wait()).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Who signs the server's certificates: made once, when it is first needed.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "caravel-sandbox");
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            pem,
            issuer: Issuer::new(params, key),
        })
    }
}

impl ApiServer {
    fn authority(&self) -> Result<Arc<Authority>, rcgen::Error> {
        let mut kept = self.inner.certificates.lock();
        if let Some(authority) = &*kept {
            return Ok(authority.clone());
        }
        let made = Arc::new(Authority::new()?);
        *kept = Some(made.clone());
        Ok(made)
    }

    /// PEM of the authority that signs what [`ApiServer::serve`] shows.
    pub fn certificate_authority(&self) -> Result<String, ServeError> {
        let authority = self.authority().map_err(ServeError::Certificate)?;
        Ok(authority.pem.clone())
    }

    /// Listens on a loopback address; port 0 takes a free one.
    pub async fn serve(&self, address: SocketAddr) -> Result<Serving, ServeError> {
        if !address.ip().is_loopback() {
            return Err(ServeError::NotLoopback(address));
        }
        let authority = self.authority().map_err(ServeError::Certificate)?;
        let acceptor = certificate(&authority, address)?;
        let mut secret = [0_u8; 32];
        OsRng
            .try_fill_bytes(&mut secret)
            .map_err(|_| ServeError::Random)?;
        let token = hex::encode(secret);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Listen { address, source })?;
        let address = listener
            .local_addr()
            .map_err(|source| ServeError::Listen { address, source })?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let door = Door {
            server: self.clone(),
            token: token.clone(),
        };
        tasks.spawn(accept(
            listener,
            acceptor,
            Arc::new(door),
            stop.clone(),
            tasks.clone(),
        ));
        Ok(Serving {
            url: format!("https://{address}"),
            address,
            certificate_authority: authority.pem.clone(),
            token,
            stop,
            tasks,
        })
    }
}

/// What each connection needs.
struct Door {
    server: ApiServer,
    token: String,
}

impl Door {
    async fn answer(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let said = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        let user = if same(said, &self.token) {
            Some(User::administrator())
        } else {
            self.server.service_account_of(said)
        };
        match user {
            Some(user) => handle(&self.server, &user, request).await,
            None => answer::refused(&ApiError::new(Reason::Unauthorized, "Unauthorized")),
        }
    }
}

/// Compares without telling by the time it takes where they differ.
fn same(said: &str, secret: &str) -> bool {
    said.len() == secret.len()
        && said
            .bytes()
            .zip(secret.bytes())
            .fold(0, |differences, (a, b)| differences | (a ^ b))
            == 0
}

/// An answer that must not arrive is an error, which ends the connection.
pub(crate) fn or_reset(response: Response<ResponseBody>) -> io::Result<Response<ResponseBody>> {
    if response.extensions().get::<Dead>().is_some() {
        Err(reset())
    } else {
        Ok(response)
    }
}

/// Reads the body and answers.
pub(crate) async fn handle(
    server: &ApiServer,
    user: &User,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(whole) => {
            server
                .handle(user, Request::from_parts(head, whole.to_bytes()))
                .await
        }
        Err(error) if error.is::<LengthLimitError>() => {
            let error = ApiError::generic(
                Reason::BadRequest,
                format!("Request entity too large: limit is {MAX_BODY}"),
            );
            answer::json(413, &error.status())
        }
        Err(_) => answer::refused(&ApiError::new(Reason::BadRequest, "unable to read request body")),
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    door: Arc<Door>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let stream = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, _)) => {
                let connection = connection(stream, acceptor.clone(), Arc::clone(&door));
                let stop = stop.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = connection => {}
                    }
                });
            }
            // Out of files: others may end meanwhile.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, door: Arc<Door>) {
    // Small answers must not wait for more; a socket that refuses this still works.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await else {
        return;
    };
    let service = service_fn(move |request| {
        let door = Arc::clone(&door);
        async move { or_reset(door.answer(request).await) }
    });
    // A broken connection is the peer's affair.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}

/// A certificate authority's PEM, and what serves with a certificate it signed.
fn certificate(authority: &Authority, address: SocketAddr) -> Result<TlsAcceptor, ServeError> {
    let failed = ServeError::Certificate;
    let names = vec![
        address.ip().to_string(),
        "localhost".to_owned(),
        "kubernetes.default.svc".to_owned(),
    ];
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = CertificateParams::new(names)
        .and_then(|params| params.signed_by(&key, &authority.issuer))
        .map_err(failed)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ServeError::Tls)?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .map_err(ServeError::Tls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
