//! A set of fields: `fieldsV1` of a managedFields entry.
//!
//! A tree whose branches are written as Kubernetes writes them: `f:<name>` a field or map key, `k:{…}` a list item by
//! its keys, `v:…` a list item by its value. `"."` says that the branch itself is in the set beside what is below it;
//! a branch with nothing below it always is.
//!
//! ```json
//! {"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}}}}
//! ```
//!
//! Source: `sigs.k8s.io/structured-merge-diff` v6.3 `fieldpath`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The fields at and below one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    /// The place itself is in the set.
    pub(crate) member: bool,
    pub(crate) below: BTreeMap<String, FieldSet>,
}

impl FieldSet {
    /// Reads `fieldsV1`.
    pub(crate) fn parse(fields: &Value) -> Self {
        let mut set = Self::default();
        let Some(branches) = fields.as_object() else {
            return set;
        };
        for (name, inner) in branches {
            if name == "." {
                set.member = true;
                continue;
            }
            let mut branch = Self::parse(inner);
            branch.member |= branch.below.is_empty();
            set.below.insert(name.clone(), branch);
        }
        set
    }

    /// As `fieldsV1`.
    pub(crate) fn write(&self) -> Value {
        let branches = self.below.iter().map(|(name, branch)| {
            let mut written = branch.write();
            if branch.member && !branch.below.is_empty() {
                written["."] = Value::Object(Map::new());
            }
            (name.clone(), written)
        });
        Value::Object(branches.collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.below.values().all(Self::is_empty)
    }

    pub(crate) fn insert(&mut self, path: &[String]) {
        let mut set = self;
        for name in path {
            set = set.below.entry(name.clone()).or_default();
        }
        set.member = true;
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut below = self.below.clone();
        for (name, branch) in &other.below {
            let merged = match below.get(name) {
                Some(there) => there.union(branch),
                None => branch.clone(),
            };
            below.insert(name.clone(), merged);
        }
        Self {
            member: self.member || other.member,
            below,
        }
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let both = self.below.iter().filter_map(|(name, branch)| {
            let common = branch.intersection(other.below.get(name)?);
            (!common.is_empty()).then(|| (name.clone(), common))
        });
        Self {
            member: self.member && other.member,
            below: both.collect(),
        }
    }

    /// Without the places of the other set; what is below them stays.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        let left = self.below.iter().filter_map(|(name, branch)| {
            let rest = match other.below.get(name) {
                Some(gone) => branch.difference(gone),
                None => branch.clone(),
            };
            (!rest.is_empty()).then(|| (name.clone(), rest))
        });
        Self {
            member: self.member && !other.member,
            below: left.collect(),
        }
    }

    /// Whether a place of this set is in the written one.
    pub(crate) fn meets(&self, written: &Value) -> bool {
        self.below.iter().any(|(name, branch)| {
            let there = written.get(name);
            there.is_some_and(|there| (branch.member && is_member(there)) || branch.meets(there))
        })
    }

    /// Whether all places of this set are in the written one.
    pub(crate) fn is_in(&self, written: &Value) -> bool {
        self.below.iter().all(|(name, branch)| match written.get(name) {
            Some(there) => (!branch.member || is_member(there)) && branch.is_in(there),
            None => branch.is_empty(),
        })
    }

    /// Without these places and all that is below them.
    pub(crate) fn without(&self, paths: &[&[&str]]) -> Self {
        let mut rest = self.clone();
        for path in paths {
            rest.cut(path);
        }
        rest
    }

    fn cut(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => {
                self.below.remove(*last);
            }
            [first, more @ ..] => {
                if let Some(branch) = self.below.get_mut(*first) {
                    branch.cut(more);
                    if branch.is_empty() {
                        self.below.remove(*first);
                    }
                }
            }
        }
    }

    /// All paths as messages show them, `.spec.containers[name="a"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut said = Vec::new();
        self.collect("", &mut said);
        said
    }

    fn collect(&self, path: &str, said: &mut Vec<String>) {
        if self.member && !path.is_empty() {
            said.push(path.to_owned());
        }
        for (name, branch) in &self.below {
            branch.collect(&format!("{path}{}", shown(name)), said);
        }
    }
}

/// Whether a written branch is itself in the set.
fn is_member(written: &Value) -> bool {
    let fields = written.as_object();
    fields.is_none_or(|fields| fields.is_empty() || fields.contains_key("."))
}

/// A branch of a field or map key.
pub(crate) fn field(name: &str) -> String {
    format!("f:{name}")
}

/// A branch as messages show it: `.name`, `[name="a"]`, `[="x"]`.
pub(crate) fn shown(branch: &str) -> String {
    let (kind, rest) = branch.split_once(':').unwrap_or(("f", branch));
    match kind {
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let named: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", named.join(","))
        }
        "v" => format!("[={rest}]"),
        "i" => format!("[{rest}]"),
        _ => format!(".{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Value {
        json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}},
               "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}}}})
    }

    #[test]
    fn fields_are_written_as_they_were_read() {
        assert_eq!(FieldSet::parse(&sample()).write(), sample());
    }

    #[test]
    fn paths_are_shown_as_conflicts_show_them() {
        assert_eq!(
            FieldSet::parse(&sample()).paths(),
            [
                ".metadata.labels",
                ".metadata.labels.a",
                ".spec.containers[name=\"a\"]",
                ".spec.containers[name=\"a\"].image"
            ]
        );
    }

    #[test]
    fn sets_are_combined_place_by_place() {
        let all = FieldSet::parse(&sample());
        let labels = FieldSet::parse(&json!({"f:metadata": {"f:labels": {}}}));
        assert_eq!(
            all.difference(&labels).write()["f:metadata"],
            json!({"f:labels": {"f:a": {}}})
        );
        assert_eq!(all.intersection(&labels), labels);
        assert_eq!(all.union(&labels), all);
        assert_eq!(
            all.without(&[&["f:metadata"]]).paths(),
            [
                ".spec.containers[name=\"a\"]",
                ".spec.containers[name=\"a\"].image"
            ]
        );
    }
}
