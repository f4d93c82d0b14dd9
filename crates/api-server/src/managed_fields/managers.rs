//! The entries of `metadata.managedFields`: who owns what, through which operation.
//! Source: `k8s.io/apimachinery` v0.34 `pkg/util/managedfields/internal`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::set::FieldSet;

/// More entries of updates than this are merged into one, oldest first.
const MAX_UPDATERS: usize = 10;
/// Who owns what the oldest updaters owned.
const OLD_UPDATERS: &str = "ancient-changes";

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Manager {
    pub(crate) name: String,
    /// By server-side apply; else by any other write.
    pub(crate) applied: bool,
    pub(crate) api_version: String,
    /// Empty for the object itself.
    pub(crate) subresource: String,
    /// RFC 3339, seconds; empty when not known.
    pub(crate) time: String,
    pub(crate) fields: FieldSet,
}

impl Manager {
    /// Whether both are one entry: appliers whatever the version they applied in.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.applied == other.applied
            && self.subresource == other.subresource
            && (self.applied || self.api_version == other.api_version)
    }

    /// As conflicts name it: `"x"`, `"x" using v1`, `"x" with subresource "status" using v1`.
    pub(crate) fn shown(&self) -> String {
        let mut said = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            said.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.applied {
            said.push_str(&format!(" using {}", self.api_version));
        }
        said
    }

    pub(super) fn parse(entry: &Value) -> Option<Self> {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        Self::is_readable(entry).then(|| Self {
            name: text("manager"),
            applied: entry["operation"] == "Apply",
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: FieldSet::parse(&entry["fieldsV1"]),
        })
    }

    fn is_readable(entry: &Value) -> bool {
        matches!(entry["operation"].as_str(), Some("Apply" | "Update"))
            && entry["fieldsType"] == "FieldsV1"
            && entry["apiVersion"]
                .as_str()
                .is_some_and(|version| !version.is_empty())
    }

    /// As [`Self::is`], of a written entry.
    pub(crate) fn is_written(&self, entry: &Value) -> bool {
        let text = |field: &str| entry[field].as_str().unwrap_or_default();
        text("manager") == self.name
            && (text("operation") == "Apply") == self.applied
            && text("subresource") == self.subresource
            && (self.applied || text("apiVersion") == self.api_version)
    }

    pub(crate) fn write(&self) -> Value {
        let mut entry = json!({
            "manager": self.name, "operation": if self.applied { "Apply" } else { "Update" },
            "apiVersion": self.api_version, "fieldsType": "FieldsV1", "fieldsV1": self.fields.write(),
        });
        if !self.time.is_empty() {
            entry["time"] = self.time.as_str().into();
        }
        if !self.subresource.is_empty() {
            entry["subresource"] = self.subresource.as_str().into();
        }
        entry
    }
}

/// The entries of an object; `None` when one of them cannot be read.
pub(crate) fn of(object: &Value) -> Option<Vec<Manager>> {
    written(object).iter().map(Manager::parse).collect()
}

/// The entries of an object as they are written in it.
pub(crate) fn written(object: &Value) -> &[Value] {
    object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Whether each of the entries can be read.
pub(crate) fn are_readable(entries: &[Value]) -> bool {
    entries.iter().all(Manager::is_readable)
}

/// Writes the entries into the object, sorted as Kubernetes sorts them; none when there are none.
pub(crate) fn set(object: &mut Value, managers: Vec<Manager>) {
    let owners = managers.iter().filter(|manager| !manager.fields.is_empty());
    set_written(object, owners.map(Manager::write).collect());
}

/// As [`set`], of entries that are written already and own something.
pub(crate) fn set_written(object: &mut Value, mut entries: Vec<Value>) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    if entries.is_empty() {
        metadata.remove("managedFields");
        return;
    }
    entries.sort_by(|one, other| order(one).cmp(&order(other)));
    metadata.insert("managedFields".into(), Value::Array(entries));
}

/// Appliers first, then by time, name, version, subresource.
fn order(entry: &Value) -> (bool, [&str; 4]) {
    let text = |field: &str| entry[field].as_str().unwrap_or_default();
    let last = [
        text("time"),
        text("manager"),
        text("apiVersion"),
        text("subresource"),
    ];
    (text("operation") != "Apply", last)
}

/// The object without its entries.
pub(crate) fn removed(object: &Value) -> Value {
    let mut bare = object.clone();
    remove(&mut bare);
    bare
}

/// Takes the entries out of an object; none when it has none.
pub(crate) fn remove(object: &mut Value) -> Vec<Value> {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    match metadata.and_then(|metadata| metadata.remove("managedFields")) {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    }
}

/// The entries with the oldest updaters merged while there are too many.
pub(crate) fn capped(entries: Vec<Value>) -> Vec<Value> {
    let updaters = entries
        .iter()
        .filter(|entry| entry["operation"] == "Update")
        .count();
    if updaters <= MAX_UPDATERS {
        return entries;
    }
    let mut managers: Vec<Manager> = entries.iter().filter_map(Manager::parse).collect();
    cap(&mut managers);
    managers.iter().map(Manager::write).collect()
}

/// Merges the oldest updaters while there are too many.
fn cap(managers: &mut Vec<Manager>) {
    loop {
        let updaters: Vec<usize> = (0..managers.len())
            .filter(|place| !managers[*place].applied)
            .collect();
        if updaters.len() <= MAX_UPDATERS {
            return;
        }
        let mut oldest = updaters;
        oldest.sort_by_key(|place| {
            let manager = &managers[*place];
            (
                manager.time.clone(),
                manager.name.clone(),
                manager.subresource.clone(),
            )
        });
        let (Some(first), Some(second)) = (oldest.first().copied(), oldest.get(1).copied()) else {
            return;
        };
        let (older, newer) = (managers[first].clone(), managers[second].clone());
        managers[second] = Manager {
            name: OLD_UPDATERS.into(),
            subresource: String::new(),
            fields: older.fields.union(&newer.fields),
            ..newer
        };
        managers.remove(first);
    }
}

/// Seconds are enough for an entry.
pub(crate) fn stamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
