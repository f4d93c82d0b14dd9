//! Which items belong together, by the item-block actions: asked of every selected item before the first one is backed up
//! (upstream `executeItemBlockActions` in `pkg/backup/backup.go`).
//!
//! ```text
//! listed items ─► related_items ─┬─► listed, too ──────────────────────────────► one block
//!       ▲                        └─► not listed ─► filters ─► fetched, listed ──────┘
//!       └──────────────────────────── asked, too ◄──────────────┘
//! ```
//! Otherwise than upstream a relation counts in both directions, whichever item was looked at first. Without an action
//! nothing is read and nothing is kept; with one the name of every item is in memory.

use std::collections::{BTreeMap, BTreeSet};

use caravel_item_action::{IdentifierSet, ResourceIdentifier};
use serde_json::Value;

use super::{Run, RunError, about};
use crate::collect::Items;

/// Sets of items that belong together; no item is in two.
#[derive(Debug, Default)]
pub(super) struct Related {
    sets: Vec<BTreeSet<ResourceIdentifier>>,
    set_of: BTreeMap<ResourceIdentifier, usize>,
}

impl Related {
    /// True when an action named it, or named another for it.
    pub(super) fn contains(&self, id: &ResourceIdentifier) -> bool {
        self.set_of.contains_key(id)
    }

    /// All that belong with an item, itself included; none when no action has a word about it.
    pub(super) fn of(&self, id: &ResourceIdentifier) -> impl Iterator<Item = &ResourceIdentifier> {
        let set = self.set_of.get(id).and_then(|at| self.sets.get(*at));
        set.into_iter().flatten()
    }

    fn join(&mut self, one: &ResourceIdentifier, other: &ResourceIdentifier) {
        let (into, from) = (self.place(one), self.place(other));
        if into == from {
            return;
        }
        let moved = self.sets.get_mut(from).map(std::mem::take).unwrap_or_default();
        for id in &moved {
            self.set_of.insert(id.clone(), into);
        }
        if let Some(set) = self.sets.get_mut(into) {
            set.extend(moved);
        }
    }

    fn place(&mut self, id: &ResourceIdentifier) -> usize {
        if let Some(at) = self.set_of.get(id) {
            return *at;
        }
        let at = self.sets.len();
        self.sets.push(BTreeSet::from([id.clone()]));
        self.set_of.insert(id.clone(), at);
        at
    }
}

impl Run {
    /// Asks the actions of every item. What they name and is not listed becomes an item.
    pub(super) async fn relate(&self, items: &mut Items) -> Result<Related, RunError> {
        let mut related = Related::default();
        if self.request.item_block_actions.is_empty() {
            return Ok(related);
        }
        let (mut listed, mut left_out) = (IdentifierSet::default(), IdentifierSet::default());
        for id in items.list.iter().filter_map(|item| item.id.as_deref()) {
            listed.insert(id);
        }
        let mut at = 0;
        // Grows while it is walked.
        while let Some(item) = items.list.get(at) {
            at += 1;
            let (id, value) = items.named(item)?;
            for other in self.named_by_actions(&id, &value).await {
                if other == id || left_out.contains(&other) {
                    continue;
                }
                if !listed.contains(&other) {
                    let Some(found) = self.fetch(&other, false).await else {
                        left_out.insert(&other);
                        continue;
                    };
                    let hooked = other.group_resource() == "pods"
                        && caravel_hooks::backup::concerns(&found, &self.request.hooks.spec);
                    items.add(&other, &found, hooked)?;
                    listed.insert(&other);
                }
                related.join(&id, &other);
            }
        }
        Ok(related)
    }

    async fn named_by_actions(&self, id: &ResourceIdentifier, item: &Value) -> Vec<ResourceIdentifier> {
        let request = &self.request;
        let mut named = Vec::new();
        for action in &request.item_block_actions {
            if !action.applies_to().matches(id, item) {
                continue;
            }
            match action.related_items(item, &request.backup).await {
                Ok(items) => named.extend(items),
                Err(error) => {
                    let gr = id.group_resource();
                    let why = format!("{}: {error}; it is backed up without them", action.name());
                    request
                        .log
                        .error(about(&gr, id), "Error asking which items belong with it", why);
                }
            }
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ResourceIdentifier {
        ResourceIdentifier::new("", "pods", "shop", name)
    }

    #[test]
    fn what_belongs_with_a_third_belongs_together() {
        let mut related = Related::default();
        related.join(&id("a"), &id("b"));
        related.join(&id("c"), &id("d"));
        related.join(&id("d"), &id("b"));
        related.join(&id("a"), &id("c"));
        related.join(&id("e"), &id("f"));
        let of = |name: &str| -> Vec<String> { related.of(&id(name)).map(|id| id.name.clone()).collect() };
        for name in ["a", "b", "c", "d"] {
            assert_eq!(of(name), ["a", "b", "c", "d"]);
        }
        assert_eq!(of("f"), ["e", "f"]);
        assert!(of("g").is_empty() && !related.contains(&id("g")));
    }
}
