//! A set of item names that stays small: a backup or restore of a million items remembers which it has met.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::ResourceIdentifier;

/// Items met, 16 bytes each: the first half of SHA-256 of their names. That two of a billion names share one is less likely
/// than one in 10²⁰; an item that was taken for another would be left out, so nothing shorter is used.
#[derive(Clone, Debug, Default)]
pub struct IdentifierSet {
    digests: BTreeSet<[u8; 16]>,
}

impl IdentifierSet {
    /// Adds an item; false when it was there already.
    pub fn insert(&mut self, id: &ResourceIdentifier) -> bool {
        self.digests.insert(digest(id))
    }

    /// True when the item was added before.
    pub fn contains(&self, id: &ResourceIdentifier) -> bool {
        self.digests.contains(&digest(id))
    }
}

fn digest(id: &ResourceIdentifier) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in [&id.group, &id.resource, &id.namespace, &id.name] {
        hash.update(part);
        // In no name of Kubernetes.
        hash.update([0]);
    }
    let whole: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(whole.split_at(16).0);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_met_once_and_names_that_run_together_are_told_apart() {
        let mut met = IdentifierSet::default();
        let secret = ResourceIdentifier::new("", "secrets", "shop", "till");
        assert!(met.insert(&secret));
        assert!(!met.insert(&secret));
        assert!(met.contains(&secret));
        for other in [
            ResourceIdentifier::new("", "secrets", "shopt", "ill"),
            ResourceIdentifier::new("", "secrets", "", "shoptill"),
            ResourceIdentifier::new("secrets", "", "shop", "till"),
            ResourceIdentifier::new("", "configmaps", "shop", "till"),
        ] {
            assert!(!met.contains(&other), "{other:?}");
            assert!(met.insert(&other), "{other:?}");
        }
    }
}
