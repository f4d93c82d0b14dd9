//! watch: what changes, as it changes. `k8s.io/apiserver` v0.34, `pkg/endpoints/handlers/watch.go` and
//! `pkg/storage/cacher`; streaming lists are KEP-3157.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::ApiServer;
use super::answer::{Answer, include, shaped};
use super::call::Call;
use super::faulty::Asked;
use super::read::selector;
use super::versions::is_as_stored;
use crate::changed::Listener;
use crate::error::{ApiError, Reason};
use crate::faults::WatchFault;
use crate::kind::Kind;
use crate::object::{Object, Types};
use crate::request::Shape;
use crate::selector::Selector;
use crate::store::{Change, Resource};
use crate::table::Include;

/// As often as the watch cache sends bookmarks.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

impl ApiServer {
    pub(crate) fn watch(&self, call: &mut Call) -> Result<Answer, ApiError> {
        let mut watching = Watching::begin(self, call)?;
        if let Some(first) = watching.first(call)? {
            watching.ready = first;
        }
        let chunks = futures::stream::unfold(watching, Watching::next).boxed();
        Ok(Answer::Stream {
            content_type: "application/json",
            chunks,
        })
    }
}

/// A watch under way.
struct Watching {
    server: ApiServer,
    asked: Asked,
    kind: Arc<Kind>,
    types: Types,
    resource: Resource,
    namespace: Option<String>,
    selector: Selector,
    shape: Shape,
    include: Include,
    /// The columns of a Table were sent: later events do not repeat them.
    columns_sent: bool,
    /// Changes up to this revision were sent.
    seen: u64,
    changed: Listener,
    /// Sent before anything else.
    ready: Vec<u8>,
    bookmarks: bool,
    next_bookmark: Instant,
    ends: Option<Instant>,
    done: bool,
}

impl Watching {
    fn begin(server: &ApiServer, call: &Call) -> Result<Self, ApiError> {
        let seconds = call
            .query
            .number("timeoutSeconds")?
            .filter(|seconds| *seconds > 0);
        let changed = server.inner.state.lock().store.subscribe(&call.resource);
        Ok(Self {
            server: server.clone(),
            asked: Asked::watch(call),
            kind: Arc::clone(&call.kind),
            types: Types::of(&call.kind),
            resource: call.resource.clone(),
            namespace: call.namespace.clone(),
            selector: selector(call)?,
            shape: call.shape,
            include: include(&call.query),
            columns_sent: false,
            seen: 0,
            changed,
            ready: Vec::new(),
            bookmarks: call.query.flag("allowWatchBookmarks"),
            next_bookmark: Instant::now() + BOOKMARK_EVERY,
            ends: seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
            done: false,
        })
    }

    /// What is sent at once: the present state when no revision is asked for, and its end when wanted.
    fn first(&mut self, call: &Call) -> Result<Option<Vec<u8>>, ApiError> {
        let asked = call.query.number("resourceVersion")?.unwrap_or(0);
        let streaming = call.query.flag("sendInitialEvents");
        check_options(call, streaming)?;
        if !streaming && (asked > 0 || call.query.has("sendInitialEvents")) {
            // `sendInitialEvents=false` without a revision begins at the newest.
            self.seen = if asked > 0 {
                asked
            } else {
                self.server.inner.state.lock().store.revision()
            };
            return Ok(None);
        }
        let (objects, revision) = {
            let state = self.server.inner.state.lock();
            (
                state.store.list(&self.resource, self.namespace.as_deref()),
                state.store.revision(),
            )
        };
        self.seen = revision;
        let mut out = Vec::new();
        for object in &objects {
            if self.selector.matches(object) {
                self.stored(&mut out, "ADDED", object);
            }
        }
        if streaming && self.bookmarks {
            self.bookmark(&mut out, true);
        }
        Ok(Some(out))
    }

    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if !self.ready.is_empty() && !self.is_broken_off() {
                let chunk = Bytes::from(std::mem::take(&mut self.ready));
                return Some((chunk, self));
            }
            if self.done {
                return None;
            }
            self.changed.forget();
            self.collect();
            if self.ready.is_empty() && !self.done {
                self.wait().await;
            }
        }
    }

    /// What a fault does to what is about to be sent; true: nothing of it is.
    fn is_broken_off(&mut self) -> bool {
        match self.server.watch_fault(&self.asked.subject()) {
            None => return false,
            Some(WatchFault::Drop) => self.ready.clear(),
            Some(WatchFault::Expired) => self.expire(self.seen),
        }
        self.done = true;
        self.ready.is_empty()
    }

    fn expire(&mut self, oldest: u64) {
        let error = ApiError::new(
            Reason::Expired,
            format!("too old resource version: {} ({oldest})", self.seen),
        );
        let mut out = Vec::new();
        write_event(&mut out, "ERROR", &error.status());
        self.ready = out;
    }

    /// Writes what changed since the last look.
    fn collect(&mut self) {
        let (changes, newest) = {
            let state = self.server.inner.state.lock();
            (
                state
                    .store
                    .changes(&self.resource, self.namespace.as_deref(), self.seen),
                state.store.revision(),
            )
        };
        match changes {
            Ok(changes) => {
                let mut out = Vec::new();
                for change in &changes {
                    self.change(&mut out, change);
                }
                self.seen = self.seen.max(newest);
                self.ready = out;
            }
            Err(forgotten) => {
                self.expire(forgotten.oldest);
                self.done = true;
            }
        }
    }

    async fn wait(&mut self) {
        let far = Instant::now() + Duration::from_secs(86_400);
        let ends = self.ends.unwrap_or(far);
        let bookmark = if self.bookmarks { self.next_bookmark } else { far };
        tokio::select! {
            biased;
            is_served = self.changed.rung() => {
                // The resource is no longer served.
                self.done = !is_served;
            }
            () = sleep_until(ends.min(bookmark)) => {
                if self.bookmarks {
                    let mut out = Vec::new();
                    self.bookmark(&mut out, false);
                    self.ready = out;
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                }
                self.done = Instant::now() >= ends;
            }
        }
    }

    /// A change as the selector sees it: an object that stops matching is deleted to this watch.
    fn change(&mut self, out: &mut Vec<u8>, change: &Change) {
        let before = change
            .before
            .as_ref()
            .filter(|object| self.selector.matches(object));
        let after = (!change.deleted && self.selector.matches(&change.object)).then_some(&change.object);
        match (before, after) {
            (None, None) => {}
            (None, Some(now)) => self.stored(out, "ADDED", now),
            (Some(_), Some(now)) => self.stored(out, "MODIFIED", now),
            (Some(_), None) if change.deleted => self.stored(out, "DELETED", &change.object),
            (Some(before), None) => {
                let mut last = before.value().clone();
                last["metadata"]["resourceVersion"] = change.revision.to_string().into();
                self.event(out, "DELETED", &last);
            }
        }
    }

    /// A stored object: its text is written once for all who see it as it is stored.
    fn stored(&mut self, out: &mut Vec<u8>, what: &str, object: &Object) {
        if self.shape != Shape::Whole || !is_as_stored(&self.kind) {
            return self.event(out, what, object);
        }
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(what.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        self.types.write(&object.fields(), out);
        out.extend_from_slice(b"}\n");
    }

    fn event(&mut self, out: &mut Vec<u8>, what: &str, object: &Value) {
        let now = self.server.inner.clock.now();
        let mut shown = shaped(&self.kind, self.shape, self.include, object, now);
        if self.shape == Shape::Table {
            if self.columns_sent {
                shown.to_mut()["columnDefinitions"] = Value::Null;
            }
            self.columns_sent = true;
        }
        write_event(out, what, &shown);
    }

    fn bookmark(&self, out: &mut Vec<u8>, initial_events_end: bool) {
        let mut metadata = json!({"resourceVersion": self.seen.to_string()});
        if initial_events_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.shape {
            Shape::Whole => {
                json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata})
            }
            Shape::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            Shape::Table => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                "columnDefinitions": null, "rows": [],
            }),
        };
        write_event(out, "BOOKMARK", &object);
    }
}

fn check_options(call: &Call, streaming: bool) -> Result<(), ApiError> {
    let matching = call.query.text("resourceVersionMatch");
    let why = if streaming && matching != "NotOlderThan" {
        "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
    } else if !call.query.has("sendInitialEvents") && !matching.is_empty() {
        "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
    } else {
        return Ok(());
    };
    Err(super::read::invalid_list_option(
        "resourceVersionMatch",
        why.to_owned(),
    ))
}

/// An event as a line of a watch.
#[derive(Serialize)]
struct Event<'a> {
    r#type: &'a str,
    object: &'a Value,
}

fn write_event(out: &mut Vec<u8>, what: &str, object: &Value) {
    // Writing JSON values to memory does not fail.
    let _ = serde_json::to_writer(&mut *out, &Event { r#type: what, object });
    out.push(b'\n');
}
