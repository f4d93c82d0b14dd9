//! A real S3 server (versitygw, found by `CARAVEL_VERSITYGW`) for tests, on a free port of the loopback, with
//! its buckets in a temporary folder. Only with the feature `test-server`; the server ends with the value.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path as FilePath,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use object_store::path::Path;

use super::{S3Config, S3Credentials};

/// How long the server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How often another port is tried when somebody took the first one meanwhile.
const PORT_ATTEMPTS: u32 = 3;

/// A running server.
#[derive(Debug)]
pub struct TestServer {
    process: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
    ca_pem: Option<Vec<u8>>,
}

impl TestServer {
    /// Starts a server with one bucket, `backups`. None, with a printed line, where `CARAVEL_VERSITYGW` is not
    /// set: the caller is skipped.
    ///
    /// # Panics
    /// With `CI=true` and no `CARAVEL_VERSITYGW`: the gate skips nothing. Also when the server does not start.
    pub fn start(tls: bool, test: &str) -> Option<Self> {
        let certificate =
            || rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a plain address");
        Self::start_with(tls.then(certificate), test)
    }

    /// The same with TLS by a self-signed certificate that calls itself a CA, as openssl makes them.
    pub fn start_with_self_signed_ca(test: &str) -> Option<Self> {
        let mut certificate =
            rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a plain address");
        certificate.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self::start_with(Some(certificate), test)
    }

    fn start_with(certificate: Option<rcgen::CertificateParams>, test: &str) -> Option<Self> {
        let Some(program) = std::env::var_os("CARAVEL_VERSITYGW").filter(|path| !path.is_empty()) else {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "{test} needs CARAVEL_VERSITYGW (the path of versitygw); `cargo xtask ci` sets it"
            );
            eprintln!("{test} is skipped: CARAVEL_VERSITYGW does not name a versitygw");
            return None;
        };
        let mut last = None;
        for _ in 0..PORT_ATTEMPTS {
            match Self::try_start(FilePath::new(&program), certificate.as_ref()) {
                Ok(server) => return Some(server),
                Err(error) => last = Some(error),
            }
        }
        panic!(
            "{test}: {} does not start: {}",
            FilePath::new(&program).display(),
            last.expect("it was tried")
        );
    }

    fn try_start(program: &FilePath, params: Option<&rcgen::CertificateParams>) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        fs::create_dir_all(folder.path().join("data/backups"))?;
        fs::create_dir_all(folder.path().join("meta"))?;
        let mut command = Command::new(program);
        let credentials = credentials();
        command
            .args(["--port", &address.to_string(), "--quiet"])
            .env("ROOT_ACCESS_KEY_ID", credentials.access_key_id)
            .env("ROOT_SECRET_ACCESS_KEY", credentials.secret_access_key);
        let mut ca_pem = None;
        if let Some(params) = params {
            let key_pair = rcgen::KeyPair::generate().map_err(io::Error::other)?;
            let made = params.self_signed(&key_pair).map_err(io::Error::other)?;
            let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
            fs::write(&certificate, made.pem())?;
            fs::write(&key, key_pair.serialize_pem())?;
            command.arg("--cert").arg(&certificate).arg("--key").arg(&key);
            ca_pem = Some(made.pem().into_bytes());
        }
        // Its metadata beside the data: not every temporary folder has extended attributes. Versions are for object lock.
        fs::create_dir_all(folder.path().join("versions"))?;
        command
            .arg("posix")
            .arg("--sidecar")
            .arg(folder.path().join("meta"))
            .arg("--versioning-dir")
            .arg(folder.path().join("versions"))
            .arg(folder.path().join("data"));
        let log = fs::File::create(folder.path().join("log"))?;
        let process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut server = Self {
            process,
            folder,
            address,
            ca_pem,
        };
        server.wait()?;
        Ok(server)
    }

    fn wait(&mut self) -> io::Result<()> {
        let started = Instant::now();
        while started.elapsed() < START_TIMEOUT {
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("it ended with {status}: {log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(io::Error::other("it does not listen"))
    }

    /// Settings that reach the bucket `backups` with this key prefix.
    pub fn config(&self, prefix: &str) -> S3Config {
        S3Config {
            bucket: "backups".to_owned(),
            prefix: prefix.to_owned(),
            region: Some("us-east-1".to_owned()),
            endpoint: Some(self.endpoint()),
            path_style: true,
            ca_pem: self.ca_pem.clone(),
            credentials: Some(credentials()),
            ..S3Config::default()
        }
    }

    /// Makes a bucket whose objects can be locked; settings that reach it with this key prefix.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn with_locks(&self, bucket: &str, prefix: &str) -> S3Config {
        let config = S3Config {
            bucket: bucket.to_owned(),
            ..self.config(prefix)
        };
        let mut headers = http::HeaderMap::new();
        let name = http::HeaderName::from_static("x-amz-bucket-object-lock-enabled");
        headers.insert(name, http::HeaderValue::from_static("true"));
        // The bucket itself is the object without a name.
        let bucket = (http::Method::PUT, &Path::default(), "");
        let made = Self::ask(&config, bucket, headers).await;
        made.expect("a bucket with object lock");
        config
    }

    /// The lock of an object as the server tells it; none without one.
    ///
    /// # Panics
    /// For settings that do not work.
    pub async fn retention(&self, config: &S3Config, name: &str) -> Option<String> {
        let key = Path::parse(format!("{}{name}", config.prefix)).expect("a plain name");
        let retention = (http::Method::GET, &key, "retention=");
        let said = Self::ask(config, retention, http::HeaderMap::new()).await;
        Some(String::from_utf8_lossy(&said.ok()?).into_owned())
    }

    async fn ask(
        config: &S3Config,
        what: (http::Method, &Path, &str),
        headers: http::HeaderMap,
    ) -> object_store::Result<bytes::Bytes> {
        let store = super::amazon_s3(config).expect("settings that work");
        let connector = super::client::connector(config).expect("settings that work");
        let locks = super::locks::S3Locks::new(config.clone(), connector);
        locks.ask(&store, what, headers, String::new()).await
    }

    /// `http://127.0.0.1:<port>`, or https.
    pub fn endpoint(&self) -> String {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate to trust, with TLS.
    pub fn ca_pem(&self) -> Option<&[u8]> {
        self.ca_pem.as_deref()
    }
}

/// The key that the server knows.
pub fn credentials() -> S3Credentials {
    S3Credentials {
        access_key_id: "AKTESTSERVERKEY".to_owned(),
        secret_access_key: "test-server-secret/+=".to_owned(),
        session_token: None,
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
