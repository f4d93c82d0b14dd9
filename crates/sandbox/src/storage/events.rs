//! Events about claims, volumes and snapshots, each with the reason and the sentence that users know.

use std::collections::BTreeMap;
use std::sync::Arc;

use caravel_api_server::Clock;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use kube::{Api, Client, Resource};
use serde_json::json;

use crate::machinery::{create, merge};

/// What to say about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
}

impl Note {
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            warning: false,
            reason,
            message: message.into(),
        }
    }

    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            warning: true,
            reason,
            message: message.into(),
        }
    }
}

/// Writes events. The same about the same object counts up, as `kubectl describe` shows it.
pub(super) struct Events {
    client: Client,
    clock: Arc<dyn Clock>,
    said: BTreeMap<(String, &'static str, String), Said>,
    written: u64,
}

struct Said {
    name: String,
    namespace: String,
    count: i32,
}

impl Events {
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            clock,
            said: BTreeMap::new(),
            written: 0,
        }
    }

    /// Says it, unless it was said of this object before: for what goes on being so.
    pub async fn once<K: Resource<DynamicType = ()>>(&mut self, component: &str, object: &K, note: &Note) {
        if !self.said.contains_key(&Self::key(object, note)) {
            self.say(component, object, note).await;
        }
    }

    /// Says it. An event that cannot be written is lost, as in Kubernetes.
    pub async fn say<K: Resource<DynamicType = ()>>(&mut self, component: &str, object: &K, note: &Note) {
        let key = Self::key(object, note);
        let now = Time(self.clock.now());
        let written = match self.said.get_mut(&key) {
            Some(said) => {
                said.count += 1;
                let again = json!({"count": said.count, "lastTimestamp": now});
                let events: Api<Event> = Api::namespaced(self.client.clone(), &said.namespace);
                merge(&events, &said.name, &again).await
            }
            None => {
                self.written += 1;
                let event = self.event(component, object, note, &now);
                let namespace = event.metadata.namespace.clone().unwrap_or_default();
                let name = event.metadata.name.clone().unwrap_or_default();
                let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
                let created = create(&events, &event).await;
                let count = 1;
                if created.is_ok() {
                    self.said.insert(
                        key,
                        Said {
                            name,
                            namespace,
                            count,
                        },
                    );
                }
                created
            }
        };
        if let Err(cause) = written {
            tracing::debug!(reason = note.reason, message = note.message, %cause, "An event could not be written");
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&mut self, uid: &str) {
        self.said.retain(|(of, _, _), _| of != uid);
    }

    fn key<K: Resource<DynamicType = ()>>(object: &K, note: &Note) -> (String, &'static str, String) {
        (
            object.meta().uid.clone().unwrap_or_default(),
            note.reason,
            note.message.clone(),
        )
    }

    fn event<K: Resource<DynamicType = ()>>(
        &self,
        component: &str,
        object: &K,
        note: &Note,
        now: &Time,
    ) -> Event {
        let meta = object.meta();
        let name = meta.name.clone().unwrap_or_default();
        // As in client-go: the object's name and a hexadecimal time; counted, since a clock may stand still.
        let moment = now.0.as_nanosecond() + i128::from(self.written);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{moment:x}")),
                namespace: Some(meta.namespace.clone().unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            involved_object: reference(object),
            reason: Some(note.reason.to_owned()),
            message: Some(note.message.clone()),
            type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
            source: Some(EventSource {
                component: Some(component.to_owned()),
                host: None,
            }),
            reporting_component: Some(component.to_owned()),
            count: Some(1),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now.clone()),
            ..Event::default()
        }
    }
}

/// A reference with UID and version, as `claimRef` and events have it.
pub(super) fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}
