//! Which movements wait for a change of which other object.
//!
//! A watch's mapper only maps keys; for objects that do not carry a movement's name (a source VolumeSnapshot, a target
//! PVC, a PersistentVolume, a BackupRepository) it looks the keys up here. An interest is registered *before* the
//! object is read, so that no change between the read and the wait is missed.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use crate::reconcile::Key;

/// Kind and key of an object that somebody waits for.
pub type Watched = (&'static str, Key);

/// The register of one controller.
#[derive(Debug, Default)]
pub struct Interests(Mutex<BTreeMap<Watched, BTreeSet<Key>>>);

impl Interests {
    /// `movement` wants to be looked at when this object changes.
    pub fn register(&self, kind: &'static str, object: Key, movement: &Key) {
        if !object.name.is_empty() {
            self.0
                .lock()
                .entry((kind, object))
                .or_default()
                .insert(movement.clone());
        }
    }

    /// The movements that wait for this object.
    pub fn keys(&self, kind: &'static str, object: &Key) -> Vec<Key> {
        let all = self.0.lock();
        all.get(&(kind, object.clone()))
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// The movement has ended.
    pub fn forget(&self, movement: &Key) {
        self.0.lock().retain(|_, movements| {
            movements.remove(movement);
            !movements.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reaches_those_who_wait_for_the_object_until_they_end() {
        let interests = Interests::default();
        let (snapshot, upload) = (Key::new("shop", "s"), Key::new("velero", "u"));
        interests.register("VolumeSnapshot", snapshot.clone(), &upload);
        assert_eq!(
            interests.keys("VolumeSnapshot", &snapshot),
            std::slice::from_ref(&upload)
        );
        interests.forget(&upload);
        assert!(interests.keys("VolumeSnapshot", &snapshot).is_empty());
    }
}
