//! Which kinds are served: the built-in table and what CustomResourceDefinitions add.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::builtin::kinds;
use crate::discovery;
use crate::kind::Kind;

/// The kinds of the server, at one moment. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    kinds: Arc<Vec<Arc<Kind>>>,
    /// [`Self::kinds`], once somebody asked.
    by_value: Arc<OnceLock<Vec<Kind>>>,
    /// [`Self::discovery`] of `/apis` and of `/api`, once somebody asked.
    discovery: Arc<[OnceLock<String>; 2]>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::of(kinds::kinds().into_iter().map(Arc::new).collect())
    }
}

impl Registry {
    fn of(kinds: Vec<Arc<Kind>>) -> Self {
        Self {
            kinds: Arc::new(kinds),
            by_value: Arc::default(),
            discovery: Arc::default(),
        }
    }

    /// The kind behind a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.kinds
            .iter()
            .find(|kind| kind.plural == plural && kind.group == group && kind.version == version)
    }

    /// The version in which objects of a resource are kept.
    pub fn stored(&self, group: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.kinds
            .iter()
            .find(|kind| kind.stored && kind.plural == plural && kind.group == group)
    }

    pub fn all(&self) -> &[Arc<Kind>] {
        &self.kinds
    }

    /// All kinds by value, as discovery and OpenAPI take them.
    pub fn kinds(&self) -> &[Kind] {
        let copied = || self.kinds.iter().map(|kind| (**kind).clone()).collect();
        self.by_value.get_or_init(copied)
    }

    /// What aggregated discovery answers to `/api` (`core`) or `/apis`, as JSON.
    pub fn discovery(&self, core: bool) -> &str {
        let written = || discovery::aggregated(self.kinds(), core).to_string();
        self.discovery[usize::from(core)].get_or_init(written)
    }

    /// Serves what a CustomResourceDefinition says, instead of what it said before.
    pub fn replace(&mut self, group: &str, plural: &str, served: Vec<Kind>) {
        let mut kinds: Vec<Arc<Kind>> = self
            .kinds
            .iter()
            .filter(|kind| kind.custom.is_none() || kind.group != group || kind.plural != plural)
            .cloned()
            .collect();
        kinds.extend(served.into_iter().map(Arc::new));
        *self = Self::of(kinds);
    }

    /// Whether built-in kinds are in this group and version: there a 404 is a `Status`, elsewhere plain text.
    pub fn is_built_in(&self, group: &str, version: &str) -> bool {
        self.kinds
            .iter()
            .any(|kind| kind.custom.is_none() && kind.group == group && kind.version == version)
    }
}

/// Group and plural a CustomResourceDefinition defines.
pub fn defined(crd: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&crd["spec"]["group"]), text(&crd["spec"]["names"]["plural"]))
}
