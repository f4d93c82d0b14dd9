//! The server as a service under `kube::Client`: no socket, no TLS, the same requests and answers.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use tower::Service;

use crate::server::{ApiServer, ResponseBody};
use crate::user::User;

/// The server as one caller sees it.
#[derive(Clone)]
struct InProcess {
    server: ApiServer,
    user: User,
}

impl Service<Request<Body>> for InProcess {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { server, user } = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            // Bodies of kube's requests are in memory; a broken one is answered as an empty one is.
            let bytes = match body.collect().await {
                Ok(whole) => whole.to_bytes(),
                Err(_) => Bytes::new(),
            };
            Ok(server.handle(&user, Request::from_parts(head, bytes)).await)
        })
    }
}

impl ApiServer {
    /// A client that may do everything.
    pub fn client(&self) -> kube::Client {
        self.client_as(User::administrator())
    }

    /// A client that acts as someone.
    pub fn client_as(&self, user: User) -> kube::Client {
        let service = InProcess {
            server: self.clone(),
            user,
        };
        kube::Client::new(service, "default")
    }
}
