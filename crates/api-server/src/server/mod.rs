//! The server: one lock around everything it knows, so that each request is one step; watches are the only thing
//! that waits. A request becomes a [`call::Call`], the verb's file answers it, [`answer`] gives it a shape.

pub(crate) mod admission;
pub(crate) mod answer;
pub(crate) mod call;
pub(crate) mod create;
pub(crate) mod decode;
pub(crate) mod definitions;
pub(crate) mod delete;
pub(crate) mod metadata;
pub(crate) mod paging;
pub(crate) mod read;
pub(crate) mod saved;
pub(crate) mod status;
pub(crate) mod update;
pub(crate) mod versions;
pub(crate) mod watch;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::clock::{Clock, SystemClock};
use crate::error::{ApiError, Reason};
use crate::registry::Registry;
use crate::request::{ResourcePath, Target};
use crate::store::Store;
use crate::user::User;
use answer::Answer;
use call::Call;

/// Body of an answer: whole, or growing as long as a watch lasts.
pub type ResponseBody = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// Who may do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Authorization {
    /// Every caller may do everything.
    #[default]
    AlwaysAllow,
    /// Roles and bindings decide; `system:masters` may do everything.
    Rbac,
}

/// An in-memory Kubernetes API server. Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) state: Mutex<State>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) authorization: Authorization,
}

/// What the server knows.
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) rng: StdRng,
}

/// How a server is made.
pub struct Builder {
    clock: Arc<dyn Clock>,
    seed: Option<u64>,
    authorization: Authorization,
}

impl Builder {
    /// Where timestamps come from; the machine's clock when not said.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Makes uids and generated names repeat from run to run.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    #[must_use]
    pub fn authorization(mut self, authorization: Authorization) -> Self {
        self.authorization = authorization;
        self
    }

    /// A server that holds what an empty cluster holds.
    pub fn build(self) -> ApiServer {
        let server = ApiServer {
            inner: Arc::new(Inner {
                state: Mutex::new(State {
                    store: Store::default(),
                    registry: Registry::default(),
                    rng: self.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64),
                }),
                clock: self.clock,
                authorization: self.authorization,
            }),
        };
        server.bootstrap();
        server
    }
}

impl ApiServer {
    pub fn builder() -> Builder {
        Builder {
            clock: Arc::new(SystemClock),
            seed: None,
            authorization: Authorization::default(),
        }
    }

    /// Answers one request. Never fails: what is wrong is in the answer.
    pub async fn handle(&self, user: &User, request: Request<Bytes>) -> Response<ResponseBody> {
        match self.respond(user, request) {
            Ok(response) => response,
            Err(error) => answer::refused(&error),
        }
    }

    fn respond(&self, user: &User, request: Request<Bytes>) -> Result<Response<ResponseBody>, ApiError> {
        match Target::parse(request.uri().path()) {
            Target::Resource(path) => self.resource(user, path, request),
            Target::Other(parts) => self.other(&parts, &request),
        }
    }

    /// Paths that are not resources.
    fn other(&self, parts: &[String], request: &Request<Bytes>) -> Result<Response<ResponseBody>, ApiError> {
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["healthz" | "livez" | "readyz", ..] => Ok(answer::text("ok")),
            ["version"] => Ok(answer::json(200, &versions::version())),
            _ => Err(ApiError::new(
                Reason::NotFound,
                format!(
                    "the server could not find the requested resource: {}",
                    request.uri().path()
                ),
            )),
        }
    }

    fn resource(
        &self,
        user: &User,
        path: ResourcePath,
        request: Request<Bytes>,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let kind = self
            .inner
            .state
            .lock()
            .registry
            .find(&path.group, &path.version, &path.plural)
            .cloned()
            .ok_or_else(no_such_resource)?;
        // A namespaced kind without a namespace can only be listed and watched over all of them.
        let everywhere = path.namespace.is_none() && path.name.is_none() && request.method() == Method::GET;
        if path.namespace.is_some() != kind.is_namespaced() && !(kind.is_namespaced() && everywhere) {
            return Err(no_such_resource());
        }
        let mut call = Call::parse(user, kind, path, &request)?;
        let answer = self.answer(request.method(), &mut call)?;
        Ok(answer::render(&call, answer, self.inner.clock.now()))
    }

    fn answer(&self, method: &Method, call: &mut Call) -> Result<Answer, ApiError> {
        let sub = call.subresource.clone();
        let has_name = !call.name.is_empty();
        match (method.as_str(), sub.as_deref(), has_name) {
            ("GET", None, _) if call.query.flag("watch") => self.watch(call),
            ("GET", None, true) => self.get(call),
            ("GET", None, false) => self.list(call),
            ("POST", None, false) => self.create(call),
            ("PUT", None, true) => self.replace(call),
            ("PATCH", None, true) => self.patch(call),
            ("DELETE", None, true) => self.delete(call),
            ("DELETE", None, false) => self.delete_collection(call),
            ("GET", Some("status"), true) if call.kind.status_subresource => self.get(call),
            ("PUT", Some("status"), true) if call.kind.status_subresource => self.replace(call),
            ("PATCH", Some("status"), true) if call.kind.status_subresource => self.patch(call),
            ("PUT", Some("finalize"), true) if call.kind.plural == "namespaces" => self.replace(call),
            (_, None, _) => Err(ApiError::new(
                Reason::MethodNotAllowed,
                "the server does not allow this method on the requested resource",
            )),
            (_, Some(_), _) => Err(no_such_resource()),
        }
    }
}

/// What Kubernetes says of a path that leads nowhere.
pub(crate) fn no_such_resource() -> ApiError {
    ApiError::new(
        Reason::NotFound,
        "the server could not find the requested resource",
    )
}

#[cfg(test)]
mod tests;
