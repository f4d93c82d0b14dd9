//! Objects by resource and name, one revision counter for all, and what changed since: what etcd and the watch cache
//! are to Kubernetes (`k8s.io/apiserver` v0.34, `pkg/storage/etcd3` and `pkg/storage/cacher`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use crate::changed::{Bell, Listener};
use crate::kind::Kind;
use crate::object::Object;

/// Changes kept per resource; a watch that asks for older ones gets 410.
const HISTORY: usize = 8192;
/// The objects of the newest keep their text, as those do that are there now: watches are seldom further behind.
const WITH_TEXT: usize = 16;

/// Group and plural: all versions of a kind share their objects.
pub type Resource = (String, String);

/// Where objects of this kind are kept. Events of `events.k8s.io` are the core group's.
pub fn resource_of(kind: &Kind) -> Resource {
    if kind.group == "events.k8s.io" {
        return (String::new(), "events".to_owned());
    }
    let (group, plural) = kind.storage_key();
    (group.to_owned(), plural.to_owned())
}

/// `namespace/name`, or `name` for cluster-scoped objects; orders as etcd's keys do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    pub fn new(namespace: Option<&str>, name: &str) -> Self {
        match namespace {
            Some(namespace) => Self(format!("{namespace}/{name}")),
            None => Self(name.to_owned()),
        }
    }

    /// Of an object that has its metadata.
    pub fn of(object: &Value) -> Self {
        let metadata = &object["metadata"];
        Self::new(
            metadata["namespace"].as_str(),
            metadata["name"].as_str().unwrap_or(""),
        )
    }

    /// As continue tokens spell it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// From a continue token.
    pub fn parse(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn is_in(&self, namespace: Option<&str>) -> bool {
        namespace.is_none_or(|namespace| {
            self.0
                .strip_prefix(namespace)
                .is_some_and(|rest| rest.starts_with('/'))
        })
    }
}

/// One change of one object.
#[derive(Debug, Clone)]
pub struct Change {
    pub revision: u64,
    pub key: Key,
    /// `None`: it was created.
    pub before: Option<Arc<Object>>,
    /// As it is after the change; for a deletion its last state.
    pub object: Arc<Object>,
    pub deleted: bool,
}

/// The revision asked for is older than what is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// The oldest revision that could still be answered.
    pub oldest: u64,
}

#[derive(Debug, Default)]
struct Collection {
    objects: BTreeMap<Key, Arc<Object>>,
    history: VecDeque<Change>,
    /// Revision of the newest change that fell out of the history.
    forgotten: u64,
    changed: Bell,
}

impl Collection {
    fn record(&mut self, change: Change) {
        // Watches that have not shown it yet are about to.
        let is_awaited = |object: &Arc<Object>| {
            let mut newest = self.history.iter().rev().take(WITH_TEXT);
            newest.any(|change| Arc::ptr_eq(&change.object, object))
        };
        if let Some(before) = change.before.as_ref().filter(|before| !is_awaited(before)) {
            before.forget_text();
        }
        self.history.push_back(change);
        if let Some(place) = self.history.len().checked_sub(WITH_TEXT + 1) {
            let old = &self.history[place];
            let now = self.objects.get(&old.key);
            if now.is_none_or(|now| !Arc::ptr_eq(now, &old.object)) {
                old.object.forget_text();
            }
        }
        while self.history.len() > HISTORY {
            if let Some(dropped) = self.history.pop_front() {
                self.forgotten = dropped.revision;
            }
        }
        self.changed.ring();
    }

    fn since(&self, revision: u64) -> Result<impl DoubleEndedIterator<Item = &Change>, Forgotten> {
        if revision < self.forgotten {
            return Err(Forgotten {
                oldest: self.forgotten,
            });
        }
        let start = self.history.partition_point(|change| change.revision <= revision);
        Ok(self.history.range(start..))
    }
}

/// All objects of the cluster.
#[derive(Debug)]
pub struct Store {
    revision: u64,
    collections: BTreeMap<Resource, Collection>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            revision: 1,
            collections: BTreeMap::new(),
        }
    }
}

impl Store {
    /// The newest resourceVersion given out.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn get(&self, resource: &Resource, key: &Key) -> Option<&Arc<Object>> {
        self.collections.get(resource)?.objects.get(key)
    }

    /// Creates or replaces the object under its own name and gives it the next resourceVersion.
    pub fn put(&mut self, resource: &Resource, mut object: Value) -> Arc<Object> {
        self.revision += 1;
        set_revision(&mut object, self.revision);
        let key = Key::of(&object);
        let object = Arc::new(Object::from(object));
        let collection = self.collections.entry(resource.clone()).or_default();
        let before = collection.objects.insert(key.clone(), Arc::clone(&object));
        collection.record(Change {
            revision: self.revision,
            key,
            before,
            object: Arc::clone(&object),
            deleted: false,
        });
        object
    }

    /// Takes the object out; its last state carries the resourceVersion of the deletion.
    pub fn remove(&mut self, resource: &Resource, key: &Key) -> Option<Arc<Object>> {
        let collection = self.collections.get_mut(resource)?;
        let before = collection.objects.remove(key)?;
        self.revision += 1;
        let mut last = before.value().clone();
        set_revision(&mut last, self.revision);
        let last = Arc::new(Object::from(last));
        collection.record(Change {
            revision: self.revision,
            key: key.clone(),
            before: Some(before),
            object: Arc::clone(&last),
            deleted: true,
        });
        Some(last)
    }

    /// Objects as they are now, in key order.
    pub fn list(&self, resource: &Resource, namespace: Option<&str>) -> Vec<Arc<Object>> {
        let Some(collection) = self.collections.get(resource) else {
            return Vec::new();
        };
        collection
            .objects
            .iter()
            .filter(|(key, _)| key.is_in(namespace))
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// Objects as they were at a revision, in key order.
    pub fn list_at(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Vec<Arc<Object>>, Forgotten> {
        let Some(collection) = self.collections.get(resource) else {
            return Ok(Vec::new());
        };
        let mut undone: BTreeMap<&Key, Option<&Arc<Object>>> = BTreeMap::new();
        for change in collection.since(revision)?.rev() {
            undone.insert(&change.key, change.before.as_ref());
        }
        if undone.is_empty() {
            return Ok(self.list(resource, namespace));
        }
        let mut objects: BTreeMap<&Key, &Arc<Object>> = collection.objects.iter().collect();
        for (key, before) in undone {
            match before {
                Some(object) => objects.insert(key, object),
                None => objects.remove(key),
            };
        }
        Ok(objects
            .into_iter()
            .filter(|(key, _)| key.is_in(namespace))
            .map(|(_, object)| Arc::clone(object))
            .collect())
    }

    /// Changes after a revision, oldest first.
    pub fn changes(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Vec<Change>, Forgotten> {
        let Some(collection) = self.collections.get(resource) else {
            return Ok(Vec::new());
        };
        Ok(collection
            .since(revision)?
            .filter(|change| change.key.is_in(namespace))
            .cloned()
            .collect())
    }

    /// Tells when something of this resource changes.
    pub fn subscribe(&mut self, resource: &Resource) -> Listener {
        self.collections
            .entry(resource.clone())
            .or_default()
            .changed
            .listener()
    }

    /// Begins a resource that is served from now on: nothing of it is remembered from before.
    pub fn begin(&mut self, resource: &Resource) {
        if !self.collections.contains_key(resource) {
            let collection = Collection {
                forgotten: self.revision,
                ..Collection::default()
            };
            self.collections.insert(resource.clone(), collection);
        }
    }

    /// Forgets a resource that is no longer served; its watches end.
    pub fn forget(&mut self, resource: &Resource) {
        self.collections.remove(resource);
    }

    /// Every object, for [`crate::ApiServer::save`].
    pub fn all(&self) -> impl Iterator<Item = (&Resource, &Arc<Object>)> {
        self.collections.iter().flat_map(|(resource, collection)| {
            collection.objects.values().map(move |object| (resource, object))
        })
    }

    /// Puts back saved objects under the revision they were saved at; older ones are forgotten.
    pub fn restore(&mut self, revision: u64, objects: impl IntoIterator<Item = (Resource, Value)>) {
        self.revision = self.revision.max(revision);
        let now = self.revision;
        for collection in self.collections.values_mut() {
            collection.objects.clear();
            collection.history.clear();
        }
        for (resource, object) in objects {
            let collection = self.collections.entry(resource).or_default();
            collection
                .objects
                .insert(Key::of(&object), Arc::new(object.into()));
        }
        for collection in self.collections.values_mut() {
            collection.forgotten = now;
            collection.changed.ring();
        }
    }
}

fn set_revision(object: &mut Value, revision: u64) {
    object["metadata"]["resourceVersion"] = revision.to_string().into();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resource() -> Resource {
        (String::new(), "configmaps".to_owned())
    }

    fn object(namespace: &str, name: &str, value: &str) -> Value {
        json!({"metadata": {"namespace": namespace, "name": name}, "data": {"value": value}})
    }

    fn names(objects: &[Arc<Object>]) -> Vec<&str> {
        objects
            .iter()
            .filter_map(|object| object["metadata"]["name"].as_str())
            .collect()
    }

    #[test]
    fn a_list_at_an_older_revision_shows_what_was_there_then() {
        let mut store = Store::default();
        store.put(&resource(), object("a", "one", "1"));
        store.put(&resource(), object("a", "two", "1"));
        let then = store.revision();
        store.put(&resource(), object("a", "two", "2"));
        store.put(&resource(), object("a", "two", "3"));
        store.put(&resource(), object("a", "three", "1"));
        store.remove(&resource(), &Key::new(Some("a"), "one"));
        let before = store.list_at(&resource(), Some("a"), then).unwrap();
        assert_eq!(names(&before), ["one", "two"]);
        assert_eq!(before[1]["data"]["value"], "1");
        assert_eq!(names(&store.list(&resource(), None)), ["three", "two"]);
    }

    #[test]
    fn a_namespace_is_not_mixed_up_with_one_whose_name_it_begins() {
        let mut store = Store::default();
        store.put(&resource(), object("team", "one", "1"));
        store.put(&resource(), object("team-b", "two", "1"));
        assert_eq!(names(&store.list(&resource(), Some("team"))), ["one"]);
    }

    #[test]
    fn changes_older_than_the_history_are_forgotten_not_skipped() {
        let mut store = Store::default();
        for turn in 0..=HISTORY {
            store.put(&resource(), object("a", "one", &turn.to_string()));
        }
        assert!(store.changes(&resource(), None, 1).is_err());
        let last = store.revision();
        assert_eq!(store.changes(&resource(), None, last - 3).unwrap().len(), 3);
    }

    #[test]
    fn a_deletion_has_its_own_revision() {
        let mut store = Store::default();
        let created = store.put(&resource(), object("a", "one", "1"));
        let gone = store.remove(&resource(), &Key::new(Some("a"), "one")).unwrap();
        assert_ne!(
            created["metadata"]["resourceVersion"],
            gone["metadata"]["resourceVersion"]
        );
        assert_eq!(gone["metadata"]["resourceVersion"], store.revision().to_string());
    }

    #[test]
    fn texts_of_what_is_there_and_of_the_newest_changes_are_kept_and_older_ones_are_forgotten() {
        let mut store = Store::default();
        let others = |store: &mut Store| {
            for turn in 0..=WITH_TEXT {
                store.put(&resource(), object("a", "other", &turn.to_string()));
            }
        };
        let first = store.put(&resource(), object("a", "one", "1"));
        let text = first.fields();
        let is_kept = || first.fields().as_ptr() == text.as_ptr();
        others(&mut store);
        assert!(is_kept(), "it is there");
        store.put(&resource(), object("a", "one", "2"));
        assert!(!is_kept(), "it was replaced, and nobody is so far behind");

        let second = store.put(&resource(), object("a", "two", "1"));
        let text = second.fields();
        let is_kept = || second.fields().as_ptr() == text.as_ptr();
        store.put(&resource(), object("a", "two", "2"));
        assert!(is_kept(), "watches are about to show it");
        others(&mut store);
        assert!(!is_kept());
    }
}
