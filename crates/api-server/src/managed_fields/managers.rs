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

    fn parse(entry: &Value) -> Option<Self> {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let applied = match entry["operation"].as_str()? {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        let known = entry["fieldsType"] == "FieldsV1" && !text("apiVersion").is_empty();
        known.then(|| Self {
            name: text("manager"),
            applied,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: FieldSet::parse(&entry["fieldsV1"]),
        })
    }

    fn write(&self) -> Value {
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
    let entries = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    entries.into_iter().flatten().map(Manager::parse).collect()
}

/// Writes the entries into the object, sorted as Kubernetes sorts them; none when there are none.
pub(crate) fn set(object: &mut Value, mut managers: Vec<Manager>) {
    managers.retain(|manager| !manager.fields.is_empty());
    let order = |manager: &Manager| {
        let manager = manager.clone();
        (
            !manager.applied,
            manager.time,
            manager.name,
            manager.api_version,
            manager.subresource,
        )
    };
    managers.sort_by_cached_key(order);
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    if managers.is_empty() {
        metadata.remove("managedFields");
    } else {
        let entries = managers.iter().map(Manager::write).collect();
        metadata.insert("managedFields".into(), Value::Array(entries));
    }
}

/// The object without its entries.
pub(crate) fn removed(object: &Value) -> Value {
    let mut bare = object.clone();
    if let Some(metadata) = bare.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    bare
}

/// Merges the oldest updaters while there are too many.
pub(crate) fn cap(managers: &mut Vec<Manager>) {
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
