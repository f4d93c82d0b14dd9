//! The server: one lock around everything it knows, so that each request is one step; watches are the only thing
//! that waits. A request becomes a [`call::Call`], the verb's file answers it, [`answer`] gives it a shape.

pub(crate) mod about;
pub(crate) mod admission;
pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod create;
pub(crate) mod decode;
pub(crate) mod definitions;
pub(crate) mod delete;
pub(crate) mod faulty;
pub(crate) mod metadata;
pub(crate) mod paging;
pub(crate) mod read;
pub(crate) mod reviews;
pub(crate) mod saved;
pub(crate) mod service_account;
pub(crate) mod status;
pub(crate) mod strategy;
pub(crate) mod streams;
pub(crate) mod subresources;
pub(crate) mod update;
pub(crate) mod versions;
pub(crate) mod watch;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use parking_lot::{Mutex, RwLock};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::access::{Action, Attributes};
use crate::builtin::kinds;
use crate::clock::{Clock, SystemClock};
use crate::error::{ApiError, Reason};
use crate::faults::{Faults, Observer};
use crate::nodes::Nodes;
use crate::registry::Registry;
use crate::request::{Query, ResourcePath, Target};
use crate::store::Store;
use crate::tokens::Tokens;
use crate::user::User;
use answer::Answer;
use call::Call;
use faulty::Hooks;

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
    pub(crate) nodes: RwLock<Option<Arc<dyn Nodes>>>,
    pub(crate) hooks: RwLock<Hooks>,
    pub(crate) certificates: Mutex<Option<Arc<crate::serve::Authority>>>,
}

/// What the server knows.
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) rng: StdRng,
    pub(crate) tokens: Tokens,
}

/// How a server is made.
pub struct Builder {
    clock: Arc<dyn Clock>,
    seed: Option<u64>,
    authorization: Authorization,
    hooks: Hooks,
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

    /// What goes wrong, and when ([`crate::faults`]); nothing when not said.
    #[must_use]
    pub fn faults(mut self, faults: Arc<dyn Faults>) -> Self {
        self.hooks.faults = Some(faults);
        self
    }

    /// Who is told of every write.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.hooks.observer = Some(observer);
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
                    // Not from the seed: a token must not be guessed.
                    tokens: Tokens::new(StdRng::from_os_rng().random()),
                }),
                clock: self.clock,
                authorization: self.authorization,
                nodes: RwLock::new(None),
                hooks: RwLock::new(self.hooks),
                certificates: Mutex::default(),
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
            hooks: Hooks::default(),
        }
    }

    /// Who is asked for logs and for commands in pods.
    pub fn attach(&self, nodes: Arc<dyn Nodes>) {
        *self.inner.nodes.write() = Some(nodes);
    }

    pub(crate) fn nodes(&self) -> Result<Arc<dyn Nodes>, ApiError> {
        self.inner
            .nodes
            .read()
            .clone()
            .ok_or_else(|| ApiError::new(Reason::ServiceUnavailable, "this server has no nodes to ask"))
    }

    /// The ServiceAccount a bearer token speaks for.
    pub(crate) fn service_account_of(&self, token: &str) -> Option<User> {
        self.inner
            .state
            .lock()
            .tokens
            .check(token, self.inner.clock.now())
    }

    /// Answers one request. Never fails: what is wrong is in the answer.
    pub async fn handle(&self, user: &User, request: Request<Bytes>) -> Response<ResponseBody> {
        match self.respond(user, request).await {
            Ok(response) => response,
            Err(error) => answer::refused(&error),
        }
    }

    async fn respond(
        &self,
        user: &User,
        request: Request<Bytes>,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let user = self.acting(user, &request)?;
        match Target::parse(request.uri().path()) {
            Target::Resource(path) => self.asked(&user, path, request).await,
            Target::Other(parts) => self.other(&user, &parts, &request),
        }
    }

    /// The user a request acts as: `kubectl --as`.
    fn acting(&self, user: &User, request: &Request<Bytes>) -> Result<User, ApiError> {
        let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let Some(name) = request.headers().get("impersonate-user").map(text) else {
            return Ok(user.clone());
        };
        self.authorize(
            user,
            &Action::Resource(Attributes {
                verb: "impersonate".to_owned(),
                resource: "users".to_owned(),
                name: name.clone(),
                ..Attributes::default()
            }),
        )?;
        let mut groups: Vec<String> = request
            .headers()
            .get_all("impersonate-group")
            .iter()
            .map(text)
            .collect();
        match name
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'))
        {
            Some((namespace, account)) if groups.is_empty() => Ok(User::service_account(namespace, account)),
            _ => {
                groups.push("system:authenticated".to_owned());
                Ok(User { name, groups })
            }
        }
    }

    fn authorize(&self, user: &User, action: &Action) -> Result<(), ApiError> {
        let state = self.inner.state.lock();
        if self.is_allowed(&state, user, action) {
            Ok(())
        } else {
            Err(action.refused(user))
        }
    }

    /// Paths that are not resources.
    fn other(
        &self,
        user: &User,
        parts: &[String],
        request: &Request<Bytes>,
    ) -> Result<Response<ResponseBody>, ApiError> {
        self.authorize(
            user,
            &Action::Path {
                verb: request.method().as_str().to_lowercase(),
                path: request.uri().path().to_owned(),
            },
        )?;
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["healthz" | "livez" | "readyz", ..] => Ok(answer::text(200, "ok")),
            ["version"] => Ok(answer::json(200, &versions::version())),
            _ => {
                let registry = self.inner.state.lock().registry.clone();
                let now = self.inner.clock.now();
                Ok(about::answer(&registry, &words, request, now))
            }
        }
    }

    async fn resource(
        &self,
        user: &User,
        path: ResourcePath,
        request: Request<Bytes>,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let query = Query::parse(request.uri().query().unwrap_or_default());
        self.authorize(
            user,
            &Action::Resource(Attributes::of(request.method(), &path, &query)),
        )?;
        let registry = self.inner.state.lock().registry.clone();
        let Some(kind) = registry.find(&path.group, &path.version, &path.plural).cloned() else {
            return if registry.is_built_in(&path.group, &path.version) {
                Err(no_such_resource())
            } else {
                Ok(answer::text(404, "404 page not found\n"))
            };
        };
        // Over all namespaces a namespaced kind can only be listed and watched.
        let everywhere = path.namespace.is_none() && path.name.is_none() && request.method() == Method::GET;
        if path.namespace.is_some() != kind.is_namespaced() && !(kind.is_namespaced() && everywhere) {
            let collection = kind.is_namespaced() && path.name.is_none();
            return Err(if collection {
                not_allowed()
            } else {
                no_such_resource()
            });
        }
        let mut call = Call::parse(user, kind, path, query, &request)?;
        let is_pod = call.kind.group.is_empty() && call.kind.plural == "pods";
        let answer = match call.subresource.as_deref() {
            Some("log") if is_pod && request.method() == Method::GET => self.log(&call).await?,
            Some("exec") if is_pod => return self.exec(&call, request),
            _ => self.answer(request.method(), &mut call)?,
        };
        Ok(answer::render(&call, answer, self.inner.clock.now()))
    }

    fn answer(&self, method: &Method, call: &mut Call) -> Result<Answer, ApiError> {
        let sub = call.subresource.clone();
        if let Some(sub) = &sub {
            return self.subresource(method, call, sub);
        }
        match (method.as_str(), !call.name.is_empty()) {
            ("POST", false) if kinds::rules(&call.kind).create_only => self.review(call),
            _ if kinds::rules(&call.kind).create_only => Err(not_allowed()),
            ("GET", _) if call.query.flag("watch") => self.watch(call),
            ("GET", true) => self.get(call),
            ("GET", false) => self.list(call),
            ("POST", false) => self.create(call),
            ("PUT", true) => self.replace(call),
            ("PATCH", true) => self.patch(call),
            ("DELETE", true) => self.delete(call),
            ("DELETE", false) if !kinds::rules(&call.kind).no_delete_collection => {
                self.delete_collection(call)
            }
            _ => Err(not_allowed()),
        }
    }

    fn subresource(&self, method: &Method, call: &mut Call, sub: &str) -> Result<Answer, ApiError> {
        if kinds::unserved(&call.kind).contains(&sub) {
            let what = format!("{}/{sub} is not served by this API server", call.kind.plural);
            return Err(ApiError::new(Reason::NotImplemented, what));
        }
        let known = (sub == "status" && call.kind.status_subresource)
            || kinds::subresources(&call.kind).contains(&sub);
        if !known || call.name.is_empty() {
            return Err(no_such_resource());
        }
        match (method.as_str(), sub) {
            ("GET", "status") => self.get(call),
            ("PUT", "status" | "finalize") => self.replace(call),
            ("PATCH", "status") => self.patch(call),
            ("GET", "scale") => self.get_scale(call),
            ("PUT", "scale") => self.set_scale(call, false),
            ("PATCH", "scale") => self.set_scale(call, true),
            ("POST", "binding") => self.bind(call),
            ("POST", "eviction") => self.evict(call),
            ("POST", "token") => self.token(call),
            _ => Err(not_allowed()),
        }
    }
}

/// What Kubernetes says of a path that leads nowhere.
pub(crate) fn no_such_resource() -> ApiError {
    ApiError::generic(
        Reason::NotFound,
        "the server could not find the requested resource",
    )
}

/// What Kubernetes says of a verb that a resource does not have.
pub(crate) fn not_allowed() -> ApiError {
    ApiError::generic(
        Reason::MethodNotAllowed,
        "the server does not allow this method on the requested resource",
    )
}

#[cfg(test)]
mod tests;
