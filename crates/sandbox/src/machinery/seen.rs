//! A change as a watch shows it, for tests of what it wakes.

use kube::api::ApiResource;
use serde_json::Value;

use super::watched::Watched;
use super::{Change, Resource};

/// An object of a kind that was made, changed or, if said so, removed.
pub struct Seen {
    resource: Resource,
    object: Watched,
    is_gone: bool,
}

impl Seen {
    /// `Seen::new("apps", "Deployment", &json!({…}))`.
    pub fn new(group: &str, kind: &str, object: &Value) -> Self {
        let api = ApiResource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            api_version: String::new(),
            kind: kind.to_owned(),
            plural: kind.to_lowercase(),
        };
        Self {
            resource: Resource {
                api,
                namespaced: true,
                verbs: Vec::new(),
            },
            object: serde_json::from_str(&object.to_string()).unwrap(),
            is_gone: false,
        }
    }

    /// Its removal.
    pub fn gone(self) -> Self {
        Self {
            is_gone: true,
            ..self
        }
    }

    /// As a controller sees it.
    pub fn change(&self) -> Change<'_> {
        Change {
            resource: &self.resource,
            object: &self.object,
            gone: self.is_gone,
        }
    }
}
