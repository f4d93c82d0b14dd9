//! The namespaces of a backup (upstream `NamespaceIncludesExcludes`).

use std::collections::BTreeSet;

use caravel_resource_policies::wildcard::PatternError;

use super::{Lists, wildcard};

/// The namespaces of a backup, patterns expanded against those that exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceFilter {
    lists: Lists,
    existing: BTreeSet<String>,
    /// Patterns were expanded: an empty list of included ones then means none.
    expanded: bool,
}

/// What is odd about the namespaces of a spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceNotes {
    /// Included by plain name and not there: an error of the backup.
    pub missing: Vec<String>,
    /// Patterns that match no namespace: a warning of the backup.
    pub empty_patterns: Vec<String>,
}

impl NamespaceFilter {
    /// Expands the spec's lists against the existing namespaces.
    ///
    /// # Errors
    /// A pattern is wrong ([`super::spec_errors`] says which).
    pub fn new(
        included: &[String],
        excluded: &[String],
        existing: &BTreeSet<String>,
    ) -> Result<(Self, NamespaceNotes), PatternError> {
        let expanded = wildcard::should_expand(included, excluded);
        let lists = if expanded {
            Lists {
                included: wildcard::expand(included, existing)?.into_iter().collect(),
                excluded: wildcard::expand(excluded, existing)?.into_iter().collect(),
            }
        } else {
            Lists::new(included, excluded)
        };
        let filter = Self {
            lists,
            existing: existing.clone(),
            expanded,
        };
        let notes = filter.notes(included);
        Ok((filter, notes))
    }

    fn notes(&self, included: &[String]) -> NamespaceNotes {
        let mut notes = NamespaceNotes::default();
        if included.iter().any(|entry| entry == "*") {
            return notes;
        }
        for entry in included {
            if wildcard::is_pattern(entry) {
                let glob = wildcard::matcher(entry);
                let found = glob.is_some_and(|glob| self.existing.iter().any(|name| glob.is_match(name)));
                if !found {
                    notes.empty_patterns.push(entry.clone());
                }
            } else if !self.existing.contains(entry) {
                notes.missing.push(entry.clone());
            }
        }
        notes
    }

    pub fn includes(&self, namespace: &str) -> bool {
        let nothing = self.expanded && self.lists.included.is_empty();
        !nothing && self.lists.includes(namespace)
    }

    /// True when nothing is left out; also when every existing namespace is listed by name.
    pub fn is_everything(&self) -> bool {
        self.lists.is_everything()
            || (self.lists.excluded.is_empty()
                && self
                    .lists
                    .included
                    .iter()
                    .eq(self.existing.iter().map(String::as_str)))
    }

    /// The namespaces to list one by one; `None`: list the whole cluster at once.
    pub fn to_list(&self) -> Option<Vec<String>> {
        if !self.expanded && (self.lists.included.is_empty() || self.lists.included.has("*")) {
            return None;
        }
        let included = self.lists.included.iter().filter(|name| self.includes(name));
        Some(included.map(str::to_owned).collect())
    }

    /// The existing namespaces that are backed up, sorted.
    pub fn resolved(&self) -> Vec<String> {
        let taken = self.existing.iter().filter(|name| self.includes(name));
        taken.cloned().collect()
    }

    /// (included, excluded), as the log says them.
    pub fn describe(&self) -> (String, String) {
        let (included, excluded) = self.lists.describe();
        if self.expanded && self.lists.included.is_empty() {
            return ("<none>".to_owned(), excluded);
        }
        (included, excluded)
    }

    /// Whether patterns were expanded, and to which lists.
    #[cfg(test)]
    pub(crate) fn expansion(&self) -> (bool, Vec<&str>, Vec<&str>) {
        let Lists { included, excluded } = &self.lists;
        (
            self.expanded,
            included.iter().collect(),
            excluded.iter().collect(),
        )
    }
}
