//! The server as a service under `kube::Client`: no socket, no TLS, the same requests and answers.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::error::{ApiError, Reason};
use crate::serve;
use crate::server::faulty::{Dead, reset};
use crate::server::{ApiServer, ResponseBody, answer};
use crate::user::User;

/// Bytes on their way between the two ends of a connection in memory.
const PIPE: usize = 64 * 1024;

/// The server as one caller sees it.
#[derive(Clone)]
struct InProcess {
    server: ApiServer,
    user: User,
    /// The caller is dead from when this is set.
    until: CancellationToken,
}

impl Service<Request<Body>> for InProcess {
    type Response = Response<ResponseBody>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { server, user, until } = self.clone();
        Box::pin(async move {
            let answered = until.run_until_cancelled(answer(server, user, request)).await;
            let response = answered.unwrap_or_else(|| Err(reset()))?;
            if response.extensions().get::<Dead>().is_some() {
                return Err(reset());
            }
            Ok(if response.body().size_hint().exact().is_some() {
                response
            } else {
                response.map(|body| ends_with(body, until))
            })
        })
    }
}

async fn answer(server: ApiServer, user: User, request: Request<Body>) -> io::Result<Response<ResponseBody>> {
    let (head, body) = request.into_parts();
    if head.headers.contains_key(http::header::UPGRADE) {
        return Ok(through_a_pipe(server, user, Request::from_parts(head, body)).await);
    }
    // Bodies of kube's requests are in memory; a broken one is answered as an empty one is.
    let bytes = match body.collect().await {
        Ok(whole) => whole.to_bytes(),
        Err(_) => Bytes::new(),
    };
    Ok(server.handle(&user, Request::from_parts(head, bytes)).await)
}

/// A stream that ends, whatever it would still send, when the token is set.
fn ends_with(body: ResponseBody, until: CancellationToken) -> ResponseBody {
    let frames = futures::stream::unfold((body, until), |(mut body, until)| async move {
        let frame = until.run_until_cancelled(body.frame()).await??;
        Some((frame, (body, until)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Upgrades need a connection: one in memory, with HTTP/1.1 on both of its ends.
async fn through_a_pipe(server: ApiServer, user: User, request: Request<Body>) -> Response<ResponseBody> {
    let (near, far) = tokio::io::duplex(PIPE);
    tokio::spawn(async move {
        let service = service_fn(move |request| {
            let (server, user) = (server.clone(), user.clone());
            async move { serve::or_reset(serve::handle(&server, &user, request).await) }
        });
        // A caller that leaves ends the connection, nothing more.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(far), service)
            .with_upgrades()
            .await;
    });
    match ask(near, request).await {
        Ok(response) => response,
        Err(error) => answer::refused(&ApiError::new(Reason::InternalError, error.to_string())),
    }
}

async fn ask(near: DuplexStream, mut request: Request<Body>) -> Result<Response<ResponseBody>, hyper::Error> {
    if !request.headers().contains_key(http::header::HOST) {
        let host = http::HeaderValue::from_static("kubernetes.default.svc");
        request.headers_mut().insert(http::header::HOST, host);
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    let bytes = if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
        Bytes::new()
    } else {
        body.collect().await?.to_bytes()
    };
    Ok(Response::from_parts(head, Full::new(bytes).boxed_unsync()))
}

impl ApiServer {
    /// A client that may do everything.
    pub fn client(&self) -> kube::Client {
        self.client_as(User::administrator())
    }

    /// A client that acts as someone.
    pub fn client_as(&self, user: User) -> kube::Client {
        self.client_until(user, CancellationToken::new())
    }

    /// A client that acts as someone until the token is set. Then its connection is dead: requests fail, those under way
    /// too, and streams end. What is left of a process that was killed can do no harm through it.
    pub fn client_until(&self, user: User, until: CancellationToken) -> kube::Client {
        let service = InProcess {
            server: self.clone(),
            user,
            until,
        };
        kube::Client::new(service, "default")
    }
}
