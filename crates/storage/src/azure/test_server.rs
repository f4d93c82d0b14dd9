//! A real emulator of Azure Blob Storage (Azurite, found by `CARAVEL_AZURITE`) for tests, on a free port of the loopback,
//! all in memory. Only with the feature `test-server`; the server ends with the value.
//!
//! `npm install azurite@3.37.0` makes it; `CARAVEL_AZURITE` is then `node_modules/.bin/azurite-blob`. `cargo xtask ci` has
//! no npm and does not set it.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::Timestamp;

use super::{AzureConfig, AzureIdentity};

/// How long the server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The account that every emulator knows, and its key: both are published.
pub const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// The one container.
pub const CONTAINER: &str = "backups";
const VERSION: &str = "2021-08-06";

/// A running server.
#[derive(Debug)]
pub struct TestServer {
    process: Child,
    address: SocketAddr,
}

impl TestServer {
    /// Starts a server with one container. None, with a printed line, where `CARAVEL_AZURITE` is not set: the caller is
    /// skipped.
    ///
    /// # Panics
    /// When the server does not start.
    pub fn start(test: &str) -> Option<Self> {
        let Some(program) = std::env::var_os("CARAVEL_AZURITE").filter(|path| !path.is_empty()) else {
            eprintln!("{test} is skipped: CARAVEL_AZURITE does not name an azurite-blob");
            return None;
        };
        match Self::try_start(Path::new(&program)) {
            Ok(server) => Some(server),
            Err(error) => panic!(
                "{test}: {} does not start: {error}",
                Path::new(&program).display()
            ),
        }
    }

    fn try_start(program: &Path) -> io::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let process = Command::new(program)
            .args(["--inMemoryPersistence", "--silent", "--skipApiVersionCheck"])
            .args([
                "--blobHost",
                "127.0.0.1",
                "--blobPort",
                &address.port().to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut server = Self { process, address };
        server.wait()?;
        server.make_container()?;
        Ok(server)
    }

    fn wait(&mut self) -> io::Result<()> {
        let started = Instant::now();
        while started.elapsed() < START_TIMEOUT {
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                return Err(io::Error::other(format!("it ended with {status}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(io::Error::other("it does not listen"))
    }

    /// `Create Container`, which `object_store` has no call for; signed with the account's key ("Authorize with Shared
    /// Key": the verb, eleven empty headers, ours, and what is asked for).
    fn make_container(&self) -> io::Result<()> {
        let date = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let resource = format!("/{ACCOUNT}/{CONTAINER}");
        let signed = format!(
            "PUT{}x-ms-date:{date}\nx-ms-version:{VERSION}\n/{ACCOUNT}{resource}\nrestype:container",
            "\n".repeat(12)
        );
        let key = BASE64_STANDARD.decode(KEY).map_err(io::Error::other)?;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes());
        let signature = BASE64_STANDARD.encode(tag.as_ref());
        let mut connection = TcpStream::connect(self.address)?;
        write!(
            connection,
            "PUT {resource}?restype=container HTTP/1.1\r\nHost: {}\r\nx-ms-date: {date}\r\nx-ms-version: {VERSION}\r\n\
             Authorization: SharedKey {ACCOUNT}:{signature}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.address
        )?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        match answer.starts_with("HTTP/1.1 201") {
            true => Ok(()),
            false => Err(io::Error::other(format!("it makes no container: {answer}"))),
        }
    }

    /// Settings that reach the container with this key prefix.
    pub fn config(&self, prefix: &str) -> AzureConfig {
        AzureConfig {
            account: ACCOUNT.to_owned(),
            container: CONTAINER.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: Some(self.endpoint()),
            identity: AzureIdentity::Key(KEY.to_owned()),
            retries: Some(2),
            ..AzureConfig::default()
        }
    }

    /// The account's blob address.
    pub fn endpoint(&self) -> String {
        format!("http://{}/{ACCOUNT}", self.address)
    }

    /// The account's key.
    pub fn key(&self) -> &'static str {
        KEY
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
