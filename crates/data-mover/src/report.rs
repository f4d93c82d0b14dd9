//! A data mover's events and its last word.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};

use crate::movement::Movement;
use crate::protocol::{self, LastWord};

/// How often the final Event is tried; the termination message tells the same a little later.
const TRIES: u32 = 5;

/// Writes events about one movement.
pub(crate) struct Reporter {
    events: Api<Event>,
    about: ObjectReference,
    node: String,
}

impl Reporter {
    /// Events about this object, from this node.
    pub(crate) fn new<K: Movement>(client: Client, object: &K, node: &str) -> Self {
        let namespace = object.namespace().unwrap_or_default();
        Self {
            events: Api::namespaced(client, &namespace),
            about: ObjectReference {
                api_version: Some(K::api_version(&()).into_owned()),
                kind: Some(K::kind(&()).into_owned()),
                namespace: Some(namespace),
                name: Some(object.name_any()),
                uid: object.uid(),
                ..ObjectReference::default()
            },
            node: node.to_owned(),
        }
    }

    /// An event on the way; losing it loses nothing.
    pub(crate) async fn note(&self, reason: &str, message: &str) {
        let name = self.about.name.as_deref().unwrap_or_default();
        let name = format!("{name}.{:x}", jiff::Timestamp::now().as_nanosecond());
        if let Err(error) = self
            .events
            .create(&PostParams::default(), &self.event(name, reason, message))
            .await
        {
            tracing::debug!(%error, reason, "event is not written");
        }
    }

    /// The final Event, by the name that the node agent looks for.
    pub(crate) async fn last_word(&self, word: &LastWord) {
        let name = protocol::final_event_name(self.about.uid.as_deref().unwrap_or_default());
        let event = self.event(name, word.reason(), &word.text());
        for attempt in 1..=TRIES {
            match self.events.create(&PostParams::default(), &event).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.is_already_exists() => return,
                Err(error) => tracing::warn!(%error, attempt, "final event is not written, trying again"),
            }
            tokio::time::sleep(Duration::from_millis(300) * attempt).await;
        }
    }

    fn event(&self, name: String, reason: &str, message: &str) -> Event {
        let now = Some(Time(jiff::Timestamp::now()));
        let normal = reason != protocol::FAILED;
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: self.about.namespace.clone(),
                ..ObjectMeta::default()
            },
            involved_object: self.about.clone(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            type_: Some(if normal { "Normal" } else { "Warning" }.to_owned()),
            source: Some(EventSource {
                component: Some("data-mover".into()),
                host: Some(self.node.clone()),
            }),
            first_timestamp: now.clone(),
            last_timestamp: now,
            count: Some(1),
            ..Event::default()
        }
    }
}

/// The container's termination message, which the kubelet copies into the pod's status.
pub(crate) fn write_termination_message(path: &Path, word: &LastWord) {
    if let Err(error) = std::fs::write(path, word.text()) {
        tracing::warn!(%error, path = %path.display(), "termination message is not written");
    }
}
