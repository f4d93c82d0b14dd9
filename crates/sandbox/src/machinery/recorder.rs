//! Events: what `kubectl describe` shows at the end.
//!
//! The same event again counts up the one that is there, as `k8s.io/client-go` v0.34 `tools/record` does.

use std::collections::BTreeMap;
use std::sync::Arc;

use caravel_api_server::Clock;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

use super::api::{Kinds, create, merge, time};

/// One thing to tell about an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// `Warning`, else `Normal`.
    pub is_warning: bool,
    pub reason: String,
    pub message: String,
    /// `kubelet`, `default-scheduler`.
    pub component: &'static str,
    /// The kubelet's node.
    pub host: String,
    /// `spec.containers{name}`.
    pub field_path: String,
}

impl Told {
    /// Something usual.
    pub fn normal(component: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self {
            is_warning: false,
            reason: reason.to_owned(),
            message: message.into(),
            component,
            host: String::new(),
            field_path: String::new(),
        }
    }

    /// Something a person should look at.
    pub fn warning(component: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self {
            is_warning: true,
            ..Self::normal(component, reason, message)
        }
    }
}

/// Events already written: of which object, what; its name and how often.
type Written = BTreeMap<(String, Told), (String, i32)>;

/// Writes events.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    clock: Arc<dyn Clock>,
    written: Arc<Mutex<Written>>,
}

/// So many are remembered; then counting starts over.
const REMEMBERED: usize = 4096;

impl Recorder {
    /// No event yet.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            clock,
            written: Arc::default(),
        }
    }

    /// Writes an event about this object. An event is a courtesy: one that cannot be written is left out.
    pub async fn tell<K: Resource<DynamicType = ()>>(&self, about: &K, told: Told) {
        let namespace = about.namespace().unwrap_or_else(|| "default".to_owned());
        let uid = about.uid().unwrap_or_default();
        let (name, count) = self.number(&about.name_any(), uid, &told);
        let api = self.client.of::<Event>(&namespace);
        let now = self.clock.now();
        if count > 1 {
            let again = json!({"count": count, "lastTimestamp": time(now)});
            if merge(&api, &name, &again).await.is_ok() {
                return;
            }
        }
        let event = self.event(about, told, name, now);
        if let Err(error) = create(&api, &event).await {
            tracing::debug!(%error, "event is left out");
        }
    }

    fn number(&self, object: &str, uid: String, told: &Told) -> (String, i32) {
        let mut written = self.written.lock();
        if written.len() > REMEMBERED {
            written.clear();
        }
        let nanos = self.clock.now().as_nanosecond() as u64;
        let order = written.len() as u64;
        let entry = written
            .entry((uid, told.clone()))
            .or_insert_with(|| (format!("{object}.{:016x}", nanos.wrapping_add(order)), 0));
        entry.1 += 1;
        entry.clone()
    }

    fn event<K: Resource<DynamicType = ()>>(
        &self,
        about: &K,
        told: Told,
        name: String,
        now: jiff::Timestamp,
    ) -> Event {
        let mut involved_object: ObjectReference = about.object_ref(&());
        involved_object.field_path = (!told.field_path.is_empty()).then_some(told.field_path);
        let mut event = Event {
            involved_object,
            message: Some(told.message),
            reason: Some(told.reason),
            reporting_component: Some(told.component.to_owned()),
            reporting_instance: Some(told.host.clone()),
            type_: Some(if told.is_warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        };
        event.metadata.name = Some(name);
        event.metadata.namespace = about.namespace().or_else(|| Some("default".to_owned()));
        if told.component == "default-scheduler" {
            // The scheduler writes events.k8s.io, which has no source and one exact time.
            let action = if told.is_warning { "Scheduling" } else { "Binding" };
            event.action = Some(action.to_owned());
            event.event_time = Some(MicroTime(now));
            event.reporting_instance = Some("default-scheduler-sandbox".to_owned());
            event.source = Some(EventSource::default());
        } else {
            event.count = Some(1);
            event.first_timestamp = Some(time(now));
            event.last_timestamp = Some(time(now));
            event.source = Some(EventSource {
                component: Some(told.component.to_owned()),
                host: (!told.host.is_empty()).then_some(told.host),
            });
        }
        event
    }
}
