//! Requests under the server's [`crate::faults`], and those told to its observer.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use serde::Deserialize;
use serde_json::Value;

use super::call::Call;
use super::{ApiServer, ResponseBody};
use crate::access::Attributes;
use crate::error::ApiError;
use crate::faults::{Fault, Faults, Observer, Subject, WatchFault, Write};
use crate::object::Object;
use crate::request::{Query, ResourcePath};
use crate::user::User;

/// Who is asked, who is told.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) faults: Option<Arc<dyn Faults>>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

/// In the extensions of an answer that must not arrive: the connection ends instead.
#[derive(Clone, Copy)]
pub(crate) struct Dead;

/// In the extensions of an answer with an object: the object as it is stored.
#[derive(Clone)]
pub(crate) struct Stored(pub(crate) Arc<Object>);

/// What a connection that ended looks like to its caller.
pub(crate) fn reset() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::ConnectionReset,
        "the connection to the API server was reset",
    )
}

fn dead() -> Response<ResponseBody> {
    let body: ResponseBody = Empty::new().boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.extensions_mut().insert(Dead);
    response
}

/// Owns what a [`Subject`] points to.
pub(crate) struct Asked {
    attributes: Attributes,
    user: String,
}

impl Asked {
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            operation: &self.attributes.verb,
            group: &self.attributes.group,
            resource: &self.attributes.resource,
            subresource: &self.attributes.subresource,
            namespace: &self.attributes.namespace,
            name: &self.attributes.name,
            user: &self.user,
        }
    }

    fn of(user: &User, path: &ResourcePath, query: &Query, request: &Request<Bytes>) -> Self {
        let mut attributes = Attributes::of(request.method(), path, query);
        if attributes.verb == "create" && attributes.name.is_empty() {
            attributes.name = name_in(request.body());
        }
        Self {
            attributes,
            user: user.name.clone(),
        }
    }

    /// Of a watch under way.
    pub(crate) fn watch(call: &Call) -> Self {
        Self {
            attributes: Attributes {
                verb: "watch".to_owned(),
                group: call.kind.group.clone(),
                resource: call.kind.plural.clone(),
                subresource: String::new(),
                namespace: call.namespace.clone().unwrap_or_default(),
                name: call.name.clone(),
            },
            user: call.user.name.clone(),
        }
    }

    /// Changes something when it is not a dry run.
    fn is_write(&self, query: &Query) -> bool {
        let verbs = ["create", "update", "patch", "delete", "deletecollection"];
        verbs.contains(&self.attributes.verb.as_str())
            && self.attributes.subresource != "exec"
            && !query.has("dryRun")
    }
}

/// `metadata.name` of a JSON body; empty where there is none, and for other formats.
fn name_in(body: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    struct Metadata {
        #[serde(default)]
        name: String,
    }
    #[derive(Deserialize)]
    struct Named {
        #[serde(default)]
        metadata: Metadata,
    }
    serde_json::from_slice::<Named>(body).map_or_else(|_| String::new(), |named| named.metadata.name)
}

impl ApiServer {
    /// Who decides from now on what goes wrong; `None`: nothing does.
    pub fn set_faults(&self, faults: Option<Arc<dyn Faults>>) {
        self.inner.hooks.write().faults = faults;
    }

    /// Who is told of writes from now on.
    pub fn set_observer(&self, observer: Option<Arc<dyn Observer>>) {
        self.inner.hooks.write().observer = observer;
    }

    /// A request to a resource, with what its rules do to it.
    pub(crate) async fn asked(
        &self,
        user: &User,
        path: ResourcePath,
        request: Request<Bytes>,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let hooks = self.inner.hooks.read().clone();
        if hooks.faults.is_none() && hooks.observer.is_none() {
            return self.resource(user, path, request).await;
        }
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let asked = Asked::of(user, &path, &query, &request);
        let observer = hooks.observer.filter(|_| asked.is_write(&query));
        let fault = hooks.faults.and_then(|faults| faults.request(&asked.subject()));
        let is_fault = fault.is_some();
        let tell = |code: u16, object: Option<&Value>| {
            if let Some(observer) = &observer {
                observer.wrote(&Write {
                    subject: asked.subject(),
                    code,
                    object,
                    is_fault,
                });
            }
        };
        match &fault {
            Some(Fault::Refuse(error)) => {
                tell(error.reason.code(), None);
                return Err(error.clone());
            }
            Some(Fault::Unreachable) => {
                tell(0, None);
                return Ok(dead());
            }
            Some(Fault::Slow(time)) => tokio::time::sleep(*time).await,
            Some(Fault::AnsweredAfter(_) | Fault::LostAnswer) | None => {}
        }
        let done = self.resource(user, path, request).await;
        match &done {
            Ok(response) => {
                let stored = response.extensions().get::<Stored>();
                tell(response.status().as_u16(), stored.map(|stored| stored.0.value()));
            }
            Err(error) => tell(error.reason.code(), None),
        }
        match fault {
            Some(Fault::AnsweredAfter(error)) => Err(error),
            Some(Fault::LostAnswer) => Ok(dead()),
            _ => done,
        }
    }

    /// What goes wrong with a watch that is about to send.
    pub(crate) fn watch_fault(&self, asked: &Subject<'_>) -> Option<WatchFault> {
        let faults = self.inner.hooks.read().faults.clone();
        faults?.watch_event(asked)
    }
}

#[cfg(test)]
mod tests;
