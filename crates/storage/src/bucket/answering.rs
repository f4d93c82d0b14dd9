//! A server for tests that answers as told: refusals, lost answers, broken listings.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A request as the server saw it.
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query, as they were sent.
    pub(crate) target: String,
    /// Everything before the body, in small letters.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// What it does next.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answer(u16, Vec<u8>),
    /// Hangs up.
    Close,
}

impl Reply {
    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self::Answer(status, body.as_bytes().to_vec())
    }
}

/// A server that answers as told.
pub(crate) struct Answering {
    pub(crate) address: std::net::SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Answering {
    pub(crate) async fn start(answer: impl Fn(Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move { serve(stream, answer.as_ref()).await });
            }
        });
        Self { address, task }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, answer: &(impl Fn(Request) -> Reply + ?Sized)) -> Option<()> {
    let mut received = Vec::new();
    let end = loop {
        if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&received[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    while received.len() < end + length {
        stream.read_buf(&mut received).await.ok()?;
    }
    let line = String::from_utf8_lossy(&received[..end])
        .lines()
        .next()?
        .to_owned();
    let mut words = line.split(' ').map(str::to_owned);
    let request = Request {
        method: words.next()?,
        target: words.next()?,
        head,
        body: received[end..].to_vec(),
    };
    if let Reply::Answer(status, body) = answer(request) {
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nETag: \"e\"\r\n\
             Last-Modified: Fri, 02 Jan 2026 03:04:05 GMT\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(&body).await.ok()?;
    }
    stream.shutdown().await.ok()
}
