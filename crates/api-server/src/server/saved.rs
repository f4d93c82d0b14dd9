//! What an empty cluster holds, and the whole server as one value: kept in a folder, found again after a restart.

use serde_json::{Value, json};

use super::{ApiServer, definitions};
use crate::store::Resource;

/// Why a saved state cannot be taken up again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Of another program, or of a later version of this one.
    #[error("this is no state of an API server that this version knows (version {0})")]
    Version(Value),
    #[error("the saved state is damaged: {0}")]
    Damaged(String),
}

/// Of the saved form.
const VERSION: u64 = 1;

impl ApiServer {
    /// The namespaces, roles and priorities every cluster begins with.
    pub(crate) fn bootstrap(&self) {
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            self.plant(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        }
        for (name, value) in [
            ("system-cluster-critical", 2_000_000_000),
            ("system-node-critical", 2_000_001_000),
        ] {
            self.plant(json!({
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
                "value": value, "preemptionPolicy": "PreemptLowerPriority",
            }));
        }
        for object in crate::access::bootstrap() {
            self.plant(object);
        }
    }

    /// Stores a cluster-scoped object of the server's own.
    fn plant(&self, mut object: Value) {
        let now = self.inner.clock.now();
        let mut guard = self.inner.state.lock();
        let state = &mut *guard;
        let version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
        let name = object["kind"].as_str().unwrap_or_default().to_owned();
        let found = state
            .registry
            .all()
            .iter()
            .find(|kind| kind.kind == name && kind.api_version() == version)
            .cloned();
        if let Some(kind) = found {
            super::metadata::begin(&mut object, &kind, now, &mut state.rng);
            super::status::begin(&kind, &mut object, now);
            state.keep(&crate::store::resource_of(&kind), object);
        }
    }

    /// Grows with every change of an object.
    pub fn revision(&self) -> u64 {
        self.inner.state.lock().store.revision()
    }

    /// Every object and the counter of revisions.
    pub fn save(&self) -> Value {
        let state = self.inner.state.lock();
        let (revision, key) = (state.store.revision(), hex::encode(state.tokens.secret()));
        let objects: Vec<_> = state
            .store
            .all()
            .map(|(resource, object)| (resource.clone(), object.clone()))
            .collect();
        // Requests need not wait while all of it is written out.
        drop(state);
        let objects: Vec<Value> = objects
            .iter()
            .map(|((group, plural), object)| json!({"group": group, "plural": plural, "object": object.value()}))
            .collect();
        json!({"version": VERSION, "revision": revision, "objects": objects, "tokenKey": key})
    }

    /// Whether [`Self::load`] can take it up, as far as that shows without doing it.
    ///
    /// # Errors
    /// [`LoadError::Version`].
    pub fn knows(saved: &Value) -> Result<(), LoadError> {
        if saved["version"] == VERSION {
            Ok(())
        } else {
            Err(LoadError::Version(saved["version"].clone()))
        }
    }

    /// Replaces everything by what was saved. Watches that are open get 410 and begin again.
    pub fn load(&self, saved: &Value) -> Result<(), LoadError> {
        Self::knows(saved)?;
        let damaged = |what: &str| LoadError::Damaged(what.to_owned());
        let revision = saved["revision"]
            .as_u64()
            .ok_or_else(|| damaged("it has no revision"))?;
        let entries = saved["objects"]
            .as_array()
            .ok_or_else(|| damaged("it has no objects"))?;
        let mut objects: Vec<(Resource, Value)> = Vec::with_capacity(entries.len());
        for entry in entries {
            let (Some(group), Some(plural)) = (entry["group"].as_str(), entry["plural"].as_str()) else {
                return Err(damaged("an object has no resource"));
            };
            if entry["object"]["metadata"]["name"].as_str().is_none() {
                return Err(damaged("an object has no name"));
            }
            objects.push(((group.to_owned(), plural.to_owned()), entry["object"].clone()));
        }
        let key: Option<[u8; 32]> = saved["tokenKey"]
            .as_str()
            .and_then(|text| hex::decode(text).ok())
            .and_then(|bytes| bytes.try_into().ok());
        let key = key.ok_or_else(|| damaged("it has no key for tokens"))?;
        let mut state = self.inner.state.lock();
        state.tokens = crate::tokens::Tokens::new(key);
        state.store.restore(revision, objects);
        state.registry = crate::registry::Registry::default();
        for crd in state.store.list(&definitions::definitions(), None) {
            state.serve_definition(&crd);
        }
        Ok(())
    }
}
