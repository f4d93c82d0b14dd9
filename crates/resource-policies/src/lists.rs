//! A list of what is included and one of what is excluded, both with patterns (upstream
//! `pkg/util/collections/includes_excludes.go`, `IncludesExcludes`).

use std::collections::BTreeMap;

use globset::GlobMatcher;

use super::wildcard;

/// Names and patterns, sorted.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeMap<String, Option<GlobMatcher>>);

impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Names {}

impl<S: Into<String>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut all = Self::default();
        names.into_iter().for_each(|name| all.insert(name));
        all
    }
}

impl Names {
    pub fn insert(&mut self, name: impl Into<String>) {
        let name = name.into();
        let glob = wildcard::matcher(&name);
        self.0.insert(name, glob);
    }

    /// The entry itself is listed; patterns are not tried.
    pub fn has(&self, entry: &str) -> bool {
        self.0.contains_key(entry)
    }

    /// A name or pattern of the list matches.
    pub fn matches(&self, name: &str) -> bool {
        self.has(name) || self.0.values().flatten().any(|glob| glob.is_match(name))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn describe(&self, empty: &str) -> String {
        if self.is_empty() {
            return empty.to_owned();
        }
        self.iter().collect::<Vec<_>>().join(", ")
    }
}

/// Everything in `included` that is not in `excluded`; nothing included means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    pub included: Names,
    pub excluded: Names,
}

impl Lists {
    pub fn new(included: &[String], excluded: &[String]) -> Self {
        Self {
            included: included.iter().collect(),
            excluded: excluded.iter().collect(),
        }
    }

    pub fn includes(&self, name: &str) -> bool {
        !self.excluded.matches(name) && (self.included.is_empty() || self.included.matches(name))
    }

    /// Nothing is left out.
    pub fn is_everything(&self) -> bool {
        self.excluded.is_empty() && (self.included.is_empty() || self.included.iter().eq(["*"]))
    }

    /// (included, excluded), as the log says them.
    pub fn describe(&self) -> (String, String) {
        (self.included.describe("*"), self.excluded.describe("<none>"))
    }
}
