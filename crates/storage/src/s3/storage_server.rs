//! An S3 server in this process, in front of any [`Storage`]: for tests in which the store itself must misbehave, keep
//! time by another clock, or let others have a turn at each call, while the client is a process of its own (Kopia, or
//! ours). Only with the feature `test-server`. Signatures are not looked at; the neighbour `test_server.rs` is a server
//! that is strict.
//!
//! Google's XML API is nearly the same, so `crate::gcs` is tested against it too (`x-goog-if-generation-match: 0`).
//!
//! One bucket, [`BUCKET`], path style, no TLS. What a single-part client asks for is answered: `GET` (with a range),
//! `HEAD`, `PUT` (also signed in chunks, also `If-None-Match: *`), `DELETE`, listing (version 2). `GET /-/clock` is the
//! store's time as Kopia's `testing` build wants it (`KOPIA_FAKE_CLOCK_ENDPOINT`).

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures::executor::block_on;

use super::chunked;
use crate::{BlobId, BlobMetadata, Storage, StorageError, StorageErrorKind, memory::Clock};

/// The one bucket.
pub const BUCKET: &str = "backups";
/// Names in one answer to a listing.
const PAGE: usize = 1000;
/// How long a client may go on with the time it was told, in real time.
const CLOCK_HOLDS: Duration = Duration::from_millis(1);
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
const HTTP_DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";

/// A running server. It takes no more connections when the value goes; those that are open end with their clients.
#[derive(Debug)]
pub struct StorageServer {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl StorageServer {
    /// Listens on a free port of the loopback. Calls of `storage` come from many threads at once and may block.
    pub fn start(storage: Arc<dyn Storage>, clock: Clock) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let server = Arc::new(Server { storage, clock });
        let stop = stopped.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(connection), server) = (connection, server.clone()) else {
                    continue;
                };
                // A client that dies in the middle of a request only ends its connection.
                thread::spawn(move || server.serve(connection));
            }
        });
        Ok(Self { address, stopped })
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for StorageServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the listener, so that it sees it.
        let _ = TcpStream::connect(self.address);
    }
}

struct Server {
    storage: Arc<dyn Storage>,
    clock: Clock,
}

/// A request, read to its end.
struct Request {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    /// What `Content-Length` says where the body is left out (`HEAD`).
    length: Option<u64>,
}

impl Answer {
    fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            length: None,
        }
    }

    fn error(status: u16, code: &str, message: &str) -> Self {
        let message = escape(message);
        let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        Self::new(status, body).with("Content-Type", "application/xml".to_owned())
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// What every answer about one blob says of it.
    fn about(self, blob: &BlobMetadata) -> Self {
        self.with("Last-Modified", blob.timestamp.strftime(HTTP_DATE).to_string())
            .with("ETag", "\"00000000000000000000000000000000\"".to_owned())
    }
}

impl From<StorageError> for Answer {
    fn from(error: StorageError) -> Self {
        let (status, code) = match error.kind() {
            StorageErrorKind::NotFound => (404, "NoSuchKey"),
            StorageErrorKind::AlreadyExists => (412, "PreconditionFailed"),
            StorageErrorKind::Damaged => (416, "InvalidRange"),
            StorageErrorKind::Unsupported => (501, "NotImplemented"),
            _ => (503, "SlowDown"),
        };
        Self::error(status, code, &error.to_string())
    }
}

impl Server {
    fn serve(&self, connection: TcpStream) -> io::Result<()> {
        connection.set_nodelay(true)?;
        let mut reader = BufReader::new(connection.try_clone()?);
        let mut connection = connection;
        while let Some(request) = read_request(&mut reader, &mut connection)? {
            let answer = self.answer(&request).unwrap_or_else(|error| error);
            write_answer(&mut connection, &answer, request.method == "HEAD")?;
        }
        Ok(())
    }

    fn answer(&self, request: &Request) -> Result<Answer, Answer> {
        if request.path == "/-/clock" {
            let (now, holds) = ((self.clock)(), CLOCK_HOLDS.as_nanos());
            return Ok(Answer::new(
                200,
                format!("{{\"time\":\"{now}\",\"validFor\":{holds}}}"),
            ));
        }
        let mut steps = request.path.trim_start_matches('/').splitn(2, '/');
        if steps.next() != Some(BUCKET) {
            return Err(Answer::error(404, "NoSuchBucket", "there is only one bucket"));
        }
        match (
            request.method.as_str(),
            steps.next().filter(|key| !key.is_empty()),
        ) {
            ("POST", None) if request.query("delete").is_some() => self.delete(request),
            ("HEAD", None) => Ok(Answer::new(200, "")),
            ("GET", None) if request.query("location").is_some() => Ok(Answer::new(
                200,
                format!("<LocationConstraint xmlns=\"{NAMESPACE}\"></LocationConstraint>"),
            )),
            ("GET", None) => self.list(request),
            ("GET", Some(key)) => self.get(&BlobId::from(key), request),
            ("HEAD", Some(key)) => {
                let blob = block_on(self.storage.metadata(&BlobId::from(key)))?;
                let mut answer = Answer::new(200, "").about(&blob);
                answer.length = Some(blob.length);
                Ok(answer)
            }
            ("PUT", Some(key)) => {
                let (key, body) = (BlobId::from(key), Bytes::from(request.payload()?));
                let condition = request
                    .header("if-none-match")
                    .or_else(|| request.header("x-goog-if-generation-match"));
                match condition {
                    Some("*" | "0") => block_on(self.storage.put_if_absent(&key, body))?,
                    _ => block_on(self.storage.put(&key, body))?,
                }
                Ok(Answer::new(200, "").with("ETag", "\"00000000000000000000000000000000\"".to_owned()))
            }
            ("DELETE", Some(key)) => {
                block_on(self.storage.delete(&BlobId::from(key)))?;
                Ok(Answer::new(204, ""))
            }
            _ => Err(Answer::error(501, "NotImplemented", "this server is for tests")),
        }
    }

    fn get(&self, key: &BlobId, request: &Request) -> Result<Answer, Answer> {
        let range = request.header("range").and_then(parse_range);
        let Some((first, last)) = range else {
            let data = block_on(self.storage.get(key))?;
            let blob = block_on(self.storage.metadata(key))?;
            return Ok(Answer::new(200, data).about(&blob));
        };
        let blob = block_on(self.storage.metadata(key))?;
        if first >= blob.length {
            return Err(Answer::error(416, "InvalidRange", "it begins behind the end"));
        }
        let end = last.map_or(blob.length, |last| last.saturating_add(1).min(blob.length));
        let data = block_on(self.storage.get_range(key, first..end))?;
        let range = format!("bytes {first}-{}/{}", end - 1, blob.length);
        Ok(Answer::new(206, data).about(&blob).with("Content-Range", range))
    }

    /// Several at once: the names are all that is read of the request.
    fn delete(&self, request: &Request) -> Result<Answer, Answer> {
        let body = request.payload()?;
        let body = String::from_utf8_lossy(&body);
        let mut answer = format!("<DeleteResult xmlns=\"{NAMESPACE}\">");
        for key in body.split("<Key>").skip(1) {
            let key = key.split("</Key>").next().unwrap_or_default();
            block_on(self.storage.delete(&BlobId::from(unentity(key).as_str())))?;
            answer += &format!("<Deleted><Key>{key}</Key></Deleted>");
        }
        answer += "</DeleteResult>";
        Ok(Answer::new(200, answer).with("Content-Type", "application/xml".to_owned()))
    }

    fn list(&self, request: &Request) -> Result<Answer, Answer> {
        let prefix = request.query("prefix").unwrap_or_default();
        let after = request
            .query("continuation-token")
            .or_else(|| request.query("start-after"))
            .unwrap_or_default();
        let page = request
            .query("max-keys")
            .and_then(|n| n.parse().ok())
            .unwrap_or(PAGE);
        let mut found = block_on(self.storage.list(prefix))?;
        found.retain(|blob| blob.id.as_str() > after);
        let truncated = found.len() > page.min(PAGE);
        found.truncate(page.min(PAGE));
        let last = found.last().map(|blob| blob.id.as_str().to_owned());
        let mut body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"{NAMESPACE}\"><Name>{BUCKET}</Name>\
             <Prefix>{}</Prefix><KeyCount>{}</KeyCount><MaxKeys>{PAGE}</MaxKeys><IsTruncated>{truncated}</IsTruncated>",
            escape(prefix),
            found.len()
        );
        if let (true, Some(last)) = (truncated, last) {
            body += &format!("<NextContinuationToken>{}</NextContinuationToken>", escape(&last));
        }
        for blob in &found {
            body += &format!(
                "<Contents><Key>{}</Key><LastModified>{:.3}</LastModified><ETag>&quot;0&quot;</ETag><Size>{}</Size>\
                 <StorageClass>STANDARD</StorageClass></Contents>",
                escape(blob.id.as_str()),
                blob.timestamp,
                blob.length
            );
        }
        body += "</ListBucketResult>";
        Ok(Answer::new(200, body).with("Content-Type", "application/xml".to_owned()))
    }
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body without the signatures between its chunks.
    fn payload(&self) -> Result<Vec<u8>, Answer> {
        let signed_in_chunks = self
            .header("x-amz-content-sha256")
            .is_some_and(|hash| hash.starts_with("STREAMING-"));
        if !signed_in_chunks {
            return Ok(self.body.clone());
        }
        chunked::decode(&mut &self.body[..])
            .map_err(|error| Answer::error(400, "IncompleteBody", &error.to_string()))
    }
}

/// The next request of a connection; none when the client has closed it.
fn read_request(reader: &mut impl BufRead, connection: &mut TcpStream) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut request = Request {
        method: method.to_owned(),
        path: unescape(path, false),
        query: pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (unescape(name, true), unescape(value, true)))
            .collect(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        request
            .headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if request.header("expect").is_some() {
        connection.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if request.header("transfer-encoding") == Some("chunked") {
        request.body = chunked::decode(reader)?;
    } else if let Some(length) = request.header("content-length").and_then(|n| n.parse().ok()) {
        reader.take(length).read_to_end(&mut request.body)?;
        if request.body.len() as u64 != length {
            // The client died in the middle; what it sent must not be stored.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(request))
}

fn write_answer(connection: &mut TcpStream, answer: &Answer, without_body: bool) -> io::Result<()> {
    let length = answer.length.unwrap_or(answer.body.len() as u64);
    let mut head = format!("HTTP/1.1 {} -\r\nContent-Length: {length}\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    connection.write_all(head.as_bytes())?;
    if !without_body && answer.status != 204 {
        connection.write_all(&answer.body)?;
    }
    connection.flush()
}

/// `bytes=first-last` or `bytes=first-`.
fn parse_range(header: &str) -> Option<(u64, Option<u64>)> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The characters that XML has other words for.
fn unentity(text: &str) -> String {
    let words = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    words.iter().fold(text.to_owned(), |text, (word, character)| {
        text.replace(word, character)
    })
}

/// Percent-decoding; a `+` is a space in a query only.
fn unescape(text: &str, in_query: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let digits = String::from_utf8_lossy(&digits).into_owned();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            b'+' if in_query => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        memory::MemoryStorage,
        s3::{S3Config, S3Storage},
    };

    fn config(server: &StorageServer) -> S3Config {
        S3Config {
            bucket: BUCKET.into(),
            endpoint: Some(format!("http://{}", server.address())),
            path_style: true,
            credentials: Some(super::super::test_server::credentials()),
            ..S3Config::default()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn our_client_finds_a_storage_behind_it() {
        let memory = Arc::new(MemoryStorage::new());
        let server = StorageServer::start(memory, Arc::new(Timestamp::now)).unwrap();
        crate::conformance::verify(Arc::new(S3Storage::new(config(&server)).unwrap())).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_listing_longer_than_a_page_is_whole() {
        let memory = Arc::new(MemoryStorage::new());
        for n in 0..2500 {
            memory
                .put(&BlobId::from(format!("p{n}").as_str()), Bytes::new())
                .await
                .unwrap();
        }
        let server = StorageServer::start(memory, Arc::new(Timestamp::now)).unwrap();
        let storage = S3Storage::new(config(&server)).unwrap();
        assert_eq!(storage.list("p").await.unwrap().len(), 2500);
    }
}
