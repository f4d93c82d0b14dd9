//! The garbage collector: what belongs to nobody any more goes.
//!
//! `pkg/controller/garbagecollector` of v1.34. Background: dependents go after their owner. Foreground
//! (finalizer `foregroundDeletion`): the owner goes after those that block it. Orphan (finalizer `orphan`): dependents
//! stay and lose the reference. The picture comes from the watches and only wakes; owners are asked for at the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Preconditions, PropagationPolicy};
use parking_lot::{Mutex, RwLock};
use serde_json::json;

use crate::machinery::{
    Answer, Change, Context, Controller, Key, Outcome, Resource, is_not_found, merge, settled,
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// An owner of a kind that nobody serves is asked for again after this.
const UNKNOWN_KIND_WAIT: Duration = Duration::from_secs(30);

/// One object in the picture: all that is decided on.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    group: String,
    plural: String,
    key: Key,
    owners: Vec<OwnerReference>,
    /// Being deleted, and for which of the two finalizers it waits.
    is_going: bool,
    foreground: bool,
    orphan: bool,
}

/// Objects and who depends on whom, by UID.
#[derive(Default)]
struct Picture {
    entries: BTreeMap<String, Entry>,
    dependents: BTreeMap<String, BTreeSet<String>>,
}

/// The garbage collector.
pub struct Garbage {
    context: Context,
    kinds: Arc<RwLock<Vec<Resource>>>,
    picture: Mutex<Picture>,
}

/// What an owner reference stands for.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    /// There, and it keeps the object.
    Solid,
    /// Not there, or another one of the same name.
    Dangling,
    /// Waits for its dependents to go first.
    Waiting,
}

impl Garbage {
    /// An empty picture.
    pub fn new(context: Context, kinds: Arc<RwLock<Vec<Resource>>>) -> Self {
        Self {
            context,
            kinds,
            picture: Mutex::default(),
        }
    }

    fn objects(&self, entry: &Entry) -> Option<Api<DynamicObject>> {
        let kinds = self.kinds.read();
        let kind = kinds
            .iter()
            .find(|it| it.api.group == entry.group && it.api.plural == entry.plural)?;
        Some(kind.objects(&self.context.client, Some(&entry.key.namespace)))
    }

    /// What the reference stands for now; `None`: its kind is not served.
    async fn look_up(&self, owner: &OwnerReference, namespace: &str) -> Answer<Option<Owner>> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let kind = {
            let kinds = self.kinds.read();
            kinds
                .iter()
                .find(|it| it.api.group == group && it.api.kind == owner.kind)
                .cloned()
        };
        let Some(kind) = kind else { return Ok(None) };
        if kind.namespaced && namespace.is_empty() {
            // A cluster's object cannot belong to a namespace's: Kubernetes warns and keeps it.
            return Ok(Some(Owner::Solid));
        }
        let api = kind.objects(&self.context.client, Some(namespace));
        Ok(Some(match api.get_opt(&owner.name).await? {
            Some(found) if found.uid().as_ref() == Some(&owner.uid) => {
                let is_waiting = is_finalizing(&found.metadata, FOREGROUND);
                if is_waiting { Owner::Waiting } else { Owner::Solid }
            }
            _ => Owner::Dangling,
        }))
    }

    /// Of the picture: UIDs of what has this owner, and of what blocks its foreground deletion.
    fn dependents(&self, uid: &str) -> Vec<(String, Entry, bool)> {
        let picture = self.picture.lock();
        let uids = picture.dependents.get(uid).cloned().unwrap_or_default();
        let one = |dependent: String| {
            let entry = picture.entries.get(&dependent)?.clone();
            let is_blocking = entry
                .owners
                .iter()
                .any(|it| it.uid == uid && it.block_owner_deletion == Some(true));
            Some((dependent, entry, is_blocking))
        };
        uids.into_iter().filter_map(one).collect()
    }

    /// The object waits for its dependents: it goes when none blocks it.
    async fn finish_foreground(&self, api: &Api<DynamicObject>, object: &DynamicObject) -> Answer<()> {
        for (uid, entry, is_blocking) in self.dependents(&object.uid().unwrap_or_default()) {
            let Some(dependents) = self.objects(&entry).filter(|_| is_blocking) else {
                continue;
            };
            // The picture may be behind the deletion of a dependent.
            let found = dependents.get_opt(&entry.key.name).await?;
            if found.is_some_and(|found| found.uid() == Some(uid)) {
                return Ok(());
            }
        }
        remove_finalizer(api, object, FOREGROUND).await
    }

    /// The dependents lose their reference; then the object may go.
    async fn orphan(&self, api: &Api<DynamicObject>, object: &DynamicObject) -> Answer<()> {
        let uid = object.uid().unwrap_or_default();
        for (_, entry, _) in self.dependents(&uid) {
            let Some(dependents) = self.objects(&entry) else {
                continue;
            };
            if let Some(dependent) = dependents.get_opt(&entry.key.name).await? {
                drop_owners(&dependents, &dependent, |owner| owner.uid == uid).await?;
            }
        }
        remove_finalizer(api, object, ORPHAN).await
    }

    /// Deletes the object if nobody holds it; else drops references to those who do not.
    async fn collect(&self, api: &Api<DynamicObject>, object: &DynamicObject) -> Answer<Outcome> {
        let mut found: BTreeMap<String, Owner> = BTreeMap::new();
        let namespace = object.namespace().unwrap_or_default();
        for owner in object.owner_references() {
            match self.look_up(owner, &namespace).await? {
                Some(state) => found.insert(owner.uid.clone(), state),
                None => return Ok(Outcome::Again(UNKNOWN_KIND_WAIT)),
            };
        }
        let is_held = found.values().any(|it| *it == Owner::Solid);
        let is_waited_for = found.values().any(|it| *it == Owner::Waiting);
        if is_held {
            if found.values().any(|it| *it != Owner::Solid) {
                drop_owners(api, object, |owner| found.get(&owner.uid) != Some(&Owner::Solid)).await?;
            }
            return Ok(Outcome::Done);
        }
        let has_dependents = !self.dependents(&object.uid().unwrap_or_default()).is_empty();
        let policy = if (is_waited_for && has_dependents) || has(&object.metadata, FOREGROUND) {
            PropagationPolicy::Foreground
        } else if has(&object.metadata, ORPHAN) {
            PropagationPolicy::Orphan
        } else {
            PropagationPolicy::Background
        };
        let exactly = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions {
                uid: object.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        settled(api.delete(&object.name_any(), &exactly).await)?;
        Ok(Outcome::Done)
    }
}

#[async_trait]
impl Controller for Garbage {
    /// A UID.
    type Key = String;
    const NAME: &'static str = "garbage-collector";

    fn touched_by(&self, change: &Change<'_>) -> Vec<String> {
        let meta = change.meta();
        let Some(uid) = meta.uid.clone() else {
            return Vec::new();
        };
        let mut picture = self.picture.lock();
        if change.gone {
            let owners = picture.forget(&uid);
            // Owners that wait for it, and those that it held.
            let held = picture.dependents.get(&uid).cloned().unwrap_or_default();
            return owners.into_iter().chain(held).collect();
        }
        if !picture.note(&uid, change) {
            return Vec::new();
        }
        let is_ending = is_finalizing(meta, FOREGROUND) || is_finalizing(meta, ORPHAN);
        let owned = meta
            .owner_references
            .as_ref()
            .is_some_and(|owners| !owners.is_empty());
        let mut keys = Vec::new();
        if owned || is_ending {
            keys.push(uid.clone());
        }
        if is_finalizing(meta, FOREGROUND) {
            keys.extend(picture.dependents.get(&uid).cloned().unwrap_or_default());
        }
        keys
    }

    async fn reconcile(&self, uid: &String) -> Answer<Outcome> {
        let entry = self.picture.lock().entries.get(uid).cloned();
        let Some((entry, api)) = entry.and_then(|entry| Some((entry.clone(), self.objects(&entry)?))) else {
            return Ok(Outcome::Done);
        };
        let found = match api.get_opt(&entry.key.name).await {
            Err(error) if is_not_found(&error) => None,
            other => other?,
        };
        let Some(object) = found.filter(|it| it.uid().as_ref() == Some(uid)) else {
            return Ok(Outcome::Done);
        };
        if is_finalizing(&object.metadata, ORPHAN) {
            self.orphan(&api, &object).await?;
            return Ok(Outcome::Done);
        }
        if is_finalizing(&object.metadata, FOREGROUND) {
            self.finish_foreground(&api, &object).await?;
            return Ok(Outcome::Done);
        }
        if object.metadata.deletion_timestamp.is_some() || object.owner_references().is_empty() {
            return Ok(Outcome::Done);
        }
        self.collect(&api, &object).await
    }
}

impl Entry {
    fn of(change: &Change<'_>) -> Self {
        let meta = change.meta();
        Self {
            group: change.resource.api.group.clone(),
            plural: change.resource.api.plural.clone(),
            key: change.key(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            is_going: meta.deletion_timestamp.is_some(),
            foreground: has(meta, FOREGROUND),
            orphan: has(meta, ORPHAN),
        }
    }
}

impl Picture {
    /// Puts the object in. False: nothing has changed that the collector decides on, as with most changes of a pod or
    /// of a node's lease.
    fn note(&mut self, uid: &str, change: &Change<'_>) -> bool {
        let entry = Entry::of(change);
        if self.entries.get(uid) == Some(&entry) {
            return false;
        }
        self.forget(uid);
        for owner in &entry.owners {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert(uid.to_owned());
        }
        self.entries.insert(uid.to_owned(), entry);
        true
    }

    /// Its owners' UIDs.
    fn forget(&mut self, uid: &str) -> Vec<String> {
        let owners = self
            .entries
            .remove(uid)
            .map(|entry| entry.owners)
            .unwrap_or_default();
        for owner in &owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        owners.into_iter().map(|owner| owner.uid).collect()
    }
}

fn has(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|it| it == finalizer)
}

fn is_finalizing(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.deletion_timestamp.is_some() && has(meta, finalizer)
}

async fn remove_finalizer(api: &Api<DynamicObject>, object: &DynamicObject, finalizer: &str) -> Answer<()> {
    let left: Vec<&String> = object.finalizers().iter().filter(|it| *it != finalizer).collect();
    let patch = json!({"metadata": {
        "uid": object.uid(), "resourceVersion": object.resource_version(), "finalizers": left,
    }});
    write(api, object, &patch).await
}

async fn drop_owners(
    api: &Api<DynamicObject>,
    object: &DynamicObject,
    is_dropped: impl Fn(&OwnerReference) -> bool,
) -> Answer<()> {
    let left: Vec<&OwnerReference> = object
        .owner_references()
        .iter()
        .filter(|it| !is_dropped(it))
        .collect();
    if left.len() == object.owner_references().len() {
        return Ok(());
    }
    let patch = json!({"metadata": {
        "uid": object.uid(), "resourceVersion": object.resource_version(), "ownerReferences": left,
    }});
    write(api, object, &patch).await
}

/// A conflict is an error here: the list was read from an object that has changed, so it is looked at again.
async fn write(api: &Api<DynamicObject>, object: &DynamicObject, patch: &serde_json::Value) -> Answer<()> {
    match merge(api, &object.name_any(), patch).await {
        Err(error) if !is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::machinery::Seen;

    #[test]
    fn a_change_that_touches_neither_owners_nor_deletion_is_no_news() {
        let mut picture = Picture::default();
        let pod = json!({
            "metadata": {
                "namespace": "shop", "name": "web", "uid": "u", "resourceVersion": "1",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "o"}],
            },
            "status": {"phase": "Pending"},
        });
        let mut is_news = |pod: &serde_json::Value| picture.note("u", &Seen::new("", "Pod", pod).change());
        assert!(is_news(&pod));
        let mut running = pod.clone();
        running["metadata"]["resourceVersion"] = "2".into();
        running["status"]["phase"] = "Running".into();
        assert!(!is_news(&running));
        let mut going = running.clone();
        going["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z".into();
        assert!(is_news(&going));
        assert!(!is_news(&going));
        going["metadata"]["finalizers"] = json!([FOREGROUND]);
        assert!(is_news(&going));
        going["metadata"]["ownerReferences"] = json!([]);
        assert!(is_news(&going));
        assert!(picture.dependents.is_empty());
    }
}
